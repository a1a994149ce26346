"""The generator of the volume GANs: from a latent vector to voxels in one pass. `train/volume_gan.py` trains it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen.volume_networks import FOLD, TOLD, LatentGaussian, unfold


class StyledConv(nn.Module):
    """A convolution whose normalised output is scaled and shifted as the style says (arXiv:1703.06868)."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(8, outputs, affine=False)
        self.style = nn.Linear(style, 2 * outputs)
        nn.init.normal_(self.style.weight, std=0.3 / style**0.5)
        nn.init.zeros_(self.style.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`(N, inputs, x, y, z)`, `(N, style)` -> `(N, outputs, x, y, z)`."""
        scale, shift = self.style(style)[:, :, None, None, None].chunk(2, dim=1)
        return F.leaky_relu(self.norm(self.conv(x)) * (1.0 + scale) + shift, 0.2)


class VolumeGenerator(nn.Module):
    """A blurred volume from the Gaussian of the training volumes, and what the network adds to make it look real.

    The Gaussian (mean, principal directions at half the size, and how they go with the quantity) is fitted before the
    training, and takes the first of the latent numbers. A GAN that is trained for minutes cannot find out by itself how
    subjects differ: started from the mean alone, it made one and the same volume of every seed.

    Args:
        shape: of a volume, `(X, Y, Z)`; half of it must be divisible by 2 as often as there are channels but one.
        channels: at each size, the smallest first; multiples of 8.
        width: length of the latent vector, and of the style made of it.
        directions: principal directions of the Gaussian; at most `width`.
    """

    mean: Tensor

    def __init__(
        self, shape: Sequence[int] = (64, 64, 64), channels: Sequence[int] = (128, 96, 64, 24), width: int = 64,
        directions: int = 24,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latent = (width,)
        self.directions = directions
        smallest = [side // FOLD // 2 ** (len(channels) - 1) for side in shape]
        if [side * FOLD * 2 ** (len(channels) - 1) for side in smallest] != list(shape):
            raise ValueError(f"{len(channels)} channels cannot make {tuple(shape)} by doubling")
        self.style = nn.Sequential(
            nn.Linear(width + TOLD, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)
        )
        self.constant = nn.Parameter(torch.randn(channels[0], *smallest))
        self.first = StyledConv(channels[0], channels[0], width)
        self.grow = nn.ModuleList(StyledConv(here, there, width) for here, there in pairwise(channels))
        # one channel more: the blurred volume at that size
        self.refine = nn.ModuleList(StyledConv(there + 1, there, width) for there in channels[1:])
        self.last = nn.Conv3d(channels[-1], FOLD**3, 3, padding=1)
        # alike in all voxels of a fold (arXiv:1707.02937), and small: it starts as the Gaussian, without a checkerboard
        nn.init.normal_(self.last.weight, std=0.005)
        self.last.weight.data.copy_(self.last.weight.data[:1].expand_as(self.last.weight))
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.register_buffer("mean", torch.zeros(1, *shape))
        self.blurred = LatentGaussian((1, *(side // FOLD for side in shape)), directions)

    @torch.no_grad()
    def learn_prior(self, voxels: Tensor, told: Tensor | None) -> None:
        """Fits the Gaussian to training volumes `(N, 1, X, Y, Z)` in [-1, 1] and what is told of them, `(N, 2)`."""
        self.mean.copy_(voxels.mean(dim=0))
        self.blurred.fit(F.avg_pool3d(voxels - self.mean, FOLD), told)

    def forward(self, normal: Tensor, told: Tensor) -> Tensor:
        """Standard normal numbers `(N, width)` and what is asked `(N, 2)` -> `(N, 1, X, Y, Z)`, about [-1, 1]."""
        with torch.autocast(normal.device.type, enabled=False):
            blurred = self.blurred(normal[:, : self.directions], told)
            start = self.mean + F.interpolate(blurred, scale_factor=float(FOLD), mode="trilinear")
            seen = F.avg_pool3d(start, FOLD)
        style = self.style(torch.cat([normal, told], dim=1))
        x = self.first(self.constant.expand(len(normal), -1, -1, -1, -1), style)
        for level, (grow, refine) in enumerate(zip(self.grow, self.refine, strict=True), start=1):
            # convolved before it is doubled: an eighth of the cost
            x = F.interpolate(grow(x, style), scale_factor=2.0)
            here = F.avg_pool3d(seen, 2 ** (len(self.grow) - level))
            x = refine(torch.cat([x, here.to(x.dtype)], dim=1), style)
        return start + unfold(self.last(x))
