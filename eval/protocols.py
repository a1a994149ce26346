"""What is compared with what: the real images, the floor, the seeds and the labels of each protocol."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from eval.metrics import NEAREST
from medgen import data
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.image import ImageSet

SPLITS = ("test", "val")
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Protocol:
    """A fair comparison, written down before any number is known.

    Args:
        name: what `--protocol` takes.
        data: key of `medgen.data.DATASETS`, or of `medgen.paired.PAIRED`; its splits are by patient.
        k: nearest neighbours of precision, recall, density and coverage.
    """

    name: str
    data: str
    k: int = NEAREST


PROTOCOLS: dict[str, Protocol] = {
    "cxr-128": Protocol("cxr-128", "kermany_cxr_128"),
    "cxr-256": Protocol("cxr-256", "kermany_cxr_256"),
    "nih-128": Protocol("nih-128", "nih_cxr_128"),
    "brain-128": Protocol("brain-128", "ixi_brain_128"),
}

TRANSLATIONS: dict[str, Protocol] = {
    "t1-t2-256": Protocol("t1-t2-256", "brain_t1_t2_256"),
    "t1-flair-128": Protocol("t1-flair-128", "brain_t1_flair_128"),
    "mr-ct-256": Protocol("mr-ct-256", "head_mr_ct_256"),
}
"""Protocols whose data are pairs, keys of `medgen.paired.PAIRED`; which way they are gone, a model's card says."""


@dataclass(frozen=True)
class VolumeProtocol:
    """A fair comparison of volumes.

    Args:
        name: what `--protocol` takes.
        data: key of `medgen.volume_sets.VOLUMES`; its splits are by subject.
        n: how many volumes a model makes, unless `--n` says otherwise.
    """

    name: str
    data: str
    n: int


VOLUMETRIC: dict[str, VolumeProtocol] = {
    "hippo-48": VolumeProtocol("hippo-48", "hippo_48", 60),
    "brain-64": VolumeProtocol("brain-64", "ixi_brain_64", 30),
}
"""Protocols whose data are volumes; `eval.volumes` measures them."""
VOLUME_FAMILY = "volume"
"""Family of the models that these protocols are about."""


@dataclass(frozen=True)
class Sides:
    """The real images of a protocol.

    Args:
        real: the split that models are compared with; they have seen none of its patients.
        floor: as many real images of other patients (the train split): what a perfect model would score.
        proportions: label, or label set "A|B" -> share among all images of the train split, sorted.
        whole: whether `real` is the whole split.
        train: what models have learned from, all of it.
        floor_rows: which of `train` the floor is.
        quantities: the number of each image of the train split, where its images have one.
    """

    real: ImageSet
    floor: ImageSet
    proportions: dict[str, float]
    whole: bool
    train: ImageSet
    floor_rows: np.ndarray
    quantities: tuple[float, ...] = ()


