"""Does a volume have the size that was asked for? Asked mm3 against what a segmenter measures on the output."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from eval.bootstrap import LEVEL
from eval.fakes import sample
from medgen.generator import Generator, Request
from medgen.image import ImageSet
from medgen.segmenter import Segmenter

VALUES, SEEDS = 5, 12
"""Asked values, evenly from the lowest to the highest that the card allows, each of the same seeds."""
_REPEATS = 1000


def asked_values(low: float, high: float, count: int = VALUES) -> list[float]:
    """`count` values from `low` to `high`, both included."""
    return [float(value) for value in np.linspace(low, high, count)]


def control(
    model: Generator,
    segmenter: Segmenter,
    *,
    truth: np.ndarray,
    measured_real: np.ndarray,
    steps: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """The part "control" of a report.

    Args:
        model: any generator; one without a quantity in mm3 gets a reason.
        segmenter: what measures.
        truth: `(N,)` true mm3 of real held-out volumes.
        measured_real: `(N,)` what the segmenter says of them.
        steps: None = the card's.
        progress: bars on stderr.
    """
    asked = model.card.quantity
    if not asked or asked.get("unit") != "mm3":
        return {"reason": "the model cannot be asked for a volume in mm3"}
    values = asked_values(asked["low"], asked["high"])
    rows = []
    for value in values:
        like = Request(seeds=(), steps=steps, quantity=value)
        made = sample(model, tuple(range(SEEDS)), [None] * SEEDS, like, progress=progress)
        rows.append(total_mm3(segmenter, made))
    table = np.array(rows)
    return {
        "quantity": asked["name"],
        "unit": "mm3",
        "seeds": SEEDS,
        "asked": values,
        "measured": [[float(one) for one in row] for row in table],
        "means": [float(one) for one in table.mean(axis=1)],
        **agreement(np.array(values), table),
        "segmenter": agreement_of_pairs(truth, measured_real),
    }


def total_mm3(segmenter: Segmenter, images: ImageSet) -> np.ndarray:
    """`(N,)` mm3 of all structures together."""
    return segmenter.volumes_mm3(images)[:, 1:].sum(axis=1)


def agreement(asked: np.ndarray, measured: np.ndarray) -> dict[str, dict[str, Any]]:
    """How measured values follow asked ones, each number with its 95 % interval over resampled seeds.

    Args:
        asked: `(V,)` values.
        measured: `(V, S)`, of each value and seed.

    Returns:
        `pearson`, `spearman`, `slope` (mm3 gained an asked mm3) and `mae`, as `value`, `low`, `high`, `n`; a number
        that does not exist, as a correlation of constants, is None.
    """
    values, seeds = measured.shape
    wanted = np.repeat(asked, seeds)
    drawn = _resamples(seeds)
    # (R, S) -> (R, V * S): every value with the same seeds
    got = measured[:, drawn].swapaxes(0, 1).reshape(len(drawn), values * seeds)
    return _entries(np.broadcast_to(wanted, got.shape), got)


def agreement_of_pairs(asked: np.ndarray, measured: np.ndarray) -> dict[str, dict[str, Any]]:
    """The same of N pairs, with intervals over pairs."""
    drawn = _resamples(len(asked))
    return _entries(asked[drawn], measured[drawn])


def _resamples(n: int) -> np.ndarray:
    """`(1 + R, n)`: everything as it is, then resamples."""
    return np.vstack([np.arange(n), np.random.default_rng(0).integers(n, size=(_REPEATS, n))])


def _entries(asked: np.ndarray, measured: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of `(1 + R, M)` pairs: the numbers of the first row, and the interval of those of the others."""
    found = {
        "pearson": _correlation(asked, measured),
        "spearman": _correlation(rankdata(asked, axis=1), rankdata(measured, axis=1)),
        "slope": _ratio((_centred(asked) * _centred(measured)).sum(axis=1), (_centred(asked) ** 2).sum(axis=1)),
        "mae": np.abs(measured - asked).mean(axis=1),
    }
    return {name: _entry(values, asked.shape[1]) for name, values in found.items()}


def _centred(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=1, keepdims=True)


def _correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    x, y = _centred(left), _centred(right)
    return _ratio((x * y).sum(axis=1), np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))


def _ratio(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by: values that are all equal."""
    return np.divide(top, below, out=np.full(top.shape, np.nan), where=below > 1e-9)


def _entry(values: np.ndarray, n: int) -> dict[str, Any]:
    """The first value, and the interval of the others."""
    others = values[1:][np.isfinite(values[1:])]
    if np.isnan(values[0]) or not len(others):
        return {"value": None, "low": None, "high": None, "n": n}
    low, high = np.quantile(others, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(values[0]), "low": float(low), "high": float(high), "n": n}
