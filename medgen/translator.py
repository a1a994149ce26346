"""Translators: a slice in one contrast becomes the same slice in another.

`train/unet.py`, `train/pix2pix.py`, `train/cyclegan.py` and `train/residual.py` train what this file samples.

| method | network | trained by |
|---|---|---|
| unet | U-Net, one pass | L1 alone: the baseline, and often the best PSNR |
| pix2pix | the same U-Net | L1 and a patch discriminator (Isola 2017, arXiv:1611.07004) |
| cyclegan | residual network, one pass | unpaired: two discriminators, the way back (Zhu 2017, arXiv:1703.10593) |
| diffusion | the U-Net, and a diffusion model of what it leaves out | denoising (CorrDiff, arXiv:2309.15214) |

All are convolutional on pixels folded into channels (pixel-unshuffle), which is what makes them cheap on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen import runtime
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.solver import PICTURES, solve
from medgen.trained import Trained

if TYPE_CHECKING:
    from medgen.translation_networks import ResidualDiffusion, ResidualGenerator, TranslationUNet

METHODS = ("unet", "pix2pix", "cyclegan", "diffusion")


def build(net: dict[str, Any]) -> TranslationUNet | ResidualGenerator | ResidualDiffusion:
    """The untrained network that `card.net` describes; its key `method` names the class."""
    from medgen.translation_networks import ResidualDiffusion, ResidualGenerator, TranslationUNet

    classes: dict[str, Any] = {
        "unet": TranslationUNet,
        "pix2pix": TranslationUNet,
        "cyclegan": ResidualGenerator,
        "diffusion": ResidualDiffusion,
    }
    options = dict(net)
    method = options.pop("method", None)
    if method not in classes:
        raise MedgenError(f"Unknown method of translation {method!r}; known: {', '.join(METHODS)}.")
    network: TranslationUNet | ResidualGenerator | ResidualDiffusion = classes[method](**options)
    return network


class Translator:
    """Draws translations of the pictures in `request.source`."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.trained = Trained(card, build)

    @property
    def network(self) -> Any:
        """The torch module; sampling may do without it."""
        return self.trained.network

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Translation i is of source i, or of the only source, and depends on nothing else but `request.seeds[i]`.

        Raises:
            MedgenError: no source, or one of another modality, shape or number.
        """
        request = request.checked(self.card)
        pictures = entrance(request, self.card)
        subjects = request.source.subjects if request.source and len(request.source) == len(request.seeds) else None

        def images(made: np.ndarray) -> ImageSet:
            return from_network(made, self.card, subjects)

        if self.card.net["method"] == "diffusion":
            return self._denoised(pictures, request, on_step, images)
        total, group = len(pictures), runtime.group_size()
        made = np.full_like(pictures, -1.0)
        for start in range(0, total, group):
            part = slice(start, start + group)
            made[part] = self.trained(pictures[part])
            if on_step is not None:
                on_step(min(start + group, total), total, lambda: images(made))
        return images(made)

    def _denoised(
        self, pictures: np.ndarray, request: Request, on_step: OnStep | None, images: Callable[[np.ndarray], ImageSet]
    ) -> ImageSet:
        assert request.steps is not None
        answer = self.trained.run("answer", pictures)
        size = self.trained.run("expected", pictures, answer)
        noise = runtime.gaussian(tuple(pictures.shape[1:]), request.seeds)

        def predict(scaled: np.ndarray, level: float) -> np.ndarray:
            return self.trained(scaled, np.full(len(scaled), level, np.float32), pictures, answer)

        def shown(residual: np.ndarray) -> ImageSet:
            return images(answer + size * residual)

        levels = PICTURES.of(self.card.net["denoiser"])
        return shown(solve(levels, noise, request.steps, predict, on_step=on_step, shown=shown))


def entrance(request: Request, card: ModelCard) -> np.ndarray:
    """The source of a request as the network takes it: one picture a seed, `(N, 1, H, W)` in [-1, 1].

    HU go through the window that the model knows; MR, whose numbers mean nothing by themselves, through their own.

    Raises:
        MedgenError: no source, or one of another modality, shape or number.
    """
    source, wanted = request.source, card.translates
    if source is None:
        raise MedgenError(f"{card.name} needs a {wanted['source']} picture to translate; give the request a source.")
    if source.modality != wanted["modality"] or (source.unit == "HU") != (wanted["unit"] == "HU"):
        raise MedgenError(
            f"{card.name} translates {wanted['source']} ({wanted['modality']}, {wanted['unit']}), not "
            f"{source.modality} in {source.unit}; choose another model or another picture."
        )
    if source.pixels.shape[1:] != card.shape:
        raise MedgenError(
            f"{card.name} takes pictures of {' x '.join(map(str, card.shape))}, not "
            f"{' x '.join(map(str, source.pixels.shape[1:]))}; bring them to its grid first."
        )
    if len(source) not in (1, len(request.seeds)):
        raise MedgenError(
            f"Give one seed a picture, or one picture: {len(request.seeds)} seeds, {len(source)} pictures."
        )
    if not np.isfinite(source.pixels).all():
        raise MedgenError("The picture to translate holds NaN or infinite pixels; replace them by the background.")
    if wanted["unit"] == "HU":
        low, high = wanted["window"]
        pixels = (np.clip(source.pixels, low, high) - low) / (high - low)
    else:
        pixels = source.unit_range()
    # (N, 1, H, W) [0, 1] -> [-1, 1]
    prepared = np.asarray(2.0 * pixels - 1.0, np.float32)
    return np.repeat(prepared, len(request.seeds), axis=0) if len(prepared) == 1 else prepared


def from_network(made: np.ndarray, card: ModelCard, subjects: tuple[str, ...] | None) -> ImageSet:
    """`(N, 1, H, W)` in [-1, 1] -> images in the unit of the card, clipped to its window."""
    pixels = runtime.scaled(made, card.window)
    return ImageSet(pixels, card.modality, card.unit, card.window, subjects=subjects)


def load(card: ModelCard) -> Translator:
    """The trained translator of `card`."""
    return Translator(card)
