"""Does a metric answer to damage as it should? The rule, applied to one curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 0.8
"""Spearman correlation of strength and value; of four strengths, one swap of neighbours leaves 0.8."""
RULE = (
    "A curve is monotone if (1) the Spearman correlation of strength and value, in the expected direction, is at least "
    f"{LEAST:g}, (2) no step goes back by more than the noise, and (3) the strongest damage differs from none, in the "
    "expected direction, by more than the noise. Noise = half the width of the metric's 95 % interval, the larger one "
    "of the two values compared. A metric fails where it has an expected direction and its curve is not monotone."
)
Number = float | None


@dataclass(frozen=True)
class Verdict:
    """On one curve.

    Args:
        spearman: in the expected direction; None where a value is missing or all are equal.
        monotone: by the rule.
        why: what is wrong; "" where nothing is.
    """

    spearman: float | None
    monotone: bool
    why: str


def judged(
    strengths: Sequence[float], values: Sequence[Number], low: Sequence[Number], high: Sequence[Number], way: str
) -> Verdict:
    """Applies `RULE`.

    Args:
        strengths: growing, the first 0.
        values: one a strength.
        low: ends of the intervals; None where there is none, which counts as no noise.
        high: likewise.
        way: "up" or "down".
    """
    if any(value is None for value in values):
        return Verdict(None, False, "has no value at some strength")
    ends = [(0.0, 0.0) if a is None or b is None else (a, b) for a, b in zip(low, high, strict=True)]
    noise = np.array([(b - a) / 2.0 for a, b in ends])
    found = np.array(values, np.float64) * (1.0 if way == "up" else -1.0)
    rho = spearman(np.asarray(strengths, np.float64), found)
    if found[-1] - found[0] <= max(noise[0], noise[-1]):
        gone = "goes the other way" if found[0] - found[-1] > max(noise[0], noise[-1]) else "does not move"
        return Verdict(rho, False, gone)
    if (np.diff(found) < -np.maximum(noise[1:], noise[:-1])).any() or rho is None or rho < LEAST:
        return Verdict(rho, False, "goes back on the way")
    return Verdict(rho, True, "")


def spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Rank correlation, equal values sharing their rank; None where all of a side are equal."""
    from scipy.stats import rankdata

    left, right = rankdata(x) - (len(x) + 1) / 2.0, rankdata(y) - (len(y) + 1) / 2.0
    size = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / size) if size > 0 else None
