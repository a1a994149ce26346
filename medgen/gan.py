"""Generative adversarial networks: one latent vector in, one image out, in one pass.

`train/gan.py` trains what this file samples. DCGAN (Radford 2015, arXiv:1511.06434; `medgen/gan_networks.py`) is the
teaching baseline; the style-based generator of `medgen/stylegan.py` is the strong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medgen import runtime
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.trained import Trained

if TYPE_CHECKING:
    from medgen.gan_networks import DCGenerator
    from medgen.stylegan import StyleGenerator

LATENT = {"dcgan": 128, "stylegan2": 192}
"""Length of the latent vector where the card names none."""


def build(net: dict[str, Any]) -> DCGenerator | StyleGenerator:
    """The untrained generator that `card.net` describes; its key `architecture` names the class."""
    from medgen import autoencoder
    from medgen.gan_networks import ARCHITECTURES

    options = dict(net)
    architecture, inner = options.pop("architecture", None), options.pop("autoencoder", None)
    if architecture not in ARCHITECTURES:
        raise MedgenError(f"Unknown GAN architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}.")
    network = ARCHITECTURES[architecture](**options)
    autoencoder.attach(network, inner)
    return network


def latent(net: dict[str, Any]) -> int:
    """Length of the latent vector of the generator that `net` describes."""
    length: int = net["latent"] if "latent" in net else LATENT[net["architecture"]]
    return length


class GanSampler:
    """Draws from a trained generator."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.trained = Trained(card, build)

    @property
    def network(self) -> Any:
        """The torch module; sampling may do without it."""
        return self.trained.network

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """One pass an image; `on_step` is called after each image, so that Stop acts within one."""
        request = request.checked(self.card)
        latents = runtime.gaussian((latent(self.card.net),), request.seeds, request.towards, request.mix)
        condition = runtime.conditions(self.card, request)
        total = len(latents)
        # on a CPU a group is what its cores make at once, on a GPU one padded batch
        group = runtime.group_size()
        pixels = np.empty((total, *self.card.shape), np.float32)
        for start in range(0, total, group):
            part = slice(start, start + group)
            pixels[part] = self.trained.to_pixels(self.trained(latents[part], condition[part]))
            if on_step is not None:
                done = min(start + group, total)
                on_step(done, total, lambda done=done: runtime.to_images(pixels[:done], self.card, request))  # type: ignore[misc]
        return runtime.to_images(pixels, self.card, request)


def load(card: ModelCard) -> GanSampler:
    """The trained generator of `card`."""
    return GanSampler(card)
