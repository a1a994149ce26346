"""Files of a session: folders that are emptied at its next run, dropped when its page closes, and end with the app."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image


class Scratch:
    """Folders of sessions below one of their own.

    Args:
        prefix: of the name of that folder.
    """

    def __init__(self, prefix: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=prefix)  # removed when the app ends

    @property
    def root(self) -> Path:
        """The folder above those of the sessions."""
        return Path(self._folder.name).resolve()

    def folder(self, session: str) -> Path:
        """An empty folder for the files of this session's last run."""
        self.discard(session)
        return self.lasting(session)

    def lasting(self, session: str) -> Path:
        """The folder of this session as it is: for pictures in a row while the page may still load one."""
        place = self.root / session
        place.mkdir(parents=True, exist_ok=True)
        return place

    def discard(self, session: str) -> None:
        """Nobody waits any more for what `folder` of this session holds."""
        shutil.rmtree(self.root / session, ignore_errors=True)


DOWNLOADS = Scratch("medgen-downloads-")
"""What gradio copies before it serves it."""
SHOWN = Scratch("medgen-shown-")
"""Pictures inside HTML: the server may serve everything below its root, so names in it cannot be guessed."""


def discard(session: str) -> None:
    """The page of this session was closed: its folders, called `session` or `session-KEY`, are no longer needed."""
    for place in (DOWNLOADS, SHOWN):
        for folder in (place.root / session, *place.root.glob(f"{session}-*")):
            place.discard(folder.name)


def address(picture: Image.Image, folder: Path) -> str:
    """Saves `picture` into a folder of `SHOWN`; returns its address for `src`, below that of the page."""
    path = folder / f"{secrets.token_hex(16)}.png"
    picture.save(path)
    return f"gradio_api/file={quote(path.as_posix())}"
