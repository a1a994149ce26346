"""The one exception a user is meant to read."""


class MedgenError(ValueError):
    """Something is wrong with the input, and the message says what to do next.

    Command lines print the message without a traceback; the app shows it as a toast.
    """
