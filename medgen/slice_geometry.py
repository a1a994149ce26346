"""Where the slices of a DICOM series lie, and whether they make a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medgen.errors import MedgenError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts to the left and to the back, NIfTI to the right and to the front; both to the head."""
_SAME_DIRECTION = 1e-3
_ROUNDING_MM = 0.06
"""Some scanners write positions with one decimal."""


@dataclass(frozen=True)
class Place:
    """What a DICOM slice says about its place; None where it does not say. DICOM's own axes, LPS+, millimetres.

    Args:
        position: `(3,)`, centre of the first pixel (Image Position Patient).
        orientation: `(6,)`, direction along a row, then down a column (Image Orientation Patient).
        spacing: `(2,)`, between rows, then between columns (Pixel Spacing).
        thickness_mm: of the slice.
    """

    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: np.ndarray | None
    thickness_mm: float | None


def place_slices(places: Sequence[Place], name: str) -> tuple[list[int], np.ndarray, bool]:
    """Sorts slices along their normal.

    Args:
        places: one a slice, in any order.
        name: what messages call the series.

    Returns:
        The order, `places[order[k]]` is slice k; the `(4, 4)` affine from (column, row, slice) to RAS+ millimetres;
        whether the place is known. Slices of a tilted gantry give a sheared affine. One slice without a place gets
        its spacing alone, or 1 mm.

    Raises:
        MedgenError: slices without a place, turned against each other, missing, unevenly spaced, or several at one
            place.

    Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
    """
    first = places[0]
    known = [p.position is not None and p.orientation is not None for p in places]
    if len(places) == 1 and not (known[0] and first.spacing is not None):
        between_rows, between_columns = _spacing(first, name) if first.spacing is not None else (1.0, 1.0)
        # axes as on a screen, seen from the feet: columns to the left, rows to the back
        return [0], _TO_RAS @ np.diag([between_columns, between_rows, 1.0, 1.0]), False
    if not all(known):
        raise MedgenError(f"{name} does not say where its slices lie; give a series with positions, or one image.")
    row, column = _directions(first, name)
    spacing = _spacing(first, name)
    for place in places[1:]:
        if not np.allclose(place.orientation, first.orientation, atol=_SAME_DIRECTION):  # type: ignore[arg-type]
            raise MedgenError(f"{name} holds slices turned against each other; give the slices of one orientation.")
        if not np.allclose(_spacing(place, name), spacing, rtol=1e-3):
            raise MedgenError(f"{name} holds slices of different pixel spacing; give the files of one series.")
    positions = np.array([place.position for place in places])  # (N, 3)
    normal = np.cross(row, column)
    order = np.argsort(positions @ normal, kind="stable")
    step = _step(positions[order], normal, name, first.thickness_mm)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * spacing[1], column * spacing[0], step
    affine[:3, 3] = positions[order[0]]
    return [int(k) for k in order], _TO_RAS @ affine, True


def _directions(place: Place, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along a row and down a column."""
    assert place.orientation is not None
    row, column = place.orientation[:3], place.orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1.0, atol=0.01) or abs(row @ column) > 0.01:
        raise MedgenError(f"{name} has a damaged orientation ({place.orientation.tolist()}); export it again.")
    return row / lengths[0], column / lengths[1]


def _spacing(place: Place, name: str) -> tuple[float, float]:
    if place.spacing is None or not (place.spacing > 0).all():
        raise MedgenError(f"{name} has a slice without a usable pixel spacing; export it again.")
    return float(place.spacing[0]), float(place.spacing[1])


def _step(positions: np.ndarray, normal: np.ndarray, name: str, thickness_mm: float | None) -> np.ndarray:
    """The `(3,)` way from one slice to the next, of positions `(N, 3)` sorted along `normal`."""
    if len(positions) == 1:
        return normal * (thickness_mm if thickness_mm and thickness_mm > 0 else 1.0)
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if usual < 1e-3 or gaps.min() < 0.1 * usual:
        raise MedgenError(
            f"{name} holds several images at one place (time points, echoes or copies); give the slices of one."
        )
    uneven = np.abs(gaps - usual) > 0.2 * usual + _ROUNDING_MM
    if uneven.any():
        where = int(np.argmax(uneven))
        raise MedgenError(
            f"{name} has a gap: slices {where + 1} and {where + 2} of {len(positions)} lie {gaps[where]:.2f} mm apart, "
            f"the others {usual:.2f} mm; give all slices of one series."
        )
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    line = positions[0] + np.arange(len(positions))[:, None] * step
    if np.linalg.norm(positions - line, axis=1).max() > 0.25 * usual + _ROUNDING_MM:
        raise MedgenError(f"{name} holds slices that do not lie in one row; give the slices of one series.")
    return np.asarray(step)
