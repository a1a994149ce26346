"""Sliced Wasserstein distance on a Laplacian pyramid (Karras 2018, arXiv:1710.10196, section 5).

A cheap distance between two sets of pictures that needs no network: the validation metric of the GANs, on the
validation split. The board's metrics, on the test split, are the business of `eval/`; they never pick a model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sliced_wasserstein(
    *, real: Tensor, fake: Tensor, patches: int = 32, directions: int = 256, smallest: int = 16, seed: int = 0
) -> float:
    """Mean over pyramid levels of the sliced Wasserstein distance between 7x7 patches, and of whole 16x16 pictures.

    Args:
        real: `(N, 1, H, W)` in [-1, 1].
        fake: `(M, 1, H, W)` in [-1, 1].
        patches: an image and level.
        directions: random projections.
        smallest: size of the last level.
        seed: of the patch places and the directions.

    Returns:
        The distance, in units of the standard deviation of the real descriptors; 0 for identical sets.
    """
    random = torch.Generator("cpu").manual_seed(seed)
    count = min(len(real), len(fake))
    distances = []
    levels = zip(
        _pyramid(real[:count].float().cpu(), smallest), _pyramid(fake[:count].float().cpu(), smallest), strict=True
    )
    for real_level, fake_level in levels:
        whole = real_level.shape[-1] <= smallest
        size = real_level.shape[-1] if whole else 7
        places = torch.randint(0, real_level.shape[-1] - size + 1, (1 if whole else patches, 2), generator=random)
        a, b = _patches(real_level, places, size), _patches(fake_level, places, size)
        mean, spread = a.mean(dim=0), a.std() + 1e-8
        axes = F.normalize(torch.randn(a.shape[1], directions, generator=random), dim=0)
        a, b = ((a - mean) / spread @ axes).sort(dim=0).values, ((b - mean) / spread @ axes).sort(dim=0).values
        distances.append((a - b).abs().mean())
    return float(torch.stack(distances).mean())


def _pyramid(images: Tensor, smallest: int) -> list[Tensor]:
    """Differences between neighbouring resolutions, and the coarsest picture last."""
    levels = []
    while images.shape[-1] > smallest:
        low = F.avg_pool2d(images, 2)
        levels.append(images - F.interpolate(low, scale_factor=2.0, mode="bilinear", align_corners=False))
        images = low
    return [*levels, images]


def _patches(images: Tensor, places: Tensor, size: int) -> Tensor:
    """`(N, 1, H, W)` -> `(N * places, size * size)`."""
    cut = [images[:, :, top : top + size, left : left + size].flatten(1) for top, left in places.tolist()]
    return torch.cat(cut)
