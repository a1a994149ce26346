"""Volumes and what a segmenter sees in them -> numbers of each: size, surface, thickness, symmetry, wholeness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from eval.volumes.plan import Plan
from medgen.image import ImageSet

ALL = "all"
"""All structures together."""
_TOUCHING = np.ones((3, 3, 3), bool)
_SMOOTH = 0.7  # voxels: a surface through the corners of a mask would be too large by half


@dataclass(frozen=True)
class Measure:
    """One number of every volume.

    Args:
        title: as a person reads it.
        unit: of it; "" = none.
        digits: how many decimals mean something.
        compared: whether its distribution is compared with that of real volumes.
        fails: on which side of the real ones a volume fails: "both", "low", "high", or "" = neither.
    """

    title: str
    unit: str
    digits: int
    compared: bool
    fails: str


def measures(plan: Plan, classes: tuple[str, ...]) -> dict[str, Measure]:
    """What `measured` measures, by name, in the order of its columns.

    Args:
        plan: of the data set.
        classes: the segmenter's, background first.
    """
    thick = plan.thick or plan.body
    first, second, axis = plan.ends
    way = ("right of", "in front of", "above")[axis]
    found = {f"mm3 {name}": Measure(f"Volume of {name}", "mm3", 0, True, "both") for name in classes[1:]}
    found |= {
        f"mm3 {ALL}": Measure(f"Volume of the {plan.body}", "mm3", 0, True, "both"),
        "surface": Measure(f"Surface of the {plan.body}", "mm2", 0, True, "both"),
        "thickness": Measure(f"Thickness of the {thick}", "mm", 2, True, "both"),
        "largest": Measure(f"Share of the {plan.body} in one piece", "", 3, False, "low"),
        "holes": Measure(f"Holes in the {plan.body}, as share of it", "", 4, False, "high"),
        "border": Measure(f"Share of the {plan.body} at the edge of the grid", "", 4, False, "high"),
        "ends": Measure(f"Middle of {first} {way} that of {second}", "mm", 1, True, "both"),
    }
    if plan.sides:
        found["asymmetry"] = Measure("Left less right, as share of their mean", "", 3, True, "both")
        found["mirror"] = Measure("Correlation with the mirrored volume", "", 3, True, "low")
    return found


def measured(
    images: ImageSet, found: np.ndarray, plan: Plan, classes: tuple[str, ...], spacing_mm: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """Every measure of N volumes, `(N,)` float64 each; NaN where a volume has no such structure.

    Args:
        images: `(N, 1, X, Y, Z)`, axes along those of the world.
        found: `(N, X, Y, Z)` uint8, the class of each voxel.
        plan: of the data set.
        classes: names of the values of `found`.
        spacing_mm: of the voxels.
    """
    signs = (1.0, 1.0, 1.0) if images.affine is None else tuple(np.sign(np.diag(images.affine)[:3]))
    rows = [
        _row(volume, own, plan, classes, spacing_mm, signs)
        for volume, own in zip(images.unit_range()[:, 0], found, strict=True)
    ]
    return {name: np.array([row[name] for row in rows]) for name in measures(plan, classes)}


def _row(
    volume: np.ndarray,
    found: np.ndarray,
    plan: Plan,
    classes: tuple[str, ...],
    spacing_mm: tuple[float, ...],
    signs: tuple[float, ...],
) -> dict[str, float]:
    """One volume; `signs` says which way each axis of the grid runs in the world."""
    voxel = float(np.prod(spacing_mm))
    body = found > 0
    row = {f"mm3 {name}": float((found == i).sum()) * voxel for i, name in enumerate(classes) if i}
    largest = one_piece(body)
    thick = one_piece(found == classes.index(plan.thick)) if plan.thick else largest
    inner = body[1:-1, 1:-1, 1:-1]
    row |= {
        f"mm3 {ALL}": float(body.sum()) * voxel,
        "surface": surface_mm2(largest, spacing_mm),
        "thickness": thickness_mm(thick, spacing_mm),
        "largest": _share(largest.sum(), body.sum()),
        "holes": _share(holes(body), body.sum()),
        "border": _share(body.sum() - inner.sum(), body.sum()),
    }
    first, second, axis = plan.ends
    middles = [np.mean(np.nonzero(found == classes.index(name))[axis]) if (found == classes.index(name)).any() else
               np.nan for name in (first, second)]  # fmt: skip
    row["ends"] = float((middles[0] - middles[1]) * spacing_mm[axis] * signs[axis])
    if plan.sides:
        row["asymmetry"] = asymmetry(body) * signs[0]
        row["mirror"] = mirror_correlation(volume, body)
    return row


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def one_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of `mask` `(X, Y, Z)`; voxels that share a corner are connected."""
    labels, count = ndimage.label(mask, _TOUCHING)
    if count < 2:
        return mask
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def holes(mask: np.ndarray) -> int:
    """Voxels outside `mask` that it encloses."""
    return int((ndimage.binary_fill_holes(mask) & ~mask).sum())


def surface_mm2(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """Surface of `mask`, mm2: marching cubes around the mask, smoothed by 0.7 voxels; NaN where it has none."""
    from skimage.measure import marching_cubes, mesh_surface_area

    soft = ndimage.gaussian_filter(np.pad(mask, 2).astype(np.float32), _SMOOTH)
    if soft.max() <= 0.5:
        return float("nan")
    vertices, faces, _, _ = marching_cubes(soft, 0.5, spacing=tuple(spacing_mm))
    return float(mesh_surface_area(vertices, faces))


def thickness_mm(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """Mean thickness of `mask`, mm: twice the distance to its surface, along its ridge; NaN where it is empty.

    The ridge are the voxels that no neighbour is farther from the surface than; of a plate its middle, of a ball its
    centre.
    """
    if not mask.any():
        return float("nan")
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)
    ridge = (depth > 0) & (depth >= ndimage.maximum_filter(depth, size=3) - 1e-9)
    # the distance to the next voxel outside is half a voxel more than that to the surface
    return float(2.0 * depth[ridge].mean() - float(np.mean(spacing_mm)))


def asymmetry(mask: np.ndarray) -> float:
    """(low half of the first axis - high half) / their mean; NaN where `mask` is empty. In RAS+, low is left."""
    half = mask.shape[0] // 2
    low, high = float(mask[:half].sum()), float(mask[-half:].sum())
    return _share(low - high, 0.5 * (low + high))


def mirror_correlation(volume: np.ndarray, mask: np.ndarray) -> float:
    """Pearson correlation of `volume` with its mirror image along the first axis, where either shows `mask`."""
    inside = mask | mask[::-1]
    left, right = volume[inside], volume[::-1][inside]
    if left.size < 2 or left.std() == 0:
        return float("nan")
    return float(np.corrcoef(left, right)[0, 1])
