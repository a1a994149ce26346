"""How well scores tell pictures with a label from pictures without it: the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FEWEST_PATIENTS = 5
"""With fewer on one side, resampling patients says nothing, and an AUC has no interval."""


def truth_table(words: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """`(N, L)` bool: which of `labels` stand in each of `words`, where several are joined by "|"."""
    return np.array([[label in word.split("|") for label in labels] for word in words], dtype=bool)


def auc_entry(
    scores: np.ndarray, truth: np.ndarray, subjects: Sequence[str] | None = None, repeats: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Area under the ROC curve of one label, with its 95 % interval over resampled patients.

    Args:
        scores: `(N,)`, higher = more likely with.
        truth: `(N,)` bool.
        subjects: N patient ids; None = every picture is its own, as for generated ones.
        repeats: resamples; 0 = no interval.
        seed: of the resamples.

    Returns:
        `value`, `low`, `high`, `n_with` and `n_without` (pictures). None instead of a number where there is no picture
        of one side, or for the limits fewer than `FEWEST_PATIENTS` patients of one side.
    """
    truth = np.asarray(truth, dtype=bool)
    _, patient = np.unique(np.arange(len(truth)) if subjects is None else np.asarray(subjects), return_inverse=True)
    entry: dict[str, Any] = {"value": None, "low": None, "high": None}
    entry |= {"n_with": int(truth.sum()), "n_without": int((~truth).sum())}
    if not (entry["n_with"] and entry["n_without"]):
        return entry
    entry["value"] = float(weighted_auc(scores, truth, np.ones((1, len(truth))))[0])
    if repeats and min(len(np.unique(patient[side])) for side in (truth, ~truth)) >= FEWEST_PATIENTS:
        count = int(patient.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=repeats)
        low, high = np.nanquantile(weighted_auc(scores, truth, drawn[:, patient].astype(float)), (0.025, 0.975))
        entry |= {"low": float(low), "high": float(high)}
    return entry


def weighted_auc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`(R,)` AUC for each row of `weights` `(R, N)`; NaN where a row leaves out one side. Ties count half."""
    _, level = np.unique(scores, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(level.max() + 1))
    # (R, N) -> (R, distinct scores): weight with and without at each score
    with_, without = (np.add.reduceat((weights * side)[:, order], starts, axis=1) for side in (truth, ~truth))
    below = np.cumsum(without, axis=1) - 0.5 * without
    pairs = with_.sum(axis=1) * without.sum(axis=1)
    wins = (with_ * below).sum(axis=1)
    return np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
