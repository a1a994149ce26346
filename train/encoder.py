"""Trains a small encoder of pictures without labels, by contrast (SimCLR; Chen 2020, arXiv:2002.05709).

python -m train.encoder --preset cxr --name encoder-cxr-128 --export
python -m train.encoder --preset brain --name encoder-brain-128 --export

Two views of a picture must lie near each other and far from the views of all others. Only train splits teach; the val
splits pick the weights; the test splits are not looked at. `eval.features` offers what is exported as a feature space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen.encoder_network import build
from medgen.errors import MedgenError
from train.config import Config, option, parse
from train.data import generator
from train.encoder_data import pictures
from train.encoder_export import export
from train.encoder_views import draws, nt_xent, views
from train.launch import start
from train.run import Run


@dataclass(frozen=True)
class EncoderConfig(Config):
    """Options of an encoder. All views of one pass are each other's negatives, so `batch` matters."""

    data: tuple[str, ...] = field(
        default=("kermany_cxr_128", "nih_cxr_128"),
        metadata={"help": "data sets, keys of medgen.data.DATASETS or medgen.paired.PAIRED, also joined by +"},
    )
    size: int = option(128, "height and width of what it sees; larger pictures are averaged down")
    channels: tuple[int, ...] = option((24, 40, 64, 112), "after the first layer, and of each stage")
    dim: int = option(256, "length of a feature vector")
    head: int = option(64, "length of the vector that the loss sees; the head is not exported")
    temperature: float = option(0.2, "of the loss")
    smallest: float = option(0.6, "share of the edge that a view keeps at least")
    decay: float = option(1e-4, "weight decay")

    def validated(self) -> None:
        """As every run, with sizes and shares that can work."""
        super().validated()
        self.at_least_one("size", "dim", "head")
        if self.batch < 2:
            raise MedgenError("--batch must be at least 2: one picture has no negatives.")
        if len(self.channels) < 2 or min(self.channels) < 1 or self.size % 2 ** len(self.channels):
            raise MedgenError("--channels must be two numbers or more, each of which halves --size once.")
        if not self.temperature > 0.0 or not 0.0 < self.smallest <= 1.0 or self.decay < 0.0:
            raise MedgenError("--temperature must be above 0, --smallest above 0 and at most 1, --decay at least 0.")
        if self.ema <= 0:
            raise MedgenError("--ema must be above 0: the averaged weights are what is validated and exported.")

    @property
    def names(self) -> tuple[str, ...]:
        """The data sets, those joined by + apart."""
        return tuple(name for word in self.data for name in word.split("+"))

    @property
    def net(self) -> dict[str, Any]:
        """What `medgen.encoder_network.build` needs."""
        return {"channels": list(self.channels), "dim": self.dim}


BASE = {"batch": 128, "rate": 1.5e-3, "warmup": 4_000, "ema": 2_000, "save_every": 12_800, "validate_every": 6_400}
PRESETS: dict[str, dict[str, Any]] = {
    "cxr": {**BASE, "data": ("kermany_cxr_128", "nih_cxr_128"), "images": 25_600},
    "brain": {**BASE, "data": ("brain_t1_flair_128", "brain_t1_t2_256"), "images": 25_600},
}


class Contrastive(nn.Module):
    """The encoder, and the head that only the loss sees."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = build(config.net)
        width = config.dim
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.head))

    def forward(self, pixels: Tensor) -> Tensor:
        """`(N, 1, H, W)` in [-1, 1] -> `(N, head)` of length 1."""
        return F.normalize(self.head(self.encoder(pixels)).float(), dim=1)


def train(config: EncoderConfig) -> Run:
    """One whole run."""
    known = pictures(config.names, "train", config.size)
    run = Run(config, known.split)
    network = Contrastive(config)
    optimizer = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=config.decay)
    run.track("network", network, optimizer, average=True)
    seen = pictures(config.names, "val", config.size).split.to(run.device)
    shown = val_views(seen.pixels(torch.arange(len(seen.images))), config)
    average: Any = run.averages["network"]

    @torch.no_grad()
    def validate() -> float:
        return float(nt_xent(torch.cat([average(part) for part in shown.split(64)]), config.temperature))

    for step in run.steps(validate=validate):
        u, noise = draws(run.order.update, run.random(step, "views"), run.device), run.random(step, "noise")
        total = torch.zeros((), device=run.device)
        for batch in run.batches(step):
            both = views(batch.pixels, u[batch.part], noise, config.smallest)
            with run.accelerator.autocast():
                projected = network(both.contiguous(memory_format=torch.channels_last))
            loss = nt_xent(projected, config.temperature)
            run.backward(loss)
            total += loss.detach() / config.accumulate
        run.update("network")
        run.log(loss=total)

    if config.export and not config.dry_run and run.main:
        export(run, shown, known)
    return run


def val_views(pixels: Tensor, config: EncoderConfig) -> Tensor:
    """Two views of each val picture, the same in every run: seed 0, whatever `--seed` says."""
    u = draws(len(pixels), generator("cpu", 0, 0, "val views"), torch.device("cpu"))
    made = views(pixels.cpu(), u, generator("cpu", 0, 0, "val noise"), config.smallest)
    return made.to(pixels.device)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    run = train(parse(EncoderConfig, PRESETS, argv, __doc__ or ""))
    if run.main and not run.config.dry_run:
        print(f"{run.config.name}: {run.seen:,} images in {run.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.encoder", main))
