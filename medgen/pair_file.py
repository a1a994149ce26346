"""One prepared pair on disk: 16-bit integers with a slope and an intercept each, in an .npz file without pickle."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgen.atomic import replacing
from medgen.errors import MedgenError
from medgen.pair_slices import PairSlices

_LEVELS = 2**16 - 1


@dataclass(frozen=True)
class Pair:
    """One prepared pair, as `read_pair` gives it.

    Args:
        source: `(N, H, W)` float32 in the unit of its file.
        target: the same.
        index: `(N,)` slice numbers, towards the head.
        affine: `(4, 4)` from (column, row, slice number) to RAS+ millimetres.
        units: of source and target, "HU" or "au".
    """

    source: np.ndarray
    target: np.ndarray
    index: np.ndarray
    affine: np.ndarray
    units: tuple[str, str] = ("au", "au")


def write_pair(path: Path, made: PairSlices) -> None:
    """Writes a pair, exactly where its values are whole numbers that span no more than 65,535, as HU from a file are,
    else to half a step of as many.

    Raises:
        MedgenError: the operating system refused.
    """
    arrays: dict[str, np.ndarray] = {"index": made.index, "affine": made.affine, "units": np.array(made.units)}
    for side, values in (("source", made.source), ("target", made.target)):
        low, high = float(values.min()), float(values.max())
        whole = high - low <= _LEVELS and bool((values == np.rint(values)).all())
        slope = 1.0 if whole else (high - low) / _LEVELS or 1.0
        arrays[side] = np.rint((values - low) / slope).astype(np.uint16)
        arrays[f"{side}_scale"] = np.array([slope, low])
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_pair(path: str | Path) -> Pair:
    """A pair that `prepare` wrote.

    Raises:
        MedgenError: no such file, or it is damaged.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            scaled = []
            for side in ("source", "target"):
                slope, intercept = file[f"{side}_scale"]
                scaled.append(file[side].astype(np.float32) * np.float32(slope) + np.float32(intercept))
            one, other = file["units"].tolist() if "units" in file else ("au", "au")  # older ones hold MR alone
            return Pair(scaled[0], scaled[1], file["index"], file["affine"], (str(one), str(other)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MedgenError(f"{path.name} cannot be read as a pair ({error}); prepare it again.") from error
