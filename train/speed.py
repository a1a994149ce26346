"""How fast a diffusion model learns: one update of `train.diffusion` against one of diffusers' example, one network.

`python -m eval.bench training_speed` times it. Theirs is the loop of `train_unconditional.py` in its defaults (float32,
AdamW, gradients clipped at 1, EMAModel with warm-up) without its data loader: both sides find their pictures in memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from medgen.diffusion import build
from medgen.turns import Contest, Way
from train.data import Split
from train.diffusion import PRESETS, DiffusionConfig, loss_of, update
from train.run import Run

BATCH = 8
_IMAGES, _SIDE = 64, 128
_COLUMNS = ("label=normal", "label=pneumonia")
_STOCK = "diffusers' example, float32"


def training_speed() -> Contest:
    """In the precision that a run chooses for itself."""
    return _contest("training_speed", "auto")


def training_speed_float32() -> Contest:
    """What all but the precision saves."""
    return _contest("training_speed_float32", "no")


def _contest(key: str, precision: str) -> Contest:
    split = _pictures()
    run, ours = _ours(split, precision)
    name = f"train.diffusion, {'float32' if run.config.precision == 'no' else run.config.precision}"
    return Contest({_STOCK: _example(split), name: ours}, {key: name})


def _pictures() -> Split:
    """Grey noise: what a picture shows changes no time."""
    random = torch.Generator("cpu").manual_seed(0)
    images = torch.randint(256, (_IMAGES, 1, _SIDE, _SIDE), generator=random).to(torch.uint8)
    return Split(images, torch.eye(len(_COLUMNS))[torch.arange(_IMAGES) % len(_COLUMNS)], _COLUMNS, {})


def _network() -> torch.nn.Module:
    """That of the preset `laptop`, as `train.diffusion` builds it."""
    return build({"size": _SIDE, "fold": 4, "conditions": list(_COLUMNS)})


def _ours(split: Split, precision: str) -> tuple[Run, Way]:
    preset = {**PRESETS["laptop"], "batch": BATCH, "precision": precision}
    # nothing is written by a dry run, and its `steps` are not used here
    run = Run(DiffusionConfig(name="speed", cpu=True, dry_run=True, **preset), split)
    network = _network()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=True)
    run.track("network", network, optimizer, average=True)
    loss = loss_of(run, network.scheduler())

    def step(seed: int) -> object:
        made = update(run, network, loss, run.step)
        run.average()
        run.step += 1
        return made

    return run, step


def _example(split: Split) -> Way:
    network, scheduler = _network(), DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)

    def step(seed: int) -> object:
        chosen = torch.arange(seed * BATCH, (seed + 1) * BATCH) % _IMAGES
        clean = split.pixels(chosen)
        noise = torch.randn(clean.shape)
        timesteps = torch.randint(scheduler.config.num_train_timesteps, (BATCH,))
        noisy = scheduler.add_noise(clean, noise, timesteps)
        # our network takes the noise level where theirs takes the number of the step
        loss = F.mse_loss(network(noisy, timesteps / 1000.0, split.conditions[chosen]), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        return loss.item()

    return step
