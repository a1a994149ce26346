"""Diffusion models: a picture is denoised in a few steps from pure noise.

`train/diffusion.py` trains what this file samples. The network (`medgen/diffusion_networks.py`) predicts in the frame
that `medgen/solver.py` describes, on pixels folded into channels (pixel-unshuffle), which is what makes a step cheap on
a CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medgen import consistency, runtime
from medgen.card import ModelCard
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.inpaint import Held
from medgen.solver import PICTURES, guided, solve
from medgen.trained import Trained

if TYPE_CHECKING:
    from medgen.diffusion_networks import FoldedUNet

SIZE = 128
"""Height and width of what is denoised where the card names none."""


def build(net: dict[str, Any]) -> FoldedUNet:
    """The untrained network that `card.net` describes; its key `autoencoder` makes it work on latents.

    `sampler` and `middle` say how a consistency model is sampled, and nothing of the network.
    """
    from medgen import autoencoder
    from medgen.diffusion_networks import FoldedUNet

    options = {key: value for key, value in net.items() if key not in ("sampler", "middle")}
    inner = options.pop("autoencoder", None)
    network = FoldedUNet(**options)
    autoencoder.attach(network, inner)
    return network


def latent(net: dict[str, Any]) -> tuple[int, ...]:
    """Shape of what the network that `net` describes denoises."""
    side = net.get("size", SIZE)
    return (net.get("image_channels", 1), side, side)


class DiffusionSampler:
    """Draws from a trained diffusion model."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.trained = Trained(card, build)

    @property
    def network(self) -> Any:
        """The torch module; sampling may do without it."""
        return self.trained.network

    def predict(
        self, scaled: np.ndarray, noise_level: float, condition: np.ndarray, guidance: float | None
    ) -> np.ndarray:
        """Raw output of the network, guided."""
        levels = np.full(len(scaled), noise_level, np.float32)
        made: np.ndarray = guided(self.trained, scaled, levels, condition, guidance)
        return made

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Denoises all images of the request in lockstep; `preview()` shows them as the network now sees them."""
        request = request.checked(self.card)
        assert request.steps is not None
        few = self.card.net.get("sampler") == consistency.NAME
        held = Held.of(request, self.card, self.trained)
        shape = (*[request.steps] * few, *latent(self.card.net))
        noise = runtime.gaussian(shape, request.seeds, request.towards, request.mix)
        condition = runtime.conditions(self.card, request)

        def pictures(clean: np.ndarray) -> ImageSet:
            made = runtime.to_images(self.trained.to_pixels(clean), self.card, request)
            return made if held is None else held.join(made)

        def predict(scaled: np.ndarray, level: float) -> np.ndarray:
            return self.predict(scaled, level, condition, request.guidance)

        levels = PICTURES.of(self.card.net)
        if few:
            sigmas = consistency.sigmas(request.steps, levels.sigma_max, self.card.net["middle"])
            made = consistency.answer(levels, noise, sigmas, predict, on_step=on_step, shown=pictures)
        else:
            mend = None if held is None else held.fast
            made = solve(levels, noise, request.steps, predict, mend=mend, on_step=on_step, shown=pictures)
        return pictures(made)


def load(card: ModelCard) -> DiffusionSampler:
    """The trained diffusion model of `card`."""
    return DiffusionSampler(card)
