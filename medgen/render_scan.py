"""What scanners make of a slice: a CT of known Hounsfield units, an MR of some contrast, and lesions in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from medgen.errors import MedgenError
from medgen.render_cut import SIDE, Cut
from medgen.render_tissues import ROOM_HU, Contrast, HeadHU

MAX_HU = 1976.0
"""Upper end of the window of CT in `medgen.paired`."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """Something laid over a slice.

    Args:
        mask: `(256, 256)` in [0, 1], how much of each pixel it takes.
        hu: what it has on CT.
        mr: its brightness on MR over that of what it takes the place of.
    """

    mask: np.ndarray
    hu: float
    mr: float

    def __post_init__(self) -> None:
        if self.mask.shape != (SIDE, SIDE) or not ((self.mask >= 0) & (self.mask <= 1)).all():
            raise MedgenError(f"A lesion needs a mask of {SIDE}x{SIDE} pixels from 0 to 1, not {self.mask.shape}.")


@dataclass(frozen=True, eq=False)
class RenderedSlice:
    """One pair.

    Args:
        mr: `(H, W)` float32, whole numbers 0 to 255.
        hu: `(H, W)` float32, the truth, whole HU.
        regions: `(H, W)` int16 labels, 0 outside the body; lesions do not show in them.
    """

    mr: np.ndarray
    hu: np.ndarray
    regions: np.ndarray


def render_slice(
    at: Cut, hu: HeadHU, contrast: Contrast, rng: np.random.Generator, lesions: Sequence[Lesion] = ()
) -> RenderedSlice:
    """The building block: one pair from what lies in its pixels.

    Args:
        at: from `medgen.render_head.cut`.
        hu: Hounsfield units, from `medgen.render_tissues.draw_hu`.
        contrast: of the MR, from `draw_contrast`.
        rng: decides the noise of the MR, whatever the lesions.
        lesions: later ones lie over earlier ones.
    """
    dense = at.picture(hu.mean, hu.texture)
    bright = np.maximum(at.picture(contrast.mean, contrast.texture), 0.0)
    for lesion in lesions:
        mask = lesion.mask.astype(np.float32)
        dense += mask * (np.float32(lesion.hu) - dense)
        bright *= 1 + mask * np.float32(lesion.mr - 1)
    truth = np.rint(np.clip(ndimage.gaussian_filter(dense, hu.blur_mm), ROOM_HU, MAX_HU))
    return RenderedSlice(_magnitude(bright, contrast, rng, float(at.centre[2])), truth, at.regions)


def noisy_ct(hu: np.ndarray, rng: np.random.Generator, sd: float = 6.0) -> np.ndarray:
    """Truth `(..., H, W)` with the noise of a scanner: slightly smooth, `sd` HU (5 to 6.5 in the three real heads)."""
    white = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(white, (0.0,) * (hu.ndim - 2) + (0.5, 0.5))
    noisy = hu + noise * np.float32(sd / noise.std())
    # what lies around the body is padding, which has no noise
    return np.where(hu <= ROOM_HU + 1, hu, np.clip(noisy, ROOM_HU, MAX_HU)).astype(np.float32)


def _magnitude(bright: np.ndarray, contrast: Contrast, rng: np.random.Generator, level_mm: float) -> np.ndarray:
    """`(H, W)` brightness -> what an MR scanner makes of it, whole numbers 0 to 255."""
    steps = np.arange(SIDE) - SIDE / 2
    field = np.zeros((SIDE, SIDE), np.float32)
    for across, along, upwards, phase in contrast.waves:
        rows, columns = np.exp(1j * along * steps), np.exp(1j * (across * steps + upwards * level_mm + phase))
        field += np.outer(rows, columns).imag * np.sqrt(2 / 3)  # variance 1 of the sum
    (down, up), (down_across, up_across) = (_pixels(size) for size in contrast.pixel_mm)
    seen = down @ (bright * np.exp(contrast.bias * field)) @ down_across.T
    noise = contrast.noise * rng.standard_normal((2, *seen.shape), dtype=np.float32)
    magnitude = up @ np.hypot(seen + noise[0], noise[1]) @ up_across.T
    return np.rint(255 * np.clip(magnitude, 0, 1) ** contrast.gamma).astype(np.float32)


@lru_cache(maxsize=8)
def _pixels(size_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights from pixels of 1 mm to `n` of `size_mm`, Gaussian, `(n, 256)`; and back again, linear, `(256, n)`."""
    n = max(2, round(SIDE / size_mm))
    fine, coarse = np.arange(SIDE) + 0.5, (np.arange(n) + 0.5) * SIDE / n
    down = np.exp(-0.5 * ((fine[None] - coarse[:, None]) / (0.42 * SIDE / n)) ** 2)
    up = np.maximum(0.0, 1 - np.abs(fine[:, None] - coarse[None]) * n / SIDE)
    down, up = (one / one.sum(axis=1, keepdims=True) for one in (down, up))
    return down.astype(np.float32), up.astype(np.float32)
