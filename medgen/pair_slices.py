"""Two volumes of one head as pairs of axial pictures on one grid of square pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from medgen.errors import MedgenError
from medgen.read_series import AIR_HU
from medgen.volume import Volume

_SAME_SPACING = 0.01
_MAX_CUT = 0.02
"""Part of the head that may lie outside the picture."""
MIN_COVER = 0.99
"""Part of the head in a slice that both scans must show."""
_TISSUE_HU = -300.0
"""Between air, foam and the table on the one side and fat on the other."""


@dataclass(frozen=True)
class PairSlices:
    """The slices of a pair that show enough.

    Args:
        source: `(N, H, W)` float32; outside the scan and outside the mask 0, or air, -1024, where the unit is "HU".
        target: the same of the other scan.
        index: `(N,)` slice numbers on the grid, towards the head.
        affine: `(4, 4)` from (column, row, slice number) to RAS+ millimetres.
        overlap: Dice coefficient of what counts as head in both scans.
        left_out: how many slices showed too little, and how many were only in one of the scans.
        units: of source and target, "HU" or "au".
    """

    source: np.ndarray
    target: np.ndarray
    index: np.ndarray
    affine: np.ndarray
    overlap: float
    left_out: tuple[int, int]
    units: tuple[str, str] = ("au", "au")


def head(array: np.ndarray, unit: str = "au") -> np.ndarray:
    """A head, not the air around it: where there is more than a tenth of the brightest signal (percentile 99.5), or, in
    HU, the largest piece of tissue, without the rest it lies on."""
    if unit == "HU":
        labels, n = ndimage.label(array > _TISSUE_HU)
        return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if n else labels > 0
    low, high = np.percentile(array, (1.0, 99.5))
    return array > low + 0.1 * (high - low)


def cut(
    source: Volume,
    target: Volume,
    *,
    side: int,
    spacing_mm: float,
    foreground: float,
    matrix: np.ndarray | None = None,
    mask: Volume | None = None,
) -> PairSlices:
    """Axial slices of `source`, and of `target` at the same places.

    Pictures are turned as radiologists show them, with the head in the middle. Slices stay where they are in `source`;
    within a slice it is interpolated only if its pixels are not of the wanted size, `target` if its grid is another.

    Args:
        source: the scan whose grid counts.
        target: the other scan.
        side: pixels along an edge.
        spacing_mm: of these pixels.
        foreground: slices that show less head than this part of the fullest one are left out.
        matrix: `(4, 4)` from millimetres of `source` to those of `target`, RAS+; None = the headers are right.
        mask: of the brain, > 0 inside, in the space of `source`; outside, MR becomes 0 and CT air.

    Raises:
        MedgenError: the head does not fit into the picture, or no slice shows enough of both.
    """
    seen = source.reoriented("LPS")
    if mask is None:
        shows = head(seen.array, seen.unit)
    else:
        shows = resampled(mask, seen.affine, seen.array.shape, nearest=True)[0] > 0
    if not shows.any():
        raise MedgenError("the mask is empty" if mask is not None else "there is no head in the scan")
    affine, shape = _grid(seen, shows, side, spacing_mm)
    one, _ = resampled(seen, affine, shape)
    wanted, _ = resampled(Volume(shows.astype(np.float32), seen.affine, "MR", "au"), affine, shape, nearest=True)
    shown = wanted > 0
    volumes = [abs(float(np.linalg.det(one[:3, :3]))) for one in (affine, seen.affine)]
    lost = 1 - shown.sum() * volumes[0] / (shows.sum() * volumes[1])
    if lost > _MAX_CUT:
        raise MedgenError(f"{lost:.0%} of the head lies outside {side} pixels of {spacing_mm:g} mm; use more of them")
    other, covered = resampled(target, affine, shape, matrix=matrix)
    units = source.unit, target.unit
    if mask is not None:
        one, other = (np.where(shown, array, _outside(unit)) for array, unit in zip((one, other), units, strict=True))
    overlap = _dice(head(one, source.unit) if mask is None else shown, head(other, target.unit), covered)
    area = shown.sum(axis=(0, 1))
    full = area >= max(1.0, foreground * area.max())
    both = (shown & covered).sum(axis=(0, 1)) >= MIN_COVER * area
    index = np.flatnonzero(full & both)
    if not len(index):
        raise MedgenError("no slice shows enough of the head in both scans")
    source_slices, target_slices = (
        np.ascontiguousarray(array[:, :, index].transpose(2, 1, 0), np.float32) for array in (one, other)
    )
    left_out = int((~full).sum()), int((full & ~both).sum())
    return PairSlices(source_slices, target_slices, index.astype(np.int32), affine, overlap, left_out, units)


def _grid(seen: Volume, shows: np.ndarray, side: int, spacing_mm: float) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The affine of the pictures, whose middle is the middle of the head, and their shape with all slices."""
    box = [np.flatnonzero(shows.any(axis=tuple(k for k in range(3) if k != axis)))[[0, -1]] for axis in (0, 1)]
    step = [spacing_mm / spacing for spacing in seen.spacing_mm[:2]]
    step = [1.0 if abs(one - 1) < _SAME_SPACING else one for one in step]
    first = [ends.mean() - one * (side - 1) / 2 for ends, one in zip(box, step, strict=True)]
    if step == [1.0, 1.0]:  # whole voxels, so that nothing is interpolated
        first = [float(np.floor(start)) for start in first]
    pick = np.diag([*step, 1.0, 1.0])
    pick[:2, 3] = first
    return seen.affine @ pick, (side, side, seen.array.shape[2])


