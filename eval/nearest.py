"""Distances between rows of two arrays, a block at a time: memory grows with N, never with N x N."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ELEMENTS = 2**22
"""Numbers held of one block: 32 MB of float64."""
_FEWEST = 64  # rows a block, however wide: matrix products of fewer are slow


def blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of `n` rows of `width` numbers, each a block of about `ELEMENTS`."""
    rows = max(_FEWEST, ELEMENTS // max(width, 1))
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


class Rows:
    """Feature vectors as float64, made of a block at a time, so that a file of them need not fit into memory.

    Args:
        values: `(N, D)` of any kind of float; a memory map will do.
        middle: `(D,)` subtracted from each: smaller numbers lose fewer digits, and distances stay the same.
    """

    def __init__(self, values: np.ndarray, middle: np.ndarray | None = None) -> None:
        self.values = values
        self.middle = np.zeros(values.shape[1]) if middle is None else middle
        self.squares = np.empty(len(values))  # squared lengths
        for rows in self.blocks():
            part = self.take(rows)
            self.squares[rows] = np.einsum("nd,nd->n", part, part)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: slice) -> np.ndarray:
        """Some rows, as `(n, D)` float64."""
        return np.asarray(self.values[rows], np.float64) - self.middle

    def blocks(self) -> Iterator[slice]:
        """Slices of rows that are small as vectors."""
        return blocks(len(self), self.values.shape[1])

    def products(self, part: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Inner products of `part`, `(n, D)`, with every row: `(n, N)`, written into `out` where that is given."""
        found = np.empty((len(part), len(self))) if out is None else out
        for rows in self.blocks():
            np.matmul(part, self.take(rows).T, out=found[:, rows])
        return found

    def squared_distances(self, others: Rows) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of self, and their squared Euclidean distances to all `others`, `(n, M)`.

        The caller may change them, and must not keep them: the next block is written over this one.
        """
        space = np.empty(0)
        for rows in blocks(len(self), max(len(others), self.values.shape[1])):
            part = -2.0 * self.take(rows)
            space = space if len(space) else np.empty((2, len(part), len(others)))
            distance, size = space[:, : len(part)]
            others.products(part, distance)
            np.add(self.squares[rows, None], others.squares, out=size)
            distance += size
            # equal images must be at distance 0, not at rounding noise: a collapsed set has balls of radius 0
            size *= 1e-12
            distance[distance < size] = 0.0
            yield rows, distance


def radii(features: Rows, k: int) -> np.ndarray:
    """`(N,)` squared distance of each row to its k-th nearest other row."""
    found = np.empty(len(features))
    for rows, distance in features.squared_distances(features):
        distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf  # a row is not its neighbour
        distance.partition(k - 1, axis=1)  # in place: the block is ours
        found[rows] = distance[:, k - 1]
    return found


def nearest(features: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `among`, `(T, D)`, to each of `features`, `(N, D)`.

    Returns:
        `(N,)` Euclidean distances and `(N,)` row numbers of `among`.
    """
    middle = among.mean(axis=0, dtype=np.float64)
    left, right = Rows(features, middle), Rows(among, middle)
    distance, place = np.empty(len(left)), np.empty(len(left), np.int64)
    for rows, squared in left.squared_distances(right):
        place[rows] = squared.argmin(axis=1)
        distance[rows] = np.sqrt(squared.min(axis=1))
    return distance, place


def nearest_and_crowd(features: np.ndarray, among: np.ndarray, crowd: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Like `nearest`, and how lonely that nearest one is.

    Args:
        features: `(N, D)`.
        among: `(T, D)`, T > 1.
        crowd: how many of the next nearest.

    Returns:
        `(N,)` distances, `(N,)` row numbers, and `(N,)` the distance over the mean distance to the `crowd` rows that
        come after the nearest: about 0 for a copy, near 1 where all are equally far.
    """
    crowd = min(crowd, len(among) - 1)
    middle = among.mean(axis=0, dtype=np.float64)
    left, right = Rows(features, middle), Rows(among, middle)
    distance, ratio, place = np.empty(len(left)), np.empty(len(left)), np.empty(len(left), np.int64)
    for rows, squared in left.squared_distances(right):
        place[rows] = squared.argmin(axis=1)
        close = np.sqrt(np.sort(np.partition(squared, crowd, axis=1)[:, : crowd + 1], axis=1))
        distance[rows], others = close[:, 0], close[:, 1:].mean(axis=1)
        ratio[rows] = close[:, 0] / np.where(others > 0, others, 1.0)
    return distance, place, ratio


def nearest_other(features: np.ndarray) -> np.ndarray:
    """`(N,)` Euclidean distance of each row of `(N, D)` to the nearest other one."""
    return np.sqrt(radii(Rows(features, features.mean(axis=0, dtype=np.float64)), 1))


def least_cosine_distance(features: np.ndarray, among: np.ndarray) -> np.ndarray:
    """`(N,)` 1 - |cosine| of each of `(N, D)` with the row of `(T, D)` that it points along most.

    A vector of zeros points nowhere: it is at 1 from all.
    """
    left, right = Rows(features), Rows(among)
    length = np.sqrt(np.where(right.squares > 0, right.squares, np.inf))
    found = np.empty(len(left))
    for rows in blocks(len(left), max(len(right), features.shape[1])):
        most = np.abs(right.products(left.take(rows)) / length).max(axis=1)
        own = np.sqrt(np.where(left.squares[rows] > 0, left.squares[rows], np.inf))
        found[rows] = np.maximum(0.0, 1.0 - most / own)
    return found
