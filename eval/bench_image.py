"""Pictures of 128 x 128: diffusers' DDIM pipeline with 50 steps against our models, and what each of ours takes."""

from __future__ import annotations

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from torch import Tensor, nn

import medgen
from eval.bench_plain import network_of, sampler
from medgen import Request
from medgen.card import ModelCard
from medgen.turns import Contest, Way

TEACHER, STUDENT = "ddpm-cxr-128", "ect-cxr-128"
STEPS = 50
FAMILIES = ("gan", "diffusion")
BATCHES = (1, 4)


def image_128() -> Contest:
    """One picture. The stock network has random weights, and ours none for DDIM: only their time means something."""
    cards = medgen.cards()
    plain = network_of(cards[TEACHER])
    stock = f"diffusers DDIMPipeline, {STEPS} steps, its own network"
    ways: dict[str, Way] = {
        stock: _pipeline(),
        f"our network, {STEPS} DDIM steps in torch": _ddim(plain, cards[TEACHER]),
        f"{TEACHER}, {_how(cards[TEACHER])} in torch": sampler(cards[TEACHER], plain),
    }
    ratios, skipped = {}, {}
    for key, name in (("image_128_teacher", TEACHER), ("image_128_student", STUDENT)):
        if name in cards:
            ratios[key] = f"{name}, {_how(cards[name])}"
            ways[ratios[key]] = _ours(name, 1)
        else:
            skipped[key] = f"there is no {name} among the checkpoints; train and export it, then run this case again"
    # half of the evaluations; what that costs in quality is a row of the board
    ratios["image_128_unguided"] = f"{TEACHER}, {cards[TEACHER].steps} steps"
    ways[ratios["image_128_unguided"]] = _ours(TEACHER, 1, guidance=1.0)
    return Contest(ways, ratios, skipped, slow=frozenset({stock}))


def latency() -> Contest:
    """Every model of single pictures, one picture and four: seconds a call, no ratio."""
    names = [name for name, card in medgen.cards().items() if card.family in FAMILIES and not card.translates]
    return Contest({f"{name}, {n} at once": _ours(name, n) for name in names for n in BATCHES}, ratios={})


def stock_network() -> UNet2DModel:
    """About 10 million parameters at 128 px with attention at 32 x 32, the rest as diffusers has it."""
    return UNet2DModel(
        sample_size=128, in_channels=1, out_channels=1, block_out_channels=(64, 128, 192), layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=8,
    )  # fmt: skip


def _how(card: ModelCard) -> str:
    guided = card.guidance not in (None, 1.0)
    return f"{card.steps} steps" + (f", guidance {card.guidance:g}" if guided else "")


def _pipeline() -> Way:
    pipeline = DDIMPipeline(stock_network().eval(), DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)

    def run(seed: int) -> object:
        random = torch.Generator("cpu").manual_seed(seed)
        return pipeline(batch_size=1, generator=random, num_inference_steps=STEPS, output_type="np").images

    return run


def _ddim(network: nn.Module, card: ModelCard) -> Way:
    """Our network once a step, without guidance, as the stock one."""
    scheduler = DDIMScheduler()
    told = torch.zeros(1, len(card.net["conditions"]))

    def run(seed: int) -> Tensor:
        state = torch.randn(1, *card.shape, generator=torch.Generator("cpu").manual_seed(seed))
        scheduler.set_timesteps(STEPS)
        with torch.inference_mode():
            for step in scheduler.timesteps:
                state = scheduler.step(network(state, step / 1000.0 * torch.ones(1), told), step, state).prev_sample
        return state

    return run


def _ours(name: str, n: int, guidance: float | None = None) -> Way:
    model = medgen.load(name)
    label = model.card.labels[0] if model.card.labels else None

    def run(seed: int) -> object:
        return model.sample(Request(seeds=tuple(range(seed, seed + n)), label=label, guidance=guidance))

    return run
