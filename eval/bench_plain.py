"""Our diffusion models as somebody would run them who has torch and diffusers and none of our runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medgen import Request, weights
from medgen.card import ModelCard
from medgen.diffusion import build


def network_of(card: ModelCard) -> Any:
    """The trained network, in torch on the CPU."""
    network = build(card.net)
    weights.load_into(network, card)
    return network.eval()


def sampler(card: ModelCard, network: Any) -> Callable[[int], Tensor]:
    """Makes one picture `(1, C, H, W)` a seed with diffusers' scheduler, the card's steps, guidance and first label."""
    row = Request(seeds=(0,), label=card.labels[0]).condition(card.net["conditions"])
    told, guidance = torch.from_numpy(row)[None], card.guidance

    def predict(scaled: Tensor, level: Tensor) -> Tensor:
        with_label = network(scaled, level.expand(1), told)
        if guidance in (None, 1.0):
            return with_label
        without = network(scaled, level.expand(1), torch.zeros_like(told))
        return without + guidance * (with_label - without)

    def sample(seed: int) -> Tensor:
        scheduler = network.scheduler()
        scheduler.set_timesteps(card.steps)
        state = torch.randn(1, *card.shape, generator=torch.Generator("cpu").manual_seed(seed))
        state = state * scheduler.init_noise_sigma
        with torch.inference_mode():
            for level in scheduler.timesteps:
                output = predict(scheduler.scale_model_input(state, level), level)
                state = scheduler.step(output, level, state).prev_sample
        return state

    return sample
