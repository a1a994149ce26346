"""The smallest family: the template to copy, and the fake the tests use. It makes honest noise and says so."""

from __future__ import annotations

import numpy as np

from medgen.card import ModelCard
from medgen.generator import OnStep, Request
from medgen.image import ImageSet


class NoiseGenerator:
    """Uniform noise over the card's window, one independent stream a seed."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Noise of the card's shape; `steps` only paces `on_step`, so that tests can stop a run."""
        request = request.checked(self.card)
        low, high = self.card.window
        # the labels shift the seed, so that a control visibly acts
        words = request.label.split("|") if request.label else []
        key = sum(2 ** self.card.labels.index(word) for word in words)

        def draw(seed: int) -> np.ndarray:
            return np.random.default_rng((seed, key)).uniform(low, high, self.card.shape)

        draws = [draw(seed) for seed in request.seeds]
        if request.towards is not None and request.mix is not None:
            draws = [(1.0 - request.mix) * start + request.mix * draw(request.towards) for start in draws]
        label = request.shows(self.card).get("label")
        labels = None if label is None else (label,) * len(request.seeds)
        images = ImageSet(
            np.stack(draws).astype(np.float32), self.card.modality, self.card.unit, self.card.window, labels=labels
        )
        total = request.steps or 1
        for done in range(total):
            if on_step is not None:
                on_step(done + 1, total, lambda: images)
        return images


def load(card: ModelCard) -> NoiseGenerator:
    """A generator for `card`; there are no weights to read."""
    return NoiseGenerator(card)
