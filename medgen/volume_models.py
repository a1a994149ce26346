"""Volumes from an autoencoder, a latent diffusion model or a GAN: `card.net["method"]` is "vae", "ldm" or "gan".

Volume i depends on `seeds[i]` alone, and so does its memory: one volume after the other a core.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from medgen import runtime
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.volume import centred_affine
from medgen.volume_gan import VolumeGenerator
from medgen.volume_networks import TOLD, LatentUNet, VolumeVAE

METHODS: dict[str, type[nn.Module]] = {"vae": VolumeVAE, "ldm": LatentUNet, "gan": VolumeGenerator}
DARK = 2.0
"""Skull-stripped volumes have an exactly black background: values below this many of 255 are set to 0."""


def build(net: dict[str, Any]) -> Any:
    """The untrained network that `card.net` describes.

    Keys besides `method` and those that the network takes: `quantity` with mean and standard deviation of what it may
    be asked for, and `black`, whether the background is.
    """
    options = {key: value for key, value in net.items() if key not in ("method", "quantity", "black")}
    return METHODS[net["method"]](**options)


def told(net: dict[str, Any], asked: float | None, count: int) -> Tensor:
    """`(count, 2)` float32: `asked` in standard deviations from the mean of the training set, and 1; or two zeros.

    Args:
        net: of the card.
        asked: in the unit of the card's quantity; None = nobody said.
        count: number of volumes.
    """
    row = torch.zeros(TOLD)
    if asked is not None:
        known = net["quantity"]
        row = torch.tensor([(asked - known["mean"]) / known["std"], 1.0])
    return row.expand(count, -1)


class VolumeSampler:
    """Draws from a trained model of volumes."""

    def __init__(self, card: ModelCard) -> None:
        if card.spacing_mm is None or len(card.shape) != 4:
            raise MedgenError(
                f"The card of {card.name} describes no volumes: it needs shape (1, X, Y, Z) and spacing_mm."
            )
        self.card = card
        self.affine = centred_affine(card.shape[1:], card.spacing_mm)
        self.network = runtime.trained(card, build)

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Makes the volumes of the request; a diffusion model shows the `preview()` of each step."""
        request = request.checked(self.card)
        noise = runtime.gaussian(self.network.latent, request.seeds, request.towards, request.mix)
        asked = told(self.card.net, request.quantity, len(request.seeds))
        if self.card.net["method"] == "ldm":
            return self._denoise(noise, asked, request, on_step)
        voxels = torch.empty(len(noise), *self.card.shape)
        # what the cores of a CPU make at once: a Stop is heard in between
        group = runtime.group_size()
        for start in range(0, len(noise), group):
            part, done = slice(start, start + group), min(start + group, len(noise))
            voxels[part] = runtime.evaluate(self.network, noise[part], asked[part])
            if on_step is not None:

                def preview(done: int = done) -> ImageSet:
                    return self._images(voxels[:done], request)

                on_step(done, len(noise), preview)
        return self._images(voxels, request)

    def _denoise(self, noise: Tensor, asked: Tensor, request: Request, on_step: OnStep | None) -> ImageSet:
        assert request.steps is not None
        scheduler = self.network.scheduler()
        scheduler.set_timesteps(request.steps)
        state = noise * scheduler.init_noise_sigma
        for index, level in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(state, level)
            output = self._predict(scaled, level, asked, request.guidance)
            noisy, sigma = state, scheduler.sigmas[index]
            state = scheduler.step(output, level, state).prev_sample
            if on_step is not None:

                def preview(noisy: Tensor = noisy, output: Tensor = output, sigma: Tensor = sigma) -> ImageSet:
                    return self._decoded(scheduler.precondition_outputs(noisy, output, sigma), request)

                on_step(index + 1, request.steps, preview)
        return self._decoded(state, request)

    def _predict(self, scaled: Tensor, level: Tensor, asked: Tensor, guidance: float | None) -> Tensor:
        """Network output with classifier-free guidance (arXiv:2207.12598): null + g (told - null)."""
        levels = level.expand(len(scaled))
        output = runtime.evaluate(self.network, scaled, levels, asked)
        if guidance in (None, 1.0) or not asked.any():
            return output
        unguided = runtime.evaluate(self.network, scaled, levels, torch.zeros_like(asked))
        return unguided + guidance * (output - unguided)

    def _decoded(self, latents: Tensor, request: Request) -> ImageSet:
        return self._images(runtime.evaluate(self.network.autoencoder.decode, latents), request)

    def _images(self, voxels: Tensor, request: Request) -> ImageSet:
        """Network output `(N, 1, X, Y, Z)` in [-1, 1] -> volumes in the card's unit and place."""
        images = runtime.to_images(voxels, self.card, request)
        if self.card.net.get("black"):
            low, high = images.window
            dark = low + DARK / 255.0 * (high - low)
            images.pixels[images.pixels < dark] = low
        return replace(images, affine=self.affine)


def load(card: ModelCard) -> VolumeSampler:
    """The trained model of volumes of `card`."""
    return VolumeSampler(card)
