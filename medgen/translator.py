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

from typing import Any

import numpy as np
import torch
from torch import Tensor

from medgen import runtime
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.translation_networks import ResidualDiffusion, ResidualGenerator, TranslationUNet

METHODS = ("unet", "pix2pix", "cyclegan", "diffusion")


Network = TranslationUNet | ResidualGenerator | ResidualDiffusion
_CLASSES: dict[str, type[Network]] = {
    "unet": TranslationUNet,
    "pix2pix": TranslationUNet,
    "cyclegan": ResidualGenerator,
    "diffusion": ResidualDiffusion,
}


def build(net: dict[str, Any]) -> Network:
    """The untrained network that `card.net` describes; its key `method` names the class."""
    options = dict(net)
    method = options.pop("method", None)
    if method not in _CLASSES:
        raise MedgenError(f"Unknown method of translation {method!r}; known: {', '.join(_CLASSES)}.")
    return _CLASSES[method](**options)


class Translator:
    """Draws translations of the pictures in `request.source`."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = runtime.trained(card, build)

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Translation i is of source i, or of the only source, and depends on nothing else but `request.seeds[i]`.

        Raises:
            MedgenError: no source, or one of another modality, shape or number.
        """
        request = request.checked(self.card)
        pictures = entrance(request, self.card)
        subjects = request.source.subjects if request.source and len(request.source) == len(request.seeds) else None

        def images(made: Tensor) -> ImageSet:
            return from_network(made, self.card, subjects)

        if isinstance(self.network, ResidualDiffusion):
            return images(self._denoised(self.network, pictures, request, on_step, images))
        total, group = len(pictures), runtime.group_size()
        made = torch.zeros_like(pictures) - 1.0
        for start in range(0, total, group):
            part = slice(start, start + group)
            made[part] = runtime.evaluate(self.network, pictures[part])
            if on_step is not None:
                on_step(min(start + group, total), total, lambda: images(made))
        return images(made)

    def _denoised(
        self, network: ResidualDiffusion, pictures: Tensor, request: Request, on_step: OnStep | None, images: Any
    ) -> Tensor:
        assert request.steps is not None
        scheduler = network.scheduler()
        scheduler.set_timesteps(request.steps)
        answer = runtime.evaluate(network.answer, pictures)
        unit = runtime.evaluate(network.unit, pictures, answer) * network.gain[1].cpu()
        state = runtime.gaussian(tuple(pictures.shape[1:]), request.seeds) * scheduler.init_noise_sigma
        for index, level in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(state, level)
            output = runtime.evaluate(network, scaled, level.expand(len(state)), pictures, answer)
            noisy, sigma = state, scheduler.sigmas[index]
            state = scheduler.step(output, level, state).prev_sample
            if on_step is not None:

                def preview(noisy: Tensor = noisy, output: Tensor = output, sigma: Tensor = sigma) -> ImageSet:
                    return images(answer + unit * scheduler.precondition_outputs(noisy, output, sigma))

                on_step(index + 1, request.steps, preview)
        return answer + unit * state


def entrance(request: Request, card: ModelCard) -> Tensor:
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
    return torch.from_numpy(np.asarray(2.0 * pixels - 1.0, np.float32)).expand(len(request.seeds), -1, -1, -1).clone()


def from_network(made: Tensor, card: ModelCard, subjects: tuple[str, ...] | None) -> ImageSet:
    """`(N, 1, H, W)` in [-1, 1] -> images in the unit of the card, clipped to its window."""
    low, high = card.window
    scaled = (made.clamp(-1.0, 1.0) + 1.0) * (0.5 * (high - low)) + low
    return ImageSet(scaled.numpy().astype("float32"), card.modality, card.unit, card.window, subjects=subjects)


def load(card: ModelCard) -> Translator:
    """The trained translator of `card`."""
    return Translator(card)
