"""Distances between a real and a generated set of feature vectors. Always `real=`, `fake=`: no order to confuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medgen.errors import MedgenError

NEAREST = 5
"""The k of precision, recall, density and coverage unless a report says otherwise (arXiv:2002.09797, section 5)."""

_BLOCK = 512  # rows of a distance matrix held at once: memory grows with N, not with N * N


def fid(*, real: np.ndarray, fake: np.ndarray) -> float:
    """Frechet distance between Gaussians fitted to two feature sets; 0 = same mean and covariance.

    |mean_r - mean_f|^2 + tr(S_r) + tr(S_f) - 2 tr((S_r S_f)^(1/2)), arXiv:1706.08500, equation 6. With centred
    features X (one row an image), S = X'X / (n - 1), and the eigenvalues of S_r S_f are the squared singular values
    of X_r X_f' / sqrt((n_r - 1)(n_f - 1)): a small matrix when images are fewer than features, and no `sqrtm`.
    Biased upwards at small n: compare equal n only, and stand it beside a real-against-real floor of the same n.

    Args:
        real: `(N, D)` features of real images, N >= 2.
        fake: `(M, D)` features of generated images, M >= 2.

    Raises:
        MedgenError: too few images, different D, or features that are not finite.
    """
    real, fake = _checked(real, fake, least=2, why="a covariance")
    shift = real.mean(axis=0) - fake.mean(axis=0)
    left, right = _centred(real), _centred(fake)
    trace = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    distance = shift @ shift + np.square(left).sum() + np.square(right).sum() - 2.0 * trace
    # a distance: below zero is rounding
    return max(0.0, float(distance))


def _centred(features: np.ndarray) -> np.ndarray:
    """`X` with X'X = covariance; at most D rows, because the R of X = QR has the same X'X."""
    scaled = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.linalg.qr(scaled, mode="r") if len(scaled) > scaled.shape[1] else scaled


def kid(*, real: np.ndarray, fake: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3; expectation 0 for one distribution.

    Unbiased at every n (arXiv:1801.01401, section 4), so it may come out slightly negative. All pairs are used
    instead of the mean over random subsets: the same expectation, less variance.

    Args:
        real: `(N, D)` features of real images, N >= 2.
        fake: `(M, D)` features of generated images, M >= 2.

    Raises:
        MedgenError: too few images, different D, or features that are not finite.
    """
    real, fake = _checked(real, fake, least=2, why="pairs")

    def total(x: np.ndarray, y: np.ndarray) -> float:
        return float(sum(np.sum((x[rows] @ y.T / x.shape[1] + 1.0) ** 3) for rows in _blocks(len(x))))

    def within(x: np.ndarray) -> float:
        own = np.sum((np.einsum("nd,nd->n", x, x) / x.shape[1] + 1.0) ** 3)
        return float((total(x, x) - own) / (len(x) * (len(x) - 1)))

    return within(real) + within(fake) - 2.0 * total(real, fake) / (len(real) * len(fake))


@dataclass(frozen=True)
class Neighbours:
    """What the k-nearest-neighbour balls say of every single image; the metrics are the means.

    Args:
        fake_inside: `(M,)` 1 where a generated image lies in the ball of any real one; mean = precision.
        real_inside: `(N,)` 1 where a real image lies in the ball of any generated one; mean = recall.
        fake_density: `(M,)` real balls around a generated image, divided by k; mean = density.
        real_covered: `(N,)` 1 where the ball of a real image holds any generated one; mean = coverage.
    """

    fake_inside: np.ndarray
    real_inside: np.ndarray
    fake_density: np.ndarray
    real_covered: np.ndarray


