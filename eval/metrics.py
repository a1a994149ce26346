"""Distances between a real and a generated set of feature vectors. Always `real=`, `fake=`: no order to confuse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from eval.nearest import ELEMENTS, Rows, blocks, radii
from medgen.errors import MedgenError

# the last digits of matrix products change with the number of threads, and reports are made by one process or several;
# for the singular values of a thousand images OpenBLAS with two threads took 25 times as long
steady = threadpool_limits.wrap(limits=1, user_api="blas")
NEAREST = 5
"""The k of precision, recall, density and coverage unless a report says otherwise (arXiv:2002.09797, section 5)."""


@steady
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
    checked(real, fake, least=2, why="a covariance")
    middles = [one.mean(axis=0, dtype=np.float64) for one in (real, fake)]
    left, right = (spread(one, middle) for one, middle in zip((real, fake), middles, strict=True))
    trace = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    distance = np.square(middles[0] - middles[1]).sum() + np.square(left).sum() + np.square(right).sum() - 2.0 * trace
    # a distance: below zero is rounding
    return max(0.0, float(distance))


def spread(features: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """`X` with X'X = covariance about `middle`; at most D rows, because the R of X = QR has the same X'X.

    Of many images R is made of a block of them at a time: the R of [R; more rows] is that of all rows so far.
    """
    dim, scale = features.shape[1], np.sqrt(len(features) - 1)
    if len(features) <= dim:
        return (features.astype(np.float64) - middle) / scale
    found: np.ndarray = np.empty((0, dim))
    step = max(2 * dim, ELEMENTS // dim)
    for start in range(0, len(features), step):
        part = (features[start : start + step].astype(np.float64) - middle) / scale
        found = np.asarray(np.linalg.qr(np.concatenate([found, part]), mode="r"))
    return found


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
    checked(real, fake, least=2, why="pairs")
    left, right = Rows(real), Rows(fake)

    def total(x: Rows, y: Rows) -> float:
        return float(sum(kernel(y.products(x.take(rows)), dim).sum() for rows in blocks(len(x), max(len(y), dim))))

    def within(x: Rows) -> float:
        return (total(x, x) - float(kernel(x.squares, dim).sum())) / (len(x) * (len(x) - 1))

    dim = real.shape[1]
    return within(left) + within(right) - 2.0 * total(left, right) / (len(left) * len(right))


def kernel(products: np.ndarray, dim: int) -> np.ndarray:
    """KID's kernel (x.y / D + 1)^3 of inner products x.y."""
    scaled = products / dim + 1.0
    return scaled * scaled * scaled


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

    def of(self) -> dict[str, np.ndarray]:
        """Name of a metric -> what it is the mean of."""
        return {
            "precision": self.fake_inside, "recall": self.real_inside, "density": self.fake_density,
            "coverage": self.real_covered,
        }  # fmt: skip


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
    checked(real, fake, least=k + 1, why=f"{k} nearest neighbours")
    middle = real.mean(axis=0, dtype=np.float64)
    left, right = Rows(real, middle), Rows(fake, middle)
    real_radius, fake_radius = radii(left, k), radii(right, k)
    balls, inside, covered = np.zeros(len(fake)), np.empty(len(real)), np.empty(len(real))
    for rows, distance in left.squared_distances(right):
        part = in_balls(distance, real_radius[rows], fake_radius, k)
        balls += part.fake_density
        inside[rows], covered[rows] = part.real_inside, part.real_covered
    return Neighbours((balls > 0).astype(float), inside, balls, covered)


def in_balls(distance: np.ndarray, real_radius: np.ndarray, fake_radius: np.ndarray, k: int) -> Neighbours:
    """The indicators from squared distances of `(N, M)` real to generated images and the balls' squared radii."""
    in_real_ball = distance < real_radius[:, None]
    balls = in_real_ball.sum(axis=0)
    inside, covered = (distance < fake_radius).any(axis=1), in_real_ball.any(axis=1)
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
    checked(real, fake, least=1, why="a histogram")
    gap = np.cumsum(real.mean(axis=0) - fake.mean(axis=0))
    return float(np.abs(gap[:-1]).sum() / (real.shape[1] - 1))


def checked(real: np.ndarray, fake: np.ndarray, *, least: int, why: str) -> None:
    """Raises one sentence on what is wrong with two sets of features, if anything is.

    Args:
        real: `(N, D)`.
        fake: `(M, D)`.
        least: images a set has to have.
        why: what needs them.
    """
    for name, one in (("real", real), ("fake", fake)):
        if one.ndim != 2:
            raise MedgenError(f"The {name} features must be (images, features), not {one.shape}.")
        if len(one) < least:
            raise MedgenError(
                f"{why[0].upper()}{why[1:]} needs at least {least} images a set; the {name} set has {len(one)}: "
                "use more images."
            )
        if not all(np.isfinite(one[rows]).all() for rows in blocks(len(one), one.shape[1])):
            raise MedgenError(f"The {name} features hold NaN or infinity: look at the images they come from.")
    if real.shape[1] != fake.shape[1]:
        raise MedgenError(
            f"Real features have {real.shape[1]} dimensions and fake ones {fake.shape[1]}: use one extractor for both."
        )
