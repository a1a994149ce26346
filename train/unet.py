"""Trains a U-Net that translates slices in one pass, by L1 alone: the baseline that every other translator has to beat.

python -m train.unet --name unet-t1-flair-128 --data brain_t1_flair_128 --direction t1-flair --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from medgen.errors import MedgenError
from medgen.translation_networks import TranslationUNet
from medgen.translator import build
from train import memory, translator_export, warm
from train.config import option, parse
from train.launch import start
from train.pairs import PairConfig, batches, load, samplers
from train.run import Run


@dataclass(frozen=True)
class UNetConfig(PairConfig):
    """Options of a U-Net."""

    init: str = option("", "a translator of checkpoints/ with the same network, whose weights to start from")
    fold: int = option(2, "pixels folded into channels at both ends: 2 makes 64x64x4 of 128x128")
    channels: tuple[int, ...] = option((48, 96, 160, 224), "of the levels, multiples of 16")

    def validated(self) -> None:
        """As every run of a translator, and pictures that can be halved as often as there are levels."""
        super().validated()
        self.at_least_one("fold")
        if not self.channels or any(width % 16 or width < 16 for width in self.channels):
            raise MedgenError("--channels must be multiples of 16.")
        multiple = self.fold * 2 ** (len(self.channels) - 1)
        if self.pairs.size % multiple:
            raise MedgenError(f"With this --fold and --channels the size must be a multiple of {multiple} pixels.")

    def network(self, method: str) -> tuple[dict[str, Any], TranslationUNet]:
        """What rebuilds the network, and the network."""
        net = {"method": method, "fold": self.fold, "channels": list(self.channels)}
        made = build(net)
        assert isinstance(made, TranslationUNet)
        return net, made


BASE = {"rate": 1e-3, "warmup": 500, "clip": 1.0, "ema": 1_500, "validate_every": 2_000, "sample_every": 4_000}
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**BASE, "batch": 8, "images": 20_000, "save_every": 4_000},
    "gpu": {**BASE, "batch": 32, "images": 600_000, "precision": "bf16", "ema": 10_000, "validate_every": 20_000,
            "sample_every": 50_000},
}  # fmt: skip


def train(config: UNetConfig) -> Run:
    """One whole run."""
    run = Run(config, load(config, "train"))
    net, network = config.network("unet")
    old = warm.ancestor(run, "translator")
    warm.start_from(network, old, (), run)
    run.track("network", network, torch.optim.AdamW(network.parameters(), weight_decay=0.01), average=True)
    sample, validate = samplers(run, "network", load(config, "val"), adversarial=False)
    for step in run.steps(sample, validate):
        total = torch.zeros((), device=run.device)
        for source, target, _ in batches(run, step):
            with run.accelerator.autocast():
                made = network(source)
            loss = (made.float() - target).abs().mean()
            run.backward(loss)
            total += loss.detach() / config.accumulate
        run.update("network")
        run.log(l1=total)
    if config.export and not config.dry_run and run.main and run.step > 0:
        translator_export.export(
            run, "network", name=config.name, way=config.way, net=net, title="U-Net (L1)", sample=sample, old=old,
            paper="arXiv:1505.04597",
        )  # fmt: skip
    return run


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(UNetConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.unet", main))
