"""Makes a model of one to four steps from a diffusion model: Easy Consistency Tuning (Geng 2024, arXiv:2406.14548).

python -m train.distill --init ddpm-cxr-128 --data kermany_cxr_128 --name ect-cxr-128 --export

| name here | name in the paper |
|---|---|
| sigma, lower | t, r: two noise levels on one path |
| stage | a: the levels come closer, 1 - r/t = n(t) / 2^a |

`--adversarial 1` adds a discriminator (`train/distill_game.py`), as consistency trajectory models have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medgen import consistency
from medgen.diffusion import build
from medgen.errors import MedgenError
from train import autoencoders, memory, warm
from train.config import ConditionalConfig, option, parse
from train.data import Split, hidden
from train.distill_game import Game
from train.export import export
from train.launch import start
from train.run import Run
from train.validate import sliced_wasserstein


@dataclass(frozen=True)
class DistillConfig(ConditionalConfig):
    """Options of a consistency model."""

    sigma_mean: float = option(-0.8, "mean of ln(sigma) while training")
    sigma_spread: float = option(1.6, "standard deviation of ln(sigma) while training")
    stages: int = option(4, "how often the two noise levels come closer by half")
    sharpness: float = option(8.0, "how much further apart they are near sigma 0; k in the paper")
    huber: float = option(0.03, "where the loss turns from squares to distances, in units of one pixel; c in the paper")
    middle: tuple[float, ...] = option((3.0, 0.6), "highest and lowest noise level after the first step")
    adversarial: float = option(0.0, "share of the gradient that comes from a discriminator, in units of the rest")
    adversarial_alone: int = option(1_000, "images that the discriminator learns before the student hears it")
    sample_steps: int = option(2, "default steps of the exported model, and of the sample grids")

    def validated(self) -> None:
        """As every run, with a model to start from and steps that there are."""
        super().validated()
        self.at_least_one("stages", "sample_steps")
        if not self.init:
            raise MedgenError("--init must name the diffusion model of checkpoints/ to start from.")
        if len(self.middle) != 2 or not self.middle[0] >= self.middle[1] > 0:
            raise MedgenError("--middle must be two noise levels above 0, the higher first.")

    def sigmas(self, normal: Tensor) -> Tensor:
        """Noise levels of the training distribution: `(N,)` standard normal numbers -> `(N, 1, 1, 1)`."""
        return torch.exp(self.sigma_mean + self.sigma_spread * normal)[:, None, None, None]

    def lower(self, sigma: Tensor, done: float) -> Tensor:
        """The lower noise level of each pair, equations 11 and 12; 0 where it would be negative.

        Args:
            sigma: the higher.
            done: fraction of the run, 0 to 1.
        """
        stage = 1 + min(int(done * self.stages), self.stages - 1)
        apart = (1.0 + self.sharpness * torch.sigmoid(-sigma)) / 2.0**stage
        return sigma * (1.0 - apart).clamp(min=0.0)


PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {"clip": 1.0, "batch": 16, "images": 16_000, "rate": 2e-4, "warmup": 500, "ema": 2_000,
               "precision": "auto", "validate_every": 4_000, "sample_every": 4_000, "save_every": 4_000},
    "gpu": {"clip": 1.0, "batch": 256, "images": 2_000_000, "rate": 2e-4, "warmup": 20_000, "ema": 50_000, "stages": 8,
            "precision": "bf16", "validate_every": 200_000, "sample_every": 200_000, "save_every": 200_000},
}  # fmt: skip


def train(config: DistillConfig) -> Run:
    """One whole run."""
    inner = autoencoders.chosen(config)
    run = Run(config, autoencoders.split(config, "train", inner, None))
    split, update, where = run.split, run.order.update, run.device
    groups, dropouts = split.attributes, (config.label_dropout, config.attribute_dropout)
    old = warm.ancestor(run, "diffusion")
    assert old is not None  # --init is a must
    net = {
        **old.net, "conditions": list(split.columns), "sampler": consistency.NAME, "middle": list(config.middle),
        **({} if inner is None else {"autoencoder": inner.net}),
    }  # fmt: skip
    network = build(net)
    autoencoders.plant(network, inner)
    warm.start_from(network, old, split.columns, run)
    optimizer = torch.optim.AdamW(autoencoders.trainable(network), weight_decay=0.0, fused=True)
    run.track("network", network, optimizer, average=True)
    sigmas = consistency.sigmas(config.sample_steps, network.levels.sigma_max, config.middle)
    game = None
    if config.adversarial > 0:
        game = Game.begin(run, config.adversarial, config.adversarial_alone, sigmas, pixels=inner is None)
    last = network.unet.conv_out.weight
    scheduler: Any = network.scheduler()

    def answer(noisy: Tensor, sigma: Tensor, told: Tensor) -> Tensor:
        """The clean picture at the end of the path through `noisy`."""
        with run.accelerator.autocast():
            scaled = scheduler.precondition_inputs(noisy, sigma)
            output = network(scaled, scheduler.precondition_noise(sigma.flatten()), told)
        return scheduler.precondition_outputs(noisy, output.float(), sigma)

    sample, validate = samplers(run, autoencoders.split(config, "val", inner, split.columns), sigmas)
    for step in run.steps(sample, validate):
        random = run.random(step, "noise")
        noise = torch.randn(update, *split.images.shape[1:], generator=random, device=where)
        sigma = config.sigmas(torch.randn(update, generator=random, device=where))
        lower = config.lower(sigma, step / run.total)
        u = torch.rand(update, 1 + len(groups), generator=random, device=where)
        total = torch.zeros((), device=where)
        logs: dict[str, Tensor] = {}
        for batch in run.batches(step):
            part, clean = batch.part, batch.pixels
            told = hidden(batch.conditions, groups, u[part], *dropouts)
            with torch.no_grad():
                nearer = answer(clean + lower[part].clamp(min=1e-3) * noise[part], lower[part].clamp(min=1e-3), told)
                nearer = torch.where(lower[part] > 0, nearer, clean)  # at sigma 0 the answer is the picture
            found = answer(clean + sigma[part] * noise[part], sigma[part], told)
            loss = huber(found - nearer, config.huber, sigma[part] - lower[part])
            total += loss.detach() / config.accumulate
            theirs = None if game is None else game.loss(answer, batch, told, step, loss, last, logs)
            run.backward(loss if theirs is None else loss + theirs)
        run.update("network")
        if game is not None:
            game.update(logs)
        run.log(loss=total, **logs)

    if config.export and not config.dry_run and run.main and run.step > 0:
        export(
            run, "network", family="diffusion", net=net, sample=sample, inner=inner, old=old,
            title="Consistency (ECT)" if game is None else "Consistency, adversarial",
            controls=("steps", "guidance", "towards"), steps=config.sample_steps, guidance=1.0,
            paper="arXiv:2406.14548, arXiv:2303.01469" + ("" if game is None else ", arXiv:2310.02279"),
        )  # fmt: skip
    return run


def huber(difference: Tensor, unit: float, apart: Tensor) -> Tensor:
    """The pseudo-Huber distance of each picture over how far apart its noise levels are, equation 9.

    Args:
        difference: `(N, C, H, W)`.
        unit: c for a picture of one pixel.
        apart: `(N, 1, 1, 1)`, t - r.
    """
    pixels = difference[0].numel()
    c = unit * pixels**0.5
    distance = (difference.square().sum(dim=(1, 2, 3)) + c**2).sqrt() - c
    return (distance / apart.flatten()).mean() / pixels**0.5


def samplers(run: Run, validation: Split, sigmas: Sequence[float]) -> tuple[Any, Any]:
    """Fixed-seed pictures of the averaged network, and their distance to the validation split."""
    mean: Any = run.averages["network"]
    split = run.split

    @torch.no_grad()
    def pictures(number: int = 36, seed: int = 0) -> Tensor:
        random = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn(number, len(sigmas), *split.images.shape[1:], generator=random).to(run.device)
        told = split.conditions[torch.randint(len(split.images), (number,), generator=random).to(run.device)]
        parts = []
        for part in torch.arange(number).split(32):

            def predict(scaled: Tensor, level: float, part: Tensor = part) -> Tensor:
                return mean(scaled, torch.full((len(part),), level, device=run.device), told[part])

            parts.append(consistency.answer(mean.levels, noise[part], sigmas, predict))
        return autoencoders.pictures(mean, torch.cat(parts))

    def distance() -> float:
        real = validation.pixels(torch.arange(min(len(validation.images), 256)))
        return sliced_wasserstein(real=autoencoders.pictures(mean, real), fake=pictures(len(real), seed=1))

    return pictures, distance


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(DistillConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.distill", main))
