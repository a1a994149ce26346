"""Trains the autoencoder of the latent models (Rombach 2022, arXiv:2112.10752); each term of its loss can be left out.

python -m train.latent --name ae-cxr-8
python -m train.diffusion --preset latent --autoencoder ae-cxr-8 --name ldm-cxr-128 --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen import provenance
from medgen.autoencoder import FACTOR, build
from medgen.errors import MedgenError
from medgen.perceptual import Perceptual
from train import autoencoders, memory
from train.adversarial import share_of
from train.config import Config, option, parse
from train.data import Split
from train.discriminators import PatchDiscriminator
from train.launch import start
from train.run import Run, hardware


@dataclass(frozen=True)
class AutoencoderConfig(Config):
    """Options of an autoencoder. A weight of 0 leaves its term out."""

    init: str = option("", "a run of train.latent, or a latent model of checkpoints/, whose weights to start from")
    freeze_encoder: bool = option(False, "with --init: only the decoder learns; models on its latents stay valid")
    crop: int = option(128, "height and width of what it sees; larger pictures are cut into five such squares")
    latent_channels: int = option(4, "numbers kept of each 8x8 pixels")
    channels: tuple[int, ...] = option((80, 128), "at 1/4 and 1/8 of the size")
    last: int = option(48, "channels at half the size, in the decoder")
    blocks: int = option(2, "residual blocks a level")
    kl: float = option(1e-6, "weight of the distance of the latents to a standard normal")
    perceptual: float = option(1.0, "weight of LPIPS")
    edge: float = option(0.5, "weight of the difference of the gradients (Sobel), which keeps edges")
    adversarial: float = option(0.2, "weight of the patch discriminator, as a share of the gradient of the rest")
    adversarial_from: int = option(20_000, "images after which the discriminator starts to learn")
    adversarial_alone: int = option(3_000, "images it learns before the autoencoder hears it")

    def validated(self) -> None:
        """As every run, and a size that the encoder can halve."""
        super().validated()
        self.at_least_one("latent_channels", "last", "blocks", "crop")
        if self.crop % FACTOR or len(self.channels) != 2 or any(width % 8 for width in (*self.channels, self.last)):
            raise MedgenError("--crop must be a multiple of 8, --channels two multiples of 8, --last a multiple of 8.")
        if self.freeze_encoder and not self.init:
            raise MedgenError("--freeze-encoder needs --init: an encoder that has learned nothing is no use frozen.")


BASE = {"schedule": "cosine", "clip": 1.0, "data": ("kermany_cxr_128", "nih_cxr_128", "kermany_cxr_256")}
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**BASE, "batch": 16, "images": 100_000, "precision": "auto", "rate": 4e-4, "ema": 3_000},
    "gpu": {**BASE, "batch": 64, "images": 2_000_000, "precision": "bf16", "rate": 4e-4, "ema": 20_000,
            "channels": (128, 256), "last": 64, "adversarial_from": 400_000},
}  # fmt: skip


def edges(pixels: Tensor) -> Tensor:
    """`(N, 1, H, W)` -> `(N, 2, H-2, W-2)`: Sobel gradients along both axes, in grey levels a pixel."""
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=pixels.device) / 8.0
    return F.conv2d(pixels, torch.stack([sobel, sobel.T])[:, None])


def train(config: AutoencoderConfig) -> Run:
    """One whole run."""
    run = Run(config, Split.load(config.data, "train", crop=config.crop))
    update, where = run.order.update, run.device
    net = {"latent_channels": config.latent_channels, "channels": list(config.channels), "last": config.last}
    net |= {"blocks": config.blocks}
    old = autoencoders.read(config.init) if config.init else None
    if old is not None:
        net = old.net
    network = build(net)
    if old is not None:
        network.load_state_dict(old.network.state_dict())
    if config.freeze_encoder:
        network.encoder.requires_grad_(False)
    perceptual = Perceptual().to(where) if config.perceptual > 0 else None
    optimizer = torch.optim.Adam(autoencoders.trainable(network), betas=(0.5, 0.99))
    run.track("network", network, optimizer, average=True)
    discriminator = PatchDiscriminator() if config.adversarial > 0 else None
    if discriminator is not None:
        betas = (0.5, 0.99)
        run.track("discriminator", discriminator, torch.optim.Adam(discriminator.parameters(), betas=betas))

    def reconstruction(pixels: Tensor, decoded: Tensor) -> dict[str, Tensor]:
        terms = {"l1": (decoded - pixels).abs().mean()}
        if perceptual is not None:
            with run.accelerator.autocast():
                terms["perceptual"] = config.perceptual * perceptual(decoded, pixels).mean()
        if config.edge > 0:
            terms["edge"] = config.edge * (edges(decoded) - edges(pixels)).abs().mean()
        return terms

    last = network.decoder[-1].weight
    sample, validate = samplers(run, reconstruction)
    for step in run.steps(sample, validate):
        judged = discriminator is not None and run.seen >= config.adversarial_from
        heard = judged and run.seen >= config.adversarial_from + config.adversarial_alone
        noise = run.random(step, "latent")
        z = torch.randn(update, config.latent_channels, *(2 * [config.crop // FACTOR]), generator=noise, device=where)
        logs: dict[str, Tensor] = {}
        for batch in run.batches(step):
            with run.accelerator.autocast():
                mean, logvar = network.gaussian(batch.pixels)
                decoded = network.decoder(mean + (0.5 * logvar).exp() * z[batch.part])
            decoded = decoded.float()
            terms = reconstruction(batch.pixels, decoded)
            rest = sum(terms.values())
            terms["kl"] = config.kl * 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(dim=(1, 2, 3)).mean()
            loss = rest + terms["kl"]
            if heard:
                loss = loss + adversarial(run, discriminator, rest, decoded, last, config.adversarial)
            run.backward(loss)
            if judged:
                run.backward(discrimination(run, discriminator, batch.pixels, decoded.detach(), logs))
            for name, value in terms.items():
                logs[name] = logs.get(name, 0) + value.detach() / config.accumulate
        run.update("network")
        if judged:
            run.update("discriminator")
        elif discriminator is not None:
            logs |= {"real": torch.zeros((), device=where), "fake": torch.zeros((), device=where)}
        run.log(**logs)

    if not config.dry_run and run.main and run.step > 0:
        finish(run, net, old)
    return run


@torch.no_grad()
def finish(run: Run, net: dict[str, Any], old: autoencoders.Trained | None) -> None:
    """Writes the best averaged weights, with the scale of the latents, where `train.autoencoders` finds them.

    A frozen encoder keeps its scale.
    """
    network: Any = run.averages["network"]
    tensors, chosen = run.best_weights()
    network.load_state_dict({name.removeprefix("network/"): value for name, value in tensors.items()})
    if not run.config.freeze_encoder:
        seen = torch.arange(0, len(run.split.images), 4).split(64)
        network.learn_scale(torch.cat([network.gaussian(run.split.pixels(part))[0] for part in seen]))
    terms = {name: getattr(run.config, name) for name in ("kl", "perceptual", "edge", "adversarial")}
    facts = {
        **({} if old is None else {"started_from": old.facts, "frozen_encoder": run.config.freeze_encoder}),
        "name": run.config.name, "data": list(run.config.data), "images_seen": run.seen, **chosen,
        "seconds": round(run.seconds), "hardware": hardware(run.device), "weights_of_the_loss": terms,
        "parameters": sum(p.numel() for p in network.parameters()), "commit": provenance.commit(),
        "validation": quality(network, Split.load(run.config.data, "val", crop=run.config.crop), run.device),
    }  # fmt: skip
    autoencoders.write(run.folder, network.state_dict(), net, facts)


@torch.no_grad()
def quality(network: Any, split: Split, device: torch.device) -> dict[str, float]:
    """How well pictures come back: L1 and PSNR in [-1, 1], edges, and LPIPS where its weights are installed.

    Every loss is stated for every autoencoder, whichever it was trained with: that is what an ablation compares.
    """
    try:
        perceptual = Perceptual().to(device)
    except MedgenError:
        perceptual = None
    sums: dict[str, float] = {}
    for part in torch.arange(len(split.images)).split(32):
        pixels = split.pixels(part).to(device)
        again = network.decode(network.encode(pixels)).clamp(-1.0, 1.0)
        error = again - pixels
        found = {
            "l1": error.abs().mean(),
            "psnr_db": (10.0 * torch.log10(4.0 / error.square().mean(dim=(1, 2, 3)))).mean(),
            "edge": (edges(again) - edges(pixels)).abs().mean(),
            **({} if perceptual is None else {"lpips": perceptual(again, pixels).mean()}),
        }
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(part)
    return {"n": len(split.images), **{name: round(value / len(split.images), 5) for name, value in sums.items()}}


def adversarial(
    run: Run, discriminator: nn.Module, rest: Tensor, decoded: Tensor, last: Tensor, weight: float
) -> Tensor:
    """The decoder's share of the game, scaled to `weight` times the gradient of the other terms."""
    discriminator.requires_grad_(False)
    with run.accelerator.autocast():
        score = -discriminator(decoded).float().mean()
    discriminator.requires_grad_(True)
    return share_of(rest, score, last, weight)