def protocol(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in PROTOCOLS:
        known = ", ".join((*PROTOCOLS, *TRANSLATIONS, *VOLUMETRIC))
        raise MedgenError(f"There is no protocol {name!r}; choose from {known}.")
    return PROTOCOLS[name]


def translation(name: str) -> Protocol:
    """The protocol of pairs called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in TRANSLATIONS:
        raise MedgenError(f"There is no protocol of pairs {name!r}; choose from {', '.join(TRANSLATIONS)}.")
    return TRANSLATIONS[name]


def translation_of(card: ModelCard) -> Protocol | None:
    """The protocol of the pairs that a translator has learned from; None for other models."""
    names = (card.data or "").split("+") if card.translates else []
    return next((known for known in TRANSLATIONS.values() if known.data in names), None)


def volumetric(name: str) -> VolumeProtocol:
    """The protocol of volumes called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in VOLUMETRIC:
        raise MedgenError(f"There is no protocol of volumes {name!r}; choose from {', '.join(VOLUMETRIC)}.")
    return VOLUMETRIC[name]


def volumetric_of(card: ModelCard) -> VolumeProtocol | None:
    """The protocol of the volumes that a model has learned from; None for other models."""
    names = (card.data or "").split("+") if card.family == VOLUME_FAMILY else []
    return next((known for known in VOLUMETRIC.values() if known.data in names), None)


def protocols_of(card: ModelCard) -> tuple[Protocol, ...]:
    """The protocols of the data `card` was trained on, its main one first; none for the untrained.

    A model that offers no label of one of its data sets cannot be asked for pictures like those, nor be measured so.
    """
    names = (card.data or "").split("+")
    offered = set(card.labels)
    return tuple(
        known
        for name in names
        for known in PROTOCOLS.values()
        if known.data == name and (not offered or offered & set(data.DATASETS[name].labels))
    )


def sides(asked: Protocol, split: str, *, n_fake: int | None = None, limit: int | None = None) -> Sides:
    """Reads the real images: the whole split, or `limit` of it, and a floor of `n_fake` train images.

    Args:
        asked: the protocol.
        split: "test" for what is reported, "val" for choosing between models.
        n_fake: size of the generated set, hence of the floor; None = as many as real images.
        limit: use at most this many real images, for a quick look.

    Raises:
        MedgenError: the data are not here, or too few.
    """
    if split not in SPLITS:
        raise MedgenError(f"The split must be one of {', '.join(SPLITS)}, not {split!r}: train images are the floor.")
    everything = data.real(asked.data, split)
    real = everything if limit is None else whole_patients(everything, min(limit, len(everything)))
    train = data.real(asked.data, "train")
    wanted = len(real) if n_fake is None else n_fake
    counts = Counter(train.labels or ())
    proportions = {label: counts[label] / len(train) for label in sorted(counts)}
    rows = whole_patient_rows(train, min(wanted, len(train)))
    return Sides(real, train.take(rows), proportions, len(real) == len(everything), train, rows, train.quantities or ())


def whole_patients(images: ImageSet, n: int, seed: int = 0) -> ImageSet:
    """`n` images, see `whole_patient_rows`."""
    return images.take(whole_patient_rows(images, n, seed))


def whole_patient_rows(images: ImageSet, n: int, seed: int = 0) -> np.ndarray:
    """Which `n` images, patient by patient in an order fixed by `seed`; only the last patient may be cut short.

    Drawing single images would spread them over more patients than a split of that size has, and so look more
    varied than it.

    Raises:
        MedgenError: `n` is not between 1 and the number of images.
    """
    if not 1 <= n <= len(images):
        raise MedgenError(f"Ask for 1 to {len(images)} images, not {n}.")
    subjects = np.asarray(images.subjects if images.subjects is not None else np.arange(len(images)))
    names, patient = np.unique(subjects, return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(names))
    return np.argsort(place[patient], kind="stable")[:n]


def labels_for(card: ModelCard, seeds: tuple[int, ...], proportions: dict[str, float]) -> list[str | None]:
    """The label each seed is sampled with: the train split's proportions, spread evenly over the seeds.

    Seed s takes the label whose share of [0, 1) holds the fraction of (s + 1) times the golden ratio. So the label
    depends on the seed alone, and any run of consecutive seeds has nearly the right proportions. Label sets are asked
    whole, less the words the model does not know. Age, sex and view stay unsaid: the model has to draw them itself,
    in the proportions of the label, as it has to for a user who does not name them.

    Returns:
        One label a seed, "A|B" for a set; all None for a model without labels.

    Raises:
        MedgenError: the model knows none of the labels of the data.
    """
    if "label" not in card.controls:
        return [None] * len(seeds)
    known: dict[str, float] = {}
    for label, share in proportions.items():
        if (asked := askable(label, card)) is not None:
            known[asked] = known.get(asked, 0.0) + share
    if not known:
        words = ", ".join(sorted({word for label in proportions for word in label.split("|")}))
        raise MedgenError(
            f"{card.name} knows the labels {', '.join(card.labels)}, none of which the data has "
            f"({words}): choose a protocol of its data set."
        )
    upper = np.cumsum(list(known.values())) / sum(known.values())
    names = list(known)
    return [names[min(int(np.searchsorted(upper, _fraction(s), side="right")), len(names) - 1)] for s in seeds]


def askable(label: str, card: ModelCard) -> str | None:
    """What the model of `card` can be asked of the label set of a real image; None where that is nothing."""
    words = [word for word in label.split("|") if word in card.labels]
    one_at_a_time = "conditions" not in card.net
    return None if not words or (one_at_a_time and len(words) > 1) else "|".join(words)


def _fraction(seed: int) -> float:
    return (seed + 1) * _GOLDEN % 1.0
