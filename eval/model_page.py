"""All that is known of one model, for a page: limits, bias, training data, memorisation, and where each number is from.

No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval import downstream_file, memorisation_tables, studies
from eval.export import MISSING, cell, text_table
from eval.pathology_file import NAME as PATHOLOGY
from eval.pathology_file import read as read_pathology
from eval.rows import card_of
from medgen import registry
from medgen.card import ModelCard
from medgen.catalogue import DATASETS
from medgen.errors import MedgenError
from medgen.paired import PAIRED
from medgen.volume_catalogue import VOLUMES

MEASURED = ("report", "translation", "volumes", "hallucination", "pathology", "memorisation")
"""Beginnings of the names of what was measured of a model."""
_COMMANDS = {
    "hallucination": "python -m eval.hallucination {model}",
    "pathology": "python -m eval.pathology {model}",
}
_UNMEASURED = (
    "Whether its pictures serve some groups of people worse than others was not measured; what can be said is whom it "
    "learned from, and which shortcut a label may be."
)

_MEASURED = "Usefulness by group, below: what classifiers that have seen its pictures reach on groups of real patients."


class Page(NamedTuple):
    """What the page of one model says.

    Args:
        card: None where it cannot be read.
        problem: why not.
        alarm: of memorisation, a sentence; whether it is one.
        alarmed: whether it is an alarm.
        bias: sentences.
        sections: heading -> a table of text.
    """

    card: ModelCard | None
    problem: str
    alarm: str
    alarmed: bool
    bias: tuple[str, ...]
    sections: dict[str, pd.DataFrame]


def page(name: str) -> Page | None:
    """The page of the model in this folder of the checkpoints; None where there is no such folder."""
    folder = registry.checkpoints_dir() / name
    if Path(name).name != name or not folder.is_dir():
        return None
    card, problem = card_of(folder)
    alarm, alarmed, near = memorisation_tables.alarm(folder, card)
    if card is None:
        return Page(None, problem, alarm, alarmed, (), {"Provenance": provenance(folder, None)})
    sections = {
        "Training": _training(card),
        "Training data": _data(card),
        "Whom it learned from": _people(card),
        "Shortcuts": _shortcuts(folder),
        "Usefulness by group": _groups(name),
        "Memorisation": near,
        "Provenance": provenance(folder, card),
    }
    return Page(card, problem, alarm, alarmed, _bias(card, sections), sections)


def files(name: str) -> list[Path]:
    """The card and everything that was measured of a model."""
    folder = registry.checkpoints_dir() / name
    return [folder / "card.json", *(path for kind in MEASURED for path in sorted(folder.glob(f"{kind}*.json")))]


def _bias(card: ModelCard, sections: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    """What files tell of bias; a card has no words of its own for it."""
    said = [note for one in _entries(card) for note in one.notes]
    told = [
        word for word in ("age", "sex", "view") if any(_is_told(word, one) for one in card.net.get("conditions", ()))
    ]
    if told:
        said.append(f"The model is told {', '.join(told)}; what that does to a picture was not measured.")
    if len(sections["Shortcuts"]):
        said.append(
            "Shortcuts, below: where the border of a picture alone tells the label nearly as well as the whole of it, "
            "the label may stand for how the film was taken (docs/pathology.md)."
        )
    return (*said, _MEASURED if len(sections["Usefulness by group"]) else _UNMEASURED)


def _is_told(word: str, condition: str) -> bool:
    return condition == word or condition.startswith((f"{word}=", f"{word} "))


def _entries(card: ModelCard) -> list[Any]:
    """The entries of the catalogues that the model has learned from."""
    known = {**DATASETS, **PAIRED, **VOLUMES}
    return [known[name] for name in (card.data or "").split("+") if name in known]


def _training(card: ModelCard) -> pd.DataFrame:
    trained = card.trained
    said = {
        "Method": card.paper,
        "Hardware": trained.get("hardware"),
        "Minutes": _word(trained["seconds"] / 60) if "seconds" in trained else None,
        "Images": trained.get("images"),
        "Images seen": _word(trained.get("images_seen")),
        "Parameters": _word(trained.get("parameters")),
        "Weights chosen by": trained.get("chosen_by"),
        "Started from": (trained.get("started_from") or {}).get("name"),
        "Commit": trained.get("commit"),
        "Note": trained.get("note"),
    }
    return text_table([[key, str(value)] for key, value in said.items() if value], ["What", "Said"])


def _word(value: Any) -> str | None:
    return f"{value:,.0f}" if isinstance(value, int | float) else None


def _data(card: ModelCard) -> pd.DataFrame:
    rows = [[one.name, one.title, one.licence, one.citation] for one in _entries(card)]
    return text_table(rows, ["Data set", "What it is", "Licence", "Citation"])


def _people(card: ModelCard) -> pd.DataFrame:
    labels = card.trained.get("labels") or {}
    rows = [
        [label, str(count.get("images", MISSING)), str(count.get("patients", MISSING)),
         "yes" if label in card.labels else "no"]
        for label, count in labels.items() if isinstance(count, dict)
    ]  # fmt: skip
    return text_table(rows, ["Finding", "Train images", "Train patients", "Can be asked for"])


def _shortcuts(folder: Path) -> pd.DataFrame:
    """AUC of the classifier and of the border alone, on generated and real pictures; no rows where nobody measured."""
    heads = ["Finding", "Whole, generated", "Border, generated", "Whole, real", "Border, real"]
    try:
        items = read_pathology(folder / PATHOLOGY)["parts"]["adherence"]["items"]
    except (MedgenError, KeyError):
        return text_table([], heads)
    sides = ("generated", "generated_border", "real", "real_border")
    return text_table([[label, *(cell(one[side], 2) for side in sides)] for label, one in items.items()], heads)


def _groups(name: str) -> pd.DataFrame:
    """Gaps between groups of patients, of classifiers trained with the model's images; no rows where none is known."""
    found = []
    for path in studies.STUDIES["downstream"].files():
        try:
            found.append(studies.gaps(downstream_file.read(path), name))
        except MedgenError:  # the section of studies says what is wrong with it
            continue
    return pd.concat(found) if found else text_table([], ["Trained on"])


