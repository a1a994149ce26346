"""The network of `medgen.encoder`."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def build(net: dict[str, Any]) -> nn.Module:
    """An untrained encoder: a small residual network (He 2016, arXiv:1512.03385), averaged over the picture.

    Args:
        net: `channels` after the first layer, at 1/2 of the size, and of each stage, each at half the size of the
            one before; `dim`, the length of a feature vector.

    Returns:
        A module from `(N, 1, H, W)` in [-1, 1] to `(N, dim)`, none below 0.
    """
    first, *stages = net["channels"]
    layers: list[nn.Module] = [_layer(1, first, kernel=5, stride=2)]
    for before, width in zip(net["channels"], stages, strict=False):
        layers += [_layer(before, width, stride=2), Residual(width)]
    layers += [_layer(net["channels"][-1], net["dim"], kernel=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to what they saw."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _layer(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def _layer(before: int, width: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
