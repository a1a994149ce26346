"""Trains pix2pix (Isola 2017, arXiv:1611.07004): the U-Net of `train.unet`, and a discriminator of pairs of patches.

python -m train.pix2pix --name pix2pix-t1-flair-128 --data brain_t1_flair_128 --direction t1-flair --export
python -m train.pix2pix --name pix2pix-t1-flair-128 --init unet-t1-flair-128 --images 8000 --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from train import memory, translator_export, warm
from train.config import option, parse
from train.discriminators import PatchDiscriminator
from train.launch import start
from train.pairs import batches, load, samplers
from train.run import Run
from train.unet import UNetConfig


@dataclass(frozen=True)
class Pix2PixConfig(UNetConfig):
    """Options of pix2pix."""

    l1: float = option(100.0, "weight of the mean absolute error, as in the paper")
    alone: int = option(0, "images that the discriminator learns before the generator does; for --init")


BASE = {
    "rate": 2e-4, "warmup": 0, "schedule": "constant", "ema": 1_500, "validate_every": 2_000, "sample_every": 4_000,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**BASE, "batch": 8, "images": 20_000, "save_every": 4_000},
    "gpu": {**BASE, "batch": 16, "images": 600_000, "precision": "bf16", "ema": 10_000, "validate_every": 20_000,
            "sample_every": 50_000},
}  # fmt: skip


def train(config: Pix2PixConfig) -> Run:
    """One whole run."""
    run = Run(config, load(config, "train"))
    net, generator = config.network("pix2pix")
    old = warm.ancestor(run, "translator")
    warm.start_from(generator, old, (), run)
    discriminator = PatchDiscriminator(inputs=2)
    betas = (0.5, 0.999)
    run.track("generator", generator, torch.optim.Adam(generator.parameters(), betas=betas), average=True)
    run.track("discriminator", discriminator, torch.optim.Adam(discriminator.parameters(), betas=betas))
    sample, validate = samplers(run, "generator", load(config, "val"), adversarial=True)
    for step in run.steps(sample, validate):
        logs = {name: torch.zeros((), device=run.device) for name in ("discriminator", "generator", "l1")}
        for source, target, _ in batches(run, step):
            with run.accelerator.autocast():
                made = generator(source)
                # the discriminator learns to tell (source, target) from (source, translation)
                real = discriminator(torch.cat([source, target], dim=1)).float()
                fake = discriminator(torch.cat([source, made.detach().float()], dim=1)).float()
            judged = F.softplus(-real).mean() + F.softplus(fake).mean()
            run.backward(0.5 * judged)
            logs["discriminator"] += judged.detach() / config.accumulate
            if run.seen < config.alone:
                continue
            # the generator learns to pass for real, and to be right
            discriminator.requires_grad_(False)
            with run.accelerator.autocast():
                score = discriminator(torch.cat([source, made.float()], dim=1)).float()
            discriminator.requires_grad_(True)
            fooled, error = F.softplus(-score).mean(), (made.float() - target).abs().mean()
            run.backward(fooled + config.l1 * error)
            logs["generator"] += fooled.detach() / config.accumulate
            logs["l1"] += error.detach() / config.accumulate
        run.update("discriminator")
        if run.seen >= config.alone:
            run.update("generator")
        run.log(**logs)
    if config.export and not config.dry_run and run.main and run.step > 0:
        translator_export.export(
            run, "generator", name=config.name, way=config.way, net=net, title="pix2pix", sample=sample, old=old,
            paper="arXiv:1611.07004",
        )  # fmt: skip
    return run


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(Pix2PixConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.pix2pix", main))
