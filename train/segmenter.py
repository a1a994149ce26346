"""Trains a small 3D network that measures the structures of a volume.

python -m train.segmenter --name segmenter-hippo-48 --data hippo_48 --preset hippo-48
python -m train.segmenter --name segmenter-brain-64 --data ixi_brain_64 --preset brain-64

Only the train split teaches, the val split picks the epoch, and the test split is measured once, at the end, with the
exported weights. A run takes minutes on one core; it is begun again rather than resumed.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from medgen import volume_sets
from medgen.atomic import write_bytes
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.segmenter import SegmenterCard
from medgen.segmenter_network import build
from train.config import option, parse
from train.data import Order, generator
from train.launch import start
from train.run import hardware
from train.segmenter_export import dice, export

SPLITS = ("train", "val", "test")
PRESETS: dict[str, dict[str, Any]] = {
    "hippo-48": {"data": "hippo_48"},
    "brain-64": {"data": "ixi_brain_64", "epochs": 60, "fold": 2, "channels": (24, 40, 56), "flips": True},
}
_DRAWS = 16


@dataclass(frozen=True)
class SegmenterConfig:
    """Options of a segmenter."""

    resume: ClassVar[bool] = False  # what `parse` asks of every config; a segmenter is not resumed

    name: str = option("", "name of the segmenter; also of its folder under checkpoints/ and runs/")
    data: str = option("hippo_48", "data set, a key of medgen.volume_sets.VOLUMES")
    out: str = option("", "folder of the run; default runs/NAME")
    epochs: int = option(20, "passes over the train split")
    batch: int = option(2, "volumes an update")
    rate: float = option(4e-3, "highest learning rate; it rises over a tenth of the run, then falls to zero")
    decay: float = option(0.01, "weight decay")
    augment: float = option(0.5, "probability of each augmentation: move and zoom, grey values, blur, noise")
    flips: bool = option(False, "also mirror left and right: for sets that hold both sides of a body")
    channels: tuple[int, ...] = option((16, 24, 40, 48), "channels of each level, the finest first")
    fold: int = option(1, "voxels along an edge that are folded into channels; 2 is about 4 times cheaper")
    precision: str = option("bf16", "no (float32), bf16 or fp16")
    seed: int = option(0, "of weights, order of the data and augmentation")
    threads: int = option(0, "CPU threads; 0 = as torch chooses")
    cpu: bool = option(False, "train on the CPU even where there is a GPU")

    def validated(self) -> None:
        """Refuses values that cannot work.

        Raises:
            MedgenError: names the option and what it may be.
        """
        if not self.name or Path(self.name).name != self.name:
            raise MedgenError("--name must be a plain name such as segmenter-hippo-48.")
        if min(self.epochs, self.batch, self.fold) < 1:
            raise MedgenError("--epochs, --batch and --fold must be at least 1.")
        if len(self.channels) < 3 or min(self.channels) < 1:
            raise MedgenError("--channels must be at least three numbers, each at least 1.")
        if self.precision not in ("no", "bf16", "fp16"):
            raise MedgenError(f"--precision must be one of no, bf16, fp16, not {self.precision!r}.")

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.out or f"runs/{self.name}")


def train(config: SegmenterConfig) -> SegmenterCard:
    """One whole run: learn, choose, export to checkpoints/NAME, measure.

    Raises:
        MedgenError: no such data, volumes that `--fold` and `--channels` cannot halve, a loss that is not finite, or
            several processes.
    """
    accelerator = Accelerator(mixed_precision=config.precision, cpu=config.cpu)
    if accelerator.num_processes > 1:
        raise MedgenError("A segmenter trains in one process: run python -m train.segmenter without accelerate.")
    if config.threads:
        torch.set_num_threads(config.threads)
    started = time.monotonic()
    torch.manual_seed(config.seed)
    name = config.data
    sets = {split: (volume_sets.volumes(name, split), volume_sets.structures(name, split)) for split in SPLITS}
    shape, halvings = sets["train"][0].pixels.shape[2:], config.fold * 2 ** (len(config.channels) - 1)
    if any(side % halvings for side in shape):
        raise MedgenError(f"Volumes of {shape} voxels cannot be halved to a {halvings}th: fewer --channels or --fold.")
    count = len(volume_sets.VOLUMES[name].classes)
    net = {"classes": count, "channels": list(config.channels), "fold": config.fold}
    network = build(net)
    chosen = learn(Loop(network, sets, count, config, accelerator))
    chosen |= {"seconds": round(time.monotonic() - started), "hardware": hardware(accelerator.device)}
    return export(network, net, *sets["test"], config, chosen)


class Loop:
    """The network, what it learns from, and what updates it."""

    def __init__(
        self, network: nn.Module, sets: dict[str, tuple[ImageSet, np.ndarray]], count: int, config: SegmenterConfig,
        accelerator: Accelerator,
    ) -> None:  # fmt: skip
        self.config, self.accelerator, self.device, self.classes = config, accelerator, accelerator.device, count
        self.pixels = {s: torch.from_numpy(sets[s][0].uint8()).to(self.device) for s in ("train", "val")}
        self.truth = {s: torch.from_numpy(sets[s][1]).to(self.device) for s in ("train", "val")}
        self.count = len(self.truth["train"])
        self.updates = -(-self.count // config.batch)
        self.order = Order(self.count, config.batch, 1, 1, config.seed)
        self.network = network.to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=config.decay, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.rate, total_steps=config.epochs * self.updates, pct_start=0.1
        )
        self.optimizer = accelerator.prepare(optimizer)

    def epoch(self, number: int) -> float:
        """One pass over the train split; the mean loss."""
        self.network.train()
        total = 0.0
        for step in range((number - 1) * self.updates, number * self.updates):
            index = self.order.indices(step).to(self.device)
            u = torch.rand(len(index), _DRAWS, generator=generator("cpu", self.config.seed, step, "augment"))
            noise = generator("cpu", self.config.seed, step, "noise")
            # (B, 1, X, Y, Z) uint8 -> float32 in [-1, 1]
            volume, truth = self.pixels["train"][index].float() / 127.5 - 1.0, self.truth["train"][index]
            volume, truth = augment(volume, truth, self.config.augment, self.config.flips, u, noise)
            with self.accelerator.autocast():
                logits = self.network(volume)
            loss = segmentation_loss(logits.float(), truth)
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            total += float(loss.detach()) / self.updates
        if not math.isfinite(total):
            raise MedgenError(f"The loss of epoch {number} is not finite: lower --rate or use --precision no.")
        return total

    @torch.no_grad()
    def validation(self) -> list[float]:
        """Mean Dice of each class but the background on the val split."""
        self.network.eval()
        found = []
        for volume, truth in zip(self.pixels["val"].split(1), self.truth["val"], strict=True):
            with self.accelerator.autocast():
                made = self.network(volume.float() / 127.5 - 1.0)[0].argmax(dim=0)
            found.append(dice(truth.cpu().numpy(), made.cpu().numpy(), self.classes))
        return [float(value) for value in np.nanmean(found, axis=0)]


def segmentation_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy plus 1 - soft Dice of all structures: `(B, K, X, Y, Z)` logits, `(B, X, Y, Z)` classes."""
    shares = logits.softmax(dim=1)[:, 1:]
    wanted = F.one_hot(truth.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    axes = (0, 2, 3, 4)
    overlap = 2.0 * (shares * wanted).sum(dim=axes) + 1.0
    return F.cross_entropy(logits, truth.long()) + 1.0 - (overlap / (shares + wanted).sum(dim=axes).add(1.0)).mean()


def augment(
    volume: Tensor, truth: Tensor, p: float, flips: bool, u: Tensor, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What a generator may do to a volume: move, zoom, other grey values, blur, noise. The structures move along.

    Args:
        volume: `(B, 1, X, Y, Z)` in [-1, 1].
        truth: `(B, X, Y, Z)` uint8.
        p: probability of each.
        flips: also mirror the first axis.
        u: `(B, 16)` uniform in [0, 1).
        noise: random numbers for the noise.
    """
    u = u.to(volume.device)
    moved = torch.where(u[:, :1] < p, 2.0 * u[:, 1:8] - 1.0, torch.zeros_like(u[:, 1:8]))
    matrix = torch.diag_embed(torch.exp2(0.2 * moved[:, :1] + 0.08 * moved[:, 1:4]))
    matrix[:, 0, 1], matrix[:, 1, 0] = 0.1 * moved[:, 4], -0.1 * moved[:, 4]
    if flips:
        # torch counts axes from the last: the third of its coordinates runs along the first axis of the volume
        matrix[:, :, 2] = torch.where((u[:, 8] < 0.5)[:, None], -matrix[:, :, 2], matrix[:, :, 2])
    theta = torch.cat([matrix, 0.15 * moved[:, 4:7, None]], dim=2)
    where = F.affine_grid(theta, list(volume.shape), align_corners=False)
    seen = F.grid_sample(volume, where, padding_mode="border", align_corners=False)
    labels = F.grid_sample(truth[:, None].float(), where, mode="nearest", padding_mode="zeros", align_corners=False)
    unit = ((seen + 1.0) / 2.0).clamp(0.0, 1.0)
    on = (u[:, 9:13] < p)[..., None, None, None, None].float()
    gamma = torch.exp2(1.2 * (u[:, 13] - 0.5))[:, None, None, None, None]
    unit = unit.pow(1.0 + on[:, 0] * (gamma - 1.0)) * (1.0 - on[:, 1] * 0.2 * u[:, 14, None, None, None, None])
    soft = F.avg_pool3d(F.pad(unit, (1,) * 6, mode="replicate"), 3, 1)
    unit = unit + on[:, 2] * u[:, 15, None, None, None, None] * (soft - unit)
    grain = torch.randn(unit.shape, generator=noise).to(unit.device)
    unit = unit + on[:, 3] * 0.04 * grain * (unit > 0)
    return 2.0 * unit.clamp(0.0, 1.0) - 1.0, labels[:, 0].to(torch.uint8)


def learn(loop: Loop) -> dict[str, Any]:
    """All epochs. Leaves the network with the weights of the best mean val Dice, and says which they are."""
    config, started = loop.config, time.monotonic()
    log = config.folder / "log.jsonl"
    write_bytes(log, b"")
    best: dict[str, Any] = {}
    kept: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        row: dict[str, Any] = {"epoch": epoch, "images": epoch * loop.updates * config.batch, "loss": loop.epoch(epoch)}
        row |= {"val_dice": (scores := loop.validation()), "val_dice_mean": float(np.mean(scores))}
        row |= {"seconds": round(time.monotonic() - started, 1)}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"epoch {epoch}: loss {row['loss']:.4f}, val Dice {row['val_dice_mean']:.4f}", flush=True)
        if not best or row["val_dice_mean"] > best["val_dice_mean"]:
            best, kept = row, copy.deepcopy(loop.network.state_dict())
    loop.network.load_state_dict(kept)
    return {
        "images": loop.count, "images_seen": config.epochs * loop.updates * config.batch, "epochs": config.epochs,
        "chosen_by": f"mean Dice of the val split {best['val_dice_mean']:.4f}",
        "weights_after_images": best["images"],
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    card = train(parse(SegmenterConfig, PRESETS, argv, __doc__ or ""))
    print(f"{card.name} on the test split: Dice (95 % interval over subjects); error of the volume")
    for name in card.classes[1:]:
        print(f"{name:24} {card.dice[name]}; {card.volume_error[name]}")
    print(f"{'all':24} {card.volume_error['all']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.segmenter", main))
