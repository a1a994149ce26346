"""Generative adversarial networks: one latent vector in, one image out, in one pass.

`train/gan.py` trains what this file samples. DCGAN (Radford 2015, arXiv:1511.06434) is the teaching baseline;
the style-based generator of `medgen/stylegan.py` is the strong one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medgen import autoencoder, runtime
from medgen.autoencoder import Autoencoder
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.stylegan import StyleGenerator


class DCGenerator(nn.Module):
    """DCGAN generator: transposed convolutions from 1x1 to `size`, batch normalisation, ReLU, tanh.

    Args:
        size: height and width of the image in pixels, a power of two.
        width: channels at half the image size; doubled at each lower size (ngf in the paper's code).
        latent: length of the latent vector.
    """

    autoencoder: Autoencoder | None

    def __init__(self, size: int = 128, width: int = 48, latent: int = 128) -> None:
        super().__init__()
        self.latent = latent
        levels = size.bit_length() - 3  # doublings from 4x4 to size
        channels = [width * 2**level for level in reversed(range(levels))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, channels[0], 4, 1, 0, bias=False)]
        for here, there in zip(channels, [*channels[1:], None], strict=True):
            layers += [nn.BatchNorm2d(here), nn.ReLU(inplace=True)]
            out = 1 if there is None else there
            layers += [nn.ConvTranspose2d(here, out, 4, 2, 1, bias=there is None)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """`(N, latent)` -> `(N, 1, size, size)` in [-1, 1]. Takes a condition only to share its signature."""
        return self.layers(latent[:, :, None, None])


ARCHITECTURES: dict[str, type[DCGenerator] | type[StyleGenerator]] = {"dcgan": DCGenerator, "stylegan2": StyleGenerator}


def build(net: dict[str, Any]) -> DCGenerator | StyleGenerator:
    """The untrained generator that `card.net` describes; its key `architecture` names the class."""
    options = dict(net)
    architecture, inner = options.pop("architecture", None), options.pop("autoencoder", None)
    if architecture not in ARCHITECTURES:
        raise MedgenError(f"Unknown GAN architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}.")
    network = ARCHITECTURES[architecture](**options)
    autoencoder.attach(network, inner)
    return network


class GanSampler:
    """Draws from a trained generator."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = runtime.trained(card, build)

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """One pass an image; `on_step` is called after each image, so that Stop acts within one."""
        request = request.checked(self.card)
        latents = runtime.gaussian((self.network.latent,), request.seeds, request.towards, request.mix)
        condition = runtime.conditions(self.card, request)
        total = len(latents)
        # on a CPU a group is what its cores make at once, on a GPU one padded batch
        group = runtime.group_size()
        pixels = torch.empty(total, *self.card.shape)
        for start in range(0, total, group):
            part = slice(start, start + group)
            made = runtime.evaluate(self.network, latents[part], condition[part])
            pixels[part] = autoencoder.to_pixels(self.network, made)
            if on_step is not None:
                done = min(start + group, total)
                on_step(done, total, lambda done=done: runtime.to_images(pixels[:done], self.card, request))  # type: ignore[misc]
        return runtime.to_images(pixels, self.card, request)


def load(card: ModelCard) -> GanSampler:
    """The trained generator of `card`."""
    return GanSampler(card)
