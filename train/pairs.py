"""What the scripts of the translators share: paired slices as a split, their augmentation, their validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.paired import CONTRASTS, PAIRED, PairedData, PairedSet, entry, paired
from train.config import Config, option
from train.data import Split
from train.run import Run
from train.validate import sliced_wasserstein

DRAWS = 8
"""Random numbers a pair and pass that `augmented` needs."""


@dataclass(frozen=True)
class PairConfig(Config):
    """Options of every translator."""

    data: tuple[str, ...] = option(("brain_t1_flair_128",), f"pairs: {', '.join(PAIRED)}")
    direction: str = option("", "such as t1-flair or flair-t1; default: as the data are listed")
    geometry: float = option(0.5, "probability of a small move, turn and change of size")
    tone: float = option(0.15, "standard deviation of ln(gamma) and of ln(gain) of the source, if it is MR")

    def validated(self) -> None:
        """As every run, with one set of pairs and one of its two directions.

        Raises:
            MedgenError: names the option and what it may be.
        """
        super().validated()
        if len(self.data) != 1:
            raise MedgenError("--data must name one set of pairs.")
        if self.direction and self.direction not in self.pairs.directions:
            raise MedgenError(f"--direction must be {' or '.join(self.pairs.directions)}, not {self.direction!r}.")
        if not 0.0 <= self.geometry <= 1.0 or not 0.0 <= self.tone <= 1.0:
            raise MedgenError("--geometry and --tone must be from 0 to 1.")

    @property
    def pairs(self) -> PairedData:
        """The data set."""
        return entry(self.data[0])

    @property
    def way(self) -> str:
        """The direction, the default filled in."""
        return self.direction or self.pairs.directions[0]


def load(config: PairConfig, split: str) -> Split:
    """The pairs of one split as pictures of two channels, source and target, each in [-1, 1] through its window.

    As float16, whose steps are below 1 HU and below half a grey level.
    """
    pairs = paired(config.data[0], split)
    if config.way == "ct-mr":
        # a CT does not say which contrast the MR was to have: of the rendered ones, that which val and test have
        contrasts = [fact.get("contrast", "t1") for fact in pairs.facts]
        pairs = pairs.take([i for i, contrast in enumerate(contrasts) if contrast == "t1"])
    if config.way != config.pairs.directions[0]:
        pairs = pairs.swapped()
    return split_of(pairs)


def split_of(pairs: PairedSet) -> Split:
    """`PairedSet` of N slices -> `Split` with images `(N, 2, H, W)`."""
    images = torch.cat([tensor(pairs.source), tensor(pairs.target)], dim=1)
    counts = {"pairs": {"images": len(images), "patients": len(set(pairs.subjects))}}
    return Split(images, torch.zeros(len(images), 0), (), counts)


def tensor(images: ImageSet) -> Tensor:
    """`(N, 1, H, W)` float16 in [-1, 1]."""
    return torch.from_numpy(images.unit_range()).mul_(2.0).sub_(1.0).half()


def augmented(pixels: Tensor, u: Tensor, config: PairConfig) -> Tensor:
    """Pairs mirrored and moved alike, with another tone of the source.

    A head may be mirrored: neither contrast knows left from right, and both are mirrored together. The tone of MR
    depends on scanner and window, so the network must not rely on it; that of CT is physics and is left alone.

    Args:
        pixels: `(N, C, H, W)`, source first, in [-1, 1].
        u: `(N, DRAWS)` uniform in [0, 1).
        config: of the run.
    """
    signed = 2.0 * u - 1.0
    moved = u[:, 0] < config.geometry

    def gate(value: Tensor) -> Tensor:
        return torch.where(moved, value, torch.zeros_like(value))

    angle, scale = gate(signed[:, 1] * math.pi / 18), torch.exp(gate(signed[:, 2] * 0.1))
    right, down = gate(signed[:, 3] * 0.08), gate(signed[:, 4] * 0.08)
    mirror = torch.where(u[:, 5] < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([torch.stack([cos * mirror, -sin, right], 1), torch.stack([sin * mirror, cos, down], 1)], 1)
    with torch.autocast(pixels.device.type, enabled=False):
        where = F.affine_grid(theta, list(pixels.shape), align_corners=False)
        turned = F.grid_sample(pixels.float(), where, padding_mode="border", align_corners=False)
    # what is only mirrored keeps its own pixels, not resampled ones
    plain = torch.where((mirror < 0)[:, None, None, None], pixels.float().flip(3), pixels.float())
    out = torch.where(moved[:, None, None, None], turned, plain)
    if config.way.split("-")[0] == "ct" or config.tone == 0:
        return out
    gamma, gain = (torch.exp(config.tone * torch.special.ndtri(u[:, i].clamp(1e-3, 0.999))) for i in (6, 7))
    source = (out[:, :1] + 1.0).mul(0.5).clamp(1e-6, 1.0)
    toned = (gain[:, None, None, None] * source.pow(gamma[:, None, None, None])).clamp(max=1.0)
    return torch.cat([2.0 * toned - 1.0, out[:, 1:]], dim=1)


def batches(run: Run, step: int) -> Any:
    """`(source, target, part)` of each pass of this process, augmented: `(B, 1, H, W)` each, in [-1, 1]."""
    config: Any = run.config
    u = torch.rand(run.order.update, DRAWS, generator=run.random(step, "augmentation"), device=run.device)
    for batch in run.batches(step):
        pixels = augmented(batch.pixels, u[batch.part], config)
        yield pixels[:, :1], pixels[:, 1:], batch.part


@torch.no_grad()
def translated(network: nn.Module, split: Split, run: Run, every: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Source, translation and target of every so many slices of `split`, `(N, 1, H, W)` float32 on the CPU."""
    sides: list[list[Tensor]] = [[], [], []]
    for part in torch.arange(0, len(split.images), every).split(16):
        pixels = split.pixels(part).float()
        with run.accelerator.autocast():
            made = network(pixels[:, :1].to(run.device))
        for kept, tensor_ in zip(sides, (pixels[:, :1], made.float().cpu().clamp(-1, 1), pixels[:, 1:]), strict=True):
            kept.append(tensor_)
    return torch.cat(sides[0]), torch.cat(sides[1]), torch.cat(sides[2])


def samplers(run: Run, module: str, validation: Split, adversarial: bool) -> tuple[Any, Any]:
    """Sheets of source, translation and target, and the validation metric, for the averaged weights of `module`.

    The metric is the mean absolute error in [-1, 1]; of adversarial networks, a tenth of the sliced Wasserstein
    distance is added: the error alone would choose the blurred.
    """
    mean = run.averages[module]
    every = max(1, len(validation.images) // 150)

    def pictures() -> Tensor:
        return sheet(*translated(mean, validation, run, max(1, len(validation.images) // 12)))

    def metric() -> float:
        _, made, target = translated(mean, validation, run, every)
        error = float((made - target).abs().mean())
        return error + 0.1 * sliced_wasserstein(real=target, fake=made) if adversarial else error

    return pictures, metric


def sheet(source: Tensor, made: Tensor, target: Tensor) -> Tensor:
    """Twelve slices as rows of six: sources, translations, targets, and again; `(36, 1, H, W)`."""
    return torch.cat([side[first : first + 6] for first in (0, 6) for side in (source, made, target)])


def describe(way: str) -> str:
    """A direction as people write it: "T1 to T2"."""
    one, other = way.split("-")
    return f"{CONTRASTS[one]} to {CONTRASTS[other]}"
