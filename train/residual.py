"""Trains a diffusion model of what a U-Net leaves out: sharp, varied translations in a few steps (arXiv:2309.15214).

python -m train.residual --name diffusion-t1-flair-128 --regression unet-t1-flair-128 --direction t1-flair --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medgen import weights
from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from medgen.solver import solve
from medgen.translation_networks import ResidualDiffusion
from medgen.translator import build
from train import memory, translator_export
from train.config import option, parse
from train.data import Split
from train.denoising import denoising_error
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
    unit_channels: tuple[int, ...] = option((32, 64, 96), "of the network that says how large the residual will be")
    unit_images: int = option(4_000, "images from which it learns that, before everything else")
    sigma_mean: float = option(-0.8, "mean of ln(sigma) while training; the residual has a standard deviation of 0.5")
    sigma_spread: float = option(1.2, "standard deviation of ln(sigma) while training")
    sigma_min: float = option(0.03, "last noise level when sampling")
    sigma_max: float = option(20.0, "first noise level when sampling")
    sample_steps: int = option(8, "default steps of the exported model, and of the sample sheets")

    def sigmas(self, normal: Tensor) -> Tensor:
        """Noise levels of the training distribution: `(N,)` standard normal numbers -> `(N, 1, 1, 1)`."""
        return torch.exp(self.sigma_mean + self.sigma_spread * normal)[:, None, None, None]

    def validated(self) -> None:
        """As every run of a translator, with a U-Net to start from."""
        super().validated()
        self.at_least_one("fold", "sample_steps", "unit_images")
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


def still_there(known: ModelCard) -> dict[str, ModelCard]:
    """The U-Net as the part that need not be saved again; nothing if checkpoints/ has other weights by now."""
    path = checkpoints_dir() / known.name / "card.json"
    now = ModelCard.read(path) if path.is_file() else None
    return {"regression": now} if now is not None and now.weights == known.weights else {}


def train(config: ResidualConfig) -> Run:
    """One whole run."""
    run = Run(config, load(config, "train"))
    update, where, size = run.order.update, run.device, config.pairs.size
    known = regression_card(config, run)
    validation = load(config, "val").to(where)
    net = {
        "method": "diffusion", "regression": {k: v for k, v in known.net.items() if k != "method"},
        "uncertainty": {"fold": config.fold, "channels": list(config.unit_channels)},
        "denoiser": {
            "size": size, "fold": config.fold, "channels": list(config.channels), "layers": config.layers,
            "attention": list(config.attention), "sigma_min": config.sigma_min, "sigma_max": config.sigma_max,
        },
    }  # fmt: skip
    network: Any = build(net)
    network.regression.requires_grad_(False)
    network.to(where)
    if not resumed(run):
        network.regression.load_state_dict(weights.read(known))
        learn_units(network, run, config)
        learn_prior(network, run.split, validation)
        if run.main and not config.dry_run:
            write_bytes(run.folder / COPY, (checkpoints_dir() / known.name / "card.json").read_bytes())
    network.uncertainty.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.denoiser.parameters(), weight_decay=0.01)
    run.track("network", network, optimizer, average=True)
    scheduler = network.scheduler()

    def denoising_loss(net: Any, source: Tensor, target: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        with run.accelerator.autocast():
            answer, clean = residual(net, source, target)
        return denoising_error(
            run, scheduler, lambda scaled, level: net(scaled, level, source, answer), clean, sigma, noise
        )

    sample, validate = samplers(run, validation, denoising_loss)
    for step in run.steps(sample, validate):
        random = run.random(step, "noise")
        noise = torch.randn(update, 1, size, size, generator=random, device=where)
        sigma = config.sigmas(torch.randn(update, generator=random, device=where))
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
            steps=config.sample_steps, old=known, parts=still_there(known), paper="arXiv:2309.15214, arXiv:2206.00364",
        )  # fmt: skip
    return run


@torch.no_grad()
def residual(network: Any, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The U-Net's answer, and what it left out in units of its expected size, cut at eight of them."""
    answer = network.answer(source).float()
    return answer, ((target - answer) / network.unit(source, answer)).clamp(-4.0, 4.0)


