"""Unpacking that trusts no zip: nothing leaves the folder, nothing is left half-written."""

from __future__ import annotations

import re
import shutil
import stat
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from medgen.errors import MedgenError

SPARE_BYTES = 64 << 20
"""Left free on the disk beyond what a download needs."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)


def require_space(folder: Path, n_bytes: int) -> None:
    """Raises:
    MedgenError: the disk of `folder` has no room for `n_bytes` and a little more.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes + SPARE_BYTES:
        raise MedgenError(
            f"{folder} has {free / 1e6:,.0f} MB free, {(n_bytes + SPARE_BYTES) / 1e6:,.0f} MB are needed; "
            "free some space or choose another folder."
        )


def unpack(archive: Path, folder: Path, top: str) -> Path:
    """Unpacks the members below `top/` of a zip to `folder/top`, all or nothing.

    Raises:
        MedgenError: not a whole zip, nothing below `top/`, a member that would leave the folder or is a link,
            no room, or `folder/top` is already there.
    """
    if (folder / top).exists():
        raise MedgenError(f"{folder / top} is already there; move it away to unpack again.")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{top}.", dir=folder) as temporary:
            _extract(archive, folder, top, temporary)
            (Path(temporary) / top).replace(folder / top)
    except MedgenError:
        raise
    except _DAMAGED as error:
        raise MedgenError(
            f"{archive.name} is not a whole zip file ({error}); it is left as it is: delete it and fetch it again."
        ) from error
    except OSError as error:
        raise MedgenError(
            f"Could not unpack {archive.name}: {error.strerror}; free some space or choose another folder."
        ) from error
    return folder / top


def _extract(archive: Path, folder: Path, top: str, temporary: str) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            _refuse_unsafe(member, archive)
        wanted = [m for m in opened.infolist() if m.filename.startswith(f"{top}/") and not m.is_dir()]
        if not wanted:
            raise MedgenError(f"{archive.name} holds no folder {top}/: it is another file than expected.")
        require_space(folder, sum(member.file_size for member in wanted))
        for member in tqdm(wanted, desc=f"unpacking {top}", unit="file", disable=not sys.stderr.isatty()):
            opened.extract(member, temporary)  # checks the CRC of each


def _refuse_unsafe(member: zipfile.ZipInfo, archive: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if (
        path.is_absolute()
        or ".." in path.parts
        or ":" in path.parts[:1]
        or re.match(r"[A-Za-z]:", str(path))
        or is_link
    ):
        raise MedgenError(f"{archive.name} holds the unsafe member {member.filename!r}; do not use this file.")
