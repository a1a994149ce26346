"""A style-based generator: StyleGAN2 (Karras 2020, arXiv:1912.04958), trimmed so that a CPU can train and run it.

What is left out, and why: noise inputs (the picture must follow from the latent alone), path-length regularisation
(cost). The first convolution of a level runs before the upsampling, at a quarter of the cost.

| name here | name in the paper |
|---|---|
| latent | z |
| style | w, then s after the layer's affine map |
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medgen.autoencoder import Autoencoder

GAIN = math.sqrt(2.0)  # keeps the variance through a leaky ReLU


class ScaledLinear(nn.Module):
    """Linear layer with the learning rate equalised at run time (Karras 2018, arXiv:1710.10196, section 4.1)."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale = rate / math.sqrt(inputs)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs)` -> `(N, outputs)`."""
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class ScaledConv(nn.Module):
    """Convolution with the learning rate equalised at run time; same size out as in."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1.0 / math.sqrt(inputs * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` -> `(N, outputs, H, W)`."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class StyledConv(nn.Module):
    """Convolution whose input channels are scaled by a style and whose output variance is restored (equation 3).

    Scaling the activations instead of the weights gives the same result with one kernel for the whole batch.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, style: int, demodulate: bool = True) -> None:
        super().__init__()
        self.affine = ScaledLinear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1.0 / math.sqrt(inputs * kernel * kernel)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`(N, inputs, H, W)`, `(N, style)` -> `(N, outputs, H, W)`."""
        weight = self.weight * self.scale
        scales = self.affine(style)  # (N, inputs)
        out = F.conv2d(x * scales[:, :, None, None].to(x.dtype), weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            with torch.autocast(x.device.type, enabled=False):  # float32: a bfloat16 product is 0.4 % off
                energy = scales.float().square() @ weight.float().square().sum(dim=(2, 3)).T  # (N, outputs)
            out = out * torch.rsqrt(energy + 1e-8)[:, :, None, None].to(out.dtype)
        return out + self.bias[None, :, None, None].to(out.dtype)


def upsample(x: Tensor) -> Tensor:
    """Doubles height and width, bilinearly: the low-pass filter that keeps aliases out."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class StyleBlock(nn.Module):
    """One level: convolve, double the size, convolve, and add this level's share to the picture."""

    def __init__(self, inputs: int, outputs: int, style: int, doubles: bool, fold: int, image_channels: int) -> None:
        super().__init__()
        self.doubles = doubles
        self.fold = fold
        self.first = StyledConv(inputs, outputs, 3, style)
        self.second = StyledConv(outputs, outputs, 3, style)
        self.to_image = StyledConv(outputs, image_channels * fold * fold, 1, style, demodulate=False)

    def forward(self, x: Tensor, image: Tensor | None, style: Tensor) -> tuple[Tensor, Tensor]:
        """Features `(N, C, H, W)` and picture so far -> features at this level's size, picture `fold` times larger."""
        x = F.leaky_relu(self.first(x, style), 0.2) * GAIN
        if self.doubles:
            x = upsample(x)
        x = F.leaky_relu(self.second(x, style), 0.2) * GAIN
        share = F.pixel_shuffle(self.to_image(x, style), self.fold)
        return x, share if image is None else upsample(image) + share


class StyleGenerator(nn.Module):
    """Latent and condition -> style -> picture, level by level from 4x4.

    Args:
        channels: at 4x4, 8x8, ... up to `size / fold`, which their number fixes.
        fold: the last features are folded into pixels (pixel-shuffle), which saves the most expensive level.
        latent: length of the latent vector and of the style.
        conditions: columns of `Conditions`; a row of zeros = nothing is known. None = unconditional.
        depth: layers of the mapping network.
        image_channels: of the picture.
    """

    autoencoder: Autoencoder | None

    def __init__(
        self,
        channels: tuple[int, ...] = (192, 192, 160, 96, 48),
        fold: int = 2,
        latent: int = 192,
        conditions: tuple[str, ...] = (),
        depth: int = 4,
        image_channels: int = 1,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.condition = nn.Linear(len(conditions), latent) if conditions else None
        sizes = [latent * (2 if conditions else 1)] + [latent] * depth
        # the mapping network learns 100 times slower than the rest (appendix B)
        self.mapping = nn.ModuleList(ScaledLinear(a, b, rate=0.01) for a, b in pairwise(sizes))
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        pairs = pairwise((channels[0], *channels))
        self.blocks = nn.ModuleList(
            StyleBlock(a, b, latent, i > 0, fold, image_channels) for i, (a, b) in enumerate(pairs)
        )
        self.checkpointing = False

    def style(self, latent: Tensor, condition: Tensor | None) -> Tensor:
        """`(N, latent)`, `(N, K)` -> `(N, latent)`: the mapping network on normalised inputs."""
        x = _unit_norm(latent)
        if self.condition is not None:
            told = x.new_zeros(len(x), self.condition.in_features) if condition is None else condition
            x = torch.cat([x, _unit_norm(self.condition(told))], dim=1)
        for layer in self.mapping:
            x = F.leaky_relu(layer(x), 0.2) * GAIN
        return x

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """`(N, latent)`, `(N, K)` float32 -> `(N, image_channels, size, size)`, about [-1, 1]. None = zeros."""
        style = self.style(latent, condition)
        x = self.constant.expand(len(latent), -1, -1, -1)
        image = None
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x, image = checkpoint(block, x, image, style, use_reentrant=False)
            else:
                x, image = block(x, image, style)
        assert image is not None
        return image


def _unit_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)
