"""Is a generated volume one of the training volumes? The nearest of them, and how near real people are to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.volumes.plausibility import share
from eval.volumes.similarity import halved
from medgen.image import ImageSet

SHIFT = 1
"""Voxels of half resolution that a volume may be moved by along each axis before it is compared."""
PERCENTILE = 5.0
RULE = (
    "Distance = 1 - correlation of grey values at half resolution, the best of all shifts by up to one such voxel "
    "along each axis; or 1 - cosine of the centred features of three middle planes. Near = nearer to a training volume "
    f"than the nearest {PERCENTILE:g} % of held-out real volumes (val and test) are; of those {PERCENTILE:g} % are, by "
    "definition."
)


@dataclass(frozen=True, eq=False)
class Known:
    """Training volumes and how near others are to them.

    Args:
        voxels: `(T, 1, X, Y, Z)` in [0, 1].
        features: `(T, D)`.
        subjects: T ids.
        mirror: whether the mirror image of a training volume counts as that volume.
        held_out: `nearest` of real volumes that no training saw.
    """

    voxels: np.ndarray
    features: np.ndarray
    subjects: tuple[str, ...]
    mirror: bool
    held_out: Nearest


@dataclass(frozen=True, eq=False)
class Nearest:
    """Of N volumes: distance to the nearest training volume and which it is, in voxels and in features."""

    voxels: np.ndarray
    voxel_of: np.ndarray
    features: np.ndarray
    feature_of: np.ndarray


def known(train: ImageSet, features: np.ndarray, mirror: bool, others: ImageSet, other_features: np.ndarray) -> Known:
    """What memorisation is judged by.

    Args:
        train: the volumes a model has learned from.
        features: `plane_features` of them.
        mirror: whether a model may have seen them mirrored.
        others: held-out real volumes.
        other_features: of those.
    """
    voxels, subjects = train.unit_range(), train.subjects or tuple(map(str, range(len(train))))
    found = nearest(others.unit_range(), other_features, voxels, features, mirror)
    return Known(voxels, features, subjects, mirror, found)


def nearest(
    voxels: np.ndarray, features: np.ndarray, train: np.ndarray, train_features: np.ndarray, mirror: bool
) -> Nearest:
    """The nearest training volume of each of N volumes.

    Args:
        voxels: `(N, 1, X, Y, Z)` in [0, 1].
        features: `(N, D)`.
        train: `(T, 1, X, Y, Z)` in [0, 1].
        train_features: `(T, D)`.
        mirror: whether mirrored training volumes count, in voxels.
    """
    distance = voxel_distances(voxels, train)
    if mirror:
        distance = np.minimum(distance, voxel_distances(voxels, train[:, :, ::-1]))
    middle = train_features.mean(axis=0, dtype=np.float64)
    apart = 1.0 - _unit(features - middle) @ _unit(train_features - middle).T
    return Nearest(distance.min(axis=1), distance.argmin(axis=1), apart.min(axis=1), apart.argmin(axis=1))


def voxel_distances(voxels: np.ndarray, train: np.ndarray) -> np.ndarray:
    """`(N, T)`: 1 - Pearson correlation at half resolution, the smallest over all small shifts."""
    small, others = halved(voxels[:, 0]), halved(train[:, 0])
    inner = small[(slice(None), *[slice(SHIFT, -SHIFT)] * 3)]
    own = _unit(_centred(inner))
    best = np.full((len(small), len(others)), -1.0)
    for moved in _shifted(others):
        best = np.maximum(best, own @ _unit(_centred(moved)).T)
    return 1.0 - best


def _shifted(volumes: np.ndarray) -> Iterator[np.ndarray]:
    """Every part of the volumes that is `SHIFT` voxels smaller on each side."""
    x, y, z = (side - 2 * SHIFT for side in volumes.shape[1:])
    for i, j, k in itertools.product(range(2 * SHIFT + 1), repeat=3):
        yield volumes[:, i : i + x, j : j + y, k : k + z]


def _centred(volumes: np.ndarray) -> np.ndarray:
    flat = volumes.reshape(len(volumes), -1)
    return flat - flat.mean(axis=1, keepdims=True)


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm > 0, norm, 1.0)


def judged(fake: Nearest, real: Known, seeds: Sequence[int]) -> dict[str, Any]:
    """The part "memorisation" of a report.

    Args:
        fake: of N generated volumes.
        real: what they are judged by.
        seeds: N seeds.
    """
    found: dict[str, Any] = {"rule": RULE, "n": len(seeds), "n_train": len(real.subjects), "mirrored": real.mirror}
    found["n_held_out"] = len(real.held_out.voxels)
    sides = {"voxels": (fake.voxels, real.held_out.voxels), "features": (fake.features, real.held_out.features)}
    for space, (own, others) in sides.items():
        near = own < np.percentile(others, PERCENTILE)
        found[space] = {
            "near": share(near),
            "median": float(np.median(own)),
            "smallest": float(own.min()),
            "real_median": float(np.median(others)),
            "real_smallest": float(others.min()),
        }
    found["samples"] = [
        {
            "seed": int(seed),
            "subject": real.subjects[fake.voxel_of[i]],
            "distance": float(fake.voxels[i]),
            # of real held-out volumes, how many percent are as near to the training as this one or nearer
            "percentile": float(100.0 * np.mean(real.held_out.voxels <= fake.voxels[i])),
            "feature_subject": real.subjects[fake.feature_of[i]],
        }
        for i, seed in enumerate(seeds)
    ]
    return found