def neighbours(*, real: np.ndarray, fake: np.ndarray, k: int = NEAREST) -> Neighbours:
    """The four k-NN indicators in one pass.

    The ball of an image reaches to its k-th nearest neighbour in its own set. Improved precision and recall:
    arXiv:1904.06991, equation 1; density and coverage: arXiv:2002.09797, equations 6 and 8.

    Args:
        real: `(N, D)` features of real images, N > k.
        fake: `(M, D)` features of generated images, M > k.
        k: which neighbour sets the radius.

    Raises:
        MedgenError: k < 1, a set of k images or fewer, different D, or features that are not finite.
    """
    if k < 1:
        raise MedgenError(f"k must be at least 1, not {k}.")
    real, fake = _checked(real, fake, least=k + 1, why=f"{k} nearest neighbours")
    middle = real.mean(axis=0)  # smaller numbers, fewer lost digits; distances stay the same
    real, fake = real - middle, fake - middle
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    balls = np.zeros(len(fake))
    inside, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows in _blocks(len(real)):
        distance = _squared_distances(real[rows], fake)  # (block, M)
        in_real_ball = distance < real_radius[rows, None]
        balls += in_real_ball.sum(axis=0)
        covered[rows] = in_real_ball.any(axis=1)
        inside[rows] = (distance < fake_radius).any(axis=1)
    return Neighbours((balls > 0).astype(float), inside.astype(float), balls / k, covered.astype(float))


def precision(*, real: np.ndarray, fake: np.ndarray, k: int = NEAREST) -> float:
    """Share of generated images that look real: inside a ball of the real set. See `neighbours`."""
    return float(neighbours(real=real, fake=fake, k=k).fake_inside.mean())


def recall(*, real: np.ndarray, fake: np.ndarray, k: int = NEAREST) -> float:
    """Share of real images that the model could have made: inside a ball of the generated set. See `neighbours`."""
    return float(neighbours(real=real, fake=fake, k=k).real_inside.mean())


def density(*, real: np.ndarray, fake: np.ndarray, k: int = NEAREST) -> float:
    """Real balls around a generated image over k; 1 for one distribution, may exceed 1. See `neighbours`."""
    return float(neighbours(real=real, fake=fake, k=k).fake_density.mean())


def coverage(*, real: np.ndarray, fake: np.ndarray, k: int = NEAREST) -> float:
    """Share of real images with a generated one in their ball. See `neighbours`."""
    return float(neighbours(real=real, fake=fake, k=k).real_covered.mean())


def histogram_distance(*, real: np.ndarray, fake: np.ndarray) -> float:
    """1-Wasserstein distance between the grey values of two sets, as a share of black to white; 0 = same brightness.

    It sees brightness and contrast only, and needs no network: a first look, not a judgement.

    Args:
        real: `(N, B)` histograms of real images, each row summing to 1.
        fake: `(M, B)` histograms of generated images.

    Raises:
        MedgenError: no images, different B, or values that are not finite.
    """
    real, fake = _checked(real, fake, least=1, why="a histogram")
    gap = np.cumsum(real.mean(axis=0) - fake.mean(axis=0))
    return float(np.abs(gap[:-1]).sum() / (real.shape[1] - 1))


def _checked(real: np.ndarray, fake: np.ndarray, *, least: int, why: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sets as float64, or one sentence on what is wrong with them."""
    for name, one in (("real", real), ("fake", fake)):
        if one.ndim != 2:
            raise MedgenError(f"The {name} features must be (images, features), not {one.shape}.")
        if len(one) < least:
            raise MedgenError(
                f"{why[0].upper()}{why[1:]} needs at least {least} images a set; the {name} set has {len(one)}: "
                "use more images."
            )
        if not np.isfinite(one).all():
            raise MedgenError(f"The {name} features hold NaN or infinity: look at the images they come from.")
    if real.shape[1] != fake.shape[1]:
        raise MedgenError(
            f"Real features have {real.shape[1]} dimensions and fake ones {fake.shape[1]}: use one extractor for both."
        )
    return real.astype(np.float64), fake.astype(np.float64)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`(A, D)`, `(B, D)` -> `(A, B)` squared Euclidean distances."""
    size = np.einsum("ad,ad->a", x, x)[:, None] + np.einsum("bd,bd->b", y, y)
    distance = size - 2.0 * (x @ y.T)
    # equal images must be at distance 0, not at rounding noise: a collapsed set has balls of radius 0
    distance[distance < 1e-12 * size] = 0.0
    return distance


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """`(N, D)` -> `(N,)` squared distance of each image to its k-th nearest other image."""
    radii = np.empty(len(features))
    for rows in _blocks(len(features)):
        distance = _squared_distances(features[rows], features)
        distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = np.inf  # an image is not its neighbour
        radii[rows] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return radii
