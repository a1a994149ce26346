"""Two sets of images -> every metric with its n, its interval, its floor and what to beware of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eval import copying, diversity, metrics
from eval.features import Extractor, features, histograms
from eval.intervals import intervals
from eval.metrics_of import BY_CLASS_FEWEST, NEEDS, OWN, reason, warning
from eval.reduction import Look, kept_rows
from eval.report import METRICS
from eval.spectrum import radial_spectra, spectrum_distance
from medgen.auc import truth_table
from medgen.errors import MedgenError
from medgen.image import ImageSet

Entry = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """One side of a comparison, reduced to what metrics need.

    Args:
        features: `(N, D)` float32 in the space of the extractor.
        look: of the pixels; the same in every space.
        subjects: N patient ids; None for generated images.
        labels: N labels or label sets "A|B"; None where nobody said.
        near: how near each image comes to the training images; None where nobody looked.
    """

    features: np.ndarray
    look: Look
    subjects: Sequence[str] | None
    labels: Sequence[str] | None
    near: copying.Near | None = None

    def __len__(self) -> int:
        return len(self.features)

    def only(self, label: str) -> Measured:
        """The images that carry `label`, alone or among others."""
        rows = np.flatnonzero(truth_table(self.labels or (), [label]).any(axis=1))
        subjects = None if self.subjects is None else [self.subjects[i] for i in rows.tolist()]
        near = None if self.near is None else self.near.only(rows)
        return Measured(self.features[rows], self.look.only(rows), subjects, [label] * len(rows), near)


@dataclass(frozen=True)
class Floor:
    """Other real images measured in place of generated ones, and the real images by themselves.

    Args:
        n: how many others.
        values: name of a metric -> what they score.
        own: name of a metric of one set -> what the real images have.
        per_class: the values of each label, see `by_label`.
    """

    n: int
    values: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)


def reduced(images: ImageSet, extractor: Extractor, *, progress: bool = False) -> Measured:
    """Features (from the cache where known) and the look of images that are in memory."""
    found = features(images, extractor, progress=progress)
    pixels, kept = images.uint8(), kept_rows(len(images))
    look = Look(histograms(images), radial_spectra(pixels), kept, pixels[kept])
    return Measured(found, look, images.subjects, images.labels)


@metrics.steady
def values(
    *,
    real: Measured,
    fake: Measured,
    extractor: Extractor,
    k: int,
    near: metrics.Neighbours | None = None,
    alike: diversity.Alike | None = None,
) -> dict[str, float]:
    """Every metric that means something in the space of `extractor`, without intervals.

    Args:
        real: one side.
        fake: the other.
        extractor: the space of both.
        k: nearest neighbours.
        near: the neighbours of exactly these two sets, where the caller has them already.
        alike: likewise the pairs of the generated images.
    """
    near = near or metrics.neighbours(real=real.features, fake=fake.features, k=k)
    found = {
        "kid": metrics.kid(real=real.features, fake=fake.features),
        "precision": float(near.fake_inside.mean()),
        "recall": float(near.real_inside.mean()),
        "density": float(near.fake_density.mean()),
        "coverage": float(near.real_covered.mean()),
        "histogram_distance": metrics.histogram_distance(real=real.look.histograms, fake=fake.look.histograms),
        "spectrum_distance": spectrum_distance(real=real.look.spectra, fake=fake.look.spectra),
        **own_values(fake, alike),
    }
    if "fid" in extractor.metrics:
        found["fid"] = metrics.fid(real=real.features, fake=fake.features)
    if real.near is not None and fake.near is not None:
        found["authenticity"] = float(fake.near.authentic.mean())
        if (score := copying.c_t(fake.near, real.near)) is not None:
            found["c_t"] = score
        if NEEDS["mifid"] in found:
            found["mifid"] = found["fid"] * copying.penalty(fake.near.cosine, real.near.cosine)
    return found


@metrics.steady
def own_values(side: Measured, alike: diversity.Alike | None = None) -> dict[str, float]:
    """The metrics of one set by itself; `alike` are its pairs, where the caller has them already."""
    found = {"vendi": diversity.vendi(side.features)}
    if len(side.look.pixels) >= 2:
        found["ms_ssim"] = (alike or diversity.alike(side.look.pixels)).mean()
    return found


@metrics.steady
def floor_of(
    *, real: Measured, others: Measured, extractor: Extractor, k: int, rest: copying.Near | None = None
) -> Floor:
    """What other real images score in place of generated ones.

    Args:
        real: the held-out real images.
        others: other real images, as many as will be generated. Their `near` is about the training images of all
            patients but theirs: they are training images themselves.
        extractor: the space.
        k: nearest neighbours.
        rest: how near `real` comes to those same training images.
    """
    beside = replace(real, near=rest)
    found = values(real=beside, fake=others, extractor=extractor, k=k)
    return Floor(len(others), found, own_values(real), by_label(real=beside, fake=others, extractor=extractor, k=k))


@metrics.steady
def compare(
    *, real: Measured, fake: Measured, floor: Floor, extractor: Extractor, k: int, n_train: int = 0, repeats: int = 200
) -> dict[str, Entry]:
    """The `metrics` of a report: value, low, high and floor of each; a null has its reason beside it.

    Args:
        real: the held-out real images.
        fake: the generated images.
        floor: what other real images score.
        extractor: the space the features are in.
        k: nearest neighbours.
        n_train: training images that `near` of both sides is about.
        repeats: halves for the intervals of distances between sets.

    Raises:
        MedgenError: too few images, or features that are not finite.
    """
    near = metrics.neighbours(real=real.features, fake=fake.features, k=k)
    pairs = diversity.alike(fake.look.pixels)
    found = values(real=real, fake=fake, extractor=extractor, k=k, near=near, alike=pairs)
    limits = intervals(real, fake, found, near, pairs, repeats)
    # a floor of another n is no floor: where the train split is smaller than the generated set, there is none
    same_n = floor.n == len(fake)
    entries: dict[str, Entry] = {}
    for name in METRICS:
        low, high = limits.get(name) or (None, None)
        entry: Entry = {"value": found.get(name), "low": low, "high": high}
        entry["floor"] = floor.values.get(name) if same_n else None
        if name in OWN:
            entry["real"] = floor.own.get(name)
        if name in found:
            entry |= {"n_real": len(real), "n_fake": len(fake)}
        if name == "ms_ssim":
            scales = diversity.scales(min(fake.look.pixels.shape[2:]))
            entry |= {"n_real": len(real.look.kept), "n_fake": pairs.n, "pairs": len(pairs.values), "scales": scales}
        if NEEDS.get(name) == "train" or name == "mifid":
            entry["n_train"] = n_train
        entries[name] = entry
        if name not in found:
            entry["reason"] = reason(name, extractor, looked=fake.near is not None)
        elif low is None:
            entry["reason"] = "too few patients or images, or no two different values, for an interval"
        elif not same_n:
            entry["reason"] = f"no floor: {floor.n} other real images are fewer than generated ones"
        if name in found and (said := warning(name, len(real), len(fake), extractor.dim)):
            entry["warning"] = said
    return entries


@metrics.steady
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
        table[label] = {"n_real": len(left), "n_fake": len(right), **found}
    return table


def class_warnings(per_class: Mapping[str, Mapping[str, float | int]], extractor: Extractor) -> dict[str, str]:
    """Label -> what to beware of in its numbers."""
    found = {}
    for label, entry in per_class.items():
        n = int(min(entry["n_real"], entry["n_fake"]))
        said = warning("fid", n, n, extractor.dim) if "fid" in entry else ""
        if n < BY_CLASS_FEWEST:
            said = f"fewer than {BY_CLASS_FEWEST} images: all of these numbers are rough. {said}".strip()
        if said:
            found[label] = said
    return found
