"""Trains a diffusion model of what a U-Net leaves out: sharp, varied translations in a few steps (arXiv:2309.15214).

python -m train.residual --name diffusion-t1-flair-128 --regression unet-t1-flair-128 --direction t1-flair --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medgen import weights
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from medgen.translator import ResidualDiffusion, build
from train import memory, translator_export
from train.config import option, parse
from train.launch import start
from train.pairs import PairConfig, batches, load, sheet
from train.run import Run
from train.warm import COPY, resumed


@dataclass(frozen=True)
class ResidualConfig(PairConfig):
    """Options of the diffusion translator."""

    regression: str = option("", "the unet of checkpoints/ whose answer it starts from")
    fold: int = option(4, "pixels folded into channels: 4 makes 32x32x16 of 128x128")
    channels: tuple[int, ...] = option((96, 160, 192), "of the levels of the diffusion model's U-Net")
    layers: int = option(1, "residual blocks a level")
    attention: tuple[bool, ...] = option((False, False, True), "which levels attend")
    sigma_mean: float = option(-0.8, "mean of ln(sigma) while training; the residual has a standard deviation of 0.5")
    sigma_spread: float = option(1.2, "standard deviation of ln(sigma) while training")
    sigma_min: float = option(0.03, "last noise level when sampling")
    sigma_max: float = option(20.0, "first noise level when sampling")
    sample_steps: int = option(8, "default steps of the exported model, and of the sample sheets")

    def validated(self) -> None:
        """As every run of a translator, with a U-Net to start from."""
        super().validated()
        self.at_least_one("fold", "sample_steps")
        if not self.regression:
            raise MedgenError("--regression must name a model that train.unet made.")


BASE = {"rate": 5e-4, "warmup": 2_000, "clip": 1.0, "ema": 2_000, "validate_every": 4_000, "sample_every": 8_000}
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**BASE, "batch": 16, "images": 40_000, "save_every": 8_000},
    "gpu": {**BASE, "batch": 64, "images": 2_000_000, "precision": "bf16", "ema": 20_000, "layers": 2,
            "validate_every": 50_000, "sample_every": 100_000},
}  # fmt: skip


def regression_card(config: ResidualConfig, run: Run) -> ModelCard:
    """The card of the U-Net, of which a copy stays with the run.

    Raises:
        MedgenError: there is no such model, or it is no U-Net of this direction and these data.
    """
    path = run.folder / COPY if resumed(run) else checkpoints_dir() / config.regression / "card.json"
    if not path.is_file():
        raise MedgenError(
            f"There is no model {config.regression!r} in checkpoints/ to start from; train.unet makes one."
        )
    card = ModelCard.read(path)
    if (
        card.net.get("method") != "unet"
        or card.translates.get("direction") != config.way
        or card.data != config.data[0]
    ):
        raise MedgenError(f"{card.name} is no U-Net for {config.way} on {config.data[0]}; name one that is.")
    return card


def train(config: ResidualConfig) -> Run:
    """One whole run."""
    run = Run(config, load(config, "train"))
    update, where, size = run.order.update, run.device, config.pairs.size
    known = regression_card(config, run)
    validation = load(config, "val")
    net = {
        "method": "diffusion", "regression": {k: v for k, v in known.net.items() if k != "method"}, "size": size,
        "fold": config.fold, "channels": list(config.channels), "layers": config.layers,
        "attention": list(config.attention), "residual": 1.0, "sigma_min": config.sigma_min,
        "sigma_max": config.sigma_max,
    }  # fmt: skip
    network: Any = build(net)
    network.regression.load_state_dict(weights.read(known))
    network.regression.requires_grad_(False)
    # of patients that the U-Net has not learned from: its residual on those of the train split may be smaller
    network.residual = net["residual"] = round(spread(network, validation), 4)
    if run.main and not config.dry_run and not resumed(run):
        known.save(run.folder)
        (run.folder / "card.json").replace(run.folder / COPY)
    trainable = [p for p in network.parameters() if p.requires_grad]
    run.track("network", network, torch.optim.AdamW(trainable, weight_decay=0.01), average=True)
    scheduler = network.scheduler()

    def denoising_loss(net: Any, source: Tensor, target: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the raw network output: EDM's weighting of the denoising error, equation 8."""
        with torch.no_grad(), run.accelerator.autocast():
            answer = net.answer(source).float()
        clean = net.scaled(target, answer)
        noisy = clean + sigma * noise
        with run.accelerator.autocast():
            scaled = scheduler.precondition_inputs(noisy, sigma)
            output = net(scaled, scheduler.precondition_noise(sigma.flatten()), source, answer)
        zero = torch.zeros((), device=where)
        skipped = scheduler.precondition_outputs(noisy, zero, sigma)
        c_out = scheduler.precondition_outputs(torch.zeros_like(noisy), torch.ones((), device=where), sigma)
        return (output.float() - (clean - skipped) / c_out).square().mean()

    def sigmas(normal: Tensor) -> Tensor:
        return torch.exp(config.sigma_mean + config.sigma_spread * normal)[:, None, None, None]

    mean: Any = run.averages["network"]

    @torch.no_grad()
    def validate() -> float:
        """The same slices, noises and noise levels (quantiles of the training distribution) at every call."""
        index = torch.arange(0, len(validation.images), max(1, len(validation.images) // 160))
        random = torch.Generator("cpu").manual_seed(0)
        levels = torch.special.ndtri((torch.randperm(len(index), generator=random) + 0.5) / len(index))
        noise = torch.randn(len(index), 1, size, size, generator=random)
        total = 0.0
        for part in torch.arange(len(index)).split(16):
            pixels = validation.pixels(index[part]).float().to(where)
            value = denoising_loss(
                mean, pixels[:, :1], pixels[:, 1:], sigmas(levels[part]).to(where), noise[part].to(where)
            )
            total += float(value) * len(part) / len(index)
        return total

    @torch.no_grad()
    def sample() -> Tensor:
        index = torch.arange(0, len(validation.images), max(1, len(validation.images) // 12))[:12]
        pixels = validation.pixels(index).float().to(where)
        answer = mean.answer(pixels[:, :1])
        solver = mean.scheduler()
        solver.set_timesteps(config.sample_steps)
        random = torch.Generator("cpu").manual_seed(0)
        state = torch.randn(len(index), 1, size, size, generator=random).to(where) * solver.init_noise_sigma
        for level in solver.timesteps:
            seen = solver.scale_model_input(state, level)
            output = mean(seen, level.to(where).expand(len(state)), pixels[:, :1], answer)
            state = solver.step(output, level, state).prev_sample
        return sheet(pixels[:, :1], mean.joined(answer, state), pixels[:, 1:])

    for step in run.steps(sample, validate):
        random = run.random(step, "noise")
        noise = torch.randn(update, 1, size, size, generator=random, device=where)
        sigma = sigmas(torch.randn(update, generator=random, device=where))
        total = torch.zeros((), device=where)
        for source, target, part in batches(run, step):
            loss = denoising_loss(network, source, target, sigma[part], noise[part])
            run.backward(loss)
            total += loss.detach() / config.accumulate
        run.update("network")
        run.log(loss=total)
    if config.export and not config.dry_run and run.main and run.step > 0:
        translator_export.export(
            run, "network", name=config.name, way=config.way, net=net, title="Residual diffusion", sample=sample,
            steps=config.sample_steps, old=known, paper="arXiv:2309.15214, arXiv:2206.00364",
        )  # fmt: skip
    return run


@torch.no_grad()
def spread(network: ResidualDiffusion, split: Any) -> float:
    """Standard deviation of what the U-Net leaves out on `split`, pictures in [-1, 1]."""
    index = torch.arange(0, len(split.images), max(1, len(split.images) // 160))
    parts = []
    for part in index.split(16):
        pixels = split.pixels(part).float()
        parts.append((pixels[:, 1:] - network.answer(pixels[:, :1])).square().mean(dim=(1, 2, 3)))
    return float(torch.cat(parts).mean().sqrt())


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(ResidualConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.residual", main))
