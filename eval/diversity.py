"""How varied a set of images is in itself: MS-SSIM between its pictures, and the Vendi score of its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal.windows import gaussian

from eval.bootstrap import LEVEL
from eval.nearest import blocks

MOST = 500
"""Images of a set that are compared with each other at most, evenly spread over it."""
ROUNDS = 3
"""Each image is compared with so many others, and so many others with it."""
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = 0.01**2, 0.03**2
_CHUNK = 32  # pairs compared at once
_REPEATS = 1000


def scales(side: int) -> int:
    """How many of the 5 scales of MS-SSIM fit: the window of 11 pixels has to fit into the coarsest, 5 need 161 px."""
    return max(1, sum(side // 2**scale >= 2 * _RADIUS + 1 for scale in range(len(_WEIGHTS))))


def ms_ssim(pixels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Multi-scale structural similarity of pairs of pictures; 1 = the same picture.

    Wang 2003, with a Gaussian window of sigma 1.5 over 11 pixels and without padding. Pictures with a side under
    161 pixels have room for fewer scales than 5: the weights of the first ones, divided by their sum, are used (4 at
    128 pixels). A negative mean structure counts as 0.

    Args:
        pixels: `(N, C, H, W)` uint8.
        first: `(P,)` row numbers.
        second: `(P,)` of the pictures they are compared with.

    Returns:
        `(P,)`.
    """
    count = scales(min(pixels.shape[2:]))
    weights = np.array(_WEIGHTS[:count]) / sum(_WEIGHTS[:count])
    found, current = np.ones(len(first)), pixels.astype(np.float32) / np.float32(255.0)
    for place, weight in enumerate(weights):
        mean = _windowed(current)
        variance = _windowed(current * current) - mean * mean
        for start in range(0, len(first), _CHUNK):
            i, j = first[start : start + _CHUNK], second[start : start + _CHUNK]
            both = mean[i] * mean[j]
            term = (2.0 * (_windowed(current[i] * current[j]) - both) + _C2) / (variance[i] + variance[j] + _C2)
            if place == count - 1:
                term *= (2.0 * both + _C1) / (mean[i] ** 2 + mean[j] ** 2 + _C1)
            found[start : start + _CHUNK] *= np.maximum(term.mean(axis=(1, 2, 3), dtype=np.float64), 0.0) ** weight
        current = _halved(current)
    return found


def _windowed(pixels: np.ndarray) -> np.ndarray:
    """Weighted means around each pixel that the whole window fits around: two products with banded matrices."""
    down, across = (_bands(side) for side in pixels.shape[2:])
    found: np.ndarray = down @ pixels @ across.T
    return found


def _bands(side: int) -> np.ndarray:
    """`(side - 10, side)`: row i holds the window from pixel i on."""
    window = gaussian(2 * _RADIUS + 1, _SIGMA)
    window = window[: min(side, len(window))]
    rows = side - len(window) + 1
    found = np.zeros((rows, side), np.float32)
    for i in range(rows):
        found[i, i : i + len(window)] = window / window.sum()
    return found


def _halved(pixels: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in pixels.shape[2:])
    cut = pixels[:, :, :height, :width]
    return (cut[:, :, ::2, ::2] + cut[:, :, 1::2, ::2] + cut[:, :, ::2, 1::2] + cut[:, :, 1::2, 1::2]) / 4.0


@dataclass(frozen=True, eq=False)
class Alike:
    """MS-SSIM of fixed pairs of a set.

    Args:
        first: `(P,)` row numbers.
        second: `(P,)` likewise.
        values: `(P,)`.
        n: images that take part.
    """

    first: np.ndarray
    second: np.ndarray
    values: np.ndarray
    n: int

    def mean(self) -> float:
        """The mean over all pairs."""
        return float(self.values.mean())

    def interval(self) -> tuple[float, float] | None:
        """95 % interval of `mean`, by resampling images: a pair counts as often as both its images together.

        None with fewer than 4 images.
        """
        if self.n < 4:
            return None
        names, place = np.unique(np.concatenate([self.first, self.second]), return_inverse=True)
        count = len(names)
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1.0 / count), size=_REPEATS)
        weight = drawn[:, place[: len(self.first)]] * drawn[:, place[len(self.first) :]]
        means = (weight @ self.values) / np.maximum(weight.sum(axis=1), 1)
        low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


def alike(pixels: np.ndarray, rows: np.ndarray | None = None) -> Alike:
    """MS-SSIM of each image with `ROUNDS` others, the same pairs whenever there are as many images.

    The images stand in a ring in an order that is fixed for their number; each is compared with the next ones.

    Args:
        pixels: `(N, C, H, W)` uint8, N >= 2.
        rows: which of them; None = all.
    """
    own = np.arange(len(pixels)) if rows is None else rows
    ring = np.random.default_rng(0).permutation(own)
    rounds = min(ROUNDS, max(1, (len(ring) - 1) // 2))
    first = np.tile(ring, rounds)
    second = np.concatenate([np.roll(ring, -step) for step in range(1, rounds + 1)])
    if len(ring) == 2:
        first, second = first[:1], second[:1]
    return Alike(first, second, ms_ssim(pixels, first, second), len(ring))


def vendi(features: np.ndarray) -> float:
    """How many different images a set amounts to: 1 = all alike, N = all unlike (arXiv:2210.02410, q = 1).

    exp of the entropy of the eigenvalues of K / N, K the cosines of all pairs of feature vectors. X X' / N and X' X / N
    have the same eigenvalues but zeros: the smaller of the two is taken. Grows with N: compare equal N only.

    Args:
        features: `(N, D)`, N >= 1.
    """
    n, dim = features.shape
    if n <= dim:
        return vendi_of(cosines(features))
    gram = np.zeros((dim, dim))
    for rows in blocks(n, dim):
        part = _unit(features[rows])
        gram += part.T @ part
    return _exp_entropy(np.linalg.eigvalsh(gram / n))


def cosines(features: np.ndarray) -> np.ndarray:
    """`(N, D)` -> `(N, N)`."""
    unit = _unit(features)
    found: np.ndarray = unit @ unit.T
    return found


def vendi_of(matrix: np.ndarray) -> float:
    """The Vendi score of an `(N, N)` matrix of cosines."""
    return _exp_entropy(np.linalg.eigvalsh(matrix / len(matrix)))


def _unit(features: np.ndarray) -> np.ndarray:
    rows = features.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def _exp_entropy(shares: np.ndarray) -> float:
    # vectors of zeros leave a rest, and rounding tiny negatives
    shares = shares[shares > 1e-12]
    shares = shares / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