def resampled(
    volume: Volume,
    affine: np.ndarray,
    shape: tuple[int, ...],
    *,
    matrix: np.ndarray | None = None,
    nearest: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """`volume` on another grid: linear, smoothed first along axes that get coarser; where it does not reach, 0,
    or air, if its unit is "HU".

    Args:
        volume: what to resample.
        affine: `(4, 4)` of the other grid.
        shape: of the other grid.
        matrix: `(4, 4)` from millimetres of the grid to those of `volume`, RAS+; None = the same.
        nearest: the nearest voxel instead, for labels.

    Returns:
        Values float32, and where the volume reaches, bool; both of `shape`.
    """
    to_voxel = np.linalg.inv(volume.affine) @ (np.eye(4) if matrix is None else matrix) @ affine
    to_voxel[np.abs(to_voxel - np.rint(to_voxel)) < 1e-6] = np.rint(to_voxel)[
        np.abs(to_voxel - np.rint(to_voxel)) < 1e-6
    ]
    common: dict[str, Any] = {"offset": to_voxel[:3, 3], "output_shape": tuple(shape), "prefilter": False}
    array = volume.array
    if not nearest:
        coarser = np.abs(to_voxel[:3, :3]).max(axis=1)  # voxels of `volume` from one of the grid to the next
        sigma = np.where(coarser > 1.2, 0.5 * np.sqrt(np.maximum(coarser**2 - 1, 0)), 0.0)
        array = ndimage.gaussian_filter(array, sigma) if sigma.any() else array
    values = ndimage.affine_transform(array, to_voxel[:3, :3], order=0 if nearest else 1, mode="nearest", **common)
    there = np.ones(array.shape, np.uint8)
    reach = ndimage.affine_transform(there, to_voxel[:3, :3], order=0, mode="grid-constant", cval=0, **common) > 0
    return np.where(reach, values, _outside(volume.unit)), reach


def _outside(unit: str) -> np.float32:
    return np.float32(AIR_HU if unit == "HU" else 0.0)


def _dice(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    both = int((first & second & where).sum())
    total = int((first & where).sum()) + int((second & where).sum())
    return 2 * both / total if total else 0.0
