"""Which number each seed is asked for, of a model whose card names one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medgen.card import ModelCard

_SQUARE_ROOT = 0.41421356237309515  # of 2, less 1: numbers must not go together with the labels of the same seeds


def quantities_for(card: ModelCard, seeds: Sequence[int], known: Sequence[float]) -> list[float | None]:
    """The number each seed is asked for: those of the train split, spread evenly over the seeds.

    Seed s takes the quantile of the train split that the fraction of (s + 1) times the square root of 2 names, within
    the range of the card and rounded to its step. So it depends on the seed alone, as with `labels_for`.

    Args:
        card: of the model.
        seeds: N seeds.
        known: numbers of the train split; none where its images have none.

    Returns:
        One number a seed; all None for a model that is asked for no number, or where none are known.
    """
    if "quantity" not in card.controls or not known:
        return [None] * len(seeds)
    low, high, step = (float(card.quantity[key]) for key in ("low", "high", "step"))
    fractions = [(seed + 1) * _SQUARE_ROOT % 1.0 for seed in seeds]
    values = np.clip(np.quantile(np.asarray(known, np.float64), fractions), low, high)
    rounded = low + step * np.rint((values - low) / step)
    return [float(value) for value in np.minimum(rounded, high)]
