"""Has a model learned its training images by heart? Numbers of a set: MiFID's penalty, authenticity, C_T.

All three ask how near generated images come to training images. A copy that the feature space does not see, none sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.cluster import KMeans

from eval.bootstrap import LEVEL, members
from eval.metrics import checked
from eval.nearest import least_cosine_distance, nearest, nearest_and_crowd, nearest_other

CELL = 50
"""Held-out real images a cell of C_T holds on average; it counts where it holds a tenth of that on both sides."""
MOST_CELLS = 10
MOST_PENALTY = 1000.0
CROWD = 50
"""Training images that the nearest one is compared with."""
_REPEATS = 200


@dataclass(frozen=True, eq=False)
class Train:
    """Training images in a feature space.

    Args:
        features: `(T, D)`.
        apart: `(T,)` distance of each to the nearest other one.
        centres: `(C, D)` of the cells of C_T.
    """

    features: np.ndarray
    apart: np.ndarray
    centres: np.ndarray


@dataclass(frozen=True, eq=False)
class Near:
    """How near each of N images comes to the training images.

    Args:
        distance: `(N,)` Euclidean, to the nearest.
        place: `(N,)` which that is.
        ratio: `(N,)` the distance over the mean distance to the `CROWD` next nearest: small for copies alone.
        cosine: `(N,)` 1 - |cosine|, to the nearest in angle.
        cell: `(N,)` which cell of C_T the image lies in.
        authentic: `(N,)` 1 where it is farther from its nearest training image than that is from the next one, else 0:
            Alaa et al., arXiv:2102.08921, section 3.3. The mean is authenticity, which real images do not bring to 1.
    """

    distance: np.ndarray
    place: np.ndarray
    ratio: np.ndarray
    cosine: np.ndarray
    cell: np.ndarray
    authentic: np.ndarray

    def only(self, rows: np.ndarray) -> Near:
        """Of some of the images."""
        return Near(**{name: values[rows] for name, values in vars(self).items()})


def trained_on(features: np.ndarray, n_held_out: int, centres: np.ndarray | None = None) -> Train:
    """What memorisation is judged by.

    Args:
        features: `(T, D)` of all training images.
        n_held_out: real images that they are compared with.
        centres: of the cells; None = about `CELL` held-out images a cell, at most `MOST_CELLS`, by k-means of the
            training images.

    Raises:
        MedgenError: fewer than 2 training images, or features that are not finite.
    """
    checked(features, features, least=2, why="memorisation")
    if centres is None:
        cells = int(np.clip(n_held_out // CELL, 1, min(MOST_CELLS, len(features))))
        centres = np.asarray(KMeans(cells, n_init=1, random_state=0).fit(features).cluster_centers_)
    return Train(features, nearest_other(features), centres)


def near(features: np.ndarray, train: Train) -> Near:
    """How near each of `(N, D)` comes to the training images."""
    distance, place, ratio = nearest_and_crowd(features, train.features, CROWD)
    cosine = least_cosine_distance(features, train.features)
    authentic = (distance > train.apart[place]).astype(float)
    return Near(distance, place, ratio, cosine, nearest(features, train.centres)[1], authentic)


def penalty(fake: np.ndarray, held_out: np.ndarray) -> float:
    """What MiFID multiplies FID with: 1 for a set as far from the training images as held-out real ones, or farther.

    Bai et al. (arXiv:2106.03062) divide FID by m, the mean over generated images of the least cosine distance to a
    training image, where m is below a threshold that was chosen for photographs of dogs. Here the threshold is the m of
    held-out real images in the same space, and FID is divided by m / threshold, so that nothing jumps where m crosses
    it. At most `MOST_PENALTY`, because copies have m = 0.

    Args:
        fake: `(M,)` least cosine distances of generated images.
        held_out: `(N,)` of held-out real ones.
    """
    own, threshold = float(fake.mean()), float(held_out.mean())
    return float(np.clip(threshold / own if own > 0 else MOST_PENALTY, 1.0, MOST_PENALTY))


def c_t(fake: Near, held_out: Near) -> float | None:
    """The data-copying test: far below 0 = nearer to the training images than held-out real ones are.

    Meehan et al., arXiv:2004.05675, section 4. In each cell the Mann-Whitney U of the distances to the training set,
    generated above held-out, as a z score; then the mean over cells weighted by their held-out images. Under no
    copying a z score has mean 0 and variance 1; it grows with the root of n. Distances are to the nearest training
    image of any cell.

    Returns:
        None where no cell holds enough images of both.
    """
    scores, weights = [], []
    for cell in np.unique(held_out.cell):
        own, others = fake.distance[fake.cell == cell], held_out.distance[held_out.cell == cell]
        if min(len(own), len(others)) < CELL // 10:
            continue
        m, n = len(own), len(others)
        rank_sum = rankdata(np.concatenate([own, others]))[:m].sum()
        above = rank_sum - m * (m + 1) / 2.0
        scores.append((above - m * n / 2.0) / np.sqrt(m * n * (m + n + 1) / 12.0))
        weights.append(n)
    return float(np.average(scores, weights=weights)) if scores else None


def c_t_interval(fake: Near, held_out: Near, subjects: Sequence[str] | None) -> tuple[float, float] | None:
    """95 % interval of `c_t` by resampling generated images and whole patients of the held-out ones, `subjects`.

    Distances to a fixed training set are one number an image, so that duplicates do no harm. None with fewer than 4
    patients or generated images.
    """
    patients = members(subjects, len(held_out.distance))
    if len(patients) < 4 or len(fake.distance) < 4:
        return None
    rng = np.random.default_rng(0)
    values = []
    for _ in range(_REPEATS):
        rows = np.concatenate([patients[i] for i in rng.integers(len(patients), size=len(patients))])
        value = c_t(fake.only(rng.integers(len(fake.distance), size=len(fake.distance))), held_out.only(rows))
        if value is not None:
            values.append(value)
    if len(values) < _REPEATS // 2:
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
