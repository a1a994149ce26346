"""What needs no network: the source as it is, the mean train picture, and the best guess from a pixel's brightness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medgen.image import ImageSet
from medgen.paired import PairedSet

TITLES = {
    "copy": "Copy of the source (black to black, white to white)",
    "mean": "Mean picture of the train patients",
    "lookup": "Best value for each grey level (train patients)",
    "real": "Other patients' true slices (the floor)",
}
"""Baselines in the order of the board; "real" is known by FID and KID alone."""
WITHOUT_SETS = frozenset({"lookup"})
"""Baselines whose FID and KID nobody asks for: features of as many pictures again cost minutes."""
_LEVELS = 256
_CHUNK = 128  # slices at a time: the copies of a whole train split would take a gigabyte


def copied(pairs: PairedSet, train: PairedSet) -> ImageSet:
    """The source, its window laid onto the target's: what is black stays black and what is white stays white."""
    return _as_target(pairs.target, pairs.source.unit_range())


def mean(pairs: PairedSet, train: PairedSet) -> ImageSet:
    """The mean true slice of all train patients, for every source."""
    one = train.target.unit_range().mean(axis=0, dtype=np.float64)
    return _as_target(pairs.target, np.broadcast_to(one, pairs.target.pixels.shape))


def looked_up(pairs: PairedSet, train: PairedSet) -> ImageSet:
    """Each source pixel replaced by the mean truth of all train pixels of its grey level (one of 256)."""
    counts, sums = np.zeros(_LEVELS), np.zeros(_LEVELS)
    for start in range(0, len(train), _CHUNK):
        part = train.take(range(start, min(start + _CHUNK, len(train))))
        levels = part.source.uint8().ravel()
        counts += np.bincount(levels, minlength=_LEVELS)
        sums += np.bincount(levels, weights=part.target.unit_range().ravel(), minlength=_LEVELS)
    seen = np.flatnonzero(counts)
    # a level that no train pixel has takes the value between its neighbours
    table = np.interp(np.arange(_LEVELS), seen, sums[seen] / counts[seen])
    return _as_target(pairs.target, table[pairs.source.uint8()])


BASELINES: dict[str, Callable[[PairedSet, PairedSet], ImageSet]] = {"copy": copied, "mean": mean, "lookup": looked_up}
"""Name -> its pictures, from the pairs to translate and those of the train split."""


def _as_target(target: ImageSet, unit_range: np.ndarray) -> ImageSet:
    low, high = target.window
    return replace(target, pixels=(unit_range * (high - low) + low).astype(np.float32))
