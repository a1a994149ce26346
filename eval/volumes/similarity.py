"""How alike two volumes are: PSNR, SSIM and multi-scale SSIM in three dimensions, and how varied a set is."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from eval.bootstrap import LEVEL

SIGMA, RADIUS = 1.5, 3
"""Of the Gaussian window, in voxels: 7 voxels across, for volumes of 32 to 64."""
WEIGHTS = (0.0448, 0.2856, 0.3001)
"""Of the scales, the finest first: the first three of the five of Wang 2003, divided by their sum."""
DEFINITION = (
    f"MS-SSIM in 3D: {len(WEIGHTS)} scales (halved by means of 2x2x2 voxels), Gaussian window of {2 * RADIUS + 1} "
    f"voxels (sigma {SIGMA}), without padding, grey values 0..1 of the whole grid, background included"
)
_C1, _C2 = 0.01**2, 0.03**2
_REPEATS = 1000
_CHUNK = 8  # volumes compared at once: bounded memory


def psnr(*, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair, in dB: `(N, 1, X, Y, Z)` in [0, 1] twice -> `(N,)`; 100 for copies."""
    error = np.square(real.astype(np.float64) - fake).reshape(len(real), -1).mean(axis=1)
    return -10.0 * np.log10(np.maximum(error, 1e-10))


def ssim(*, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang 2004) of each pair at one scale: `(N, 1, X, Y, Z)` in [0, 1] twice -> `(N,)`."""
    found = np.empty(len(real))
    for i in range(len(real)):
        left, right = _Scale(real[i]), _Scale(fake[i])
        contrast, luminance = left.terms(right)
        found[i] = float((contrast * luminance).mean())
    return found


class _Scale:
    """Volumes at one scale with their local means and variances."""

    def __init__(self, volumes: np.ndarray) -> None:
        # (n, X, Y, Z) float64: a variance is a small difference of large numbers
        self.volumes = np.asarray(volumes, np.float64)
        self.mean = _window(self.volumes)
        self.variance = _window(self.volumes**2) - self.mean**2

    def terms(self, other: _Scale) -> tuple[np.ndarray, np.ndarray]:
        """Contrast and structure, and luminance, at every voxel; either side may hold one volume for all."""
        covariance = _window(self.volumes * other.volumes) - self.mean * other.mean
        contrast = (2.0 * covariance + _C2) / (self.variance + other.variance + _C2)
        luminance = (2.0 * self.mean * other.mean + _C1) / (self.mean**2 + other.mean**2 + _C1)
        return contrast, luminance

    def take(self, part: slice) -> _Scale:
        """Some of the volumes."""
        found = _Scale.__new__(_Scale)
        found.volumes, found.mean, found.variance = self.volumes[part], self.mean[part], self.variance[part]
        return found


def _window(volumes: np.ndarray) -> np.ndarray:
    """Weighted means around each voxel that the whole window fits around."""
    means = gaussian_filter(volumes, SIGMA, radius=RADIUS, axes=(1, 2, 3))
    inner = slice(RADIUS, -RADIUS)
    return means[:, inner, inner, inner]


def similarities(volumes: np.ndarray) -> np.ndarray:
    """MS-SSIM of every pair: `(N, 1, X, Y, Z)` in [0, 1] -> `(N, N)`, symmetric, 1 on the diagonal.

    Wang 2003 in three dimensions, see `DEFINITION`. A negative mean structure counts as 0.
    """
    scales, current = [], volumes[:, 0].astype(np.float64)
    for _ in WEIGHTS:
        scales.append(_Scale(current))
        current = halved(current)
    weights = np.array(WEIGHTS) / sum(WEIGHTS)
    found = np.eye(len(volumes))
    for i in range(len(volumes)):
        for start in range(i + 1, len(volumes), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(volumes)))
            product = np.ones(part.stop - part.start)
            for place, (scale, weight) in enumerate(zip(scales, weights, strict=True)):
                contrast, luminance = scale.take(slice(i, i + 1)).terms(scale.take(part))
                values = contrast * luminance if place == len(scales) - 1 else contrast
                product *= np.maximum(values.mean(axis=(1, 2, 3)), 0.0) ** weight
            found[i, part] = found[part, i] = product
    return found


def halved(volumes: np.ndarray) -> np.ndarray:
    """Means of 2x2x2 voxels; an odd last voxel is left out: `(n, X, Y, Z)` -> `(n, X / 2, Y / 2, Z / 2)`."""
    n, *sides = volumes.shape
    x, y, z = (side // 2 for side in sides)
    whole = volumes[:, : 2 * x, : 2 * y, : 2 * z]
    return whole.reshape(n, x, 2, y, 2, z, 2).mean(axis=(2, 4, 6))


def mean_of_pairs(matrix: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Mean over all pairs of two different volumes, and its 95 % interval over resampled volumes.

    A resample draws volumes with replacement; pairs of one volume with itself are left out of it, as they are of the
    mean.

    Args:
        matrix: `(N, N)` from `similarities`.
        seed: of the resamples.

    Returns:
        `value`, `low`, `high`, `n` (volumes) and `pairs`; None instead of numbers for fewer than 2 volumes, and no
        interval for fewer than 4.
    """
    n = len(matrix)
    entry: dict[str, Any] = {"value": None, "low": None, "high": None, "n": n, "pairs": n * (n - 1) // 2}
    if n < 2:
        return entry
    off = matrix * (1.0 - np.eye(n))
    entry["value"] = float(off.sum() / (n * (n - 1)))
    if n >= 4:
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=_REPEATS).astype(float)
        pairs = n**2 - (counts**2).sum(axis=1)
        means = np.einsum("ri,ij,rj->r", counts, off, counts, optimize=True) / np.where(pairs > 0, pairs, np.nan)
        low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        entry |= {"low": float(low), "high": float(high)}
    return entry
