"""One run at a time on the machine, and a Stop that reaches it, also while it waits for its turn."""

from __future__ import annotations

import hashlib
import re
import threading

import gradio as gr

LANE = "machine"
"""`concurrency_id` of every event that runs a network: they queue for the one machine."""

_stops: dict[str, threading.Event] = {}


def session(request: gr.Request | None, key: str = "") -> str:
    """Whose page it is; a handler called without a browser shares one name.

    The browser chooses its name and folders are called after it, so that one with a "/" or "*" in it is replaced by its
    digest: a page could otherwise have folders of this machine emptied.

    Args:
        request: of the event.
        key: tells the runs of one page apart.
    """
    name = (request.session_hash if request is not None else None) or "local"
    if not re.fullmatch("[A-Za-z0-9]{1,64}", name):
        name = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name}-{key}" if key else name


def arm(name: str) -> threading.Event:
    """A fresh stop signal for the next run of session `name`; an earlier run of it is stopped."""
    stop(name)
    _stops[name] = threading.Event()
    return _stops[name]


def signal(name: str) -> threading.Event:
    """The stop signal of the session's armed run."""
    return _stops.get(name) or arm(name)


def stop(name: str) -> None:
    """Asks the session's run to end: it ends within one step, or before it begins."""
    if name in _stops:
        _stops[name].set()


def leave(name: str) -> None:
    """The page was closed: nobody waits for its run any more."""
    stop(name)
    _stops.pop(name, None)
