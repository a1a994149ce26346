"""What `eval.hallucination` is asked to measure: one translator, one split, so many lesions, samples and slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from eval import fakes
from eval.features import content_hash
from eval.hallucination_file import file_name
from eval.translation_slices import levels
from medgen import data
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator, Request
from medgen.image import ImageSet
from medgen.paired import FIELD_OF_VIEW_MM, PAIRED, PairedSet, entry, paired

FULL = {"lesions": 200, "samples": 8, "repeated": 50, "slices": 120}
"""What a published number needs, at least."""
_STOCHASTIC = ("diffusion",)


@dataclass(frozen=True)
class Task:
    """One translator and how it is to be asked.

    Args:
        model: any translator.
        split: of the pairs, "test" or "val".
        lesions: inserted, one a slice.
        samples: k, of a model that answers differently to other seeds.
        repeated: lesions that such a model is asked k times.
        slices: of real pairs, for invention and disagreement; spread evenly over patients, rounded up.
        steps: None = the card's.
        progress: bars on stderr.
    """

    model: Generator
    split: str = "test"
    lesions: int = FULL["lesions"]
    samples: int = FULL["samples"]
    repeated: int = FULL["repeated"]
    slices: int = FULL["slices"]
    steps: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        card = self.model.card
        if not card.translates or self.data not in PAIRED:
            raise MedgenError(f"{card.name} is no translator of known pairs, so it has nothing to keep or to invent.")
        if self.direction not in entry(self.data).directions:
            raise MedgenError(f"{card.name} goes {self.direction}, for which {self.data} has no pairs.")
        if self.samples < 2:
            raise MedgenError("Samples that may disagree are at least 2; ask for more --samples.")

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        return self.model.card

    @property
    def data(self) -> str:
        """Key of `PAIRED`: the first data set of the card that has pairs."""
        names = (self.card.data or "").split("+")
        return next((name for name in names if name in PAIRED), names[0])

    @property
    def direction(self) -> str:
        """A word pair such as "t1-t2"."""
        return str(self.card.translates.get("direction"))

    @property
    def stochastic(self) -> bool:
        """Whether another seed gives another picture."""
        return self.card.net.get("method") in _STOCHASTIC

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Of a pixel, down and to the right."""
        height, width = self.card.shape[-2:]
        return FIELD_OF_VIEW_MM / height, FIELD_OF_VIEW_MM / width

    def pairs(self) -> PairedSet:
        """All pairs of the split, in the direction of the model."""
        return _pairs(data.data_dir(), self.data, self.split, self.direction)

    def images(self, sources: ImageSet, seeds: Sequence[int]) -> ImageSet:
        """What the model makes of N sources with N seeds.

        Raises:
            MedgenError: the model cannot answer, or made something that is no number.
        """
        like = Request(seeds=(), steps=self.steps)
        made = fakes.sample(self.model, seeds, [None] * len(seeds), like, sources=sources, progress=self.progress)
        if not np.isfinite(made.pixels).all():
            raise MedgenError(f"{self.card.name} made pixels that are no numbers; use another checkpoint.")
        return made

    def translated(self, sources: ImageSet, seeds: Sequence[int]) -> np.ndarray:
        """The same as `(N, H, W)` in grey levels or HU."""
        return levels(self.images(sources, seeds))[0]

    def asked(self) -> dict[str, Any]:
        """What all parts have in common, as a file states it."""
        pairs = self.pairs()
        return {
            "data": self.data,
            "direction": self.direction,
            "split": self.split,
            "unit": self.card.unit,
            "steps": self.card.steps if self.steps is None else self.steps,
            "pairs_sha256": [content_hash(pairs.source), content_hash(pairs.target)],
        }

    def file(self) -> str:
        """Name of the file of the results: a quick look never replaces the published numbers."""
        full = all(getattr(self, name) >= least for name, least in FULL.items())
        return file_name(self.split, self.lesions, full and self.steps is None)


@lru_cache(maxsize=1)
def _pairs(root: Path | None, name: str, split: str, direction: str) -> PairedSet:
    """Kept between the parts and models of one run; `root` tells data of another folder apart."""
    pairs = paired(name, split)
    return pairs if direction == entry(name).directions[0] else pairs.swapped()


def spread_over_patients(subjects: Sequence[str], n: int) -> np.ndarray:
    """About `n` places, as many of each patient as they have, evenly along each patient's slices; at least one each."""
    people = np.asarray(subjects)
    names = list(dict.fromkeys(subjects))
    each = -(-n // len(names))
    chosen = []
    for one in names:
        own = np.flatnonzero(people == one)
        chosen.append(own[np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int))])
    return np.concatenate(chosen)
