"""One scan and its segmentation -> voxels and classes on the grid of a set of `medgen.volume_sets`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.errors import MedgenError
from medgen.volume import Volume, grid_difference

BLUR_MM = 1.1
"""Standard deviation of the weights of voxels of 2 mm that make one of 3 mm; less lets fine detail fold back."""
BRIGHT = 220.0
"""Where the 99th percentile inside the brain goes; white matter is then about 200."""

# numbers of the MUSE atlas (Doshi et al. 2016). Fluid around the brain (1, 46) and vessels are in no class.
_VENTRICLES = (4, 11, 49, 50, 51, 52)
_WHITE = (69, *range(81, 96))  # the optic chiasm, the lobes, capsules, fornix and corpus callosum
_DEEP_GREY = (23, 30, 31, 32, 36, 37, 47, 48, 55, 56, 57, 58, 59, 60, 75, 76)
_STEM_CEREBELLUM = (35, 38, 39, 40, 41, 61, 62, 71, 72, 73)  # with the ventral diencephalon and cerebellar white
_CORTEX = tuple(range(100, 208))
MUSE_CLASSES = (_CORTEX, _WHITE, _DEEP_GREY, _VENTRICLES, _STEM_CEREBELLUM)
"""Classes 1 to 5 of "ixi_brain_64"."""

CUT = 6
"""Labelled voxels along an axis that may lie outside of a box: half of them at either end."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One subject: `voxels` `(X, Y, Z)` uint8 in 0..255, `classes` `(X, Y, Z)` uint8; RAS+."""

    voxels: np.ndarray
    classes: np.ndarray


def brain(scan: Volume, regions: Volume, shape: tuple[int, ...], spacing_mm: float) -> Prepared:
    """A whole head -> its brain on a coarser grid: nothing but zeros outside, at least 1 inside.

    Args:
        scan: T1 of the whole head, in any orientation.
        regions: MUSE numbers on the same grid; above 0 is brain.
        shape: `(X, Y, Z)` of the new grid, whose middle is that of the brain's box.
        spacing_mm: of the new grid.

    Raises:
        MedgenError: the two do not lie on one grid, there is no brain, or it does not fit.
    """
    head, numbers = on_one_grid(scan, regions)
    inside = numbers > 0
    lines = _box(inside)
    weights = []
    for (low, high), count, n, step in zip(lines, head.array.shape, shape, head.spacing_mm, strict=True):
        if (high - low + 1) * step > n * spacing_mm:
            raise MedgenError(f"The brain is {(high - low + 1) * step:.0f} mm long, the grid {n * spacing_mm:.0f} mm.")
        weights.append(_gaussian((low + high) / 2, count, n, spacing_mm / step, BLUR_MM / step))
    share = _resampled(inside.astype(np.float32), weights)
    # the mean of brain voxels alone: air and skull must not darken or brighten the rim
    mean = _resampled(np.where(inside, head.array, 0.0), weights) / np.maximum(share, 1e-6)
    kept = share >= 0.5
    scaled = np.clip(np.rint(mean * (BRIGHT / np.percentile(mean[kept], 99))), 1, 255)
    masks = [inside & ~np.isin(numbers, sum(MUSE_CLASSES, ()))]
    masks += [np.isin(numbers, members) for members in MUSE_CLASSES]
    shares = np.stack([_resampled(mask.astype(np.float32), weights) for mask in masks])
    classes = shares.argmax(axis=0).astype(np.uint8)
    return Prepared(np.where(kept, scaled, 0).astype(np.uint8), np.where(kept, classes, 0).astype(np.uint8))


def hippocampus(scan: Volume, parts: Volume, shape: tuple[int, ...], spacing_mm: float) -> Prepared:
    """A crop around a hippocampus -> a box of fixed size around it, edge voxels repeated where the file ends.

    Args:
        scan: T1 in whatever scale; its percentiles 0.5 and 99.5 become 10 and 240.
        parts: 1 anterior, 2 posterior, on the same grid.
        shape: `(X, Y, Z)` of the box; its middle is that of the labelled voxels' box, which may be `CUT` voxels longer.
        spacing_mm: of the grid of both; nothing is resampled.

    Raises:
        MedgenError: the two do not lie on one grid, have another spacing or labels, or do not fit.
    """
    crop, numbers = on_one_grid(scan, parts)
    if not np.allclose(crop.spacing_mm, spacing_mm, rtol=0.01):
        raise MedgenError(f"Voxels must be {spacing_mm:g} mm long, not {crop.spacing_mm}; take the original file.")
    if not set(np.unique(numbers)) <= {0, 1, 2}:
        raise MedgenError(f"Labels must be 0, 1 and 2, not {np.unique(numbers)[:5].tolist()}; take the original file.")
    low, high = np.percentile(crop.array, (0.5, 99.5))
    if not low < high:
        raise MedgenError("The scan has no contrast; take the original file.")
    index = []
    for (first, last), n in zip(_box(numbers > 0), shape, strict=True):
        if last - first + 1 > n + CUT:
            raise MedgenError(f"The hippocampus is {last - first + 1} voxels long, the box {n}.")
        index.append(np.arange(n) + (first + last + 1 - n) // 2)
    clipped = np.ix_(*(np.clip(line, 0, count - 1) for line, count in zip(index, numbers.shape, strict=True)))
    x, y, z = ((line >= 0) & (line < count) for line, count in zip(index, numbers.shape, strict=True))
    scaled = np.clip(np.rint(10 + (crop.array[clipped] - low) * (230 / (high - low))), 0, 255)
    classes = np.where(x[:, None, None] & y[:, None] & z, numbers[clipped], 0)
    return Prepared(scaled.astype(np.uint8), classes.astype(np.uint8))


def on_one_grid(scan: Volume, labels: Volume) -> tuple[Volume, np.ndarray]:
    """Both with axes to the right, front and head: the scan, and the whole numbers `(X, Y, Z)` int32 of the labels."""
    if reason := grid_difference(scan, labels):
        raise MedgenError(f"A scan and its segmentation do not lie on one grid: {reason}; copy both again.")
    numbers = np.rint(labels.canonical().array).astype(np.int32)
    if not (numbers > 0).any():
        raise MedgenError("A segmentation is empty; copy it again.")
    return scan.canonical(), numbers


def _box(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last voxel of a mask along each axis."""
    lines = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return [(int(line[0]), int(line[-1])) for line in lines]


def _gaussian(middle: float, count: int, n: int, step: float, sigma: float) -> np.ndarray:
    """`(n, count)` weights of voxels for places `step` apart around `middle`, all in voxels; a row sums to 1.

    Places outside the file have little or no weight, so that nothing is there.
    """
    places = middle + (np.arange(n) - (n - 1) / 2) * step
    weights = np.exp(-0.5 * ((places[:, None] - np.arange(count)) / sigma) ** 2)
    # what a row sums to well inside the file, so that rows beyond its end fade out
    whole = np.exp(-0.5 * ((places[:, None] - np.arange(-count, 2 * count)) / sigma) ** 2).sum(axis=1, keepdims=True)
    return (weights / whole).astype(np.float32)


def _resampled(array: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """`(X, Y, Z)` -> `(X', Y', Z')`, each axis by its own `(n, count)` weights."""
    x, y, z = weights
    return np.einsum("ai,bj,ck,ijk->abc", x, y, z, array.astype(np.float32), optimize=True)
