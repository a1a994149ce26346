"""The labels of models as a page writes them, with the real data behind each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import medgen
from demos.tables import MISSING
from medgen import ModelCard
from medgen.data import DATASETS
from medgen.record import read_manifest

RARE = 50
"""Labels of fewer patients than this are shown with a warning."""
RARE_MARK = "⚠ rare"
SPLIT = "train"


def words(label: str) -> str:
    """`label` as a page writes it."""
    return label.replace("_", " ").replace("|", " + ")


def counts(card: ModelCard, label: str) -> tuple[int, int] | None:
    """Real images and patients of `label` that the model has learned from; None where nobody knows.

    A card that does not say is answered from the published list of the images of its data set.
    """
    said = card.trained.get("labels")
    if isinstance(said, dict) and isinstance(said.get(label), dict):
        return int(said[label]["images"]), int(said[label]["patients"])
    return _published(card.data or "").get(label)


@cache
def _published(name: str) -> dict[str, tuple[int, int]]:
    """Label -> images and patients of the train split of a data set that has all images of its published list."""
    entry = DATASETS.get(name)
    if entry is None or entry.min_side:
        return {}
    records = read_manifest(Path(medgen.__file__).parent / "manifests" / entry.manifest)
    found = {}
    for label in entry.labels:
        shown = [one.patient for one in records if one.split == SPLIT and label in one.label.split("|")]
        found[label] = (len(shown), len(set(shown)))
    return found


def is_rare(card: ModelCard, label: str) -> bool:
    """Whether the model has learned `label` from fewer than `RARE` patients, as far as anybody knows."""
    known = counts(card, label)
    return known is not None and known[1] < RARE


def counted(card: ModelCard, label: str) -> str:
    """How much real data stands behind `label`, in words, with a warning if it is rare."""
    known = counts(card, label)
    if known is None:
        return f"{MISSING} real images"
    mark = f" {RARE_MARK}" if is_rare(card, label) else ""
    return f"{known[0]:,} images, {known[1]:,} patients{mark}"


def best_known(chosen: list[ModelCard], label: str) -> ModelCard | None:
    """The one of the models that know `label` that has learned it from most patients; None where none knows it."""
    knowing = [card for card in chosen if label in card.labels]
    return max(knowing, key=lambda card: (counts(card, label) or (0, 0))[1], default=None)


def label_choices(chosen: list[ModelCard]) -> list[tuple[str, str]]:
    """(shown, word) of every label that any of the models knows."""
    choices = []
    for word in dict.fromkeys(word for card in chosen for word in card.labels):
        card = best_known(chosen, word)
        if card is not None:
            choices.append((f"{words(word)} · {counted(card, word)}", word))
    return choices
