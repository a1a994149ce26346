"""A head drawn from ellipsoids, 1 mm, in any contrast: an example that needs no data, and whose truth is known."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medgen.volume import Volume

SHAPE = (181, 217, 181)
ORIGIN_MM = (-90.0, -126.0, -72.0)
_BLUR_MM = 0.6
_ABOVE = "scalp skull fluid grey white eye air lesion"
_BRIGHTNESS = {
    "t1": (205, 22, 32, 118, 168, 40, 0, 80),
    "t2": (150, 16, 245, 128, 88, 250, 0, 205),
    "flair": (160, 16, 22, 132, 98, 30, 0, 225),
    "ct": (-10, 1150, 6, 38, 28, 12, -1024, 62),
}
"""Word of a contrast -> levels of 255, or HU, of the tissues of `_ABOVE`. MR without a kind is T1."""
_PARTS: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float]], ...] = (
    ("scalp", (0, -15, 8), (80, 100, 84)),
    ("skull", (0, -15, 8), (74, 94, 78)),
    ("fluid", (0, -15, 8), (68, 88, 72)),
    ("grey", (0, -15, 8), (66, 86, 70)),
    ("white", (-31, -15, 10), (27, 68, 52)),
    ("white", (31, -15, 10), (27, 68, 52)),
    ("fluid", (-9, -12, 14), (7, 30, 12)),
    ("fluid", (9, -12, 14), (7, 30, 12)),
    ("grey", (-13, -18, 2), (9, 14, 8)),
    ("grey", (13, -18, 2), (9, 14, 8)),
    ("eye", (-30, 66, -26), (12, 12, 12)),
    ("eye", (30, 66, -26), (12, 12, 12)),
    ("air", (0, 74, -18), (9, 7, 8)),
    ("lesion", (-36, -40, 24), (9, 9, 9)),
)
"""Tissue, middle and half axes in millimetres, RAS+; what comes later lies over what came before."""


def phantom(contrast: str) -> Volume:
    """The drawn head; the lesion lies in its left half, so that left can be told from right.

    Args:
        contrast: "t1", "t2", "flair", "mr" or "ct".
    """
    levels = dict(zip(_ABOVE.split(), _BRIGHTNESS["t1" if contrast == "mr" else contrast], strict=True))
    array = np.full(SHAPE, levels["air"], np.float32)
    for tissue, centre, radii in _PARTS:
        box, squares = [], []
        for axis in range(3):
            place = centre[axis] - ORIGIN_MM[axis]
            first, last = max(0, int(place - radii[axis])), min(SHAPE[axis], int(place + radii[axis]) + 2)
            box.append(slice(first, last))
            shape = [1, 1, 1]
            shape[axis] = last - first
            squares.append((((np.arange(first, last) - place) / radii[axis]) ** 2).reshape(shape))
        part = array[tuple(box)]
        part[squares[0] + squares[1] + squares[2] <= 1.0] = levels[tissue]
    array = ndimage.gaussian_filter(array, _BLUR_MM)
    affine = np.eye(4)
    affine[:3, 3] = ORIGIN_MM
    is_ct = contrast == "ct"
    return Volume(array, affine, "CT" if is_ct else "MR", "HU" if is_ct else "au")
