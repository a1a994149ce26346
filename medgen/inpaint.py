"""Inpainting with a diffusion model: a region is made anew, the rest of the picture is held fast.

At every step the network's estimate of the clean picture is replaced by the source outside the region (as in
RePaint, arXiv:2201.09865, without its resampling), so that what is drawn inside fits what is around it. At the end the
source's own pixels are put back outside the region: they are not merely close, they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet
from medgen.solver import Levels, denoised, raw_output
from medgen.trained import Trained

FEATHER = 1 / 32
"""Width of the seam inside the region, in sides of the picture, over which source fades into what was made."""


@dataclass(frozen=True, eq=False)
class Held:
    """What inpainting holds fast.

    Args:
        source: `(N, C, h, w)` the pictures in the space of the network.
        free: `(1, 1, h, w)` bool, where the network may draw.
        pixels: `(N, 1, H, W)` the pictures as they were given.
        blend: `(H, W)` float32, 0 outside the region, rising to 1 inside.
    """

    source: np.ndarray
    free: np.ndarray
    pixels: np.ndarray
    blend: np.ndarray

    @classmethod
    def of(cls, request: Request, card: ModelCard, network: Trained) -> Held | None:
        """What `request` asks to keep; None where it has no region.

        Raises:
            MedgenError: the source is of another size or number than the model makes.
        """
        if request.source is None:
            return None
        if request.region is None:
            raise MedgenError(f"{card.name} changes a region of a picture: say which with region.")
        source, count = request.source, len(request.seeds)
        if source.pixels.shape[1:] != tuple(card.shape) or len(source) not in (1, count):
            side = "x".join(map(str, card.shape[1:]))
            raise MedgenError(f"{card.name} changes one picture of {side} pixels, or one a seed; it got {source!r}.")
        if not np.isfinite(source.pixels).all():
            raise MedgenError("The picture to change holds NaN or infinite pixels; choose another one.")
        low, high = card.window
        same = (source.unit, source.window) == (card.unit, card.window)
        given = source.pixels if same else source.unit_range() * (high - low) + low
        known = network.from_pixels(source.unit_range() * np.float32(2.0) - np.float32(1.0))
        mask = request.region.mask()
        height, width = known.shape[-2:]
        # a latent element is free where any of its pixels is
        free = np.any(mask.reshape(height, mask.shape[0] // height, width, mask.shape[1] // width), axis=(1, 3))
        known = np.broadcast_to(known, (count, *known.shape[1:]))
        return cls(
            known, np.reshape(free, (1, 1, height, width)), np.broadcast_to(given, (count, *card.shape)), seam(mask)
        )

    def fast(self, levels: Levels, noisy: np.ndarray, output: np.ndarray, sigma: float) -> np.ndarray:
        """The network output whose denoised picture is the source outside the region."""
        wanted = np.where(self.free, denoised(noisy, output, sigma, levels.sigma_data), self.source)
        made: np.ndarray = raw_output(noisy, wanted, sigma, levels.sigma_data)
        return made

    def join(self, made: ImageSet) -> ImageSet:
        """`made` inside the region, the source's own pixels outside, faded into each other along the inner seam."""
        joined = self.pixels + self.blend * (made.pixels - self.pixels)
        return replace(made, pixels=np.where(self.blend > 0, joined, self.pixels).astype(np.float32))


def seam(mask: np.ndarray) -> np.ndarray:
    """`(H, W)` bool region -> `(H, W)` float32: 0 outside it, from its edge rising to 1 inside within `FEATHER`."""
    if mask.all():  # no edge, so nothing to fade into; the distances to it would be counted from outside the picture
        return np.ones(mask.shape, np.float32)
    from scipy.ndimage import distance_transform_edt  # a second of import that pictures without a region do not need

    width = max(1.0, FEATHER * min(mask.shape))
    return np.minimum(distance_transform_edt(mask) / width, 1.0).astype(np.float32)
