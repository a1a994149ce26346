"""Do the structures of generated volumes have the sizes and shapes of real ones? Distributions against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance

from eval.bootstrap import half_sample_interval
from eval.volumes.measures import Measure

RULE = (
    "Volumes made from nothing have no truth to overlap with, so distributions are compared: Wasserstein distance "
    "between the measures of generated and of held-out real volumes, in the unit of the measure, and Kolmogorov and "
    "Smirnov's p. The floor: as many real train volumes in place of generated ones."
)
Table = Mapping[str, np.ndarray]


def compared(
    *, fake: Table, real: Table, floor: Table, known: Mapping[str, Measure], subjects: Sequence[str] | None,
    repeats: int = 200,
) -> dict[str, Any]:  # fmt: skip
    """The part "structures" of a report.

    Args:
        fake: `measured` of generated volumes.
        real: of held-out real ones.
        floor: of real train volumes.
        known: what the measures are.
        subjects: whose the real ones are.
        repeats: halves for an interval.
    """
    found: dict[str, Any] = {}
    for name, measure in known.items():
        if measure.compared:
            found[name] = {
                "title": measure.title,
                "unit": measure.unit,
                "digits": measure.digits,
                "fake": spread(fake[name]),
                "real": spread(real[name]),
                "train": spread(floor[name]),
                **distance(real=real[name], fake=fake[name], subjects=subjects, repeats=repeats),
                "floor": distance(real=real[name], fake=floor[name], subjects=None, repeats=0)["distance"]["value"],
            }
    return {"rule": RULE, "measures": found}


def spread(values: np.ndarray) -> dict[str, Any]:
    """Mean and standard deviation, of how many, and how many volumes lack the structure."""
    known = values[np.isfinite(values)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "n": len(known),
        "missing": len(values) - len(known),
    }


def distance(*, real: np.ndarray, fake: np.ndarray, subjects: Sequence[str] | None, repeats: int) -> dict[str, Any]:
    """`distance`, with its interval over halves of volumes, and `ks_p`; None where a side has no volume.

    Args:
        real: `(N,)`; NaN = the structure is missing, such volumes are left out.
        fake: `(M,)`.
        subjects: whose the real ones are.
        repeats: halves; 0 = no interval.
    """
    kept = np.isfinite(real)
    left, right = real[kept], fake[np.isfinite(fake)]
    own = None if subjects is None else [one for one, keep in zip(subjects, kept, strict=True) if keep]
    entry: dict[str, Any] = {"value": None, "low": None, "high": None, "n": len(right)}
    if not (len(left) and len(right)):
        return {"distance": entry, "ks_p": None}
    entry["value"] = float(wasserstein_distance(left, right))
    limits = None
    if repeats:
        limits = half_sample_interval(
            _wasserstein, real=left[:, None], fake=right[:, None], subjects=own, repeats=repeats
        )
    if limits is not None:
        entry |= {"low": max(0.0, limits[0]), "high": limits[1]}
    return {"distance": entry, "ks_p": float(ks_2samp(left, right).pvalue)}


def _wasserstein(*, real: np.ndarray, fake: np.ndarray) -> float:
    return float(wasserstein_distance(real[:, 0], fake[:, 0]))
