"""Distances of many random halves of two sets at little more than the cost of one: what is common is computed once.

Each function gives the values that its metric has on every pair of halves, `(repeats,)`; `bootstrap.about` makes an
interval of them. `Halves` are the same for every metric of a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval import metrics
from eval.bootstrap import halves
from eval.diversity import cosines, vendi_of
from eval.nearest import Rows

MOST_PAIRS = 2**24
"""Products of all pairs of images are held up to so many of them: 128 MB."""


@dataclass(frozen=True, eq=False)
class Halves:
    """Which images are in which half.

    Args:
        real: `(R, N)` bool.
        fake: `(R, M)` bool.
    """

    real: np.ndarray
    fake: np.ndarray

    def __len__(self) -> int:
        return len(self.real)

    def rows(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the i-th pair of halves."""
        return np.flatnonzero(self.real[i]), np.flatnonzero(self.fake[i])


def drawn(n_real: int, n_fake: int, subjects: Sequence[str] | None, repeats: int, seed: int = 0) -> Halves | None:
    """`repeats` halves, see `bootstrap.halves`; None where there are too few patients or images to halve."""
    pairs = list(halves(n_real, n_fake, subjects, repeats, seed))
    if not pairs:
        return None
    found = Halves(np.zeros((repeats, n_real), bool), np.zeros((repeats, n_fake), bool))
    for i, (rows, others) in enumerate(pairs):
        found.real[i, rows] = True
        found.fake[i, others] = True
    return found


def means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The mean row of each half: `(N, D)`, `(R, N)` -> `(R, D)`."""
    found: np.ndarray = chosen.astype(np.float64) @ values / chosen.sum(axis=1)[:, None]
    return found


def histogram(real: np.ndarray, fake: np.ndarray, split: Halves) -> np.ndarray:
    """`metrics.histogram_distance` of each pair of halves."""
    gap = np.cumsum(means(real, split.real) - means(fake, split.fake), axis=1)
    found: np.ndarray = np.abs(gap[:, :-1]).sum(axis=1) / (real.shape[1] - 1)
    return found


def spectrum(real: np.ndarray, fake: np.ndarray, split: Halves) -> np.ndarray:
    """`spectrum.spectrum_distance` of each pair of halves."""
    found: np.ndarray = 10.0 * np.abs(means(real, split.real) - means(fake, split.fake)).mean(axis=1)
    return found


def kid(real: np.ndarray, fake: np.ndarray, split: Halves) -> np.ndarray:
    """`metrics.kid` of each pair of halves.

    A half's mean over pairs is a sum over the kernel matrix, with 1 for what is in the half and 0 for what is not.
    """
    left, right = Rows(real), Rows(fake)
    dim = real.shape[1]

    def total(x: Rows, y: Rows, in_x: np.ndarray, in_y: np.ndarray) -> np.ndarray:
        found = np.zeros(len(in_x))
        for rows in x.blocks():
            weight = in_x[:, rows].astype(np.float64) @ metrics.kernel(y.products(x.take(rows)), dim)
            found += (weight * in_y).sum(axis=1)
        return found

    def within(x: Rows, chosen: np.ndarray) -> np.ndarray:
        n = chosen.sum(axis=1)
        own = chosen.astype(np.float64) @ metrics.kernel(x.squares, dim)
        return (total(x, x, chosen, chosen) - own) / (n * (n - 1))

    between = total(left, right, split.real, split.fake) / (split.real.sum(axis=1) * split.fake.sum(axis=1))
    return within(left, split.real) + within(right, split.fake) - 2.0 * between


def fid(real: np.ndarray, fake: np.ndarray, split: Halves) -> np.ndarray:
    """`metrics.fid` of each pair of halves.

    The singular values of X_r X_f' need inner products only; those of all pairs of images are made once, and centred
    for each half. Too many pairs for that are computed half by half.
    """
    if len(real) * len(fake) > MOST_PAIRS:
        pairs = [split.rows(i) for i in range(len(split))]
        return np.array([metrics.fid(real=real[rows], fake=fake[others]) for rows, others in pairs])
    middle = real.mean(axis=0, dtype=np.float64)
    left, right = Rows(real, middle), Rows(fake, middle)
    products = np.concatenate([right.products(left.take(rows)) for rows in left.blocks()])
    centre = [means(side.take(slice(None)), chosen) for side, chosen in ((left, split.real), (right, split.fake))]
    found = np.square(centre[0] - centre[1]).sum(axis=1)
    for side, chosen, point in ((left, split.real, centre[0]), (right, split.fake, centre[1])):
        n = chosen.sum(axis=1)
        found += (chosen.astype(np.float64) @ side.squares - n * np.square(point).sum(axis=1)) / (n - 1)
    for i in range(len(split)):
        rows, others = split.rows(i)
        part = products[np.ix_(rows, others)]
        part = part - part.mean(axis=0) - part.mean(axis=1, keepdims=True) + part.mean()
        found[i] -= 2.0 * _nuclear_norm(part) / np.sqrt((len(rows) - 1) * (len(others) - 1))
    return np.maximum(found, 0.0)


def _nuclear_norm(matrix: np.ndarray) -> float:
    """Sum of singular values, as roots of eigenvalues: three times as fast, and exact enough for an interval."""
    short = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(short @ short.T), 0.0)).sum())


def vendi(fake: np.ndarray, split: Halves) -> np.ndarray | None:
    """`diversity.vendi` of each half of the generated images; None where these are too many for their cosines."""
    if len(fake) ** 2 > MOST_PAIRS:
        return None
    matrix = cosines(fake)
    return np.array([vendi_of(matrix[np.ix_(rows, rows)]) for rows in map(np.flatnonzero, split.fake)])


def neighbours(real: np.ndarray, fake: np.ndarray, split: Halves, k: int) -> dict[str, np.ndarray]:
    """Precision, recall, density and coverage of each pair of halves: their balls are those of the halves."""
    found: dict[str, list[float]] = {name: [] for name in ("precision", "recall", "density", "coverage")}
    few = max(len(real), len(fake)) ** 2 <= MOST_PAIRS
    middle = real.mean(axis=0, dtype=np.float64)
    sides = Rows(real, middle), Rows(fake, middle)
    every = [_distances(a, b) for a, b in ((sides[0], sides[0]), (sides[1], sides[1]), sides)] if few else []
    for i in range(len(split)):
        rows, others = split.rows(i)
        if few:
            own, made = (_radii(every[side][np.ix_(part, part)], k) for side, part in enumerate((rows, others)))
            near = metrics.in_balls(every[2][np.ix_(rows, others)], own, made, k)
        else:
            near = metrics.neighbours(real=real[rows], fake=fake[others], k=k)
        for name, values in near.of().items():
            found[name].append(float(values.mean()))
    return {name: np.array(values) for name, values in found.items()}


def _distances(left: Rows, right: Rows) -> np.ndarray:
    return np.concatenate([distance.copy() for _, distance in left.squared_distances(right)])


def _radii(distance: np.ndarray, k: int) -> np.ndarray:
    # the smallest of a row is an image's distance to itself
    found: np.ndarray = np.partition(distance, k, axis=1)[:, k]
    return found
