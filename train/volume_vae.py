"""Trains an autoencoder of volumes, then fits the Gaussian of its latents from which it draws (arXiv:1903.12436).

python -m train.volume_vae --data hippo_48 --name vae-hippo-48 --minutes 12 --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medgen.errors import MedgenError
from medgen.volume_models import build
from medgen.volume_networks import FACTOR
from train import memory
from train.checkpointing import recompute
from train.config import option, parse
from train.latent import adversarial, discrimination
from train.launch import start
from train.run import Run
from train.volume_discriminator import Judge
from train.volume_export import export
from train.volumes import VolumeConfig, cut_out, description, draws, load, planes, refuse_unset_gradients, varied


@dataclass(frozen=True)
class VaeConfig(VolumeConfig):
    """Options of an autoencoder of volumes. A weight of 0 leaves its term out."""

    latent_channels: int = option(4, "numbers kept of each 4x4x4 voxels")
    channels: tuple[int, ...] = option((48, 64), "at 1/2 and 1/4 of the size, multiples of 8")
    blocks: int = option(1, "residual blocks a level")
    directions: int = option(32, "principal directions of the latents that samples vary in")
    kl: float = option(1e-4, "weight of the distance of the latents to a standard normal, a number of the latent")
    edge: float = option(1.0, "weight of the difference of the gradients, which keeps edges")
    adversarial: float = option(0.15, "weight of the patch discriminator, as a share of the gradient of the rest")
    adversarial_from: int = option(1_000, "volumes after which the discriminator starts to learn")
    adversarial_alone: int = option(150, "volumes it learns before the autoencoder hears it")
    width: int = option(24, "channels of the patch discriminator, a multiple of 8")
    patch: int = option(0, "side in voxels of cubes, cut out of the volumes to learn from; 0 = whole volumes")

    def validated(self) -> None:
        """As every run of volumes, and widths that the normalisation divides."""
        super().validated()
        self.at_least_one("latent_channels", "blocks", "directions", "width")
        if len(self.channels) != 2 or any(width % 8 for width in self.channels):
            raise MedgenError("--channels must be two multiples of 8.")
        least = Judge.LEAST if self.adversarial > 0 else 2 * FACTOR
        if self.patch and (self.patch < least or self.patch % FACTOR):
            raise MedgenError(f"--patch must be 0 or a multiple of {FACTOR} of at least {least} voxels.")

    @property
    def seen(self) -> tuple[int, ...]:
        """Sides of the latent of what it learns from."""
        return tuple(min(side, self.patch // FACTOR) if self.patch else side for side in self.latent)


# constant rate and long averaging: a run may stop at any --minutes and be as good as its time allows
BASE = {
    "batch": 1, "images": 200_000, "precision": "auto", "rate": 1.2e-3, "warmup": 200, "schedule": "constant",
    "clip": 1.0, "ema": 2_000, "save_every": 400, "validate_every": 200, "sample_every": 400, "keep_best": 1,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": BASE,
    "gpu": {**BASE, "batch": 16, "images": 200_000, "precision": "bf16", "rate": 5e-4, "channels": (64, 128),
            "schedule": "cosine", "blocks": 2, "adversarial_from": 40_000, "adversarial_alone": 2_000,
            "ema": 10_000, "save_every": 5_000, "validate_every": 5_000, "sample_every": 20_000},
}  # fmt: skip


def gradients(voxels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences of neighbours along each axis of `(N, 1, X, Y, Z)`."""
    return voxels.diff(dim=2), voxels.diff(dim=3), voxels.diff(dim=4)


def reconstruction(config: VaeConfig, voxels: Tensor, decoded: Tensor) -> dict[str, Tensor]:
    """The terms of the loss that compare `decoded` with `voxels`."""
    terms = {"l1": (decoded - voxels).abs().mean()}
    if config.edge > 0:
        pairs = zip(gradients(decoded), gradients(voxels), strict=True)
        terms["edge"] = config.edge / 3.0 * sum((ours - theirs).abs().mean() for ours, theirs in pairs)
    return terms


