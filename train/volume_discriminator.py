"""The adversaries of volume GAN and autoencoder, and a distance between sets of volumes that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from medgen.volume_networks import FOLD, fold


class DownBlock(nn.Module):
    """Two convolutions, half the size, with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(inputs, inputs, 3, padding=1)
        self.second = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv3d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, x, y, z)` -> `(N, outputs, x / 2, y / 2, z / 2)`."""
        shortcut = self.shortcut(F.avg_pool3d(x, 2))
        x = F.leaky_relu(self.first(x), 0.2)
        # pooled before the convolution: an eighth of the cost
        x = F.leaky_relu(self.second(F.avg_pool3d(x, 2)), 0.2)
        return (x + shortcut) * 0.5**0.5


class VolumeDiscriminator(nn.Module):
    """Says of a volume whether it is real, and reads the quantity off it (AC-GAN, arXiv:1610.09585).

    Args:
        shape: of a volume, `(X, Y, Z)`.
        channels: at 1/4 of the volume's size, 1/8, ...
        group: volumes over which the spread is shown to the network, so that it sees collapse.
    """

    def __init__(self, shape: Sequence[int], channels: Sequence[int] = (48, 80, 128), group: int = 4) -> None:
        super().__init__()
        self.group = group
        self.first = nn.Conv3d(FOLD**3, channels[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(DownBlock(here, there) for here, there in pairwise(channels))
        sides = [side // FOLD // 2 ** len(channels) for side in shape]
        self.mix = nn.Conv3d(channels[-1] + 1, channels[-1], 3, padding=1)
        self.dense = nn.Linear(channels[-1] * sides[0] * sides[1] * sides[2], channels[-1])
        self.out = nn.Linear(channels[-1], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, 0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 1, X, Y, Z)` -> logits `(N,)`, positive for "real", and the quantity `(N,)` in standard deviations."""
        x = F.leaky_relu(self.first(fold(voxels)), 0.2)
        for block in self.blocks[:-1]:
            x = block(x)
        # in bfloat16, torch 2.13 on CPUs returns unset memory (1e16, inf) as the gradient of the weights of
        # convolutions with an output of less than 4 voxels a side
        with torch.autocast(voxels.device.type, enabled=False):
            x = x.float()
            for block in self.blocks[-1:]:
                x = block(x)
            x = F.leaky_relu(self.mix(torch.cat([x, self._spread(x)], dim=1)), 0.2)
            x = F.leaky_relu(self.dense(x.flatten(1)), 0.2)
            logit, quantity = self.out(x).unbind(dim=1)
        return logit, quantity

    def _spread(self, x: Tensor) -> Tensor:
        """Mean standard deviation over neighbours in the batch (arXiv:1710.10196, section 3): `(N, 1, x, y, z)`."""
        count = len(x)
        group = self.group if count % self.group == 0 else count
        spread = x.view(count // group, group, *x.shape[1:])
        spread = (spread.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3, 4))
        spread = spread.repeat_interleave(group)[:, None, None, None, None]
        return spread.expand(-1, 1, *x.shape[2:])


class Judge(nn.Module):
    """MONAI's patch discriminator on folded voxels.

    In float32: in bfloat16, torch 2.13 on CPUs returns unset memory (1e16, inf) as the gradient of the weights of
    convolutions with an output of less than 4 voxels a side, here of the last one for the volumes of hippo_48.
    """

    LEAST = 24
    """Voxels a side of what it judges: of fewer, its convolutions leave nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = PatchDiscriminator(
            spatial_dims=3, in_channels=FOLD**3, channels=width, num_layers_d=2, norm="INSTANCE"
        )

    def forward(self, voxels: Tensor) -> Tensor:
        """`(N, 1, X, Y, Z)` -> a score a patch, positive for "real"."""
        with torch.autocast(voxels.device.type, enabled=False):
            return self.patches(fold(voxels.float()))[-1]


def sliced_wasserstein(*, real: Tensor, fake: Tensor, places: int = 24, directions: int = 256, seed: int = 0) -> float:
    """Mean sliced Wasserstein distance (arXiv:1710.10196, section 5) between 7^3 patches at the size of the volumes and
    at half of it, and between whole volumes at a quarter of it.

    Args:
        real: `(N, 1, X, Y, Z)` in [-1, 1].
        fake: likewise, N of them.
        places: where patches are cut out of every volume, at each size.
        directions: random projections.
        seed: of places and directions.

    Returns:
        The distance, in units of the standard deviation of the real ones; 0 for identical sets.
    """
    random = torch.Generator("cpu").manual_seed(seed)
    distances = []
    for level in range(3):
        sides = real.shape[2:]
        size = sides if level == 2 else (7, 7, 7)
        starts = [[int(torch.randint(0, a - b + 1, (), generator=random)) for a, b in zip(sides, size, strict=True)]
                  for _ in range(1 if level == 2 else places)]  # fmt: skip
        a, b = (_cut(each, starts, size) for each in (real, fake))
        mean, std = a.mean(dim=0), a.std() + 1e-8
        axes = F.normalize(torch.randn(a.shape[1], directions, generator=random), dim=0)
        a, b = (((each - mean) / std @ axes).sort(dim=0).values for each in (a, b))
        distances.append((a - b).abs().mean())
        real, fake = F.avg_pool3d(real, 2), F.avg_pool3d(fake, 2)
    return float(torch.stack(distances).mean())


def _cut(voxels: Tensor, starts: list[list[int]], size: Sequence[int]) -> Tensor:
    """`(N, 1, X, Y, Z)` -> `(N * places, voxels of a patch)`."""
    cut = []
    for start in starts:
        x, y, z = (slice(first, first + side) for first, side in zip(start, size, strict=True))
        cut.append(voxels[:, :, x, y, z].flatten(1))
    return torch.cat(cut)
