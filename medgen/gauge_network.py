"""The network of `medgen.gauge`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Reader(nn.Module):
    """Folded pixels, convolutions that halve the size, the mean over what is left, and one number.

    Args:
        fold: pixels folded into channels at the entrance.
        channels: of each level; each but the first at half the size of the one before.
        mean: of the numbers it learned from.
        std: their standard deviation; the network works in units of it.
    """

    def __init__(self, fold: int, channels: tuple[int, ...], mean: float, std: float) -> None:
        super().__init__()
        self.fold, self.mean, self.std = fold, mean, std
        layers: list[nn.Module] = []
        for here, there in pairwise((fold * fold, *channels)):
            first = not layers
            layers += [nn.Conv2d(here, there, 3, 1 if first else 2, 1), nn.GroupNorm(8, there), nn.SiLU()]
            layers += [nn.Conv2d(there, there, 3, 1, 1), nn.GroupNorm(8, there), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(channels[-1], 1)

    def scaled(self, pixels: Tensor) -> Tensor:
        """`(N, 1, H, W)` in [-1, 1] -> `(N,)` in standard deviations from the mean."""
        features = self.layers(F.pixel_unshuffle(pixels, self.fold)).mean(dim=(2, 3))
        return self.out(features).squeeze(1)

    def forward(self, pixels: Tensor) -> Tensor:
        """`(N, 1, H, W)` in [-1, 1] -> `(N,)` in the unit of the numbers."""
        return self.scaled(pixels).float() * self.std + self.mean


def build(net: dict[str, Any]) -> Reader:
    """An untrained network; `net` holds the arguments of `Reader`."""
    return Reader(net["fold"], tuple(net["channels"]), net["mean"], net["std"])
