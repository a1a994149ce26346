"""The adversaries: networks that judge pictures, needed only while training."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medgen.stylegan import GAIN, ScaledConv, ScaledLinear


class DCDiscriminator(nn.Module):
    """DCGAN discriminator (arXiv:1511.06434): strided convolutions, batch normalisation, leaky ReLU.

    Args:
        size: of the picture in pixels, a power of two.
        width: channels at half the size; doubled at each lower size.
        conditions: numbers a picture that say what it should show, all zero = nothing said; projected as in
            `StyleDiscriminator`. 0 = unconditional.
        normalised: with batch normalisation; a critic of WGAN-GP has none, as its gradient penalty is of each picture.
    """

    def __init__(self, size: int = 128, width: int = 48, conditions: int = 0, normalised: bool = True) -> None:
        super().__init__()
        levels = size.bit_length() - 3
        channels = [width * 2**level for level in range(levels)]
        layers: list[nn.Module] = [nn.Conv2d(1, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for here, there in pairwise(channels):
            norm = [nn.BatchNorm2d(there)] if normalised else []
            layers += [nn.Conv2d(here, there, 4, 2, 1, bias=not normalised), *norm, nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 0))
        self.projection = nn.Linear(conditions, channels[-1], bias=False) if conditions else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, pixels: Tensor, conditions: Tensor | None = None) -> Tensor:
        """`(N, 1, size, size)` in [-1, 1], `(N, K)` -> `(N,)` logits, positive for "real"."""
        features = self.layers[:-1](pixels)
        logit = self.layers[-1](features).flatten()
        if self.projection is not None and conditions is not None:
            seen = features.mean(dim=(2, 3))
            logit = logit + (seen * self.projection(conditions)).sum(dim=1) / math.sqrt(seen.shape[1])
        return logit


class ResBlock(nn.Module):
    """Two convolutions, half the size, with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ScaledConv(inputs, inputs, 3)
        self.second = ScaledConv(inputs, outputs, 3)
        self.shortcut = ScaledConv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` -> `(N, outputs, H/2, W/2)`."""
        shortcut = self.shortcut(F.avg_pool2d(x, 2))
        x = F.leaky_relu(self.first(x), 0.2) * GAIN
        # pooled before the convolution: a quarter of the cost
        x = F.leaky_relu(self.second(F.avg_pool2d(x, 2)), 0.2) * GAIN
        return (x + shortcut) * math.sqrt(0.5)


class StyleDiscriminator(nn.Module):
    """StyleGAN2's residual discriminator (arXiv:1912.04958) with a projection of the conditions (arXiv:1802.05637).

    Args:
        channels: at 4x4, 8x8, ... up to `size / fold`, as in the generator.
        fold: pixels folded into channels at the entrance.
        conditions: numbers a picture that say what it should show, all zero = nothing said. 0 = unconditional.
        image_channels: of the picture.
        group: pictures over which the spread is shown to the network, so that it sees collapse.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (192, 192, 160, 96, 48),
        fold: int = 2,
        conditions: int = 0,
        image_channels: int = 1,
        group: int = 4,
    ) -> None:
        super().__init__()
        wide_to_low = tuple(reversed(channels))
        self.group = group
        self.fold = fold
        self.from_image = ScaledConv(image_channels * fold * fold, wide_to_low[0], 1 if fold == 1 else 3)
        self.blocks = nn.ModuleList(ResBlock(a, b) for a, b in pairwise(wide_to_low))
        last = wide_to_low[-1]
        self.mix = ScaledConv(last + 1, last, 3)
        self.dense = ScaledLinear(last * 16, last)
        self.out = ScaledLinear(last, 1)
        self.projection = nn.Linear(conditions, last, bias=False) if conditions else None
        if self.projection is not None:
            nn.init.normal_(self.projection.weight)  # the scale of the features it is multiplied with
        self.checkpointing = False

    def forward(self, pixels: Tensor, conditions: Tensor | None = None) -> Tensor:
        """`(N, image_channels, size, size)`, about [-1, 1], `(N, K)` -> `(N,)` logits, positive for "real"."""
        x = F.leaky_relu(self.from_image(F.pixel_unshuffle(pixels, self.fold)), 0.2) * GAIN
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        x = torch.cat([x, self._spread(x)], dim=1)
        x = F.leaky_relu(self.mix(x), 0.2) * GAIN
        x = F.leaky_relu(self.dense(x.flatten(1)), 0.2) * GAIN
        logit = self.out(x).squeeze(1)
        if self.projection is not None and conditions is not None:
            logit = logit + (x * self.projection(conditions)).sum(dim=1) / math.sqrt(x.shape[1])
        return logit

    def _spread(self, x: Tensor) -> Tensor:
        """Mean standard deviation over neighbours in the batch (arXiv:1710.10196, section 3): `(N, 1, H, W)`."""
        count, channels, height, width = x.shape
        group = self.group if count % self.group == 0 else count
        spread = x.view(count // group, group, channels, height, width).float()
        spread = (spread.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        return spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, height, width).to(x.dtype)


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches instead of whole pictures (Isola 2017, arXiv:1611.07004), with group normalisation.

    Args:
        width: channels after the first convolution.
        inputs: channels of what is judged; 2 for a picture beside what it was made of.
    """

    def __init__(self, width: int = 48, inputs: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(4 * inputs, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GroupNorm(width // 4, 2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1), nn.GroupNorm(width // 4, 2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        """`(N, inputs, H, W)` in [-1, 1] -> `(N, 1, H/8, W/8)` scores, positive for "real"."""
        return self.layers(pixels)
