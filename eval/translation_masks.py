"""Where translated slices are measured: inside the head, and roughly where a tumour is. Never from a translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from medgen.image import ImageSet
from medgen.pair_metrics import inside_head
from medgen.paired import FIELD_OF_VIEW_MM, PairedSet

TUMOUR = (
    "Approximate: only the tumour's area in the slice is known. Its region is taken to be the largest connected part "
    "of as many of the brightest pixels of the true FLAIR, smoothed over 2 mm, inside the head less its outer 14 mm; "
    "in slices with at least 200 mm2 of tumour."
)
BONE_HU = 300.0
_SCALP_MM, _SMOOTH_MM, _LEAST_TUMOUR_MM2 = 14.0, 2.0, 200.0


def heads(*sides: ImageSet) -> np.ndarray:
    """Where the head is in each slice, air inside it included; see `medgen.pair_metrics.HEAD`.

    A slice in which nothing is found counts whole: leaving it out would be kind to a model that invents something.

    Args:
        sides: source and truth of N pairs, or N slices alone.

    Returns:
        `(N, H, W)` bool.
    """
    # MR from 0 to 1, CT in HU
    slices = [(side.pixels if side.unit == "HU" else side.unit_range(), side.unit) for side in sides]
    spacing_mm = (FIELD_OF_VIEW_MM / sides[0].pixels.shape[-1],) * 2
    found = [inside_head([(all_[i, 0], unit) for all_, unit in slices], spacing_mm) for i in range(len(sides[0]))]
    masks = np.stack(found)
    masks[~masks.any(axis=(1, 2))] = True
    return masks


def tumours(pairs: PairedSet, inside: np.ndarray) -> np.ndarray:
    """Roughly where the tumour is in each true FLAIR slice; see `TUMOUR`.

    Args:
        pairs: their targets are FLAIR; the fact "tumor_px" is the tumour's area in a slice of 256 px.
        inside: `(N, H, W)` from `heads`.

    Returns:
        `(N, H, W)` bool, empty where there is no tumour or too little of it to find.
    """
    masks = zip(pairs.target.unit_range()[:, 0], inside, _areas_mm2(pairs.facts), strict=True)
    return np.stack([_tumour(picture, own, area_mm2) for picture, own, area_mm2 in masks])


def _areas_mm2(facts: Sequence[Mapping[str, str]]) -> list[float]:
    # the slices show 256 mm, so that a pixel of 256 px is a square millimetre
    return [float(own.get("tumor_px") or 0) for own in facts]


def _tumour(picture: np.ndarray, inside: np.ndarray, area_mm2: float) -> np.ndarray:
    pixels_a_mm = picture.shape[-1] / FIELD_OF_VIEW_MM
    n = round(area_mm2 * pixels_a_mm**2)
    brain = ndimage.binary_erosion(inside, iterations=max(1, round(_SCALP_MM * pixels_a_mm)))
    found = np.zeros(picture.shape, bool)
    if area_mm2 < _LEAST_TUMOUR_MM2 or brain.sum() < n:
        return found
    smooth = np.where(brain, ndimage.gaussian_filter(picture, _SMOOTH_MM * pixels_a_mm), -1.0)
    found.ravel()[np.argsort(smooth, axis=None, kind="stable")[-n:]] = True
    parts, _ = ndimage.label(found)
    return np.asarray(parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1)
