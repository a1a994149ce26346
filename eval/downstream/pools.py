"""Synthetic pictures to train on: sampled once a model, kept in the cache in chunks, so that sampling can be killed."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.fakes import sample
from eval.protocols import labels_for
from medgen import backend, registry
from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request

FIRST_SEED = 1_000_000
"""Reports are about the seeds from 0 on: nothing is trained on the pictures that they measure."""
CHUNK = 100


@dataclass(frozen=True)
class Pool:
    """The pictures of one model that are there.

    Args:
        card: of the model.
        images: `(N, 1, H, W)` uint8.
        labels: what each was asked to show.
        request: what else decides a picture, for the file of results.
    """

    card: ModelCard
    images: np.ndarray
    labels: list[str]
    request: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    def sha256(self, index: np.ndarray) -> str:
        """Of the pictures at `index` and their labels."""
        labels = json.dumps([self.labels[i] for i in index.tolist()])
        return hashlib.sha256(self.images[index].tobytes() + labels.encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "n": len(self),
            "labels": dict(sorted(Counter(self.labels).items())),
            "sha256": self.sha256(np.arange(len(self))),
            **self.request,
        }


def stored(name: str, proportions: dict[str, float], guidance: float) -> Pool:
    """What the cache holds of the model called `name`, from the first picture to the first that is missing.

    Args:
        name: of a model.
        proportions: share of each label in the train split.
        guidance: of a diffusion model.

    Raises:
        MedgenError: no such model, or it takes no labels.
    """
    card, request, folder = _described(name, proportions, guidance)
    chunks: list[np.ndarray] = []
    while (chunk := _chunk(folder, len(chunks), card)) is not None:
        chunks.append(chunk)
    images = np.concatenate(chunks) if chunks else np.empty((0, *card.shape), np.uint8)
    return Pool(card, images, _labels(card, 0, len(images), proportions), request)


def fill(name: str, n: int, proportions: dict[str, float], guidance: float, minutes: float | None = None) -> Pool:
    """Samples until the pool holds at least `n` pictures, or the minutes are over; chunks that are there stay.

    Raises:
        MedgenError: no such model, it takes no labels, or the cache cannot be written.
    """
    card, request, folder = _described(name, proportions, guidance)
    like = Request(seeds=(), guidance=request["guidance"])
    started, model = time.monotonic(), None
    for number in range(-(-n // CHUNK)):
        if _chunk(folder, number, card) is not None:
            continue
        if minutes is not None and time.monotonic() - started > 60 * minutes:
            break
        model = model or registry.load(name)
        first, before = number * CHUNK, time.process_time()
        seeds = tuple(range(FIRST_SEED + first, FIRST_SEED + first + CHUNK))
        images = sample(model, seeds, _labels(card, first, CHUNK, proportions), like).uint8()
        write_arrays(_path(folder, number), {"images": images})
        if _chunk(folder, number, card) is None:
            raise MedgenError(f"The pool of {name} could not be kept: free some space in the folder of MEDGEN_CACHE.")
        cost = (time.process_time() - before) / CHUNK
        print(f"{name}: {first + CHUNK} of {n} pictures, {cost:.3f} CPU s each", file=sys.stderr, flush=True)
    return stored(name, proportions, guidance)


def drawn(count: int, needed: int, seed: int, least: int) -> np.ndarray:
    """Which pictures of a pool a training of `seed` sees; the same however far the pool has grown since.

    Args:
        count: pictures in the pool.
        needed: pictures wanted.
        seed: of the training.
        least: they are drawn from the first so many, or from the first `needed` where that is more.

    Raises:
        MedgenError: the pool is too small.
    """
    reach = max(needed, least)
    if count < reach:
        raise MedgenError(f"{count} of the {reach} pictures needed are in the pool")
    return np.random.default_rng((seed, 1)).permutation(reach)[:needed]


def _described(name: str, proportions: dict[str, float], guidance: float) -> tuple[ModelCard, dict[str, Any], Path]:
    """The card, what decides a picture, and the folder of the pool."""
    path = registry.checkpoints_dir() / name / "card.json"
    if not path.is_file():
        raise MedgenError(f"There is no model {name!r}; the names are those of the folders of checkpoints/.")
    card = ModelCard.read(path)
    if "label" not in card.controls:
        raise MedgenError(f"{name} takes no label: a classifier cannot be trained on its pictures.")
    request = {
        "weights": dict(card.weights),
        "first_seed": FIRST_SEED,
        "steps": card.steps,
        "guidance": guidance if "guidance" in card.controls else None,
        "runtime": backend.name(),
    }
    key = hashlib.sha256(json.dumps([request, proportions], sort_keys=True).encode()).hexdigest()
    return card, request, cache_dir() / "pools" / name / key[:16]


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number * CHUNK:06d}.npz"


def _chunk(folder: Path, number: int, card: ModelCard) -> np.ndarray | None:
    """`(CHUNK, 1, H, W)` uint8; None where it is missing, damaged or of another shape."""
    found = (read_arrays(_path(folder, number), {"images": "uint8"}) or {}).get("images")
    return found if found is not None and found.shape == (CHUNK, *card.shape) else None


def _labels(card: ModelCard, first: int, count: int, proportions: dict[str, float]) -> list[str]:
    seeds = tuple(range(FIRST_SEED + first, FIRST_SEED + first + count))
    return [str(label) for label in labels_for(card, seeds, proportions)]