def discrimination(run: Run, discriminator: nn.Module, real: Tensor, fake: Tensor, logs: dict[str, Tensor]) -> Tensor:
    """The discriminator's hinge loss."""
    with run.accelerator.autocast():
        real_score, fake_score = discriminator(real).float(), discriminator(fake).float()
    for name, value in (("real", real_score), ("fake", fake_score)):
        logs[name] = logs.get(name, 0) + value.detach().mean() / run.config.accumulate
    return F.relu(1.0 - real_score).mean() + F.relu(1.0 + fake_score).mean()


def samplers(run: Run, reconstruction: Any) -> tuple[Any, Any]:
    """Fixed validation pictures above their reconstructions, and the reconstruction loss of the validation split."""
    mean: Any = run.averages["network"]
    validation = Split.load(run.config.data, "val", crop=run.config.crop)

    @torch.no_grad()
    def decoded(index: Tensor) -> tuple[Tensor, Tensor]:
        pixels = validation.pixels(index).to(run.device)
        with run.accelerator.autocast():
            return pixels, mean.decode(mean.encode(pixels)).float()

    def pictures() -> Tensor:
        pixels, again = decoded(torch.arange(0, len(validation.images), max(1, len(validation.images) // 18))[:18])
        rows = [torch.cat(pair) for pair in zip(pixels.split(6), again.split(6), strict=True)]
        return torch.cat(rows).cpu()

    def loss() -> float:
        values = []
        every = torch.arange(0, len(validation.images), 2)
        for part in every.split(32):
            pixels, again = decoded(part)
            with torch.no_grad():
                values.append(sum(reconstruction(pixels, again).values()) * len(part) / len(every))
        return float(torch.stack(values).sum())

    return pictures, loss


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(AutoencoderConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.latent", main))
