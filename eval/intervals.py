"""The 95 % interval of every metric of a report, each by the resampling that suits it; see docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eval import copying, diversity, halves, metrics
from eval.bootstrap import about, mean_interval

if TYPE_CHECKING:
    from eval.measure import Measured

Limits = tuple[float, float]
_SIGNED = ("kid", "c_t")  # unbiased estimates and scores may be negative, distances may not


def intervals(
    real: Measured,
    fake: Measured,
    found: Mapping[str, float],
    near: metrics.Neighbours,
    pairs: diversity.Alike,
    repeats: int,
) -> dict[str, Limits | None]:
    """Name of a metric -> its interval, None where there are too few patients or images for one.

    Args:
        real: the real side.
        fake: the generated side.
        found: the values.
        near: the neighbours of these two sets.
        pairs: of the generated images.
        repeats: halves for distances between sets.
    """
    limits: dict[str, Limits | None] = {
        "precision": mean_interval(near.fake_inside, subjects=fake.subjects, proportion=True),
        "recall": mean_interval(near.real_inside, subjects=real.subjects, proportion=True),
        "density": mean_interval(near.fake_density, subjects=fake.subjects),
        "coverage": mean_interval(near.real_covered, subjects=real.subjects, proportion=True),
        "ms_ssim": pairs.interval(),
    }
    if fake.near is not None and real.near is not None:
        limits["authenticity"] = mean_interval(fake.near.authentic, subjects=fake.subjects, proportion=True)
        limits["c_t"] = copying.c_t_interval(fake.near, real.near, real.subjects)
    split = halves.drawn(len(real), len(fake), real.subjects, repeats)
    if split is not None:
        values = _of_halves(real, fake, found, split)
        limits |= {name: about(found[name], one) for name, one in values.items()}
    return {
        name: None if limit is None else (limit[0] if name in _SIGNED else max(0.0, limit[0]), limit[1])
        for name, limit in limits.items()
        if name in found
    }


def _of_halves(
    real: Measured, fake: Measured, found: Mapping[str, float], split: halves.Halves
) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray | None] = {
        "kid": halves.kid(real.features, fake.features, split),
        "histogram_distance": halves.histogram(real.look.histograms, fake.look.histograms, split),
        "spectrum_distance": halves.spectrum(real.look.spectra, fake.look.spectra, split),
        "vendi": halves.vendi(fake.features, split),
    }
    if "fid" in found:
        values["fid"] = halves.fid(real.features, fake.features, split)
    if "mifid" in found and real.near is not None and fake.near is not None:
        sides = zip(split.fake, split.real, strict=True)
        factor = [copying.penalty(fake.near.cosine[own], real.near.cosine[others]) for own, others in sides]
        values["mifid"] = values["fid"] * np.array(factor)
    return {name: one for name, one in values.items() if one is not None}
