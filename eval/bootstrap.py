"""How far a number would move with other patients and other seeds: 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

LEVEL = 0.95


def half_sample_interval(
    statistic: Callable[..., float],
    *,
    real: np.ndarray,
    fake: np.ndarray,
    subjects: Sequence[str] | None = None,
    repeats: int = 200,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of a two-sample distance (FID, KID) from random halves of both sets.

    The usual bootstrap draws images twice, and a duplicated image makes two sets look further apart than they are.
    Halves drawn without replacement hold no duplicates, and the spread of a mean over halves equals its sampling
    spread at full size: var / (n / 2) * (1 - 1 / 2) = var / n (Shao and Wu 1989, delete-d jackknife, d = n / 2).
    Half the images also give another FID than all (its bias grows as n falls), so only the spread is used: the
    halves are recentred on the value of the full sets. The interval thus says what value another sample
    of the same size would give; it does not remove FID's own bias.

    Args:
        statistic: called as `statistic(real=..., fake=...)`.
        real: `(N, D)` features; halved by patient.
        fake: `(M, D)` features; halved by image.
        subjects: N patient ids; None = every image is its own patient.
        repeats: number of halves.
        seed: of the halves, so that a report can be remade.

    Returns:
        `(low, high)`, or None where there are fewer than 4 patients or generated images to halve.
    """
    values = [
        statistic(real=real[rows], fake=fake[others])
        for rows, others in halves(len(real), len(fake), subjects, repeats, seed)
    ]
    return about(statistic(real=real, fake=fake), np.array(values)) if values else None


def halves(
    n_real: int, n_fake: int, subjects: Sequence[str] | None, repeats: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers of `repeats` random halves of both sides, without replacement, the real side by patient.

    None at all where there are fewer than 4 patients or generated images to halve.
    """
    patients = members(subjects, n_real)
    if len(patients) < 4 or n_fake < 4:
        return
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        chosen = rng.permutation(len(patients))[: len(patients) // 2]
        rows = np.concatenate([patients[j] for j in chosen])
        yield rows, rng.permutation(n_fake)[: n_fake // 2]


def about(value: float, values: np.ndarray) -> tuple[float, float]:
    """The spread of `values`, of halves, moved to `value`, of the whole: see `half_sample_interval`."""
    low, high = np.quantile(values - values.mean(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(value + low), float(value + high)


def mean_interval(
    values: np.ndarray,
    *,
    subjects: Sequence[str] | None = None,
    proportion: bool = False,
    repeats: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of the mean of one number an image (inside a ball or not, ...), by resampling whole patients.

    The balls themselves stay as they are: running k-NN again on resampled images would meet every duplicate at
    distance zero. The interval is therefore about the set that is averaged over, given the other set.

    Args:
        values: `(N,)` one number an image.
        subjects: N patient ids; None = every image is its own.
        proportion: the values are 0 or 1. Where all are equal, resampling would claim certainty; the exact
            binomial bound (Clopper and Pearson 1934) for that many patients is given instead.
        repeats: number of resamples.
        seed: of the resamples.

    Returns:
        `(low, high)`, or None where there are fewer than 2 patients, or equal values that are no proportion.
    """
    patients = members(subjects, len(values))
    if len(patients) < 2:
        return None
    if values.min() == values.max():
        if not (proportion and values[0] in (0.0, 1.0)):
            return None
        bound = ((1 - LEVEL) / 2) ** (1 / len(patients))
        return (bound, 1.0) if values[0] == 1.0 else (0.0, 1.0 - bound)
    sums = np.array([values[rows].sum() for rows in patients])
    counts = np.array([len(rows) for rows in patients])
    drawn = np.random.default_rng(seed).integers(len(patients), size=(repeats, len(patients)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def mean_entry(values: np.ndarray, subjects: Sequence[str] | None = None) -> dict[str, float | None]:
    """`value`, `low` and `high` of the mean of one number an image, as a file holds them; None = no such number.

    With the same patients every call draws the same resamples, so that the entry of a difference between two columns
    is the paired bootstrap.
    """
    low, high = mean_interval(np.asarray(values, np.float64), subjects=subjects) or (None, None)
    return {"value": float(np.mean(values)), "low": low, "high": high}


def members(subjects: Sequence[str] | None, n: int) -> list[np.ndarray]:
    """Row numbers of each patient's images, patients in sorted order; None = every image is its own patient."""
    if subjects is None:
        return list(np.arange(n)[:, None])
    _, patient = np.unique(np.asarray(subjects), return_inverse=True)
    order = np.argsort(patient, kind="stable")
    return np.split(order, np.cumsum(np.bincount(patient))[:-1])
