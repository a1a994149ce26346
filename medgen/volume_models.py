"""Volumes from an autoencoder, a latent diffusion model or a GAN: `card.net["method"]` is "vae", "ldm" or "gan".

Volume i depends on `seeds[i]` alone, and so does its memory: one volume after the other a core.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from medgen import runtime
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.solver import VOLUMES, guided, solve
from medgen.trained import Trained
from medgen.volume import centred_affine

DIRECTIONS, WIDTH = 32, 64
"""Normal numbers that make a volume of an autoencoder, and of a GAN, where the card says nothing else."""
DARK = 2.0
"""Skull-stripped volumes have an exactly black background: values below this many of 255 are set to 0."""


def build(net: dict[str, Any]) -> Any:
    """The untrained network that `card.net` describes.

    Keys besides `method` and those that the network takes: `quantity` with mean and standard deviation of what it may
    be asked for, and `black`, whether the background is.
    """
    from medgen.volume_gan import VolumeGenerator
    from medgen.volume_networks import LatentUNet, VolumeVAE

    methods: dict[str, Any] = {"vae": VolumeVAE, "ldm": LatentUNet, "gan": VolumeGenerator}
    options = {key: value for key, value in net.items() if key not in ("method", "quantity", "black")}
    return methods[net["method"]](**options)


def latent(net: dict[str, Any]) -> tuple[int, ...]:
    """Shape of the normal numbers that a volume is made of."""
    if net["method"] == "ldm":
        return tuple(net["latent"])
    return (net.get("directions", DIRECTIONS) if net["method"] == "vae" else net.get("width", WIDTH),)


def told(net: dict[str, Any], asked: float | None, count: int) -> np.ndarray:
    """`(count, 2)` float32: `asked` in standard deviations from the mean of the training set, and 1; or two zeros.

    Args:
        net: of the card.
        asked: in the unit of the card's quantity; None = nobody said.
        count: number of volumes.
    """
    row = [0.0, 0.0]
    if asked is not None:
        known = net["quantity"]
        row = [(asked - known["mean"]) / known["std"], 1.0]
    return np.repeat(np.array([row], np.float32), count, axis=0)


class VolumeSampler:
    """Draws from a trained model of volumes."""

    def __init__(self, card: ModelCard) -> None:
        if card.spacing_mm is None or len(card.shape) != 4:
            raise MedgenError(
                f"The card of {card.name} describes no volumes: it needs shape (1, X, Y, Z) and spacing_mm."
            )
        self.card = card
        self.affine = centred_affine(card.shape[1:], card.spacing_mm)
        self.trained = Trained(card, build)

    @property
    def network(self) -> Any:
        """The torch module; sampling may do without it."""
        return self.trained.network

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Makes the volumes of the request; a diffusion model shows the `preview()` of each step."""
        request = request.checked(self.card)
        noise = runtime.gaussian(latent(self.card.net), request.seeds, request.towards, request.mix)
        asked = told(self.card.net, request.quantity, len(request.seeds))
        if self.card.net["method"] == "ldm":
            return self._denoise(noise, asked, request, on_step)
        voxels = np.empty((len(noise), *self.card.shape), np.float32)
        # what the cores of a CPU make at once: a Stop is heard in between
        group = runtime.group_size()
        for start in range(0, len(noise), group):
            part, done = slice(start, start + group), min(start + group, len(noise))
            voxels[part] = self.trained(noise[part], asked[part])
            if on_step is not None:

                def preview(done: int = done) -> ImageSet:
                    return self._images(voxels[:done], request)

                on_step(done, len(noise), preview)
        return self._images(voxels, request)

    def _denoise(self, noise: np.ndarray, asked: np.ndarray, request: Request, on_step: OnStep | None) -> ImageSet:
        assert request.steps is not None

        def shown(latents: np.ndarray) -> ImageSet:
            return self._images(self.trained.run("autoencoder.decode", latents), request)

        def predict(scaled: np.ndarray, level: float) -> np.ndarray:
            levels = np.full(len(scaled), level, np.float32)
            made: np.ndarray = guided(self.trained, scaled, levels, asked, request.guidance)
            return made

        return shown(solve(VOLUMES.of(self.card.net), noise, request.steps, predict, on_step=on_step, shown=shown))

    def _images(self, voxels: np.ndarray, request: Request) -> ImageSet:
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
