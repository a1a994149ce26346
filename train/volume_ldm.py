"""Trains a diffusion model in the latents of an autoencoder of volumes (arXiv:2112.10752, arXiv:2209.07162).

python -m train.volume_ldm --data hippo_48 --autoencoder vae-hippo-48 --name ldm-hippo-48 --minutes 12 --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medgen import runtime, weights
from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from medgen.solver import solve
from medgen.volume_models import build
from train import memory
from train.autoencoders import trainable
from train.checkpointing import recompute
from train.config import option, parse
from train.data import Split
from train.denoising import denoising_error
from train.launch import start
from train.run import Run
from train.volume_export import export
from train.volumes import VolumeConfig, description, draws, load, planes, refuse_unset_gradients, varied
from train.warm import COPY


@dataclass(frozen=True)
class LdmConfig(VolumeConfig):
    """Options of a latent diffusion model of volumes."""

    autoencoder: str = option("", "the vae of checkpoints/ in whose latents it works")
    copies: int = option(8, "latents of every training volume, each varied in another way")
    channels: tuple[int, ...] = option((), "of the U-Net, multiples of 16; default 48 80, for brains 32 64 64")
    blocks: int = option(1, "residual blocks a level")
    hidden: float = option(0.15, "fraction of volumes of which the quantity is not told, for guidance")
    sigma_mean: float = option(-0.4, "mean of ln(sigma) while training")
    sigma_spread: float = option(1.2, "standard deviation of ln(sigma) while training")
    sigma_min: float = option(0.03, "last noise level when sampling; what is left is removed in one go")
    sigma_max: float = option(40.0, "first noise level when sampling")
    sample_steps: int = option(10, "default steps of the exported model, and of the sample grids")

    def validated(self) -> None:
        """As every run of volumes, in the latents of something."""
        super().validated()
        self.at_least_one("copies", "blocks", "sample_steps")
        if not self.autoencoder:
            raise MedgenError("--autoencoder must name a model that train.volume_vae made.")
        if any(width % 16 for width in self.widths):
            raise MedgenError("--channels must be multiples of 16.")
        if any(side % 2 ** (len(self.widths) - 1) for side in self.latent):
            raise MedgenError(
                f"Latents of {'x'.join(map(str, self.latent))} cannot be halved so often: fewer --channels."
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels chosen, or the default of this size.

        The lowest level keeps 4 voxels a side or more, see `volumes.LEAST`.
        """
        fits = all(side % 4 == 0 and side >= 16 for side in self.latent)
        return self.channels or ((32, 64, 64) if fits else (48, 80))

    def sigmas(self, normal: Tensor) -> Tensor:
        """Noise levels of the training distribution: `(N,)` standard normal numbers -> `(N, 1, 1, 1, 1)`."""
        return torch.exp(self.sigma_mean + self.sigma_spread * normal)[:, None, None, None, None]


BASE = {
    "batch": 8, "images": 1_000_000, "precision": "auto", "rate": 8e-4, "warmup": 800, "schedule": "constant",
    "clip": 1.0, "ema": 4_000, "save_every": 2_000, "validate_every": 1_000, "sample_every": 2_000, "keep_best": 1,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": BASE,
    "gpu": {**BASE, "batch": 64, "precision": "bf16", "rate": 4e-4, "warmup": 10_000, "ema": 20_000, "blocks": 2,
            "copies": 64, "save_every": 50_000, "validate_every": 50_000, "sample_every": 100_000},
}  # fmt: skip


def coder_card(config: LdmConfig) -> ModelCard:
    """The card of the autoencoder; a run that goes on must find the one it began with.

    Raises:
        MedgenError: there is no such model, it is no autoencoder of these volumes, or it has been trained again.
    """
    path = checkpoints_dir() / config.autoencoder / "card.json"
    if not path.is_file():
        raise MedgenError(f"There is no model {config.autoencoder!r} in checkpoints/; train.volume_vae makes one.")
    card = ModelCard.read(path)
    if card.net.get("method") != "vae" or card.data != config.known.name:
        raise MedgenError(f"{card.name} is no autoencoder of {config.known.name}; name one that is.")
    if config.resume and (config.folder / COPY).is_file():
        if ModelCard.read(config.folder / COPY).weights != card.weights:
            raise MedgenError(f"{card.name} is not the one this run began with: start again in another --out.")
    elif not config.dry_run:
        write_bytes(config.folder / COPY, path.read_bytes())
    return card


@torch.no_grad()
def encoded(config: LdmConfig, coder: nn.Module, split: Split, copies: int) -> Split:
    """`split` as latents `(copies * N, C, x, y, z)` float32: the volumes as they are, then varied ones."""
    device = next(coder.parameters()).device
    random = torch.Generator("cpu").manual_seed(config.seed)
    latents = []
    for copy in range(copies):
        for index in torch.arange(len(split.images)).split(4):
            voxels, u = split.pixels(index), draws(len(index), random, torch.device("cpu"))
            if copy > 0:
                voxels = varied(voxels, u, shift=config.shift, contrast=config.contrast, mirror=config.mirrored)
            latents.append(coder.encode(voxels.to(device)).cpu())
    return replace(split, images=torch.cat(latents), conditions=split.conditions.repeat(copies, 1))