def learn_units(network: ResidualDiffusion, run: Run, config: ResidualConfig) -> None:
    """Teaches `network.uncertainty` the size of the residual: the scale of a Laplace distribution, by its likelihood.

    Before the run and not part of it: the units of a run must not move under it.
    """
    optimizer = torch.optim.AdamW(network.uncertainty.parameters(), lr=1e-3)
    for step in range(max(1, config.unit_images // run.order.update)):
        for source, target, _ in batches(run, step):
            with torch.no_grad(), run.accelerator.autocast():
                answer = network.answer(source).float()
            with run.accelerator.autocast():
                said = network.uncertainty(torch.cat([source, answer], dim=1)).float().clamp(*network.RANGE)
            loss = (said + (target - answer).abs() * (-said).exp()).mean() / config.accumulate
            loss.backward()
        if run.accelerator.num_processes > 1:
            for parameter in network.uncertainty.parameters():
                parameter.grad = run.accelerator.reduce(parameter.grad, reduction="mean")
        torch.nn.utils.clip_grad_norm_(network.uncertainty.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def learn_prior(network: ResidualDiffusion, train: Split, validation: Split, most: int = 400) -> None:
    """Sets the units so that the residual has a standard deviation of 0.5, and the Wiener filter to its spectrum.

    The residual of patients of the train split, from which the U-Net has learned, may be smaller than that of others:
    how much larger it is on the val split goes into `gain[1]`, by which samples are enlarged.
    """
    parts, sizes = [], []
    network.gain.fill_(1.0)
    for split in (train, validation):
        index = torch.arange(0, len(split.images), max(1, len(split.images) // most))
        found = []
        for part in index.split(16):
            pixels = split.pixels(part).float()
            found.append(residual(network, pixels[:, :1], pixels[:, 1:])[1])
        parts.append(torch.cat(found))
        sizes.append(parts[-1].std())
    network.gain[0] = sizes[0] / network.DATA
    network.gain[1] = (sizes[1] / sizes[0]).clamp(1.0, 2.0)
    network.denoiser.learn_prior(parts[0] * (network.DATA / sizes[0]))


def samplers(run: Run, validation: Split, denoising_loss: Any) -> tuple[Any, Any]:
    """Sheets of source, translation and target, and the denoising loss of the val split, for the averaged weights."""
    mean: Any = run.averages["network"]
    config: Any = run.config
    size, where = config.pairs.size, run.device

    @torch.no_grad()
    def pictures() -> Tensor:
        index = torch.arange(0, len(validation.images), max(1, len(validation.images) // 12))[:12]
        pixels = validation.pixels(index).float()
        answer = mean.answer(pixels[:, :1])
        random = torch.Generator("cpu").manual_seed(0)
        noise = torch.randn(len(index), 1, size, size, generator=random).to(where)

        def predict(scaled: Tensor, level: float) -> Tensor:
            return mean(scaled, torch.full((len(scaled),), level, device=where), pixels[:, :1], answer)

        state = solve(mean.levels, noise, config.sample_steps, predict)
        made = answer + mean.unit(pixels[:, :1], answer) * mean.gain[1] * state
        return sheet(pixels[:, :1], made, pixels[:, 1:])

    @torch.no_grad()
    def loss() -> float:
        """The same slices, noises and noise levels (quantiles of the training distribution) at every call."""
        index = torch.arange(0, len(validation.images), max(1, len(validation.images) // 160))
        random = torch.Generator("cpu").manual_seed(0)
        levels = torch.special.ndtri((torch.randperm(len(index), generator=random) + 0.5) / len(index))
        sigma, noise = config.sigmas(levels), torch.randn(len(index), 1, size, size, generator=random)
        total = 0.0
        for part in torch.arange(len(index)).split(16):
            pixels = validation.pixels(index[part]).float()
            value = denoising_loss(mean, pixels[:, :1], pixels[:, 1:], sigma[part].to(where), noise[part].to(where))
            total += float(value) * len(part) / len(index)
        return total

    return pictures, loss


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(ResidualConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.residual", main))