def provenance(folder: Path, card: ModelCard | None) -> pd.DataFrame:
    """A row a file of measurements: what made it, when, from which code and which weights."""
    rows = []
    for path in files(folder.name)[1:]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            rows.append([path.name, *_origin(values, path, card)])
        except (OSError, ValueError, AttributeError, TypeError) as error:
            rows.append([path.name, f"cannot be read: {error}", *[MISSING] * 3])
    return text_table(rows, ["File", "Made by", "Measured", "Commit", "Weights (sha256)"])


def _origin(values: dict[str, Any], path: Path, card: ModelCard | None) -> list[str]:
    """Command, date, commit and weights; of a file of parts, those of all parts."""
    parts: Iterable[dict[str, Any]] = [*(values.get("parts") or {}).values()] or [values]
    kind = next(one for one in MEASURED if path.name.startswith(one))
    made = _COMMANDS.get(kind, "python -m eval.run {model} --protocol " + str(values.get("protocol")))
    again = f"not recorded; {made.format(model=path.parent.name)} measures it again"
    command = str(values.get("command") or again)
    said = [
        ", ".join(sorted({str(one[key])[:length] for one in parts if one.get(key)})) or MISSING
        for key, length in (("created", 19), ("commit", 12))
    ]
    weights = {file: str(sha) for one in parts for file, sha in (one.get("weights") or {}).items()}
    stale = card is not None and any(one.get("weights", {}) != card.weights for one in parts)
    shown = ", ".join(f"{file} {sha[:12]}" for file, sha in sorted(weights.items())) or MISSING
    return [command, *said, shown + (" (not those of the card: measure again)" if stale else "")]
