"""What `eval.pathology` is asked to measure: one model, one split, so many pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eval.pathology_file import file_name
from medgen.card import ModelCard
from medgen.catalogue import DATASETS
from medgen.generator import Generator, Request

INCEPTION = "inception-v3-2048"
FULL = {"n": 500, "seeds": 100, "region_n": 100}
"""Pictures a published number needs: of each label with and without, of a severity curve, each way of repainting."""


@dataclass(frozen=True)
class Task:
    """One model and how it is to be asked.

    Args:
        model: any generator.
        split: of the real images, "test" or "val".
        n: generated images with and without each label, at least.
        seeds: of each severity curve.
        region_n: real images repainted each way, at most.
        sweep_n: generated images for each guidance; None = as many as the protocol has real ones.
        guidance: None = the card's.
        steps: None = the card's.
        extractor: name of the feature space of the sweep.
        repeats: halves for an interval of FID and KID.
        progress: bars on stderr.
    """

    model: Generator
    split: str = "test"
    n: int = FULL["n"]
    seeds: int = FULL["seeds"]
    region_n: int = FULL["region_n"]
    sweep_n: int | None = None
    guidance: float | None = None
    steps: int | None = None
    extractor: str = INCEPTION
    repeats: int = 200
    progress: bool = False

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        return self.model.card

    def like(self) -> Request:
        """What every request has, without seeds and label."""
        return Request(seeds=(), guidance=self.guidance, steps=self.steps)

    def asked(self) -> dict[str, Any]:
        """Split, guidance and steps as a file states them, with the card's defaults filled in."""
        card = self.card
        return {
            "split": self.split,
            "guidance": card.guidance if self.guidance is None else self.guidance,
            "steps": card.steps if self.steps is None else self.steps,
        }

    def file(self) -> str:
        """Name of the file of the results: a quick look never replaces the published numbers."""
        full = all(getattr(self, name) >= least for name, least in FULL.items())
        full = full and self.sweep_n is None and self.extractor == INCEPTION
        # the page asks as the card does
        full = full and self.guidance is None and self.steps is None
        return file_name(self.split, self.n, full)

    def cohorts(self) -> dict[str, tuple[str, ...]]:
        """Data set -> the labels of the card that belong to it, in the order of the training data.

        A label of several data sets counts for the first.
        """
        left, found = list(self.card.labels), {}
        for name in (self.card.data or "").split("+"):
            own = tuple(word for word in left if name in DATASETS and word in DATASETS[name].labels)
            left = [word for word in left if word not in own]
            if own:
                found[name] = own
        return found
