"""Downloads that survive a broken connection, a full disk and a changed file.

While a file is coming it is `NAME.part`, with `NAME.part.json` beside it (address, validator, size), so that the next
run goes on where this one ended (HTTP Range and If-Range, RFC 9110 sections 13.1.5 and 14.2). `NAME` itself is either
complete or absent.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

from medgen.atomic import write_json
from medgen.data_check import sha256 as sha256_of
from medgen.errors import MedgenError
from medgen.unpack import require_space, unpack

if TYPE_CHECKING:
    from medgen.catalogue import Dataset

CHUNK_BYTES = 1 << 18
_TRY_AGAIN = (408, 416, 425, 429, 500, 502, 503, 504)


class _BrokenError(Exception):
    """The connection failed in a way that another attempt may mend."""


def fetch(entry: Dataset, folder: Path, url: str | None = None) -> Path:
    """Downloads a data set into `folder` and unpacks it where it is the upstream folder layout.

    Args:
        entry: what to fetch.
        folder: where to; made if it is not there.
        url: another address. If it ends in `entry.download_name` it is taken for the upstream file, else for
            our compact archive, whose checksum must then agree.

    Returns:
        The archive, or the folder unpacked from the upstream file.

    Raises:
        MedgenError: there is no direct address (says how to get the data), or the download failed.
    """
    if url is None and (entry.download is None or entry.download_name is None):
        steps = "\n".join(f"  {i}. {step.format(url=entry.url)}" for i, step in enumerate(entry.steps, 1))
        raise MedgenError(
            f"{entry.name} has no stable direct address; get it by hand:\n{steps}\n"
            f"  Or give the address of a copy of {entry.archive}: --url URL"
        )
    if url is not None:
        _require_web_address(url)
    is_upstream = url is None or PurePosixPath(unquote(urlsplit(url).path)).name == entry.download_name
    if not is_upstream or entry.download_name is None:
        return download(url or "", folder / entry.archive, sha256=entry.sha256)
    unpacked = folder / entry.folders[0]
    if unpacked.exists():
        raise MedgenError(f"{unpacked} is already there; move it away to fetch it again.")
    archive = download(url or entry.download or "", folder / entry.download_name)
    print(f"Upstream publishes no checksum we could verify; sha256 of this file: {sha256_of(archive)}")
    return unpack(archive, folder, entry.folders[0])


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    attempts: int = 5,
    wait_seconds: float = 1.0,
    timeout_seconds: float = 30.0,
) -> Path:
    """Downloads `url` to `target`, which is complete or absent.

    Args:
        url: http or https address.
        target: an existing file of the right checksum is left as it is.
        sha256: what the complete file must have; None = unknown, then only the announced size is checked.
        attempts: how often in a row a connection may break without a byte of progress.
        wait_seconds: pause before the second of them; doubles each time.
        timeout_seconds: silence after which a connection counts as broken.

    Returns:
        `target`.

    Raises:
        MedgenError: no web address, the server refuses or keeps breaking off (the part is kept), the disk is too small
            or full (kept), the folder cannot be made, or the complete file has the wrong checksum (the part is
            deleted).
    """
    _require_web_address(url)
    if target.exists():
        if sha256 is not None and sha256_of(target) != sha256:
            raise MedgenError(f"{target} is already there but has another checksum; move it away to fetch it again.")
        return target
    part = target.with_name(f"{target.name}.part")
    furthest, failures = -1, 0
    while True:
        try:
            _transfer(url, part, resume_unproven=sha256 is not None, timeout_seconds=timeout_seconds)
            break
        except _BrokenError as error:
            reached = _size(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures >= attempts:
                raise MedgenError(
                    f"The download from {urlsplit(url).netloc} failed ({error}); {reached:,} bytes are kept in "
                    f"{part.name}: run the same command again to go on."
                ) from error
            time.sleep(wait_seconds * 2 ** (failures - 1))
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        part.unlink()
        _state_path(part).unlink(missing_ok=True)
        raise MedgenError(
            f"{target.name} came complete but with sha256 {found[:12]}... instead of {sha256[:12]}...; "
            "it was deleted: the address serves another or a damaged file."
        )
    part.replace(target)
    _state_path(part).unlink(missing_ok=True)
    return target


def _require_web_address(url: str) -> None:
    """Raises:
    MedgenError: urllib could not ask for `url`, or would open something else than a web page.
    """
    try:
        good = url.isascii() and re.match(r"https?://[^/\s]+/\S", url) and urlsplit(url).port != 0
    except ValueError:  # unbalanced brackets, or a port that is no number
        good = False
    if not good:
        raise MedgenError(f"{url!r} is not the http or https address of a file (letters beyond ASCII as %XX).")


def _transfer(url: str, part: Path, *, resume_unproven: bool, timeout_seconds: float) -> None:
    """One attempt: asks for what is missing of `part` and appends it."""
    state = _read_state(part, url)
    offset = _size(part) if state.get("validator") or (state and resume_unproven) else 0
    if offset and offset == state["total"]:
        return  # stopped between the last byte and the final name
    headers = {"User-Agent": "medgen", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if state["validator"]:
            headers["If-Range"] = state["validator"]
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            _state_path(part).unlink(missing_ok=True)  # what we hold is no beginning of what is there: start over
        if error.code in _TRY_AGAIN:
            raise _BrokenError(f"HTTP status {error.code}") from error
        raise MedgenError(
            f"{url} answers with HTTP status {error.code} ({error.reason}); check the address."
        ) from error
    except urllib.error.URLError as error:
        raise _BrokenError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(str(error) or type(error).__name__) from error
    with response:
        offset, total = _agreed(response, part, state, offset)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MedgenError(f"Could not make {part.parent}: {error.strerror}; choose another folder.") from error
        require_space(part.parent, (total or 0) - offset)
        validator = _validator(response) or (state["validator"] if offset else None)
        write_json(_state_path(part), {"url": url, "validator": validator, "total": total})
        _copy(response, part, offset, total)


def _agreed(response: Any, part: Path, state: dict[str, Any], offset: int) -> tuple[int, int | None]:
    """The offset at which this answer starts, and the size of the whole file where the server tells it."""
    if response.status != 206:  # no Range support, or the file has changed: all of it, from the start
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    total = int(span[2]) if span and span[2] != "*" else None
    # servers that ignore If-Range are caught by what they say of the file itself; they need not say it again
    pairs = ((_validator(response), state["validator"]), (total, state["total"]))
    changed = any(now != before for now, before in pairs if now is not None)
    if span is None or int(span[1]) != offset or changed:
        _state_path(part).unlink(missing_ok=True)
        raise _BrokenError("the file on the server has changed")
    return offset, total if total is not None else state["total"]


def _copy(response: Any, part: Path, offset: int, total: int | None) -> None:
    """Writes the body after the first `offset` bytes of `part`."""
    try:
        file = part.open("r+b" if offset else "wb", buffering=0)
    except OSError as error:
        raise MedgenError(f"Could not write {part}: {error.strerror}; choose another folder.") from error
    quiet = not sys.stderr.isatty()
    with file, tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=part.stem, disable=quiet) as bar:
        file.seek(offset)
        while True:
            try:
                piece = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenError(str(error) or type(error).__name__) from error
            if not piece:
                break
            try:
                written = 0
                while written < len(piece):  # an unbuffered write may take only a part
                    written += file.write(piece[written:])
            except OSError as error:
                raise MedgenError(
                    f"Could not write {part.name}: {error.strerror}; free some space, what came is kept: "
                    "run the same command again to go on."
                ) from error
            offset += len(piece)
            bar.update(len(piece))
    # a closed connection looks like the end of the file: only the announced size tells
    if total is not None and offset != total:
        raise _BrokenError(f"{offset:,} of {total:,} bytes came")


def _validator(response: Any) -> str | None:
    """What names this version of the file; weak ETags promise no equal bytes."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _read_state(part: Path, url: str) -> dict[str, Any]:
    """What was noted of the transfer that left `part`; empty if that was none, or from another address."""
    with suppress(OSError, ValueError):
        state = json.loads(_state_path(part).read_text(encoding="utf-8"))
        if isinstance(state, dict) and state.get("url") == url and {"validator", "total"} <= set(state):
            return state
    return {}


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