def train(config: VaeConfig) -> Run:
    """One whole run."""
    run = Run(config, load(config.known, "train"))
    update, where = run.order.update, run.device
    refuse_unset_gradients(run, config.seen, "--patch and --data")
    latent = (config.latent_channels, *config.latent)
    net = {
        **description(config, "vae"), "latent": list(latent), "channels": list(config.channels),
        "blocks": config.blocks, "directions": config.directions,
    }  # fmt: skip
    network = build(net)
    coder = network.autoencoder
    # it starts as the mean grey, and alike in all voxels of a fold (arXiv:1707.02937): no checkerboard to unlearn
    out = coder.coder.decoder.blocks[-1].conv
    nn.init.constant_(out.bias, float(run.split.pixels(torch.arange(4)).mean()))
    out.weight.data.copy_(out.weight.data[:1].expand_as(out.weight))
    # nearly without noise in the latents: at unit variance, the decoder would first learn to ignore them
    spread = coder.coder.quant_conv_log_sigma.conv
    nn.init.zeros_(spread.weight)
    nn.init.constant_(spread.bias, -5.0)
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    run.track("network", network, torch.optim.Adam(weights, betas=(0.9, 0.99)), average=True)
    judge = Judge(config.width) if config.adversarial > 0 else None
    if judge is not None:
        run.track("discriminator", judge, torch.optim.Adam(judge.parameters(), betas=(0.5, 0.99)))
    if config.checkpointing:
        recompute([*coder.coder.encoder.blocks, *coder.coder.decoder.blocks])

    sample, validate = samplers(run)
    for step in run.steps(sample, validate):
        judged = judge is not None and run.seen >= config.adversarial_from
        heard = judged and run.seen >= config.adversarial_from + config.adversarial_alone
        u = draws(update, run.random(step, "variation"), where)
        z = torch.randn(update, latent[0], *config.seen, generator=run.random(step, "latent"), device=where)
        logs: dict[str, Tensor] = {}
        for batch in run.batches(step):
            seen = varied(
                batch.pixels, u[batch.part], shift=config.shift, contrast=config.contrast, mirror=config.mirrored
            )
            if config.patch:
                seen = cut_out(seen, u[batch.part, 5:8], config.patch)
            with run.accelerator.autocast():
                mean, logvar = coder.gaussian(seen)
                decoded = coder.decoded(mean + (0.5 * logvar).exp() * z[batch.part])
            decoded = decoded.float()
            terms = reconstruction(config, seen, decoded)
            rest = sum(terms.values())
            terms["kl"] = config.kl * 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
            loss = rest + terms["kl"]
            if heard:
                loss = loss + adversarial(run, judge, rest, decoded, out.weight, config.adversarial)
            run.backward(loss)
            if judged:
                run.backward(discrimination(run, judge, seen, decoded.detach(), logs))
            for name, value in terms.items():
                logs[name] = logs.get(name, 0) + value.detach() / config.accumulate
        run.update("network")
        if judged:
            run.update("discriminator")
        elif judge is not None:
            logs |= {"real": torch.zeros((), device=where), "fake": torch.zeros((), device=where)}
        run.log(**logs)

    if config.export and not config.dry_run and run.main and run.step > 0:
        export(
            run, "network", net=net, sample=lambda: drawn(run), title="Autoencoder (KL)", finish=fit_density,
            facts=lambda: {"validation": quality(run, "val")}, paper="arXiv:1312.6114, arXiv:1903.12436",
            limits="Its samples come from a Gaussian fitted to the latents of the training volumes "
            f"({config.directions} principal directions), which is blurrier than any of them.",
        )  # fmt: skip
    return run


@torch.no_grad()
def fit_density(run: Run) -> None:
    """Scale and Gaussian of the latents of the training volumes, and of their mirror images where these were seen."""
    network: Any = run.averages["network"]
    voxels = run.split.pixels(torch.arange(len(run.split.images), device=run.device))
    told = run.split.conditions
    if run.config.mirrored:
        voxels, told = torch.cat([voxels, voxels.flip(2)]), told.repeat(2, 1)
    network.autoencoder.learn_scale(torch.cat([network.autoencoder.gaussian(part)[0] for part in voxels.split(4)]))
    latents = torch.cat([network.autoencoder.encode(part) for part in voxels.split(4)])
    network.density.fit(latents, told if told.any() else None)


@torch.no_grad()
def quality(run: Run, split: str) -> dict[str, float]:
    """How well volumes of `split` come back: L1 and PSNR of [-1, 1]; volumes that nobody trained on."""
    coder: Any = run.averages["network"].autoencoder
    held = load(run.config.known, split)
    found = []
    for part in torch.arange(len(held.images)).split(4):
        voxels = held.pixels(part).to(run.device)
        error = coder.decode(coder.encode(voxels)).clamp(-1.0, 1.0) - voxels
        square = error.square().mean(dim=(1, 2, 3, 4))
        found.append(torch.stack([error.abs().mean(dim=(1, 2, 3, 4)), 10.0 * torch.log10(4.0 / square)], dim=1))
    l1, psnr = torch.cat(found).mean(dim=0).tolist()
    return {"n": len(held.images), "l1": round(l1, 5), "psnr_db": round(psnr, 3)}


@torch.no_grad()
def drawn(run: Run, number: int = 12) -> Tensor:
    """Three planes each of volumes of fixed seeds, asked for nothing."""
    network: Any = run.averages["network"]
    random = torch.Generator("cpu").manual_seed(0)
    normal = torch.randn(number, *network.latent, generator=random).to(run.device)
    made = [network(one, torch.zeros(len(one), 2, device=run.device)) for one in normal.split(4)]
    return planes(torch.cat(made).float().cpu())


def samplers(run: Run) -> tuple[Any, Any]:
    """Planes of validation volumes beside their reconstructions, and the reconstruction loss of the val split."""
    mean: Any = run.averages["network"].autoencoder
    held = load(run.config.known, "val")

    @torch.no_grad()
    def again(index: Tensor) -> tuple[Tensor, Tensor]:
        voxels = held.pixels(index).to(run.device)
        with run.accelerator.autocast():
            return voxels, mean.decoded(mean.gaussian(voxels)[0]).float()

    def pictures(rows: int = 6) -> Tensor:
        pairs = [torch.cat(again(torch.tensor([row % len(held.images)]))) for row in range(rows)]
        return planes(torch.cat(pairs).cpu())

    def loss() -> float:
        total = 0.0
        for part in torch.arange(len(held.images)).split(4):
            voxels, decoded = again(part)
            total += float(sum(reconstruction(run.config, voxels, decoded).values())) * len(part) / len(held.images)
        return total

    return pictures, loss


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(VaeConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.volume_vae", main))
