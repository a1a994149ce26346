"""Trains a gauge: a small network that reads off a picture the number that its data set gives each one.

python -m train.gauge --name height-brain-128 --data ixi_brain_128 --export

Only the train split teaches, the val split picks the weights, and the test split is measured once, at the end, with the
exported weights.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from medgen import data, weights
from medgen.agreement import agreement
from medgen.atomic import write_json
from medgen.errors import MedgenError
from medgen.gauge import Gauge, GaugeCard
from medgen.gauge_network import build
from medgen.registry import checkpoints_dir
from train.augment import augment, draws
from train.config import Config, option, parse
from train.data import Split
from train.export import best_state, curves, licence_of, take_place, training_facts
from train.launch import start
from train.run import Run

LIMITS = (
    "Research and teaching only, not for clinical use. It reads pictures of the kind it learned from: off one that "
    "shows something else, or nothing, it reads a number all the same."
)


@dataclass(frozen=True)
class GaugeConfig(Config):
    """Options of a gauge."""

    data: tuple[str, ...] = option(("ixi_brain_128",), "one data set whose images have a number")
    channels: tuple[int, ...] = option((32, 48, 64, 96), "multiples of 8, the largest size first")
    fold: int = option(4, "pixels folded into channels: 4 makes 32x32x16 of 128x128")
    augment: float = option(0.5, "probability of each augmentation: shift, zoom, tilt, brightness, contrast; no flips")
    decay: float = option(0.02, "weight decay")

    def validated(self) -> None:
        """As every run, of one data set that has numbers."""
        super().validated()
        self.at_least_one("fold")
        if len(self.data) != 1 or not data.dataset(self.data[0]).quantity:
            having = ", ".join(name for name, one in data.DATASETS.items() if one.quantity)
            raise MedgenError(f"--data must name one data set whose images have a number: {having}.")
        if len(self.channels) < 2 or any(width % 8 for width in self.channels):
            raise MedgenError("--channels must be two or more multiples of 8.")


PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {
        "batch": 32, "images": 24_000, "rate": 2e-3, "warmup": 2_000, "ema": 3_000, "clip": 1.0, "precision": "auto",
        "validate_every": 4_000, "sample_every": 1_000_000,
    },
}  # fmt: skip


def numbers(name: str, split: str) -> Split:
    """A split whose conditions `(N, 1)` are the numbers of its images."""
    real = data.real(name, split)
    told = torch.tensor(real.quantities or (), dtype=torch.float32)[:, None]
    return Split(torch.from_numpy(real.uint8()), told, (), {})


def train(config: GaugeConfig) -> Run:
    """One whole run."""
    run = Run(config, numbers(config.data[0], "train"))
    known = run.split.conditions
    net: dict[str, Any] = {
        "fold": config.fold, "channels": list(config.channels),
        "mean": round(float(known.mean()), 3), "std": round(float(known.std()), 3),
    }  # fmt: skip
    network = build(net)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.decay)
    run.track("network", network, optimizer, average=True)
    mean, held = run.averages["network"], numbers(config.data[0], "val").to(run.device)

    @torch.no_grad()
    def error() -> float:
        """Mean absolute error on the val split."""
        read = torch.cat([mean(held.pixels(part)) for part in torch.arange(len(held.images)).split(64)])
        return float((read - held.conditions[:, 0]).abs().mean())

    p = torch.tensor(config.augment, device=run.device)
    for step in run.steps(None, error):
        u = draws(run.order.update, run.random(step, "augmentation"), run.device)
        total = torch.zeros((), device=run.device)
        for batch in run.batches(step):
            seen = augment(batch.pixels, p, u[batch.part])
            with run.accelerator.autocast():
                read = network.scaled(seen).float()
            loss = F.smooth_l1_loss(read, (batch.conditions[:, 0] - net["mean"]) / net["std"])
            run.backward(loss)
            total += loss.detach() / config.accumulate
        run.update("network")
        run.log(loss=total)

    if config.export and not config.dry_run and run.main and run.step > 0:
        card = export(run, net)
        print(f"{card.name}: {card.test}")
    return run


def export(run: Run, net: dict[str, Any]) -> GaugeCard:
    """Writes checkpoints/NAME from the best averaged weights; measured are the weights as exported."""
    config: Any = run.config
    source = data.DATASETS[config.data[0]]
    state, chosen = best_state(run, "network")
    folder = run.folder / "export"
    shutil.rmtree(folder, ignore_errors=True)
    test = data.real(source.name, "test")
    card = GaugeCard(
        name=config.name, title=f"{source.quantity['name'].capitalize()} of: {source.title}", data=source.name,
        modality=source.modality, shape=source.shape, net=net, weights=weights.save(state, folder), test={},
        quantity={key: source.quantity[key] for key in ("name", "unit")}, folder=folder, limits=LIMITS,
        licence=licence_of([source]),
        trained={**training_facts(run, "network", chosen, None), "citation": source.citation},
    )  # fmt: skip
    read = Gauge(card).read(test)
    card = replace(card, test=agreement(np.array(test.quantities), read, test.subjects))
    # not the folder of the run: a path of this machine
    write_json(folder / "config.json", asdict(replace(config, out="", resume=False)))
    curves(run, folder / "log.jsonl")
    card.save(folder)
    take_place(folder, checkpoints_dir() / card.name)
    return card


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    train(parse(GaugeConfig, PRESETS, argv, __doc__ or ""))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.gauge", main))
