"""Features of generated images, kept by their content, so that `eval.compare` needs no sampling where they are here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from medgen.cache import cache_dir, read_arrays, write_arrays

MOST = 10_000
"""Images whose features are kept: 80 MB of Inception's."""


def keep(features: np.ndarray) -> str:
    """Keeps `(N, D)` float32, where they are not too many, and returns the sha256 they are known by."""
    name = sha256(features)
    if len(features) <= MOST and not _path(name).is_file():
        write_arrays(_path(name), {"features": features})
    return name


def kept(name: str) -> np.ndarray | None:
    """The features of this sha256; None where they are not here, or damaged."""
    found = (read_arrays(_path(name), {"features": "float32"}) or {}).get("features")
    return found if found is not None and sha256(found) == name else None


def sha256(features: np.ndarray) -> str:
    """Of their shape and content."""
    whole = hashlib.sha256(str(features.shape).encode())
    for start in range(0, len(features), 1024):
        whole.update(np.ascontiguousarray(features[start : start + 1024]).tobytes())
    return whole.hexdigest()


def _path(name: str) -> Path:
    return cache_dir() / "generated" / f"{name}.npz"
