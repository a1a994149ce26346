"""Adaptive discriminator augmentation (Karras 2020, arXiv:2006.06676), for data sets of a few thousand pictures.

Real and generated pictures are augmented alike before the discriminator sees them, each with probability `p`, and `p`
rises while the discriminator is too sure of the real ones. No flips: a mirrored chest has its heart on the wrong side.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = 12
"""Random numbers an image and pass."""


def draws(count: int, random: torch.Generator, device: torch.device) -> Tensor:
    """`(count, DRAWS)` uniform numbers in [0, 1): everything `augment` needs."""
    return torch.rand(count, DRAWS, generator=random, device=device)


def augment(pixels: Tensor, p: Tensor, u: Tensor, colour: bool = True) -> Tensor:
    """Shift, scale, rotation, brightness and contrast, each with probability `p`.

    Args:
        pixels: `(N, C, H, W)`, all channels moved alike.
        p: scalar in [0, 1].
        u: `(N, DRAWS)` from `draws`.
        colour: also brightness and contrast, which make sense for pixels in [-1, 1] and not for latents.

    Returns:
        `(N, C, H, W)`, differentiable in `pixels`; exactly `pixels` for p = 0.
    """
    signed = 2.0 * u - 1.0

    def gate(column: int, value: Tensor) -> Tensor:
        return torch.where(u[:, column] < p, value, torch.zeros_like(value))

    angle = gate(0, signed[:, 1] * math.pi / 12)
    scale = torch.exp2(gate(2, signed[:, 3] * 0.25))
    right, down = gate(4, signed[:, 5] * 0.25), gate(4, signed[:, 6] * 0.25)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)], dim=1)
    # in bfloat16, coordinates would be up to 0.4 px off at 128 px
    with torch.autocast(pixels.device.type, enabled=False):
        where = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels.float(), where, padding_mode="reflection", align_corners=False)
    # a picture whose geometry was not touched keeps its own pixels, not resampled ones
    touched = (angle != 0) | (scale != 1) | (right != 0) | (down != 0)
    moved = torch.where(touched[:, None, None, None], moved, pixels.float())
    if not colour:
        return moved
    contrast = torch.exp2(gate(7, signed[:, 8] * 0.5))
    brightness = gate(9, signed[:, 10] * 0.2)
    return moved * contrast[:, None, None, None] + brightness[:, None, None, None]


def adapt(p: Tensor, mean_sign: Tensor, images: int, target: float = 0.6, span: int = 100_000) -> Tensor:
    """The next `p`: up when the discriminator is surer of the real pictures than `target`, else down.

    Args:
        p: scalar.
        mean_sign: of the discriminator's logits of real pictures, scalar in [-1, 1]; r_t of the paper.
        images: real pictures seen since the last call.
        target: the mean sign to hold.
        span: images in which p can go from 0 to 1.
    """
    return (p + torch.sign(mean_sign - target) * images / span).clamp(0.0, 0.8)
