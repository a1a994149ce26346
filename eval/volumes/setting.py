"""What all models of one protocol of volumes share: real volumes, their features, structures and distances."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.features import Extractor, content_hash
from eval.protocols import VolumeProtocol, volumetric, whole_patients
from eval.volumes import memorisation, similarity
from eval.volumes.distances import compare, plane_features
from eval.volumes.measures import Measure, measured, measures
from eval.volumes.plan import Plan, plan
from eval.volumes.plausibility import limits
from medgen import volume_sets
from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.errors import MedgenError
from medgen.image import ImageSet, concatenate
from medgen.segmenter import Segmenter, load_segmenter, segmenter_for

SPLITS = ("val", "test")
_VERSION = 1
"""Change it with anything that changes a measure: what was cached before is then measured anew."""


@dataclass(frozen=True)
class Asked:
    """What the command line asks of every model.

    Args:
        protocol: key of `protocols.VOLUMETRIC`.
        split: "test" or "val".
        extractor: feature space of FID and KID.
        n: generated volumes; None = the protocol's.
        limit: real and generated volumes at most; None = all.
        steps: None = the card's.
        repeats: halves for an interval.
        progress: bars on stderr.
    """

    protocol: str
    split: str
    extractor: Extractor
    n: int | None = None
    limit: int | None = None
    steps: int | None = None
    repeats: int = 200
    progress: bool = False

    @property
    def count(self) -> int:
        """How many volumes each model makes."""
        n = volumetric(self.protocol).n if self.n is None else self.n
        return n if self.limit is None else min(n, self.limit)


@dataclass(frozen=True, eq=False)
class Judge:
    """A segmenter, and what it sees in real volumes.

    Args:
        segmenter: of the data set.
        plan: what to look at.
        known: the measures.
        real: `measured` of the real volumes.
        floor: of the floor.
        limits: of plausible volumes, from the train split.
        real_mm3: `(N, 2)` true and measured mm3 of all structures of each real volume.
    """

    segmenter: Segmenter
    plan: Plan
    known: dict[str, Measure]
    real: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]
    limits: dict[str, tuple[float, float]]
    real_mm3: np.ndarray

    def measured(self, images: ImageSet) -> dict[str, np.ndarray]:
        """Every measure of N volumes."""
        return measured_by(self.segmenter, images, self.plan)


@dataclass(frozen=True, eq=False)
class Setting:
    """One protocol, ready to measure models.

    Args:
        asked: by the user.
        protocol: the protocol.
        real: held-out volumes.
        whole: whether they are all of the split.
        train: what the models have learned from.
        floor: as many of `train` as a model makes, or all.
        real_features: `plane_features` of `real`.
        floor_distances: KID and FID of the floor.
        known: training volumes, for memorisation.
        judge: None where there is no segmenter.
        no_judge: why it is None.
        diversity: the entries of real and train volumes.
    """

    asked: Asked
    protocol: VolumeProtocol
    real: ImageSet
    whole: bool
    train: ImageSet
    floor: ImageSet
    real_features: np.ndarray
    floor_distances: dict[str, dict[str, Any]]
    known: memorisation.Known
    judge: Judge | None
    no_judge: str
    diversity: dict[str, dict[str, Any]]


def prepare(asked: Asked) -> Setting:
    """Reads the real volumes and measures them, once for all models.

    Raises:
        MedgenError: unknown protocol or split, or its volumes are not here.
    """
    protocol = volumetric(asked.protocol)
    if asked.split not in SPLITS:
        raise MedgenError(f"The split must be one of {', '.join(SPLITS)}, not {asked.split!r}: train is the floor.")
    sets = {split: volume_sets.volumes(protocol.data, split) for split in ("train", *SPLITS)}
    whole, train = sets[asked.split], sets["train"]
    n_real = len(whole) if asked.limit is None else min(asked.limit, len(whole))
    real = whole_patients(whole, n_real)
    floor = whole_patients(train, min(asked.count, len(train)))

    features = {split: plane_features(one, asked.extractor, progress=asked.progress) for split, one in sets.items()}
    real_features = _rows(features[asked.split], whole, real)
    floor_distances = compare(
        real=real_features, fake=_rows(features["train"], train, floor), extractor=asked.extractor,
        subjects=real.subjects, repeats=0,
    )  # fmt: skip
    looks = plan(protocol.data)
    known = memorisation.known(
        train, features["train"], looks.sides, concatenate([sets[split] for split in SPLITS]),
        np.concatenate([features[split] for split in SPLITS]),
    )  # fmt: skip
    judge, reason = _judge(protocol.data, asked.split, looks, sets, real, floor)
    diversity = {
        name: similarity.mean_of_pairs(similarity.similarities(one.unit_range()))
        for name, one in (("real", real), ("train", floor))
    }
    return Setting(asked, protocol, real, n_real == len(whole), train, floor, real_features, floor_distances, known,
                   judge, reason, diversity)  # fmt: skip


def _rows(values: np.ndarray, whole: ImageSet, part: ImageSet) -> np.ndarray:
    """The rows of `values`, one a volume of `whole`, that belong to `part`."""
    return values[_index(whole, part)]


def _index(whole: ImageSet, part: ImageSet) -> list[int]:
    place = {subject: i for i, subject in enumerate(whole.subjects or ())}
    return [place[subject] for subject in part.subjects or ()]


def _judge(
    data: str, split: str, looks: Plan, sets: dict[str, ImageSet], real: ImageSet, floor: ImageSet
) -> tuple[Judge | None, str]:
    """The segmenter of a data set with what it sees; None, and why, where there is none."""
    name = segmenter_for(data)
    if name is None:
        return (
            None,
            f"there is no segmenter of {data}: run `python -m train.segmenter`, then measure again",
        )
    segmenter = load_segmenter(name)
    tables = {one: measured_by(segmenter, sets[one], looks) for one in ("train", split)}
    known = measures(looks, segmenter.card.classes)
    own, others = _index(sets[split], real), _index(sets["train"], floor)
    real_table = {key: values[own] for key, values in tables[split].items()}
    floor_table = {key: values[others] for key, values in tables["train"].items()}
    truth = volume_sets.structure_mm3(volume_sets.structures(data, split), segmenter.card.spacing_mm)[own]
    both = np.stack([truth, real_table["mm3 all"]], axis=1)
    return Judge(segmenter, looks, known, real_table, floor_table, limits(tables["train"], known), both), ""


def measured_by(segmenter: Segmenter, images: ImageSet, looks: Plan) -> dict[str, np.ndarray]:
    """Every measure of N volumes, from the cache where these volumes have been measured with these weights."""
    card = segmenter.card
    names = list(measures(looks, card.classes))
    said = json.dumps([_VERSION, card.weights, card.classes, card.spacing_mm, names, repr(images.affine)], default=str)
    key = hashlib.sha256((said + content_hash(images)).encode()).hexdigest()
    path = cache_dir() / "volume_measures" / f"{key}.npz"
    kept = read_arrays(path, {"table": "float64"})
    if kept is not None and kept["table"].shape == (len(names), len(images)):
        return dict(zip(names, kept["table"], strict=True))
    found = measured(images, segmenter.classes(images), looks, card.classes, card.spacing_mm)
    write_arrays(path, {"table": np.stack([found[name] for name in names])})
    return found
