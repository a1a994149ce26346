"""Files that are either complete or absent."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medgen.errors import MedgenError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; moves it into place when the block ends well.

    Raises:
        MedgenError: the operating system refused the write (disk full, read-only folder, ...).
            The temporary file is removed and `path` keeps its old content.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MedgenError(
            f"Could not write {path.name}: {reason}. Free some space or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes `content` to `path`, all of it or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, content: Any) -> None:
    """Writes `content` as indented JSON, all of it or nothing. NaN is refused: it is not JSON."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())
