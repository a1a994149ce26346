"""The one exception a user is meant to read, and how a command line shows it."""

import sys
from collections.abc import Callable


class MedgenError(ValueError):
    """Something is wrong with the input, and the message says what to do next.

    Command lines print the message without a traceback; the app shows it as a toast.
    """


def exit_code(work: Callable[[], int], interrupted: str = "Interrupted.") -> int:
    """Runs a command line; a `MedgenError` becomes one line on stderr and status 2, Ctrl-C status 130.

    Args:
        work: returns the exit status.
        interrupted: what Ctrl-C leaves behind, in a sentence.
    """
    try:
        return work()
    except MedgenError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
