"""Two views of one picture that keep its anatomy, and the loss that pulls them together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = 12
"""Random numbers a view."""
_BLUR = (0.06136, 0.24477, 0.38774, 0.24477, 0.06136)  # a Gaussian of 1 pixel


def draws(count: int, random: torch.Generator, device: torch.device) -> Tensor:
    """`(count, 2, DRAWS)` uniform numbers in [0, 1): for two views of each picture."""
    return torch.rand(count, 2, DRAWS, generator=random, device=device)


def views(pixels: Tensor, u: Tensor, noise: torch.Generator, smallest: float) -> Tensor:
    """Two views of each picture: cut out, turned, brighter or darker, blurred, noisy; never mirrored.

    A mirrored chest has its heart on the wrong side, and a film turned by a quarter is no film of a chest.

    Args:
        pixels: `(N, 1, H, W)` in [-1, 1].
        u: `(N, 2, DRAWS)` from `draws`.
        noise: random numbers for the noise.
        smallest: share of the edge that a cut keeps at least.

    Returns:
        `(2N, 1, H, W)` in [-1, 1]: all first views, then all second ones.
    """
    u = u.transpose(0, 1).flatten(0, 1)  # (2N, DRAWS)
    twice = torch.cat([pixels, pixels])
    side = smallest + (1.0 - smallest) * u[:, 0]
    right, down = ((1.0 - side) * (2.0 * u[:, column] - 1.0) for column in (1, 2))
    angle = (2.0 * u[:, 3] - 1.0) * math.pi / 18
    cos, sin = torch.cos(angle) * side, torch.sin(angle) * side
    theta = torch.stack([torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)], dim=1)
    # in bfloat16, coordinates would be up to 0.4 px off at 128 px
    with torch.autocast(pixels.device.type, enabled=False):
        where = F.affine_grid(theta, list(twice.shape), align_corners=False)
        cut = F.grid_sample(twice.float(), where, padding_mode="border", align_corners=False)
    unit = ((cut + 1.0) / 2.0).clamp(0.0, 1.0)
    gamma, gain = torch.exp2(u[:, 4] - 0.5), torch.exp2(0.6 * (u[:, 5] - 0.5))
    unit = unit.pow(gamma[:, None, None, None]) * gain[:, None, None, None]
    kernel = torch.tensor(_BLUR, device=unit.device)
    padded = F.pad(unit, (2, 2, 2, 2), mode="replicate")
    soft = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    unit = torch.lerp(unit, soft, (u[:, 6] * (u[:, 7] < 0.5))[:, None, None, None])
    grain = torch.randn(unit.shape, generator=noise, device=unit.device)
    unit = unit + (0.05 * u[:, 8] * (u[:, 9] < 0.5))[:, None, None, None] * grain
    return 2.0 * unit.clamp(0.0, 1.0) - 1.0


def nt_xent(projected: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy: each view must find the other one among all views.

    Chen 2020, arXiv:2002.05709, equation 1; ln(2N - 1) is what guessing costs.

    Args:
        projected: `(2N, D)` of length 1, all first views, then all second ones.
        temperature: tau of the paper.
    """
    count = len(projected) // 2
    likeness = projected @ projected.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * count, dtype=torch.bool, device=projected.device), -math.inf)
    other = torch.arange(2 * count, device=projected.device).roll(count)
    return F.cross_entropy(likeness, other)


def top1(vectors: Tensor) -> float:
    """Share of first views whose nearest second view, by cosine, is their own.

    Args:
        vectors: `(2N, D)`, all first views, then all second ones.
    """
    first, second = F.normalize(vectors.float(), dim=1).chunk(2)
    nearest = (first @ second.T).argmax(dim=1)
    return float((nearest == torch.arange(len(first), device=nearest.device)).float().mean())
