"""A lesion that was never there: an ellipse with soft edges drawn into a slice; nobody has to guess where it is.

    >>> lesion = Lesion(centre_mm=(110.0, 140.0), radius_mm=8.0, contrast=-0.4)
    >>> with_it = inserted(slices, lesion, spacing_mm=(2.0, 2.0))

`eval.hallucination` counts what translators make of such lesions. No torch here: the app may draw them, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from medgen.errors import MedgenError
from medgen.image import ImageSet

EDGE_MM = 0.75
"""Softness: the lesion's share of a pixel falls from 73 to 27 % over twice this."""
_NOTHING = 0.01


@dataclass(frozen=True)
class Lesion:
    """An ellipse.

    Args:
        centre_mm: down and to the right from the outer corner of the first pixel.
        radius_mm: of the circle of the same area.
        contrast: how much brighter it is than what it lies in: 0.3 = 30 % brighter, -0.3 = 30 % darker.
        ratio: shorter over longer axis.
        angle: of the longer axis against the rows, in radians.

    Raises:
        MedgenError: no size, or no contrast.
    """

    centre_mm: tuple[float, float]
    radius_mm: float
    contrast: float
    ratio: float = 1.0
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (self.radius_mm > 0 and 0 < self.ratio <= 1 and self.contrast >= -1 and self.contrast):
            raise MedgenError(
                "A lesion needs a radius above 0 mm, an axis ratio up to 1 and a contrast of -1 or more but not 0, not "
                f"{self.radius_mm}, {self.ratio} and {self.contrast}."
            )

    def share(self, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> np.ndarray:
        """How much of each pixel is lesion.

        Args:
            shape: height and width in pixels.
            spacing_mm: of a pixel, down and to the right.

        Returns:
            `(H, W)` float32 in [0, 1]; 0 wherever it would be under 1 %, so that the rest of a slice stays as it is.
        """
        down, right = (
            (np.arange(n) + 0.5) * mm - centre for n, mm, centre in zip(shape, spacing_mm, self.centre_mm, strict=True)
        )
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        longer, shorter = self.radius_mm / math.sqrt(self.ratio), self.radius_mm * math.sqrt(self.ratio)
        along = (cosine * right[None] + sine * down[:, None]) / longer
        across = (cosine * down[:, None] - sine * right[None]) / shorter
        outwards_mm = (np.hypot(along, across) - 1.0) * self.radius_mm
        share = 1.0 / (1.0 + np.exp(np.clip(outwards_mm / EDGE_MM, -50.0, 50.0)))
        return np.where(share < _NOTHING, 0.0, share).astype(np.float32)

    def mask(self, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> np.ndarray:
        """`(H, W)` bool: the pixels that are lesion by half or more."""
        return self.share(shape, spacing_mm) >= 0.5


def inserted(images: ImageSet, lesion: Lesion, spacing_mm: tuple[float, float]) -> ImageSet:
    """`images` with the lesion in each.

    It is added to what is there, so noise and texture stay; brightness counts from the dark end of the window, and
    what would leave the window is cut off.

    Args:
        images: `(N, 1, H, W)`.
        lesion: where, how large, how bright.
        spacing_mm: of a pixel, down and to the right.

    Raises:
        MedgenError: no slices, or the lesion lies beside them.
    """
    if images.pixels.ndim != 4:
        raise MedgenError(f"A lesion is drawn into slices (N, C, H, W), not {images.pixels.shape}.")
    height, width = images.pixels.shape[-2:]
    share = lesion.share((height, width), spacing_mm)
    mask = share >= 0.5
    if not mask.any():
        raise MedgenError("The lesion covers no pixel of the slice; move it inside or make it larger.")
    low, high = images.window
    level = images.pixels[..., mask].mean(axis=-1)[..., None, None]
    pixels = images.pixels + lesion.contrast * (level - low) * share
    # only what the lesion touches may be cut off
    pixels = np.where(share > 0, np.clip(pixels, low, high), images.pixels)
    return replace(images, pixels=pixels.astype(np.float32))
