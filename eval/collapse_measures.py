"""How varied a set of feature vectors is, on a scale that real images set. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eval import metrics
from eval.bootstrap import LEVEL
from eval.diversity import vendi_of
from medgen.errors import MedgenError

JUDGED = ("vendi", "modes")
"""What a verdict rests on."""
VARIETY = (*JUDGED, "spread")
STATISTICS = (*VARIETY, "recall")
NEAR_DUPLICATES = 0.001
"""Share of the pairs of real images of different patients that count as near-duplicates, by definition."""
HALVES = 100
FEWEST = 10


@dataclass(frozen=True)
class Scale:
    """What distances mean in one feature space, learned from real images alone.

    Args:
        radius: two images closer than this are near-duplicates.
        middle: median distance of two real images.
        real: `(N, D)` features of real images, for recall.
    """

    radius: float
    middle: float
    real: np.ndarray


def scale(real: np.ndarray, subjects: np.ndarray) -> Scale:
    """The scale of a space.

    Args:
        real: `(N, D)` features of real images.
        subjects: `(N,)` patient ids; two films of one patient are alike for another reason than chance.

    Raises:
        MedgenError: too few images or patients, or all images are equal.
    """
    distance = pairwise(real)
    pairs = distance[np.triu(subjects[:, None] != subjects, k=1)]
    if len(real) < FEWEST or not len(pairs) or not np.median(pairs) > 0:
        raise MedgenError(f"Variety needs at least {FEWEST} different real images of several patients: use more.")
    return Scale(float(np.quantile(pairs, NEAR_DUPLICATES)), float(np.median(pairs)), real)


def pairwise(features: np.ndarray) -> np.ndarray:
    """`(N, D)` -> `(N, N)` float64 distances.

    Raises:
        MedgenError: a feature is not finite.
    """
    if not np.isfinite(features).all():
        raise MedgenError("The features hold NaN or infinity: look at the images they come from.")
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    size = np.einsum("nd,nd->n", centred, centred)
    squared = np.maximum(size[:, None] + size - 2.0 * (centred @ centred.T), 0.0)
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(squared)


def vendi(distance: np.ndarray, on: Scale) -> float:
    """How many different images the set is worth: 1 where all are equal, N where all are far apart.

    The Vendi score (arXiv:2210.02410) of a Gaussian kernel, half the median distance of real images wide. The cosines
    of a report say little here: features of one modality all point in much the same direction.
    """
    return vendi_of(np.exp(-0.5 * np.square(distance / (0.5 * on.middle))))


def modes(distance: np.ndarray, on: Scale) -> float:
    """How many pictures the set would be drawn from if each came equally often: the birthday paradox.

    Two pictures of M equally likely ones are the same with probability 1 / M (Arora and Zhang 2017, arXiv:1706.08224);
    "the same" is a near-duplicate of `Scale`. One collision is added, so that a set without any has a number too.
    """
    count = len(distance)
    collisions = int((distance[np.triu_indices(count, k=1)] < on.radius).sum())
    return (count * (count - 1) / 2 + 1) / (collisions + 1)


def spread(distance: np.ndarray, on: Scale) -> float:
    """Median distance of two images, in medians of real ones."""
    return float(np.median(distance[np.triu_indices(len(distance), k=1)]) / on.middle)


_OF_DISTANCES: dict[str, Callable[[np.ndarray, Scale], float]] = {"vendi": vendi, "modes": modes, "spread": spread}


def values(features: np.ndarray, on: Scale) -> dict[str, float]:
    """Each of `VARIETY` for one set of feature vectors `(N, D)`."""
    distance = pairwise(features)
    return {name: of(distance, on) for name, of in _OF_DISTANCES.items()}


def entries(features: np.ndarray, on: Scale, halves: int = HALVES) -> dict[str, dict[str, float | None]]:
    """`value`, `low`, `high` of each of `STATISTICS`: 95 %, for another set of the same size from the same source.

    From random halves, recentred on the whole set as ratios: drawing with replacement would make near-duplicates.
    See `eval.bootstrap.half_sample_interval` for why the spread over halves is that of whole sets.

    Raises:
        MedgenError: fewer than `FEWEST` images, or a feature is not finite.
    """
    if len(features) < FEWEST:
        raise MedgenError(f"Variety needs at least {FEWEST} images, not {len(features)}: make more.")
    whole, distance = values(features, on), pairwise(features)
    recall = metrics.recall(real=on.real, fake=features)
    random = np.random.default_rng(0)
    table: dict[str, list[float]] = {name: [] for name in _OF_DISTANCES}
    for _ in range(halves):
        rows = random.permutation(len(features))[: len(features) // 2]
        part = distance[np.ix_(rows, rows)]
        for name, of in _OF_DISTANCES.items():
            table[name].append(of(part, on))
    found: dict[str, dict[str, float | None]] = {
        "recall": {"value": recall, "low": None, "high": None}  # its interval is in the model's report
    }
    for name, numbers in table.items():
        log = np.log(np.maximum(numbers, 1e-12))
        low, high = np.quantile(log - log.mean(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found[name] = {"value": whole[name], "low": whole[name] * np.exp(low), "high": whole[name] * np.exp(high)}
    return {name: {end: _short(found[name][end]) for end in ("value", "low", "high")} for name in STATISTICS}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{float(value):.6g}")
