"""Trains CycleGAN (Zhu 2017, arXiv:1703.10593): both directions at once, from slices of which no two belong together.

python -m train.cyclegan --name cyclegan-t1-flair-128 --back cyclegan-flair-t1-128 --data brain_t1_flair_128 --export
python -m train.cyclegan --name cyclegan-mr-ct-256 --back cyclegan-ct-mr-256 --data head_mr_ct_256 --real-heads --export
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medgen import heads
from medgen.errors import MedgenError
from medgen.translator import build
from train import memory, translator_export
from train.config import option, parse
from train.data import Order, Split
from train.discriminators import PatchDiscriminator
from train.launch import start
from train.pairs import DRAWS, PairConfig, augmented, load, samplers, tensor
from train.run import Run

POOL = 50
"""Earlier translations that the discriminators are shown again (arXiv:1612.07828)."""


@dataclass(frozen=True)
class CycleConfig(PairConfig):
    """Options of CycleGAN."""

    back: str = option("", "name of the exported model of the way back")
    fold: int = option(2, "pixels folded into channels at both ends")
    width: int = option(48, "channels of the generators at the entrance")
    blocks: int = option(6, "residual blocks")
    skip: bool = option(True, "the generators add to their input, so that they start as a perfect cycle")
    cycle: float = option(10.0, "weight of the way there and back, seen from the source")
    cycle_back: float = option(10.0, "the same, seen from the target")
    identity: float = option(2.0, "weight of leaving alone what is of the right contrast already")
    real_heads: bool = option(False, "head_mr_ct_256: add real MR and CT of different people (medgen.heads)")

    def validated(self) -> None:
        """As every run of a translator, with a name for the way back."""
        super().validated()
        self.at_least_one("fold", "width", "blocks")
        if self.export and not self.back:
            raise MedgenError("--export needs --back, the name of the model of the way back.")
        if self.pairs.size % (2 * self.fold):
            raise MedgenError(f"With this --fold the size must be a multiple of {2 * self.fold} pixels.")
        if self.real_heads and self.pairs.target != "ct":
            raise MedgenError("--real-heads is for MR and CT: --data head_mr_ct_256.")


BASE = {
    "rate": 2e-4, "warmup": 0, "schedule": "constant", "ema": 1_000, "validate_every": 1_000, "sample_every": 1_000,
    "save_every": 1_000,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "laptop": {**BASE, "batch": 2, "images": 6_000},
    "gpu": {**BASE, "batch": 8, "images": 300_000, "precision": "bf16", "ema": 10_000, "blocks": 9, "width": 64,
            "validate_every": 10_000, "sample_every": 20_000, "save_every": 20_000},
}  # fmt: skip


def domains(config: CycleConfig) -> tuple[Split, Split]:
    """The pictures of the source contrast and those of the target contrast, each a split of its own."""
    pairs = load(config, "train")
    sides = [replace(pairs, images=pairs.images[:, i : i + 1]) for i in (0, 1)]
    if config.real_heads:
        real = {"mr": heads.mr_slices("train"), "ct": heads.ct_slices("train")}
        for i, word in enumerate(config.way.split("-")):
            images = torch.cat([sides[i].images, tensor(real[word])])
            sides[i] = replace(sides[i], images=images, conditions=torch.zeros(len(images), 0))
    return sides[0], sides[1]


class Pool:
    """The last `POOL` translations, as part of the run's saved state; half of what is shown comes from it."""

    def __init__(self, run: Run, name: str, size: int) -> None:
        self.pictures = torch.zeros(POOL, 1, size, size, device=run.device)
        self.count = torch.zeros((), dtype=torch.int64, device=run.device)
        run.extra |= {f"{name} pictures": self.pictures, f"{name} count": self.count}

    def exchange(self, made: Tensor, u: Tensor) -> Tensor:
        """What the discriminator is shown instead of `made`; `u`: `(N, 2)` uniform in [0, 1)."""
        shown = made.clone()
        for i in range(len(made)):
            filled = int(self.count)
            if filled < POOL:
                self.pictures[filled] = made[i]
                self.count += 1
            elif u[i, 0] < 0.5:
                place = int(u[i, 1] * POOL)
                shown[i] = self.pictures[place]
                self.pictures[place] = made[i]
        return shown


