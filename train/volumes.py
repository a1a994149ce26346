"""Training volumes on the device, what is told of each, and how they are varied: small shifts, contrast, mirroring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medgen.errors import MedgenError
from medgen.volume_networks import FACTOR, TOLD
from medgen.volume_sets import VOLUMES, VolumeData, entry, quantities, volumes
from train.config import Config, option
from train.data import Split
from train.run import Run

MIRRORED = ("ixi_brain_64",)
"""Sets whose volumes may be mirrored left to right: whole brains. A hippocampus has a side."""
BLACK = ("ixi_brain_64",)
"""Sets with a background of exactly 0."""
DRAWS = 8
"""Random numbers a volume and pass."""
LEAST = 4
"""Voxels a side at which bfloat16 convolutions of torch 2.13 on CPUs can still be trained.

Where an axis has two, the gradient of the weights is unset memory (1e16, inf) for some numbers of channels; with three,
all that were tried were right.
"""


@dataclass(frozen=True)
class VolumeConfig(Config):
    """Options of every model of volumes."""

    data: tuple[str, ...] = option(("hippo_48",), f"one of {', '.join(VOLUMES)}")
    shift: int = option(2, "largest shift along each axis while training, in voxels")
    contrast: float = option(0.1, "largest change of contrast and brightness while training, of the whole range")

    def validated(self) -> None:
        """As every run, with one known set of volumes that can be halved twice."""
        super().validated()
        if len(self.data) != 1:
            raise MedgenError("Models of volumes learn from one data set: name one with --data.")
        if any(side % FACTOR for side in self.known.shape[1:]):
            raise MedgenError(f"The volumes of {self.known.name} must have sides divisible by {FACTOR}.")
        if self.shift < 0 or not 0.0 <= self.contrast < 1.0:
            raise MedgenError("--shift must be 0 or more voxels, --contrast from 0 to below 1.")

    @property
    def known(self) -> VolumeData:
        """The catalogue entry of the data."""
        return entry(self.data[0])

    @property
    def latent(self) -> tuple[int, ...]:
        """Sides of a latent."""
        return tuple(side // FACTOR for side in self.known.shape[1:])

    @property
    def mirrored(self) -> bool:
        """Whether training volumes may be mirrored."""
        return self.known.name in MIRRORED


def units(known: VolumeData) -> dict[str, float]:
    """Mean and standard deviation of the quantity over the train split; empty where the set has none."""
    if known.quantity is None:
        return {}
    values = quantities(known.name, "train")
    return {"mean": round(float(values.mean()), 3), "std": round(float(values.std()), 3)}


def load(known: VolumeData, split: str) -> Split:
    """The whole split; its conditions are `(N, 2)`: the quantity in standard deviations, and 1; zeros without one."""
    images = torch.from_numpy(volumes(known.name, split).uint8())
    told = torch.zeros(len(images), TOLD)
    if scale := units(known):
        values = torch.from_numpy(quantities(known.name, split))
        told[:, 0], told[:, 1] = (values - scale["mean"]) / scale["std"], 1.0
    return Split(images, told, (), {})


def asked_for(known: VolumeData) -> dict[str, Any]:
    """What a card says of the quantity: its name, unit and the range of the train split without its extremes."""
    if known.quantity is None:
        return {}
    low, high = np.percentile(quantities(known.name, "train"), (2.0, 98.0))
    step = 50.0
    name, unit = known.quantity
    return {
        "name": name,
        "unit": unit,
        "low": step * round(low / step),
        "high": step * round(high / step),
        "step": step,
    }


def description(config: VolumeConfig, method: str) -> dict[str, Any]:
    """The keys of `card.net` that every method has."""
    scale = units(config.known)
    return {"method": method, "black": config.known.name in BLACK, **({"quantity": scale} if scale else {})}


def draws(count: int, random: torch.Generator, device: torch.device) -> Tensor:
    """`(count, DRAWS)` uniform numbers in [0, 1): everything `varied` needs."""
    return torch.rand(count, DRAWS, generator=random, device=device)


def varied(voxels: Tensor, u: Tensor, *, shift: int, contrast: float, mirror: bool, cut: float = 0.0) -> Tensor:
    """Volumes shifted by whole voxels, with another contrast and brightness, and every second one mirrored.

    Args:
        voxels: `(N, 1, X, Y, Z)` in [-1, 1].
        u: `(N, DRAWS)` from `draws`.
        shift: largest shift in voxels; what comes in repeats the border.
        contrast: largest change of contrast, as a fraction; black stays black.
        mirror: whether left and right may change places.
        cut: side of a box, as a fraction of each side, that is greyed out; 0 = none (arXiv:2006.10738).

    Returns:
        `(N, 1, X, Y, Z)`, differentiable in `voxels`.
    """
    sides = voxels.shape[2:]
    padded = F.pad(voxels, (shift,) * 6, mode="replicate") if shift else voxels
    first = (u[:, :3] * (2 * shift + 1)).long().clamp(max=2 * shift).tolist()
    out = []
    for row, starts in enumerate(first):
        x, y, z = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        one = padded[row, :, x, y, z]
        out.append(one.flip(1) if mirror and float(u[row, 3]) < 0.5 else one)
    moved = torch.stack(out)
    gain = (1.0 + contrast * (2.0 * u[:, 4] - 1.0))[:, None, None, None, None]
    moved = (moved + 1.0) * gain - 1.0
    if cut:
        moved = moved * _kept(sides, u[:, 5:8], cut)
    return moved


def cut_out(voxels: Tensor, u: Tensor, side: int) -> Tensor:
    """A cube out of each volume, at a random place; the whole of an axis that is no longer.

    Args:
        voxels: `(N, 1, X, Y, Z)`.
        u: `(N, 3)` uniform numbers in [0, 1): the place.
        side: of the cube, in voxels.
    """
    sides = [min(side, whole) for whole in voxels.shape[2:]]
    free = torch.tensor([whole - kept + 1 for whole, kept in zip(voxels.shape[2:], sides, strict=True)])
    cubes = []
    for one, starts in zip(voxels, (u.cpu() * free).long().tolist(), strict=True):
        x, y, z = (slice(start, start + kept) for start, kept in zip(starts, sides, strict=True))
        cubes.append(one[:, x, y, z])
    return torch.stack(cubes)


def refuse_unset_gradients(run: Run, sides: Sequence[int], flag: str) -> None:
    """Refuses a network of which torch 2.13 would train some weights with unset memory.

    Args:
        run: for its precision and device.
        sides: voxels along each axis at the lowest level.
        flag: what leads there.

    Raises:
        MedgenError: bfloat16 on a CPU, and an axis is too short.
    """
    if run.config.precision == "bf16" and run.device.type == "cpu" and min(sides) < LEAST:
        raise MedgenError(
            f"{flag} lead down to {'x'.join(map(str, sides))} voxels, where bfloat16 gradients are wrong on CPUs: keep "
            f"{LEAST} a side or more, or use --precision no."
        )


def _kept(sides: tuple[int, ...], u: Tensor, cut: float) -> Tensor:
    """`(N, 1, X, Y, Z)`: 0 inside a box around the random place `u` `(N, 3)`, else 1."""
    inside = torch.ones(len(u), 1, *sides, device=u.device)
    for axis, side in enumerate(sides):
        place = torch.arange(side, device=u.device)[None]
        near = (place - u[:, axis : axis + 1] * side).abs() < 0.5 * cut * side
        inside = inside * near.float().reshape(len(u), 1, *(side if i == axis else 1 for i in range(3)))
    return 1.0 - inside


def planes(voxels: Tensor) -> Tensor:
    """`(N, 1, X, Y, Z)` in [-1, 1] -> `(3N, 1, S, S)`: axial, coronal and sagittal middle of each, head and nose up.

    Seen as radiologists do, the patient's right on the left; smaller planes are centred on black.
    """
    size = max(voxels.shape[2:])
    x, y, z = (side // 2 for side in voxels.shape[2:])
    cuts = (voxels[..., z].flip(2), voxels[..., y, :].flip(2), voxels[:, :, x])
    shown = []
    for cut in cuts:
        upright = cut.transpose(-1, -2).flip(-2)
        rows, columns = size - upright.shape[-2], size - upright.shape[-1]
        shown.append(F.pad(upright, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), value=-1.0))
    return torch.stack(shown, dim=1).flatten(0, 1)
