"""What `eval.downstream` trains, written down before any number is known: studies, arms, sizes, seeds, settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from medgen.errors import MedgenError


@dataclass(frozen=True)
class Study:
    """One question to a classifier.

    Args:
        data: key of `medgen.data.DATASETS`.
        classes: what it has to tell apart, C words.
        rest: whether the last class stands for every label that is not the first.
        models: a GAN and a diffusion model of these data.
        groups: attribute -> its two groups, for the gaps; age is cut at `AGE_CUT`.
    """

    data: str
    classes: tuple[str, ...]
    rest: bool
    models: tuple[str, ...]
    groups: dict[str, tuple[str, str]]

    def truth(self, labels: Sequence[str]) -> np.ndarray:
        """`(N,)` int64, the class of each label.

        Raises:
            MedgenError: a label belongs to no class.
        """
        if self.rest:
            return np.array([int(label != self.classes[0]) for label in labels], np.int64)
        if odd := sorted(set(labels) - set(self.classes)):
            raise MedgenError(f"{odd[0]} is none of the classes {', '.join(self.classes)} of {self.data}.")
        return np.array([self.classes.index(label) for label in labels], np.int64)


AGE_CUT = 50
STUDIES: dict[str, Study] = {
    "kermany_cxr_128": Study(
        "kermany_cxr_128", ("normal", "bacterial_pneumonia", "viral_pneumonia"), False,
        ("stylegan2-cxr-128", "ddpm-cxr-128"), {},
    ),
    "nih_cxr_128": Study(
        "nih_cxr_128", ("No Finding", "any finding"), True, ("stylegan2-nih-128", "ldm-nih-128"),
        {"age": (f"under {AGE_CUT}", f"{AGE_CUT} and over"), "sex": ("F", "M"), "view": ("AP", "PA")},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    """One way to make a training set of N real images.

    Args:
        title: as a table calls it.
        real: whether the real images are in it.
        share: synthetic images for each real one; 0 = none.
        augmented: whether the images are moved and their contrast changed at random.
        apart: the synthetic images for the first half of the steps, then the real ones; else both mixed.
    """

    title: str
    real: bool = True
    share: float = 0.0
    augmented: bool = False
    apart: bool = False


ARMS: dict[str, Arm] = {
    "real": Arm("real only"),
    "augmented": Arm("real, classical augmentation", augmented=True),
    "synthetic": Arm("synthetic only", real=False, share=1.0),
    "real_50": Arm("real + 50 % synthetic", share=0.5),
    "real_100": Arm("real + 100 % synthetic", share=1.0),
    "real_200": Arm("real + 200 % synthetic", share=2.0),
    "pretrained": Arm("synthetic first, then real", share=1.0, apart=True),
}
BASE = "real"
"""The arm that every other is compared with, at equal N and seed."""
SIZES = ("100", "500", "all")
SEEDS = 5
POOL_LEAST = 1000
"""Synthetic images are drawn by seed from the first so many of a pool, or from the first N where N is more."""


@dataclass(frozen=True)
class Settings:
    """What all trainings share. The number of steps is the same for every arm and N.

    Otherwise an arm with more images would be trained longer, and might win by that alone. Nothing is stopped early,
    so no arm sees the val split.

    Args:
        side: height and width the pictures are averaged down to, in pixels.
        channels: of the four stages of the ResNet.
        steps: updates.
        batch: images an update.
        rate: highest learning rate of AdamW; it rises over a tenth of the steps, then falls to zero as a cosine.
        decay: weight decay.
        guidance: of the diffusion models; 1 = none, which costs half and gives more varied pictures.
    """

    side: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 128)
    steps: int = 500
    batch: int = 32
    rate: float = 1e-3
    decay: float = 0.05
    guidance: float = 1.0


SETTINGS = Settings()


@dataclass(frozen=True)
class Cell:
    """One training: an arm, whose pictures, how many real images, which seed."""

    arm: str
    model: str | None
    size: str
    seed: int

    @property
    def key(self) -> str:
        """What `--cells` matches, as real_100/stylegan2-cxr-128/500/0; "-" stands for no model."""
        return f"{self.arm}/{self.model or '-'}/{self.size}/{self.seed}"

    def synthetic(self, n: int) -> int:
        """Synthetic images beside `n` real ones."""
        return round(ARMS[self.arm].share * n)


def cells(models: Sequence[str], patterns: Sequence[str] = (), seeds: int = SEEDS) -> list[Cell]:
    """Every cell of a study that fits one of `patterns`; small N first, and seed by seed, so that arms grow together.

    Args:
        models: whose synthetic images.
        patterns: as the shell's, for `Cell.key`; none = all.
        seeds: how many.

    Raises:
        MedgenError: a pattern fits no cell.
    """
    found = [
        Cell(arm, model, size, seed)
        for size in SIZES
        for seed in range(seeds)
        for arm, kind in ARMS.items()
        for model in (models if kind.share else (None,))
    ]
    for pattern in patterns:
        if not any(fnmatchcase(cell.key, pattern) for cell in found):
            raise MedgenError(f"No cell fits {pattern!r}; a cell is named as {found[-1].key}, and * fits anything.")
    return [cell for cell in found if not patterns or any(fnmatchcase(cell.key, one) for one in patterns)]


def fingerprint(cell: Cell, settings: Settings, hashes: dict[str, str | None]) -> str:
    """sha256 of all that decides what a training gives: what has another one is trained again."""
    content: dict[str, Any] = {"cell": cell.key, "settings": asdict(settings), "arm": asdict(ARMS[cell.arm]), **hashes}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
