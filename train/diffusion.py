"""Trains a diffusion model: diffusers' U-Net and scheduler in the frame of EDM (Karras 2022, arXiv:2206.00364).

python -m train.diffusion --name ddpm-cxr-128 --export
accelerate launch -m train.diffusion --preset gpus --name ddpm-cxr-128 --export
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medgen.diffusion import build
from medgen.errors import MedgenError
from medgen.solver import solve
from train import autoencoders, memory, warm
from train.config import ConditionalConfig, option, parse
from train.data import Split, hidden
from train.denoising import denoising_error
from train.export import export
from train.launch import start
from train.run import Run

Loss = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Network, clean pictures, what is told of them, noise levels, noise -> the mean loss."""


@dataclass(frozen=True)
class DiffusionConfig(ConditionalConfig):
    """Options of a diffusion model."""

    size: int = option(128, "height and width of the picture in pixels")
    fold: int = option(4, "pixels folded into channels: 4 makes 32x32x16 of 128x128")
    channels: tuple[int, ...] = option((96, 160, 192), "of the U-Net's levels")
    layers: int = option(1, "residual blocks a level")
    attention: tuple[bool, ...] = option((False, True, True), "which levels attend")
    sigma_mean: float = option(-1.2, "mean of ln(sigma) while training")
    sigma_spread: float = option(1.4, "standard deviation of ln(sigma) while training")
    sigma_min: float = option(0.02, "last noise level when sampling; what is left is removed in one go")
    sigma_max: float = option(80.0, "first noise level when sampling")
    sample_steps: int = option(20, "default steps of the exported model, and of the sample grids")
    guidance: float = option(1.0, "default guidance of the exported model; the sample grids have none")

    def validated(self) -> None:
        """As every run, and one step or more."""
        super().validated()
        self.at_least_one("size", "fold", "sample_steps")

    def sigmas(self, normal: Tensor) -> Tensor:
        """Noise levels of the training distribution: `(N,)` standard normal numbers -> `(N, 1, 1, 1)`."""
        return torch.exp(self.sigma_mean + self.sigma_spread * normal)[:, None, None, None]


BASE = {"clip": 1.0}
# latents have unit variance, twice that of pixels in [-1, 1]: the noise levels move with it
LATENT = {
    "channels": (96, 160, 192),
    "attention": (False, True, True),
    "sigma_mean": -0.4,
    "sigma_spread": 1.2,
    "sigma_min": 0.03,
    "sigma_max": 40.0,
    "sample_steps": 12,
}
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**BASE, "batch": 32, "images": 200_000, "precision": "auto", "rate": 5e-4, "warmup": 4_000},
    # 128 px; for 256 px add --size 32 --fold 2
    "latent": {**BASE, **LATENT, "batch": 32, "images": 200_000, "precision": "auto", "rate": 6e-4, "warmup": 4_000,
               "size": 16, "fold": 1},
    "latent-gpu": {
        **BASE, **LATENT, "batch": 256, "images": 8_000_000, "precision": "bf16", "rate": 4e-4, "warmup": 50_000,
        "ema": 50_000, "size": 16, "fold": 1, "layers": 2, "save_every": 200_000, "validate_every": 200_000,
        "sample_every": 500_000,
    },
    "gpu": {
        **BASE, "batch": 256, "images": 6_000_000, "precision": "bf16", "rate": 4e-4, "warmup": 50_000, "ema": 50_000,
        "fold": 2, "channels": (64, 128, 192), "attention": (False, False, True), "layers": 2,
        "save_every": 200_000, "validate_every": 200_000, "sample_every": 500_000,
    },
    "gpus": {
        **BASE, "batch": 128, "images": 12_000_000, "precision": "bf16", "rate": 5e-4, "warmup": 100_000, "ema": 50_000,
        "fold": 2, "channels": (64, 128, 192), "attention": (False, False, True), "layers": 2,
        "save_every": 200_000, "validate_every": 200_000, "sample_every": 500_000,
    },
}  # fmt: skip


