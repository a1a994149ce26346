"""Trains the cells of a study one by one; each finished one is a small file, so that a kill loses one training."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.downstream import learner, pools
from eval.downstream.plan import ARMS, POOL_LEAST, SETTINGS, STUDIES, Cell, Settings, Study, fingerprint
from eval.features import content_hash
from eval.protocols import whole_patients
from eval.report import read_object
from medgen import data
from medgen.atomic import write_bytes
from medgen.catalogue import dataset
from medgen.errors import MedgenError
from medgen.image import ImageSet

DIGITS = 5  # of a stored probability


@dataclass(frozen=True)
class Ready:
    """A study whose real images are read.

    Args:
        study: what is asked.
        settings: of every training.
        train: the real images to choose from.
        test: what every classifier is judged on.
        proportions: share of each label in the train split.
        train_sha256: of the images.
        test_sha256: of the images.
        folder: of the files of the finished cells.
    """

    study: Study
    settings: Settings
    train: ImageSet
    test: ImageSet
    proportions: dict[str, float]
    train_sha256: str
    test_sha256: str
    folder: Path

    def n(self, cell: Cell) -> int:
        """Real images that a cell stands for."""
        return len(self.train) if cell.size == "all" else int(cell.size)

    def path(self, cell: Cell) -> Path:
        """The file of a finished cell."""
        return self.folder / f"{cell.key.replace('/', '--')}.json"


def study_of(name: str) -> Study:
    """The study on the data set called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in STUDIES:
        raise MedgenError(f"There is no study on {name!r}; choose from {', '.join(STUDIES)}.")
    return STUDIES[name]


def proportions_of(study: Study) -> dict[str, float]:
    """Share of each label in the train split.

    Raises:
        MedgenError: the data are not here.
    """
    found = data.real(study.data, "train").labels or ()
    return {label: found.count(label) / len(found) for label in sorted(set(found))}


def ready(name: str, folder: Path | None = None, settings: Settings = SETTINGS) -> Ready:
    """Reads the real images of the study on `name`.

    Raises:
        MedgenError: no such study, its data are not here, or a patient is on two sides.
    """
    study = study_of(name)
    train, test = data.real(name, "train"), data.real(name, "test")
    if shared := set(train.subjects or ()) & set(test.subjects or ()):
        raise MedgenError(f"Patient {min(shared)} is in the train and the test split of {name}; do not use this copy.")
    return Ready(
        study, settings, train, test, proportions_of(study), content_hash(train), content_hash(test),
        folder or Path("runs") / f"downstream-{dataset(name).name}",
    )  # fmt: skip


def finished(here: Ready, cell: Cell, pool: pools.Pool | None) -> dict[str, Any] | None:
    """The file of a cell if it is there and was made with the same data, pictures and settings; else None."""
    path = here.path(cell)
    if not path.is_file():
        return None
    values = read_object(path, "delete it and run eval.downstream again")
    table = values.get("probabilities")
    same = values.get("fingerprint") == _fingerprint(here, cell, pool)
    return values if same and isinstance(table, list) and len(table) == len(here.test) else None


def why_not(here: Ready, cell: Cell, pool: pools.Pool | None) -> str | None:
    """The reason why a cell cannot be trained; None where it can."""
    if here.n(cell) > len(here.train):
        return f"the train split has {len(here.train)} images"
    try:
        _chosen(here, cell, pool)
    except MedgenError as error:
        return str(error)
    return None


def train(here: Ready, cell: Cell, pool: pools.Pool | None) -> dict[str, Any]:
    """Trains one cell, writes its file and returns what is in it.

    Raises:
        MedgenError: the pool is too small, the classifier has diverged, or the disk is full.
    """
    before = time.process_time()
    arm, settings, seed = ARMS[cell.arm], here.settings, cell.seed
    real, synthetic = _real(here, cell), _synthetic(here, cell, pool)
    net = learner.network(settings, len(here.study.classes), seed)
    random = torch.Generator("cpu").manual_seed(seed)
    if arm.apart and synthetic is not None and real is not None:
        half = settings.steps // 2
        learner.fit(net, synthetic, half, settings, random)
        learner.fit(net, real, settings.steps - half, settings, random)
    else:
        parts = [part for part in (real, synthetic) if part is not None]
        mixed = (torch.cat([pictures for pictures, _ in parts]), torch.cat([truth for _, truth in parts]))
        learner.fit(net, mixed, settings.steps, settings, random, arm.augmented)
    pictures, _ = _labelled(here, here.test.uint8(), here.test.labels or ())
    found = learner.probabilities(net, pictures)
    values = {
        "cell": cell.key,
        "fingerprint": _fingerprint(here, cell, pool),
        "n_real": 0 if real is None else len(real[0]),
        "n_synthetic": 0 if synthetic is None else len(synthetic[0]),
        "cpu_seconds": round(time.process_time() - before, 2),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "probabilities": [[round(float(p), DIGITS) for p in row] for row in found],
    }
    # without indents: a row of probabilities is no line of its own
    write_bytes(here.path(cell), (json.dumps(values, allow_nan=False) + "\n").encode())
    return values


def real_images(here: Ready, n: int, seed: int) -> ImageSet:
    """`n` real training images, patient by patient; with one seed, fewer are the first of more."""
    return whole_patients(here.train, n, seed)


def _real(here: Ready, cell: Cell) -> learner.Labelled | None:
    if not ARMS[cell.arm].real:
        return None
    images = real_images(here, here.n(cell), cell.seed)
    return _labelled(here, images.uint8(), images.labels or ())


def _synthetic(here: Ready, cell: Cell, pool: pools.Pool | None) -> learner.Labelled | None:
    index = _chosen(here, cell, pool)
    if index is None or pool is None:
        return None
    return _labelled(here, pool.images[index], [pool.labels[i] for i in index.tolist()])


def _chosen(here: Ready, cell: Cell, pool: pools.Pool | None) -> np.ndarray | None:
    """Which pictures of the pool the cell sees; None where it needs none."""
    needed = cell.synthetic(here.n(cell))
    if not needed:
        return None
    count = 0 if pool is None else len(pool)
    try:
        return pools.drawn(count, needed, cell.seed, POOL_LEAST)
    except MedgenError as error:
        reach = max(needed, POOL_LEAST)
        data_flag = f"--data {here.study.data}"
        raise MedgenError(
            f"{error}: run python -m eval.downstream {data_flag} --pool {cell.model} --n {reach}"
        ) from error


def _labelled(here: Ready, images: np.ndarray, labels: Sequence[str]) -> learner.Labelled:
    return learner.prepared(images, here.study.truth(labels), here.settings.side)


def _fingerprint(here: Ready, cell: Cell, pool: pools.Pool | None) -> str:
    """Of everything that decides the result of a cell; a cell that lacks pictures has none that a file could hold."""
    try:
        index = _chosen(here, cell, pool)
    except MedgenError:
        return ""
    synthetic = None if index is None or pool is None else pool.sha256(index)
    return fingerprint(
        cell, here.settings, {"train": here.train_sha256, "test": here.test_sha256, "synthetic": synthetic}
    )


def pools_of(here: Ready, models: Sequence[str]) -> dict[str, pools.Pool]:
    """What the cache holds of each model."""
    return {name: pools.stored(name, here.proportions, here.settings.guidance) for name in models}
