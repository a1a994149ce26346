"""hallucination.json of all translators -> frames: what is kept, lost, moved, invented? No torch: the app reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from eval.hallucination_file import NAME, PARTS, read
from eval.report import number
from eval.rows import card_of
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError

AS_IT_WAS = "source as it is"
"""In place of a model: the source handed on unchanged."""
_ENDS = ("", "_low", "_high", "_least", "_most")
_LESIONS = (
    "kept",
    "moved",
    "reversed",
    "lost",
    "invented",
    "slices_with_invention",
    "response",
    "outside",
    "recovered",
)
_STRUCTURES = ("brighter", "darker", "brighter_percent", "darker_percent")
_FLOORS = ("0", "0.1", "0.2", "0.5")
_PROMISED = ("promised_auc", "promised_spearman", "promised_coverage")
_NAMED = ["model", "measured"]
_GROUP = ["direction", "data", "split", "unit", "group", "n", "n_subjects"]


def _entries(*names: str) -> list[str]:
    return [name + end for name in names for end in _ENDS]


COLUMNS: dict[str, list[str]] = {
    "lesions": [
        *_NAMED, *_GROUP, *_entries(*_LESIONS, "darker", "brighter", "samples_kept"), "samples_k", "by_chance",
        *(f"kept_at_{floor}" for floor in _FLOORS),
    ],
    "cells": [*_NAMED, *_GROUP, "radius_mm", "contrast", *_entries("kept")],
    "invention": [*_NAMED, *_GROUP, *_entries(*_STRUCTURES)],
    "disagreement": [
        *_NAMED, *_GROUP, "k", *_entries("auc", "spearman", "ratio", "coverage"), *_PROMISED, "large_share",
    ],
    "curve": [*_NAMED, *_GROUP, "promised", *_entries("error")],
}  # fmt: skip
"""Frame -> its columns. `cells` and `curve` say more of `lesions` and `disagreement`."""
_FRAMES = {"lesions": ("lesions", "cells"), "invention": ("invention",), "disagreement": ("disagreement", "curve")}


class Hallucination(NamedTuple):
    """What is known of all translators: one frame each of `COLUMNS`.

    A translator without believable numbers is one row whose `measured` is False and whose numbers are NaN; `problems`
    says what was not believed. Rows of one `group` had the same lesions and slices; others are not comparable.
    """

    lesions: pd.DataFrame
    cells: pd.DataFrame
    invention: pd.DataFrame
    disagreement: pd.DataFrame
    curve: pd.DataFrame
    problems: tuple[str, ...]


def hallucination() -> Hallucination:
    """Reads every translator's hallucination.json; never raises for what is broken, but says so in `problems`."""
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    problems: list[str] = []
    for path in sorted(registry.checkpoints_dir().glob("*/card.json")):
        card, _ = card_of(path.parent)  # the board's table says why there is none
        if card is None or not card.translates:
            continue
        values: dict[str, Any] = {"parts": {}}
        if (file := path.parent / NAME).is_file():
            try:
                values = read(file)
            except MedgenError as error:
                problems.append(str(error))
        good = [name for name, part in values["parts"].items() if part["weights"] == card.weights]
        if stale := sorted(set(values["parts"]) - set(good)):
            problems.append(
                f"{card.name}/{NAME} was made with other weights than the card names ({', '.join(stale)}); run "
                "eval.hallucination again."
            )
        for name, frame in frames(card, values, good).items():
            found[name].append(frame)
    joined = {name: pd.concat(own, ignore_index=True) if own else _frame(name, []) for name, own in found.items()}
    return Hallucination(**joined, problems=tuple(problems))


def frames(card: ModelCard, values: Mapping[str, Any], parts: Iterable[str]) -> dict[str, pd.DataFrame]:
    """One translator's frames.

    Args:
        card: of the model.
        values: from `hallucination_file.read`.
        parts: those to believe; of the others, and of what is not finished, there is a row without numbers.
    """
    parts = list(parts)
    makers = {
        "lesions": _lesions, "cells": _cells, "invention": _invention, "disagreement": _disagreement, "curve": _curve,
    }  # fmt: skip
    found = {}
    for part in PARTS:
        own = values["parts"][part] if part in parts else None
        for name in _FRAMES[part]:
            rows: list[dict[str, Any]] = []
            if own is not None and own["summary"] is not None:
                told = _group(part, own)
                rows = [{"model": card.name, "measured": True, **told, **row} for row in makers[name](own["summary"])]
            elif name == part and (part != "disagreement" or card.net.get("method") == "diffusion"):
                direction = str(card.translates.get("direction", ""))
                rows = [{"model": card.name, "measured": False, "direction": direction}]
            found[name] = _frame(name, rows)
    return found


def _frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS[name])


def _group(part: str, own: Mapping[str, Any]) -> dict[str, Any]:
    settings = own["settings"]
    asked = settings["lesions"] if part == "lesions" else settings["slices"]
    pairs = "-".join(one[:6] for one in settings["pairs_sha256"])
    said = {key: settings[key] for key in ("direction", "data", "split", "unit")}
    return {**said, "group": f"{said['direction']}, {said['data']} {said['split']} ({pairs}), {asked} asked for"}


def _numbers(name: str, entry: Mapping[str, Any]) -> dict[str, float]:
    """`name`, `name_low`, ...: NaN where the file has no such number."""
    keys = ("value", "low", "high", "least", "most")
    return {name + end: number(entry.get(key)) for end, key in zip(_ENDS, keys, strict=True)}


def _all_numbers(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {key: value for name, entry in entries.items() for key, value in _numbers(name, entry).items()}


def _lesions(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    samples = summary["samples"]
    entries = {**{name: summary[name] for name in _LESIONS}, **summary["signs"]}
    return [
        {
            **{key: summary["kept"][key] for key in ("n", "n_subjects")},
            **_all_numbers(entries | ({} if samples is None else {"samples_kept": samples["kept"]})),
            "samples_k": number(None if samples is None else samples["k"]),
            "by_chance": number(summary["by_chance"]["own_and_floor"]),
            **{f"kept_at_{floor}": number(summary["kept_at"].get(floor)) for floor in _FLOORS},
        }
    ]


def _cells(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "radius_mm": "{:g} to {:g}".format(*cell["radius_mm"]),
            "contrast": "{:.0f} to {:.0f} %".format(*(100 * end for end in cell["contrast"])),
            **{key: cell["kept"][key] for key in ("n", "n_subjects")},
            **_numbers("kept", cell["kept"]),
        }
        for cell in summary["cells"]
    ]


def _invention(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    # the source as it is comes after the model, under its own name
    for model, own in (({}, summary["model"]), ({"model": AS_IT_WAS}, summary["as_it_was"])):
        if own is not None:
            counts = {key: own["brighter"][key] for key in ("n", "n_subjects")}
            rows.append({**counts, **_all_numbers({name: own[name] for name in _STRUCTURES}), **model})
    return rows


def _disagreement(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = {name: summary[name] for name in ("auc", "spearman", "ratio", "coverage")}
    counts = {key: summary[key] for key in ("k", "n", "n_subjects", "large_share")}
    promised = {name: number(summary[name]["value"]) for name in _PROMISED}
    return [{**counts, **promised, **_all_numbers(entries)}]


def _curve(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"promised": point["promised"], **_numbers("error", point["error"])} for point in summary["curve"]]
