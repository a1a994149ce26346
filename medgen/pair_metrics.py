"""How far a made slice is from the true one, inside the head. Always `real=`, `fake=`, and never without a range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medgen.errors import MedgenError

PSNR_CAP = 100.0
"""dB of two equal pictures, whose PSNR is infinite."""
AIR_HU = -300.0
"""Below it is air."""
HEAD = (
    "MR: where the slightly smoothed source or truth is above 15 % of its 99th percentile (and 3 % of white), gaps of "
    "3 mm closed, islands under 60 mm2 dropped, holes filled. With a CT: the same of HU > -300 alone."
)
_SIGMA = 1.5
_SSIM_SIDE = 11
"""Pixels of the Gaussian window of SSIM."""
_FAINT, _DARK, _SMOOTH_MM = 0.15, 0.03, 2.0
_CLOSED_MM, _ISLAND_MM2 = 3.0, 60.0


@dataclass(frozen=True)
class Agreement:
    """What one slice says.

    Args:
        ssim: structural similarity, 1 = equal; None where the slice is smaller than its window.
        psnr_db: peak signal-to-noise ratio.
        mae: mean absolute error in the unit of the pixels.
        n_pixels: how many were compared.
    """

    ssim: float | None
    psnr_db: float
    mae: float
    n_pixels: int


def compared(*, real: np.ndarray, fake: np.ndarray, inside: np.ndarray, data_range: float) -> Agreement:
    """SSIM, PSNR and MAE of one slice.

    Args:
        real: `(H, W)` the true slice.
        fake: `(H, W)` the made one.
        inside: `(H, W)` bool, where to compare.
        data_range: from black to white in their unit; nothing here guesses it from the pixels.

    Raises:
        MedgenError: different shapes, pixels that are not finite, a range that is none, or nothing to compare.
    """
    if not (real.shape == fake.shape == inside.shape and real.ndim == 2):
        raise MedgenError(f"Compare two slices of one shape (H, W), not {real.shape} and {fake.shape}.")
    if not (np.isfinite(data_range) and data_range > 0):
        raise MedgenError(f"The data range must be a positive number in the unit of the pixels, not {data_range}.")
    if not (np.isfinite(real).all() and np.isfinite(fake).all()):
        raise MedgenError("A slice holds NaN or infinite pixels: the model that made it has diverged.")
    if not inside.any():
        raise MedgenError("There is no head in this slice to compare; choose another slice.")
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    gap = np.abs(real - fake)[inside]
    error = float(np.square(gap).mean())
    psnr = PSNR_CAP if error == 0.0 else min(PSNR_CAP, float(10.0 * np.log10(data_range**2 / error)))
    similar = None if min(real.shape) < _SSIM_SIDE else float(_ssim(real, fake, data_range)[inside].mean())
    return Agreement(similar, psnr, float(gap.mean()), int(inside.sum()))


def _ssim(real: np.ndarray, fake: np.ndarray, data_range: float) -> np.ndarray:
    """Structural similarity at each pixel, `(H, W)` (Wang 2004), Gaussian window of sigma 1.5."""
    from skimage.metrics import structural_similarity  # not before somebody compares

    _, found = structural_similarity(
        real, fake, data_range=data_range, gaussian_weights=True, sigma=_SIGMA, use_sample_covariance=False, full=True
    )
    return np.asarray(found)


def inside_head(slices: list[tuple[np.ndarray, str]], spacing_mm: tuple[float, float]) -> np.ndarray:
    """Where the head is, air inside it included; see `HEAD`. Never from what a model made.

    Args:
        slices: source and truth, each `(H, W)`: HU with the unit "HU", else from 0, black, to 1, white.
        spacing_mm: of their pixels, `(between rows, between columns)`.

    Returns:
        `(H, W)` bool, empty where nothing is found.
    """
    hounsfield = [(pixels, unit) for pixels, unit in slices if unit == "HU"]
    masks = [_outline(pixels, unit, spacing_mm) for pixels, unit in hounsfield or slices]
    return np.logical_or.reduce(masks)


def _outline(pixels: np.ndarray, unit: str, spacing_mm: tuple[float, float]) -> np.ndarray:
    from scipy import ndimage

    if unit == "HU":
        seen = pixels > AIR_HU
    else:
        # never wider than the slice: the spacing of a damaged header may be tiny
        sigma = [min(_SMOOTH_MM / spacing, n / 4) for spacing, n in zip(spacing_mm, pixels.shape, strict=True)]
        smooth = ndimage.gaussian_filter(pixels, sigma)
        seen = smooth > max(_DARK, _FAINT * float(np.percentile(smooth, 99)))
    if not seen.any():
        return seen
    # a head cut off by the edge of the slice must not be closed against it
    pads = [1 + min(math.ceil(_CLOSED_MM / mm), n) for mm, n in zip(spacing_mm, seen.shape, strict=True)]
    padded = np.pad(seen, [(pad, pad) for pad in pads])
    wider = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= _CLOSED_MM
    closed = (ndimage.distance_transform_edt(wider, sampling=spacing_mm) > _CLOSED_MM)[
        tuple(slice(pad, -pad) for pad in pads)
    ]
    parts, n_parts = ndimage.label(closed)
    area_mm2 = np.bincount(parts.ravel(), minlength=n_parts + 1) * spacing_mm[0] * spacing_mm[1]
    keep = area_mm2 >= _ISLAND_MM2
    keep[0] = False
    return ndimage.binary_fill_holes(keep[parts])
