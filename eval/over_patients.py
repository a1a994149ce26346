"""One number a slice or lesion -> its mean over all, with an interval over patients and the range of the patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.bootstrap import mean_interval
from medgen.auc import FEWEST_PATIENTS


def entry(values: Sequence[float] | np.ndarray, subjects: Sequence[str], *, proportion: bool = False) -> dict[str, Any]:
    """The mean as a file holds it.

    Args:
        values: `(N,)`, or nothing.
        subjects: N patient ids.
        proportion: the values are 0 or 1.

    Returns:
        `value`; `low` and `high`, its 95 % interval by resampling whole patients, None with fewer than
        `FEWEST_PATIENTS` of them, which resampling says nothing of; `least` and `most`, the extreme means of single
        patients; `n` and `n_subjects`. All numbers but the counts are None where there are no values.
    """
    numbers, people = np.asarray(values, np.float64), np.asarray(subjects)
    found: dict[str, Any] = dict.fromkeys(("value", "low", "high", "least", "most"))
    own = [numbers[people == one].mean() for one in np.unique(people)] if len(numbers) else []
    found |= {"n": len(numbers), "n_subjects": len(own)}
    if not own:
        return found
    found |= {"value": rounded(numbers.mean()), "least": rounded(min(own)), "most": rounded(max(own))}
    if len(own) >= FEWEST_PATIENTS and (limits := mean_interval(numbers, subjects=subjects, proportion=proportion)):
        found |= dict(zip(("low", "high"), map(rounded, limits), strict=True))
    return found


def rounded(value: float | np.floating) -> float:
    """Six digits: more mean nothing, and make files longer."""
    return float(f"{float(value):.6g}")
