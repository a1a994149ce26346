"""How well one number an image agrees with another: mean absolute error, bias and correlation, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95
STATISTICS = ("mae", "bias", "r")


def agreement(
    known: np.ndarray,
    read: np.ndarray,
    subjects: Sequence[str] | None = None,
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """How far `read` is from `known`.

    Args:
        known: `(N,)` what was asked for, or is true.
        read: `(N,)` what was found.
        subjects: N ids: intervals resample these whole; None = every image is its own, as of seeds.
        repeats: resamples for the intervals.
        seed: of them.

    Returns:
        `n`, `n_subjects`, and of `mae` (mean of |read - known|), `bias` (mean of read - known) and `r` (Pearson
        correlation) each `value`, `low` and `high`, the 95 % interval; None where it means nothing: no interval for
        one subject, no correlation where one of the two never changes.
    """
    pairs = np.stack([known, read], axis=1).astype(np.float64)
    groups = _groups(subjects, len(pairs))
    statistics: dict[str, Callable[[np.ndarray], float | None]] = {"mae": _mae, "bias": _bias, "r": _correlation}
    found: dict[str, Any] = {"n": len(pairs), "n_subjects": len(groups)}
    values: dict[str, list[float]] = {name: [] for name in statistics}
    random = np.random.default_rng(seed)
    for _ in range(repeats if len(groups) > 1 else 0):
        drawn = random.integers(len(groups), size=len(groups))
        rows = pairs[np.concatenate([groups[i] for i in drawn])]
        for name, statistic in statistics.items():
            if (value := statistic(rows)) is not None:
                values[name].append(value)
    for name, statistic in statistics.items():
        low = high = None
        if values[name]:
            low, high = map(_rounded, np.quantile(values[name], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        found[name] = {"value": _rounded(statistic(pairs)), "low": low, "high": high}
    return found


def _groups(subjects: Sequence[str] | None, n: int) -> list[np.ndarray]:
    if subjects is None:
        return list(np.arange(n)[:, None])
    _, owner = np.unique(np.asarray(subjects), return_inverse=True)
    return [np.flatnonzero(owner == one) for one in range(owner.max() + 1)]


def _mae(pairs: np.ndarray) -> float:
    return float(np.abs(pairs[:, 1] - pairs[:, 0]).mean())


def _bias(pairs: np.ndarray) -> float:
    return float((pairs[:, 1] - pairs[:, 0]).mean())


def _correlation(pairs: np.ndarray) -> float | None:
    if len(pairs) < 2 or (np.ptp(pairs, axis=0) == 0).any():
        return None
    return float(np.corrcoef(pairs.T)[0, 1])


def _rounded(value: float | None) -> float | None:
    """Six digits: more mean nothing."""
    return None if value is None else float(f"{value:.6g}")
