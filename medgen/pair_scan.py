"""One scan of a pair: read as what its name says it is, MR or CT; a CT in Hounsfield units or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medgen.errors import MedgenError
from medgen.read_series import AIR_HU
from medgen.read_volume import read_volume
from medgen.volume import Volume

MUST_REACH_HU = -500.0
"""A head has air around it and in it: where nothing is darker than this, values are not HU."""


def modality(kind: str) -> str:
    """ "CT" of "CT" and "ct", "MR" of all other kinds of scans, such as "T1w"."""
    return "CT" if kind.upper() == "CT" else "MR"


def read_scan(path: Path, kind: str) -> Volume:
    """A scan of a pair.

    Args:
        path: NIfTI, or a DICOM series as a folder or ZIP.
        kind: "CT", or a kind of MR.

    Returns:
        CT in "HU", nothing below air: what lies outside the circle of a scanner has all kinds of values.

    Raises:
        MedgenError: it cannot be read, is of another modality, or a CT whose values are not HU.
    """
    wanted = modality(kind)
    volume = read_volume(path, wanted, only=(wanted,))
    if wanted != "CT":
        return volume
    lowest = float(volume.array.min())
    if volume.unit != "HU" or lowest > MUST_REACH_HU:
        why = f"in {volume.unit}" if volume.unit != "HU" else f"from {lowest:g} up, without air"
        raise MedgenError(f"{path.name} is a CT with values {why}: these are not HU; convert it with its rescale slope")
    return replace(volume, array=np.maximum(volume.array, np.float32(AIR_HU)))


def stamp(path: Path) -> list[int]:
    """Size and time of a file, or of the files of a folder together, which tell a replaced one.

    Raises:
        OSError: it cannot be looked at.
    """
    stats = [file.stat() for file in ([path] if not path.is_dir() else [f for f in path.iterdir() if f.is_file()])]
    return [sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0)]
