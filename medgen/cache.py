"""Arrays that take long to compute, kept in a file: whole or absent, computed anew when damaged."""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medgen.atomic import replacing
from medgen.errors import MedgenError


def cache_dir() -> Path:
    """`$MEDGEN_CACHE`, or `~/.cache/medgen`."""
    return Path(os.environ.get("MEDGEN_CACHE") or Path.home() / ".cache" / "medgen")


def read_arrays(path: Path, kinds: Mapping[str, str]) -> dict[str, np.ndarray] | None:
    """The arrays of an NPZ file, or None where it is absent, damaged or of another kind.

    Args:
        path: the file.
        kinds: name -> type of its elements, such as "int16".
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in kinds}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile):
        return None
    return found if all(found[name].dtype == np.dtype(kind) for name, kind in kinds.items()) else None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Keeps `arrays` as an NPZ file. A full disk costs the next run time; it must not cost this one its result."""
    plain: dict[str, Any] = dict(arrays)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **plain)
    except MedgenError as error:
        print(f"{path.name} is not cached: {error}", file=sys.stderr)
