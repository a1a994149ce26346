"""A convolutional autoencoder: a picture becomes a small latent in which diffusion models and GANs are cheap.

Latent diffusion (Rombach 2022, arXiv:2112.10752) with two changes for CPUs: the picture is folded into channels at the
entrance (pixel-unshuffle), so that no convolution but the last runs at full size, and there is no attention. The
decoder is small enough to need no distilled stand-in. Being fully convolutional, it takes any size that `FACTOR`
divides.

`train/latent.py` trains it.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

FOLD = 4
FACTOR = 2 * FOLD
"""Pixels along a side of one latent element."""


class Block(nn.Module):
    """Two convolutions with group normalisation around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(channels // 8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(channels // 8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` -> the same shape."""
        return x + self.layers(x)


class Autoencoder(nn.Module):
    """Encoder to a diagonal Gaussian, decoder, and the scale that brings latents to mean 0 and variance 1.

    Args:
        latent_channels: of the latent; the latent of an HxW picture is `(latent_channels, H / 8, W / 8)`.
        channels: at 1/4 and at 1/8 of the picture's size.
        last: channels at half the size, in the decoder only.
        blocks: residual blocks a level.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self, latent_channels: int = 4, channels: tuple[int, int] = (80, 128), last: int = 48, blocks: int = 2
    ) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        wide, deep = channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(FOLD), nn.Conv2d(FOLD * FOLD, wide, 3, padding=1),
            *(Block(wide) for _ in range(blocks)), nn.Conv2d(wide, deep, 3, stride=2, padding=1),
            *(Block(deep) for _ in range(blocks)), nn.GroupNorm(deep // 8, deep), nn.SiLU(),
            nn.Conv2d(deep, 2 * latent_channels, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, deep, 3, padding=1), *(Block(deep) for _ in range(blocks + 1)),
            nn.Upsample(scale_factor=2.0), nn.Conv2d(deep, wide, 3, padding=1), *(Block(wide) for _ in range(blocks)),
            nn.Upsample(scale_factor=2.0), nn.Conv2d(wide, last, 3, padding=1), Block(last),
            nn.GroupNorm(last // 8, last), nn.SiLU(), nn.Conv2d(last, 32, 3, padding=1), nn.PixelShuffle(2),
            nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1),
        )  # fmt: skip
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1, 1))

    def gaussian(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 1, H, W)` in [-1, 1] -> mean and logarithm of the variance, `(N, C, H/8, W/8)` each, not yet scaled."""
        mean, logvar = self.encoder(pixels).float().chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def encode(self, pixels: Tensor) -> Tensor:
        """`(N, 1, H, W)` in [-1, 1] -> latent `(N, C, H/8, W/8)`, the mean, of about unit variance."""
        return (self.gaussian(pixels)[0] - self.latent_mean) / self.latent_std

    def decode(self, latent: Tensor) -> Tensor:
        """Latent `(N, C, h, w)` of about unit variance -> `(N, 1, 8h, 8w)`, about [-1, 1]."""
        return self.decoder(latent * self.latent_std + self.latent_mean)

    @torch.no_grad()
    def learn_scale(self, latents: Tensor) -> None:
        """Takes mean and standard deviation of each channel from unscaled training latents `(N, C, h, w)`."""
        self.latent_mean.copy_(latents.mean(dim=(0, 2, 3))[:, None, None])
        self.latent_std.copy_(latents.std(dim=(0, 2, 3))[:, None, None] + 1e-6)


def build(net: dict[str, Any]) -> Autoencoder:
    """The untrained autoencoder that a card's net describes."""
    return Autoencoder(**net)


class Latent(Protocol):
    """A network that may work on latents: its `autoencoder` is None where it works on pixels."""

    autoencoder: Autoencoder | None


def attach(network: Latent, net: dict[str, Any] | None) -> None:
    """Gives `network` the autoencoder that `net` describes, untrained and frozen; None: it works on pixels."""
    network.autoencoder = None if net is None else build(net).requires_grad_(False)