class Both(nn.Module):
    """Two networks that one optimiser moves."""

    def __init__(self, there: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.there, self.back = there, back

    def forward(self, pictures: Tensor) -> Tensor:
        """The way there, which is what validation looks at."""
        out: Tensor = self.there(pictures)
        return out


def train(config: CycleConfig) -> Run:
    """One whole run."""
    here, there = domains(config)
    run = Run(config, here)
    others = there.to(run.device)
    order = Order(len(others.images), config.batch, config.accumulate, run.accelerator.num_processes, config.seed + 1)
    net: dict[str, Any] = {"method": "cyclegan", "fold": config.fold, "width": config.width, "blocks": config.blocks}
    net["skip"] = config.skip
    generators = Both(build(net), build(net))
    judges = Both(PatchDiscriminator(), PatchDiscriminator())
    for name, module in (("generators", generators), ("judges", judges)):
        optimizer = torch.optim.Adam(module.parameters(), betas=(0.5, 0.999))
        run.track(name, module, optimizer, average=name == "generators")
    pools = [Pool(run, name, config.pairs.size) for name in ("there", "back")]
    sample, validate = samplers(run, "generators", load(config, "val"), adversarial=True)
    for step in run.steps(sample, validate):
        u = torch.rand(order.update, 2 * DRAWS + 4, generator=run.random(step, "augmentation"), device=run.device)
        logs: dict[str, Tensor] = {}
        seconds = order.batches(others, step, run.accelerator.process_index)
        for batch, second in zip(run.batches(step), seconds, strict=True):
            draws = u[batch.part]
            a = augmented(batch.pixels.float(), draws[:, :DRAWS], config)
            b = augmented(second.pixels.float(), draws[:, DRAWS : 2 * DRAWS], replace(config, tone=0.0))
            made_b, made_a, terms = there_and_back(run, generators, judges, a, b, config)
            run.backward(torch.stack(list(terms.values())).sum())
            shown_b = pools[0].exchange(made_b.detach(), draws[:, -4:-2])
            shown_a = pools[1].exchange(made_a.detach(), draws[:, -2:])
            judged = judgement(run, judges, (b, shown_b), (a, shown_a))
            run.backward(0.5 * judged)
            for name, value in (*terms.items(), ("judges", judged)):
                logs[name] = logs.get(name, 0) + value.detach() / config.accumulate
        run.update("generators")
        run.update("judges")
        run.log(**logs)
    if config.export and not config.dry_run and run.main and run.step > 0:
        export(run, config, net, sample)
    return run


def judgement(run: Run, judges: Both, there: tuple[Tensor, Tensor], back: tuple[Tensor, Tensor]) -> Tensor:
    """The discriminators' loss (LSGAN, arXiv:1611.04076): 1 for real, 0 for translated; `there` is (real, shown)."""
    total = torch.zeros((), device=run.device)
    with run.accelerator.autocast():
        for judge, (real, shown) in ((judges.there, there), (judges.back, back)):
            total = total + (judge(real).float() - 1.0).square().mean() + judge(shown).float().square().mean()
    return total


def there_and_back(
    run: Run, generators: Both, judges: Both, a: Tensor, b: Tensor, config: CycleConfig
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """One pass of the generators: translations of `a` and of `b`, and the terms of their loss."""
    judges.requires_grad_(False)
    with run.accelerator.autocast():
        made_b, made_a = generators.there(a), generators.back(b)
        again_a, again_b = generators.back(made_b), generators.there(made_a)
        fooled = (judges.there(made_b).float() - 1.0).square().mean() + (
            judges.back(made_a).float() - 1.0
        ).square().mean()
        terms = {
            "fooled": fooled,
            "cycle": config.cycle * (again_a.float() - a).abs().mean(),
            "cycle_back": config.cycle_back * (again_b.float() - b).abs().mean(),
        }
        if config.identity > 0:
            same = (generators.there(b).float() - b).abs().mean() + (generators.back(a).float() - a).abs().mean()
            terms["identity"] = config.identity * same
    judges.requires_grad_(True)
    return made_b.float(), made_a.float(), terms


def export(run: Run, config: CycleConfig, net: dict[str, Any], sample: Any) -> None:
    """Both generators, a model each."""
    back = "-".join(reversed(config.way.split("-")))
    further, cited = (heads.TRAIN_LICENCES, heads.CITATION) if config.real_heads else ((), "")
    for module, name, way in (("there", config.name, config.way), ("back", config.back, back)):
        translator_export.export(
            run, "generators", inside=module, name=name, way=way, net=net, title="CycleGAN", sample=sample,
            paper="arXiv:1703.10593", further=further, cited=cited,
        )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    config = parse(CycleConfig, PRESETS, argv, __doc__ or "")
    memory.fitting(config, lambda batch, accumulate: train(replace(config, batch=batch, accumulate=accumulate)))
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.cyclegan", main))
