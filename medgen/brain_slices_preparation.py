"""One head and its segmentation -> axial pictures on one grid, each with its height in the brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.errors import MedgenError
from medgen.pair_slices import resampled
from medgen.volume import Volume
from medgen.volume_preparation import BRIGHT, on_one_grid

STEP_MM = 2.0
"""Between slices."""
LEAST = 0.2
"""Slices with less brain than this part of the fullest one are left out: tip of the stem, last of the vertex."""
_SAME = 0.01
_MAX_CUT = 0.01
"""Part of the brain that may lie outside the picture."""


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of one head, from below.

    Args:
        pixels: `(N, side, side)` uint8: the patient's right on the left, the front on top.
        heights: `(N,)` float32, millimetres above the centre of gravity of the brain, along the axis of the scanner.
    """

    pixels: np.ndarray
    heights: np.ndarray


def cut(scan: Volume, regions: Volume, *, side: int, spacing_mm: float, stripped: bool) -> Slices:
    """Slices through the brain, whose box is in the middle of the picture; whole voxels are taken as they are.

    The 99th percentile inside the brain becomes `BRIGHT` of 255; brighter tissue, as fat of a whole head, ends at 255.

    Args:
        scan: T1 of the whole head, in any orientation.
        regions: numbers on the same grid; above 0 is brain.
        side: pixels along an edge.
        spacing_mm: of these pixels.
        stripped: black outside of the brain, and at least 1 inside.

    Raises:
        MedgenError: the two do not lie on one grid, there is no brain, or it does not fit.
    """
    head, numbers = on_one_grid(scan, regions)
    seen, inside = head.reoriented("LPS"), numbers[::-1, ::-1] > 0
    affine, first, count = _grid(seen, inside, side, spacing_mm)
    shape = (side, side, count)
    values, _ = resampled(seen, affine, shape)
    share, _ = resampled(Volume(inside.astype(np.float32), seen.affine, "MR", "au"), affine, shape)
    shown = share >= 0.5
    size = float(np.abs(np.linalg.det(affine[:3, :3])) / np.abs(np.linalg.det(seen.affine[:3, :3])))
    lost = 1 - shown.sum() * size / inside.sum()
    if lost > _MAX_CUT + 0.05:  # of which the rim may round away
        raise MedgenError(f"{lost:.0%} of the brain lies outside {side} pixels of {spacing_mm:g} mm.")
    scaled = np.rint(values * (BRIGHT / float(np.percentile(values[shown], 99))))
    scaled = np.where(shown, np.clip(scaled, 1, 255), 0) if stripped else np.clip(scaled, 0, 255)
    area = shown.sum(axis=(0, 1))
    kept = np.flatnonzero(area >= LEAST * area.max())
    centre = float(np.average(np.arange(inside.shape[2]), weights=inside.sum(axis=(0, 1))))
    step = seen.spacing_mm[2]
    heights = (first + kept * _steps(seen, spacing_mm)[2] - centre) * step
    pixels = np.ascontiguousarray(scaled[:, :, kept].transpose(2, 1, 0).astype(np.uint8))
    return Slices(pixels, heights.astype(np.float32))


def _steps(seen: Volume, spacing_mm: float) -> list[float]:
    """From one pixel, row and slice of the pictures to the next, in voxels of the scan."""
    wanted = (spacing_mm, spacing_mm, STEP_MM)
    steps = [one / spacing for one, spacing in zip(wanted, seen.spacing_mm, strict=True)]
    return [1.0 if abs(step - 1) < _SAME else step for step in steps]


def _grid(seen: Volume, inside: np.ndarray, side: int, spacing_mm: float) -> tuple[np.ndarray, int, int]:
    """The affine of the pictures, the slice of the scan that is their first, and how many there are."""
    lines = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    (left, right), (front, back), (low, high) = ((int(line[0]), int(line[-1])) for line in lines)
    steps = _steps(seen, spacing_mm)
    starts = [
        (a + b) / 2 - step * (side - 1) / 2 for (a, b), step in zip(((left, right), (front, back)), steps, strict=False)
    ]
    starts = [float(np.floor(start)) if step == 1.0 else start for start, step in zip(starts, steps, strict=False)]
    pick = np.diag([*steps, 1.0])
    pick[:3, 3] = [*starts, low]
    return seen.affine @ pick, low, int((high - low) // steps[2]) + 1
