"""Trains a GAN: DCGAN, the teaching baseline, WGAN-GP, the stable classic, or a StyleGAN2 with adaptive augmentation.

python -m train.gan --preset dcgan --name dcgan-cxr-128 --export
python -m train.gan --preset wgan --data ixi_brain_128 --name wgan-brain-128 --export
accelerate launch -m train.gan --preset gpus --name stylegan2-cxr-128 --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medgen.errors import MedgenError
from medgen.gan import build
from train import autoencoders, memory, warm
from train.adversarial import LOSSES, gradient_penalty, lipschitz_penalty
from train.augment import adapt, augment, draws
from train.config import ConditionalConfig, option, parse
from train.data import Batch, Split, hidden
from train.discriminators import DCDiscriminator, StyleDiscriminator
from train.export import export
from train.launch import start
from train.run import Run
from train.snapshots import keeping
from train.validate import sliced_wasserstein


@dataclass(frozen=True)
class GanConfig(ConditionalConfig):
    """Options of a GAN."""

    architecture: str = option("stylegan2", "stylegan2 or dcgan")
    size: int = option(128, "height and width of the picture in pixels")
    width: int = option(48, "dcgan: channels at half the size")
    channels: tuple[int, ...] = option((192, 192, 160, 96, 48), "stylegan2: channels at 4x4, 8x8, ...")
    fold: int = option(2, "stylegan2: the last features are folded into pixels; 1 = not")
    latent: int = option(192, "length of the latent vector")
    r1: float = option(0.5, "weight of the gradient penalty on real pictures; 0 = none")
    r1_every: int = option(16, "updates between gradient penalties")
    alone: int = option(0, "images that the discriminator learns before the generator does; for --init")
    ada: bool = option(True, "adaptive augmentation of what the discriminator sees")
    snapshots: int = option(0, "pictures to keep every --sample-every images, for eval.collapse; 0 = none")
    conditional: bool = option(True, "tell both networks what a picture shows")
    loss: str = option("logistic", "logistic, or wasserstein with a penalty on slopes other than 1 (WGAN-GP)")
    penalty: float = option(10.0, "wasserstein: weight of that penalty")
    critic_updates: int = option(1, "updates of the discriminator for each of the generator")

    def validated(self) -> None:
        """As every run, a known loss, and a penalty every update or more rarely."""
        super().validated()
        self.at_least_one("size", "width", "fold", "latent", "r1_every", "critic_updates")
        if self.loss not in LOSSES:
            raise MedgenError(f"--loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")

    @property
    def betas(self) -> tuple[float, float]:
        """Of Adam, each as in the paper of the method."""
        if self.loss == "wasserstein":
            return 0.0, 0.9
        return (0.5, 0.999) if self.architecture == "dcgan" else (0.0, 0.99)


STYLE = {"architecture": "stylegan2", "rate": 2e-3, "warmup": 0, "schedule": "constant"}
# 128 px; for 256 px add --size 32 --fold 2
LATENT = {**STYLE, "size": 16, "fold": 1, "channels": (192, 192, 160)}
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**STYLE, "batch": 16, "images": 200_000, "precision": "auto"},
    "latent": {**LATENT, "batch": 32, "images": 300_000, "precision": "auto"},
    "latent-gpu": {**LATENT, "batch": 64, "images": 4_000_000, "precision": "bf16", "ema": 20_000},
    "gpu": {**STYLE, "batch": 64, "images": 4_000_000, "precision": "bf16", "ema": 20_000},
    "gpus": {**STYLE, "batch": 32, "images": 8_000_000, "precision": "bf16", "ema": 20_000},
    # as in the paper: no penalty, no augmentation, no averaging (it blurs a generator that changes this fast)
    "dcgan": {
        "architecture": "dcgan", "rate": 2e-4, "warmup": 0, "schedule": "constant", "batch": 32, "images": 150_000,
        "precision": "auto", "r1": 0.0, "ada": False, "latent": 128, "ema": 0, "conditional": False,
    },
    # the generator of DCGAN and a critic without normalisation, five updates to one
    "wgan": {
        "architecture": "dcgan", "loss": "wasserstein", "rate": 1e-4, "warmup": 0, "schedule": "constant", "batch": 32,
        "images": 300_000, "precision": "auto", "r1": 0.0, "ada": False, "latent": 128, "ema": 5_000,
        "critic_updates": 5,
    },
}  # fmt: skip


METHODS = {
    "dcgan": ("DCGAN", "arXiv:1511.06434"),
    "wgan": ("WGAN-GP", "arXiv:1704.00028"),
    "stylegan2": ("StyleGAN2", "arXiv:1912.04958, arXiv:2006.06676"),
}
"""Title and paper."""


def networks(config: GanConfig, split: Split) -> tuple[dict[str, Any], nn.Module]:
    """What rebuilds the generator, and the discriminator to it."""
    columns = split.columns if config.conditional else ()
    if config.architecture == "dcgan":
        if config.checkpointing:
            raise MedgenError("DCGAN cannot use --checkpointing: recomputing would count its batch statistics twice.")
        net = {"architecture": "dcgan", "size": config.size, "width": config.width, "latent": config.latent}
        net |= {"conditions": list(columns)} if columns else {}
        return net, DCDiscriminator(config.size, config.width, len(columns), config.loss == "logistic")
    if config.architecture != "stylegan2":
        raise MedgenError(f"--architecture must be stylegan2 or dcgan, not {config.architecture!r}.")
    reached = config.fold * 2 ** (len(config.channels) + 1)
    if config.size != reached:
        raise MedgenError(f"The --channels and --fold given make pictures of {reached} px, not {config.size}.")
    net = {"architecture": "stylegan2", "channels": list(config.channels), "fold": config.fold}
    image_channels = split.images.shape[1]
    net |= {"latent": config.latent, "conditions": list(columns), "image_channels": image_channels}
    discriminator = StyleDiscriminator(config.channels, config.fold, len(columns), image_channels)
    discriminator.checkpointing = config.checkpointing
    return net, discriminator


def train(config: GanConfig) -> Run:
    """One whole run."""
    inner = autoencoders.chosen(config)
    run = Run(config, autoencoders.split(config, "train", inner, None))
    split, update, where = run.split, run.order.update, run.device
    split.expect(config.size)
    net, discriminator = networks(config, split)
    net |= {} if inner is None else {"autoencoder": inner.net}
    generator = build(net)
    autoencoders.plant(generator, inner)
    old = warm.ancestor(run, "gan")
    warm.start_from(generator, old, tuple(net.get("conditions", ())), run)
    if config.architecture == "stylegan2":
        generator.checkpointing = config.checkpointing
    own = torch.optim.Adam(autoencoders.trainable(generator), betas=config.betas)
    run.track("generator", generator, own, average=True)
    run.track("discriminator", discriminator, torch.optim.Adam(discriminator.parameters(), betas=config.betas))
    run.extra["p"] = p = torch.zeros((), device=where)
    run.extra["generator"] = last = torch.zeros((), device=where)  # its loss where it does not learn at every step
    judge, maker = LOSSES[config.loss]

    def latents(step: int, stream: str) -> Tensor:
        return torch.randn(update, config.latent, generator=run.random(step, stream), device=where)

    def shown(batch: Batch, step: int) -> Tensor:
        """The conditions that both networks see, the same in both halves of an update."""
        groups = split.attributes
        u = torch.rand(update, 1 + len(groups), generator=run.random(step, "conditions"), device=where)[batch.part]
        return hidden(batch.conditions, groups, u, config.label_dropout, config.attribute_dropout)

    def seen_by_discriminator(pixels: Tensor, u: Tensor) -> Tensor:
        return augment(pixels, p, u, colour=inner is None) if config.ada else pixels

    sample, validate, pictures = samplers(run, generator, split)
    for step in run.steps(keeping(run, sample, pictures, config.snapshots), validate):
        logs: dict[str, Tensor] = {}

        # the discriminator learns to tell real from generated
        discriminator.requires_grad_(True)
        z = latents(step, "z of the discriminator's pass")
        u = draws(2 * update, run.random(step, "augmentation"), where)
        penalised = config.r1 > 0 and step % config.r1_every == 0
        for batch in run.batches(step):
            told = shown(batch, step)
            with torch.no_grad(), run.accelerator.autocast():
                fake = generator(z[batch.part], told).float()
            with run.accelerator.autocast():
                real_logits = discriminator(seen_by_discriminator(batch.pixels, u[:update][batch.part]), told).float()
                fake_logits = discriminator(seen_by_discriminator(fake, u[update:][batch.part]), told).float()
            loss = judge(real_logits, fake_logits)
            run.backward(loss)
            if config.loss == "wasserstein":
                mix = torch.rand(update, generator=run.random(step, "between real and generated"), device=where)
                slope = lipschitz_penalty(discriminator, batch.pixels, fake, told, mix[batch.part])
                run.backward(slope * config.penalty)
            if penalised:
                run.backward(gradient_penalty(discriminator, batch.pixels, told) * (config.r1 / 2 * config.r1_every))
            logs["discriminator"] = logs.get("discriminator", 0) + loss.detach() / config.accumulate
            logs["sign"] = logs.get("sign", 0) + real_logits.detach().sign().mean() / config.accumulate
        run.update("discriminator")
        if config.ada:
            p.copy_(adapt(p, run.accelerator.reduce(logs["sign"].clone(), reduction="mean"), update))

        if run.seen < config.alone or (step + 1) % config.critic_updates:
            run.log(**logs, generator=last.clone(), p=p.clone())
            continue

        # the generator learns to pass for real
        discriminator.requires_grad_(False)
        z = latents(step, "z of the generator's pass")
        u = draws(update, run.random(step, "augmentation of the generator's pass"), where)
        for batch in run.batches(step):
            told = shown(batch, step)
            with run.accelerator.autocast():
                fake = generator(z[batch.part], told)
                loss = maker(discriminator(seen_by_discriminator(fake, u[batch.part]), told).float())
            run.backward(loss)
            logs["generator"] = logs.get("generator", 0) + loss.detach() / config.accumulate
        run.update("generator")
        last.copy_(run.accelerator.reduce(logs["generator"].clone(), reduction="mean"))
        run.log(**logs, p=p.clone())

    title, paper = METHODS["wgan" if config.loss == "wasserstein" else config.architecture]
    if config.export and not config.dry_run and run.main and run.step > 0:
        export(
            run, "generator", family="gan", net=net, sample=sample,
            title=("Latent " if inner else "") + title, controls=("towards",), inner=inner, old=old, paper=paper,
        )  # fmt: skip
    return run


def samplers(run: Run, generator: nn.Module, split: Split) -> tuple[Any, Any, Any]:
    """Fixed-seed pictures of the averaged generator, its distance to the validation split, and more such pictures."""
    mean = run.averages["generator"]

    @torch.no_grad()
    def pictures(number: int, seed: int) -> Tensor:
        random = torch.Generator("cpu").manual_seed(seed)
        z = torch.randn(number, generator.latent, generator=random).to(run.device)
        # conditions in the proportions of the train split
        told = split.conditions[torch.randint(len(split.images), (number,), generator=random).to(run.device)]
        made = torch.cat([mean(z[i : i + 32], told[i : i + 32]).float() for i in range(0, number, 32)])
        return autoencoders.pictures(mean, made)

    validation = Split.load(run.config.data, "val", split.columns)

    def distance() -> float:
        real = validation.pixels(torch.arange(len(validation.images)))
        return sliced_wasserstein(real=real, fake=pictures(len(real), seed=1))

    return lambda: pictures(36, seed=0), distance, pictures


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(GanConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.gan", main))