def train(config: LdmConfig) -> Run:
    """One whole run."""
    known = coder_card(config)
    inner = {
        "latent_channels": known.net["latent"][0],
        "channels": known.net["channels"],
        "blocks": known.net["blocks"],
    }
    whole = build(known.net)
    weights.load_into(whole, known)
    coder = whole.autoencoder.to("cpu" if config.cpu else runtime.device())
    run = Run(config, encoded(config, coder, load(config.known, "train"), config.copies))
    split, update, where = run.split, run.order.update, run.device
    refuse_unset_gradients(run, [side // 2 ** (len(config.widths) - 1) for side in config.latent], "--channels")
    net = {
        **description(config, "ldm"), "latent": list(split.images.shape[1:]), "channels": list(config.widths),
        "blocks": config.blocks, "attention": [False] * (len(config.widths) - 1) + [True],
        "sigma_data": round(float(split.images.std()), 3), "sigma_min": config.sigma_min,
        "sigma_max": config.sigma_max, "autoencoder": inner,
    }  # fmt: skip
    network = build(net)
    own = network.autoencoder.state_dict()
    network.autoencoder.load_state_dict({name: value for name, value in coder.state_dict().items() if name in own})
    network.learn_prior(split.images.cpu())
    optimizer = torch.optim.AdamW(trainable(network), weight_decay=0.01)
    run.track("network", network, optimizer, average=True)
    if config.checkpointing:
        recompute([*network.unet.down_blocks, network.unet.middle_block, *network.unet.up_blocks])
    scheduler = network.scheduler()

    def denoising_loss(net: Any, clean: Tensor, told: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        return denoising_error(run, scheduler, lambda scaled, level: net(scaled, level, told), clean, sigma, noise)

    held = encoded(config, coder, load(config.known, "val"), 1).to(where)
    sample, validate = samplers(run, held, denoising_loss)
    for step in run.steps(sample, validate):
        random = run.random(step, "noise")
        noise = torch.randn(update, *split.images.shape[1:], generator=random, device=where)
        sigma = config.sigmas(torch.randn(update, generator=random, device=where))
        shown = torch.rand(update, 1, generator=random, device=where) >= config.hidden
        total = torch.zeros((), device=where)
        for batch in run.batches(step):
            told = batch.conditions * shown[batch.part]
            loss = denoising_loss(network, batch.pixels, told, sigma[batch.part], noise[batch.part])
            run.backward(loss)
            total += loss.detach() / config.accumulate
        run.update("network")
        run.log(loss=total)

    if config.export and not config.dry_run and run.main and run.step > 0:
        export(
            run, "network", net=net, sample=sample, title="Latent diffusion", steps=config.sample_steps,
            controls=("steps", "guidance") if "quantity" in net else ("steps",),
            guidance=1.0 if "quantity" in net else None, facts=lambda: {"autoencoder": coder_facts(known)},
            copies=config.copies,
            paper="arXiv:2112.10752, arXiv:2206.00364, arXiv:2209.07162",
        )  # fmt: skip
    return run


def coder_facts(card: ModelCard) -> dict[str, Any]:
    """Of the autoencoder, for the card of the model that works in its latents."""
    kept = ("images_seen", "seconds", "hardware", "commit", "validation")
    return {"name": card.name, **{key: card.trained[key] for key in kept if key in card.trained}}


def samplers(run: Run, held: Split, denoising_loss: Any) -> tuple[Any, Any]:
    """Planes of volumes of fixed seeds, and the denoising loss of the validation split, of the averaged network."""
    mean: Any = run.averages["network"]
    config: Any = run.config

    @torch.no_grad()
    def pictures(number: int = 12) -> Tensor:
        random = torch.Generator("cpu").manual_seed(0)
        noise = torch.randn(number, *mean.latent, generator=random).to(run.device)
        told = torch.zeros(number, 2, device=run.device)

        def predict(scaled: Tensor, level: float) -> Tensor:
            return mean(scaled, torch.full((number,), level, device=run.device), told)

        state = solve(mean.levels, noise, config.sample_steps, predict)
        return planes(torch.cat([mean.autoencoder.decode(part).float().cpu() for part in state.split(2)]))

    @torch.no_grad()
    def loss(rounds: int = 4) -> float:
        """The same latents, noises and noise levels (quantiles of the training distribution) at every call."""
        index = torch.arange(len(held.images)).repeat(rounds)
        random = torch.Generator("cpu").manual_seed(0)
        levels = torch.special.ndtri((torch.randperm(len(index), generator=random) + 0.5) / len(index))
        sigma, noise = config.sigmas(levels), torch.randn(len(index), *mean.latent, generator=random)
        total = 0.0
        for part in torch.arange(len(index)).split(8):
            chosen = index[part].to(run.device)
            value = denoising_loss(
                mean,
                held.pixels(chosen),
                held.conditions[chosen],
                sigma[part].to(run.device),
                noise[part].to(run.device),
            )
            total += float(value) * len(part) / len(index)
        return total

    return pictures, loss


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(LdmConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.volume_ldm", main))
