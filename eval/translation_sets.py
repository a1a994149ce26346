"""FID and KID of translated slices against true ones, with the floor of other patients' true slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval import metrics
from eval.bootstrap import half_sample_interval
from eval.features import Extractor, features
from eval.translation_file import OF_SETS
from eval.translation_patients import MOST, Entry, missing, spread
from medgen.errors import MedgenError
from medgen.image import ImageSet

_STATISTICS = {"fid": metrics.fid, "kid": metrics.kid}


@dataclass(frozen=True, eq=False)
class RealSide:
    """The true slices, reduced to features; empty where the feature space knows no FID.

    Args:
        extractor: the space.
        chosen: `(N,)` the slices of the split that are looked at, the same of every model.
        features: `(N, D)`.
        subjects: whose they are.
        floor: the entries of as many true slices of train patients; what a perfect model would score.
        repeats: halves for an interval.
        progress: bars on stderr.
    """

    extractor: Extractor
    chosen: np.ndarray
    features: np.ndarray
    subjects: tuple[str, ...]
    floor: dict[str, Entry]
    repeats: int
    progress: bool

    def measure(self, images: ImageSet, *, intervals: bool) -> dict[str, Entry]:
        """The entries of FID and KID of `images`, or why there are none.

        Args:
            images: made slices, all of the split.
            intervals: whether to halve the sets for them, which takes a while.
        """
        if reason := _useless(self.extractor):
            return {name: missing(reason) for name in _STATISTICS}
        return self._entries(_features(images.take(self.chosen), self.extractor, self.progress), intervals)

    def _entries(self, fake: np.ndarray, intervals: bool) -> dict[str, Entry]:
        found = {}
        for name, statistic in _STATISTICS.items():
            try:
                value = statistic(real=self.features, fake=fake)
            except MedgenError as error:
                found[name] = missing(str(error))
                continue
            limits = None
            if intervals:
                limits = half_sample_interval(
                    statistic, real=self.features, fake=fake, subjects=self.subjects, repeats=self.repeats
                )
            low, high = limits or (None, None)
            # a distance cannot be negative; KID is an unbiased estimate and can
            low = max(0.0, low) if low is not None and name == "fid" else low
            counts = {"n": len(fake), "n_subjects": len(set(self.subjects))}
            found[name] = {"value": value, "low": low, "high": high, "least": None, "most": None, **counts}
            if intervals and limits is None:
                found[name]["reason"] = "too few patients for an interval"
        return found


def real_side(truth: ImageSet, train: ImageSet, extractor: Extractor, repeats: int, progress: bool = False) -> RealSide:
    """The true slices of the split, and the floor from those of the train split.

    Args:
        truth: what translations are compared with.
        train: true slices of other patients.
        extractor: the feature space.
        repeats: halves for an interval.
        progress: bars on stderr.
    """
    chosen = np.asarray(spread(len(truth), MOST))
    truth = truth.take(chosen)
    if reason := _useless(extractor):
        floor = {name: missing(reason) for name in OF_SETS}
        return RealSide(extractor, chosen, np.empty((0, extractor.dim)), truth.subjects or (), floor, repeats, progress)
    own = _features(truth, extractor, progress)
    side = RealSide(extractor, chosen, own, truth.subjects or (), {}, repeats, progress)
    if len(train) < len(truth):  # a floor of another n is no floor
        few = {name: missing(f"the train split has only {len(train)} slices") for name in OF_SETS}
        return RealSide(extractor, chosen, own, side.subjects, few, repeats, progress)
    others = train.take(spread(len(train), len(truth)))
    floor = side._entries(_features(others, extractor, progress), intervals=False)
    return RealSide(extractor, chosen, own, side.subjects, floor, repeats, progress)


def _useless(extractor: Extractor) -> str:
    return "" if "fid" in extractor.metrics else f"not defined for {extractor.name} features"


def _features(images: ImageSet, extractor: Extractor, progress: bool) -> np.ndarray:
    if len(images) > 1 and (images.pixels == images.pixels[:1]).all():
        return np.repeat(features(images.take([0]), extractor), len(images), axis=0)
    return features(images, extractor, progress=progress)
