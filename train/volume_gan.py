"""Trains a GAN of volumes: non-saturating loss, R1, and every volume varied before it is judged (arXiv:2006.10738).

python -m train.volume_gan --data hippo_48 --name gan-hippo-48 --minutes 12 --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen.errors import MedgenError
from medgen.volume_models import build
from train import memory
from train.checkpointing import recompute
from train.config import option, parse
from train.launch import start
from train.run import Run
from train.volume_discriminator import VolumeDiscriminator, sliced_wasserstein
from train.volume_export import export
from train.volumes import VolumeConfig, description, draws, load, planes, refuse_unset_gradients, varied


@dataclass(frozen=True)
class GanConfig(VolumeConfig):
    """Options of a GAN of volumes."""

    channels: tuple[int, ...] = option(
        (),
        "of the generator, multiples of 8, the smallest size first; default 128 64 24, for brains 128 96 64 24",
    )
    judge: tuple[int, ...] = option((48, 80, 128), "of the discriminator, at 1/4 of the size, 1/8, ...")
    width: int = option(64, "length of the latent vector")
    directions: int = option(24, "principal directions of the training volumes that it starts from")
    r1: float = option(1.0, "weight of the gradient penalty on real volumes; 0 = none")
    r1_every: int = option(16, "updates between gradient penalties")
    cut: float = option(0.4, "side of the box that is greyed out of what the discriminator sees, as a fraction")
    reads: float = option(0.5, "weight of the quantity that the discriminator reads off a volume")
    hidden: float = option(0.15, "fraction of volumes of which the quantity is not told")

    def validated(self) -> None:
        """As every run of volumes, and widths that the normalisation divides."""
        super().validated()
        self.at_least_one("width", "r1_every", "directions")
        if self.directions > self.width:
            raise MedgenError("--directions are among the numbers of the latent vector: at most --width.")
        if len(self.grown) < 2 or any(width % 8 for width in self.grown) or not self.judge:
            raise MedgenError("--channels must be two or more multiples of 8, --judge one or more widths.")

    @property
    def grown(self) -> tuple[int, ...]:
        """The channels chosen, or the default of this size.

        It begins at 4 voxels a side or more, see `volumes.LEAST`.
        """
        fits = all(side % 16 == 0 and side >= 64 for side in self.known.shape[1:])
        return self.channels or ((128, 96, 64, 24) if fits else (128, 64, 24))


BASE = {
    "batch": 4, "images": 1_000_000, "precision": "auto", "rate": 5e-4, "warmup": 100, "schedule": "constant",
    "ema": 1_000, "shift": 4, "contrast": 0.2, "save_every": 1_000, "validate_every": 500, "sample_every": 1_000,
    "keep_best": 1,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": BASE,
    "gpu": {**BASE, "batch": 16, "precision": "bf16", "judge": (96, 160, 256),
            "ema": 10_000, "save_every": 10_000, "validate_every": 10_000, "sample_every": 20_000},
}  # fmt: skip


def train(config: GanConfig) -> Run:
    """One whole run."""
    run = Run(config, load(config.known, "train"))
    split, update, where = run.split, run.order.update, run.device
    shape = config.known.shape[1:]
    net = {
        **description(config, "gan"), "shape": list(shape), "channels": list(config.grown), "width": config.width,
        "directions": config.directions,
    }  # fmt: skip
    try:
        generator = build(net)
    except ValueError as error:
        raise MedgenError(f"--channels describe no network for {config.known.name}: {error}.") from error
    refuse_unset_gradients(run, generator.constant.shape[1:], "--channels")
    voxels, known = split.pixels(torch.arange(len(split.images))).cpu(), split.conditions.cpu()
    if config.mirrored:
        voxels, known = torch.cat([voxels, voxels.flip(2)]), known.repeat(2, 1)
    generator.learn_prior(voxels, known if known.any() else None)
    del voxels
    discriminator = VolumeDiscriminator(shape, config.judge)
    for name, network in (("generator", generator), ("discriminator", discriminator)):
        optimizer = torch.optim.Adam(network.parameters(), betas=(0.0, 0.99))
        run.track(name, network, optimizer, average=name == "generator")
    if config.checkpointing:
        recompute([generator.first, *generator.grow, *generator.refine, *discriminator.blocks])

    def judged(voxels: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        seen = varied(
            voxels, u, shift=config.shift, contrast=config.contrast, mirror=config.mirrored, cut=config.cut
        )  # fmt: skip
        with run.accelerator.autocast():
            logit, read = discriminator(seen)
        return logit, read

    def shown(told: Tensor, u: Tensor) -> Tensor:
        return told * (u[:, None] >= config.hidden)

    def misread(read: Tensor, told: Tensor) -> Tensor:
        """How far the quantity read is from the one told; 0 where nothing was."""
        return config.reads * (F.smooth_l1_loss(read, told[:, 0], reduction="none") * told[:, 1]).mean()

    sample, validate = samplers(run)
    for step in run.steps(sample, validate):
        random = run.random(step, "update")
        z = torch.randn(2 * update, config.width, generator=random, device=where)
        u = draws(3 * update, random, where)
        unseen = torch.rand(update, generator=random, device=where)
        logs: dict[str, Tensor] = {}

        # the discriminator learns to tell real from generated, and to read the quantity off real ones
        discriminator.requires_grad_(True)
        for batch in run.batches(step):
            told = shown(batch.conditions, unseen[batch.part])
            with torch.no_grad(), run.accelerator.autocast():
                fake = generator(z[:update][batch.part], told).float()
            real_logit, read = judged(batch.pixels, u[:update][batch.part])
            fake_logit, _ = judged(fake, u[update : 2 * update][batch.part])
            loss = F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()
            error = misread(read, batch.conditions)
            run.backward(loss + error)
            if config.r1 > 0 and step % config.r1_every == 0:
                run.backward(gradient_penalty(discriminator, batch.pixels) * (config.r1 / 2 * config.r1_every))
            new = {"discriminator": loss, "read": error, "sign": real_logit.sign().mean()}
            for name, value in new.items():
                logs[name] = logs.get(name, 0) + value.detach() / config.accumulate
        run.update("discriminator")

        # the generator learns to pass for real, and to show what it was asked for
        discriminator.requires_grad_(False)
        for batch in run.batches(step):
            told = shown(batch.conditions, unseen[batch.part])
            with run.accelerator.autocast():
                fake = generator(z[update:][batch.part], told)
            logit, read = judged(fake.float(), u[2 * update :][batch.part])
            loss, error = F.softplus(-logit).mean(), misread(read, told)
            run.backward(loss + error)
            for name, value in {"generator": loss, "missed": error}.items():
                logs[name] = logs.get(name, 0) + value.detach() / config.accumulate
        run.update("generator")
        run.log(**logs)

    if config.export and not config.dry_run and run.main and run.step > 0:
        export(
            run, "generator", net=net, sample=sample, title="GAN", paper="arXiv:1406.2661, arXiv:2006.10738",
            limits="No plain GAN: it starts from a Gaussian of the training volumes at half their size "
            f"({generator.directions} principal directions), and the adversarial network adds detail to that.",
        )  # fmt: skip
    return run


def gradient_penalty(discriminator: nn.Module, voxels: Tensor) -> Tensor:
    """R1: squared gradient of the real logits by their voxels (Mescheder 2018, arXiv:1801.04406), in float32."""
    voxels = voxels.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(voxels)[0].sum(), voxels, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3, 4)).mean()


def samplers(run: Run) -> tuple[Any, Any]:
    """Planes of volumes of fixed seeds from the averaged generator, and its distance to the validation split."""
    mean: Any = run.averages["generator"]
    held = load(run.config.known, "val")

    @torch.no_grad()
    def drawn(number: int, seed: int, told: Tensor) -> Tensor:
        random = torch.Generator("cpu").manual_seed(seed)
        normal = torch.randn(number, *mean.latent, generator=random).to(run.device)
        told = told.to(run.device)
        made = []
        for first in range(0, number, 4):
            with run.accelerator.autocast():
                made.append(mean(normal[first : first + 4], told[first : first + 4]).float().cpu())
        return torch.cat(made)

    def pictures() -> Tensor:
        return planes(drawn(12, 0, torch.zeros(12, 2)))

    def distance() -> float:
        """Each validation volume counts as often as it takes to compare a dozen."""
        index = torch.arange(len(held.images)).repeat(-(-12 // len(held.images)))
        real = held.pixels(index)
        return sliced_wasserstein(real=real, fake=drawn(len(real), 1, held.conditions[index]).clamp(-1.0, 1.0))

    return pictures, distance


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(GanConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.volume_gan", main))