def train(config: DiffusionConfig) -> Run:
    """One whole run."""
    inner = autoencoders.chosen(config)
    run = Run(config, autoencoders.split(config, "train", inner, None))
    split, where = run.split, run.device
    split.expect(config.size)
    old = warm.ancestor(run, "diffusion")
    everything = split.pixels(torch.arange(len(split.images)))
    net = {
        "size": config.size,
        "fold": config.fold,
        "channels": list(config.channels),
        "layers": config.layers,
        "attention": list(config.attention),
        "conditions": list(split.columns),
        "image_channels": split.images.shape[1],
        "sigma_data": round(float(everything.std()), 3) if old is None else old.net["sigma_data"],
        "sigma_min": config.sigma_min,
        "sigma_max": config.sigma_max,
        **({} if inner is None else {"autoencoder": inner.net}),
    }
    try:
        network = build(net)
    except ValueError as error:
        raise MedgenError(f"--channels, --layers and --attention describe no network: {error}") from error
    autoencoders.plant(network, inner)
    network.learn_prior(everything.cpu())
    warm.start_from(network, old, split.columns, run)
    del everything  # four times the size of the data set, not needed by the loop
    if config.checkpointing:
        network.unet.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(autoencoders.trainable(network), weight_decay=0.01, fused=True)
    run.track("network", network, optimizer, average=True)
    denoising_loss = loss_of(run, network.scheduler())
    validation = autoencoders.split(config, "val", inner, split.columns).to(where)
    sample, validate = samplers(run, validation, denoising_loss)
    for step in run.steps(sample, validate):
        run.log(loss=update(run, network, denoising_loss, step))

    if config.export and not config.dry_run and run.main and run.step > 0:
        export(
            run, "network", family="diffusion", net=net, sample=sample, inner=inner, old=old,
            title="Diffusion (EDM)" if inner is None else "Latent diffusion",
            controls=("steps", "guidance", "towards", "source", "region"), steps=config.sample_steps,
            guidance=config.guidance,
            paper="arXiv:2006.11239, arXiv:2206.00364" + (", arXiv:2112.10752" if inner else ""),
        )  # fmt: skip
    return run


def loss_of(run: Run, scheduler: Any) -> Loss:
    """The denoising loss on given pictures, noise levels and noise."""

    def denoising_loss(net: nn.Module, clean: Tensor, told: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        return denoising_error(run, scheduler, lambda scaled, level: net(scaled, level, told), clean, sigma, noise)

    return denoising_loss


def update(run: Run, network: nn.Module, denoising_loss: Loss, step: int) -> Tensor:
    """One update of `network`: returns the mean loss of its pictures, still on the device."""
    config: Any = run.config
    images, where, groups = run.order.update, run.device, run.split.attributes
    random = run.random(step, "noise")
    noise = torch.randn(images, *run.split.images.shape[1:], generator=random, device=where)
    sigma = config.sigmas(torch.randn(images, generator=random, device=where))
    u = torch.rand(images, 1 + len(groups), generator=random, device=where)
    total = torch.zeros((), device=where)
    for batch in run.batches(step):
        told = hidden(batch.conditions, groups, u[batch.part], config.label_dropout, config.attribute_dropout)
        loss = denoising_loss(network, batch.pixels, told, sigma[batch.part], noise[batch.part])
        run.backward(loss)
        total += loss.detach() / config.accumulate
    run.update("network")
    return total


def samplers(run: Run, validation: Split, denoising_loss: Loss) -> tuple[Any, Any]:
    """Fixed-seed pictures of the averaged network, and its denoising loss on the validation split."""
    mean: Any = run.averages["network"]
    config: Any = run.config
    split = run.split

    @torch.no_grad()
    def pictures(number: int = 36) -> Tensor:
        random = torch.Generator("cpu").manual_seed(0)
        noise = torch.randn(number, *split.images.shape[1:], generator=random).to(run.device)
        told = split.conditions[torch.randint(len(split.images), (number,), generator=random).to(run.device)]

        def predict(scaled: Tensor, level: float) -> Tensor:
            return mean(scaled, torch.full((number,), level, device=run.device), told)

        return autoencoders.pictures(mean, solve(mean.levels, noise, config.sample_steps, predict))

    @torch.no_grad()
    def loss() -> float:
        """The same pictures, noises and noise levels (quantiles of the training distribution) at every call."""
        count = len(validation.images)
        random = torch.Generator("cpu").manual_seed(0)
        levels = torch.special.ndtri((torch.randperm(count, generator=random) + 0.5) / count).to(run.device)
        sigma = config.sigmas(levels)
        noise = torch.randn(validation.images.shape, generator=random).to(run.device)
        losses = []
        for first in range(0, count, 64):
            part = slice(first, first + 64)
            index = torch.arange(count, device=run.device)[part]
            clean = validation.pixels(index)
            value = denoising_loss(mean, clean, validation.conditions[part], sigma[part], noise[part])
            losses.append(value * len(index) / count)
        return float(torch.stack(losses).sum())

    return pictures, loss


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(DiffusionConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.diffusion", main))
