"""pathology.json of all models -> tables: do the controls act? No torch here: the board reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from eval.pathology_file import NAME, PARTS, read
from eval.report import SWEPT, number
from eval.rows import card_of
from medgen import registry
from medgen.card import ModelCard
from medgen.classifier import classifiers
from medgen.conditions import HEALTHY
from medgen.errors import MedgenError

_CONTROLS = dict(zip(PARTS, ("label", "severity", "guidance", "region"), strict=True))
_ENDS = ("", "_low", "_high")
_JUDGED = ("generated", "real", "generated_border", "real_border")
_NAMED = ["model", "measured"]
_COLUMNS = {
    "adherence": [
        *_NAMED, "label", "cohort", "classifier", "guidance", "split",
        *(name + end for name in _JUDGED for end in (*_ENDS, "_with", "_without")),
    ],
    "severity": [
        *_NAMED, "label", "cohort", "healthy", "guidance", "n", "severity",
        *(name + end for name in ("probability", "border", "healthy_word", "rise") for end in _ENDS),
        "rising_seeds", "monotone",
    ],
    "guidance": [
        *_NAMED, "group", "protocol", "n", "guidance", *(name + end for name in SWEPT for end in _ENDS),
    ],
    "region": [
        *_NAMED, "cohort", "shown", "asked", "place", "guidance", "n", "n_subjects", "outside_largest", "judged",
        *(name + end for name in ("inside", "outside", "before", "after", "change", "border_change") for end in _ENDS),
    ],
}  # fmt: skip


class Control(NamedTuple):
    """What is known of the controls of all models: one frame a part of pathology.json.

    Each has the columns `model` and `measured`. A model that has the control but no believable numbers is
    one row whose `measured` is False and whose numbers are NaN; `problems` says what was not believed.
    """

    adherence: pd.DataFrame
    severity: pd.DataFrame
    guidance: pd.DataFrame
    region: pd.DataFrame
    problems: tuple[str, ...]

    def missing(self, part: str) -> list[str]:
        """The models that have the control but are not measured."""
        frame: pd.DataFrame = getattr(self, part)
        return list(frame.loc[~frame["measured"].astype(bool), "model"])


def control() -> Control:
    """Reads every model's pathology.json; never raises for what is broken, but says so in `problems`."""
    parts: dict[str, list[pd.DataFrame]] = {part: [] for part in PARTS}
    problems: list[str] = []
    for path in sorted(registry.checkpoints_dir().glob("*/card.json")):
        card, _ = card_of(path.parent)
        if card is None:  # the board's table says why
            continue
        values: dict[str, Any] = {"parts": {}}
        file = path.parent / NAME
        if file.is_file():
            try:
                values = read(file)
            except MedgenError as error:
                problems.append(str(error))
        stale = {part: why for part in values["parts"] if (why := _stale(card, values["parts"][part], part))}
        problems += list(dict.fromkeys(stale.values()))
        good = [part for part in values["parts"] if part not in stale]
        for part, frame in frames(card, values, good).items():
            parts[part].append(frame)
    joined = {part: pd.concat(own, ignore_index=True) if own else _frame(part, []) for part, own in parts.items()}
    return Control(**joined, problems=tuple(problems))


def _stale(card: ModelCard, part: Mapping[str, Any], name: str) -> str:
    """Why a part is not about the model and the classifiers that are here now; "" where it is."""
    if part["weights"] != card.weights:
        return f"{card.name}/{NAME} was made with other weights than the card names ({name}); run eval.pathology again."
    try:
        known = classifiers()
    except MedgenError as error:
        return str(error)
    for classifier, weights in part["settings"].get("classifiers", {}).items():
        if classifier in known and known[classifier].weights != weights:
            return f"{card.name}/{NAME} was judged by other weights of {classifier} ({name}); run eval.pathology again."
    return ""


def frames(card: ModelCard, values: Mapping[str, Any], parts: Iterable[str]) -> dict[str, pd.DataFrame]:
    """One model's frame of each part.

    Args:
        card: of the model.
        values: from `pathology_file.read`.
        parts: those to believe; of the others, those that the model has a control for are a row without numbers.
    """
    makers = {"adherence": _adherence, "severity": _severity, "guidance": _guidance, "region": _region}
    found = {}
    for part, make in makers.items():
        part_values = values["parts"][part] if part in parts else None
        rows = [] if part_values is None else make(part_values["settings"], part_values["items"])
        rows = [{"model": card.name, "measured": True, **row} for row in rows]
        if not rows and _CONTROLS[part] in card.controls:
            rows = [{"model": card.name, "measured": False}]
        found[part] = _frame(part, rows)
    return found


def _frame(part: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=_COLUMNS[part])


def _numbers(name: str, entry: Mapping[str, Any]) -> dict[str, float]:
    return {name + end: number(entry[key]) for end, key in zip(_ENDS, ("value", "low", "high"), strict=True)}


def _adherence(settings: Mapping[str, Any], items: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for label, item in items.items():
        row = {"label": label, "guidance": number(settings["guidance"]), "split": settings["split"]}
        row |= {key: item[key] for key in ("cohort", "classifier")}
        for name in _JUDGED:
            row |= _numbers(name, item[name])
            row |= {f"{name}_with": item[name]["n_with"], f"{name}_without": item[name]["n_without"]}
        rows.append(row)
    return rows


def _severity(settings: Mapping[str, Any], items: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for label, item in items.items():
        named = {key: item[key] for key in ("cohort", "healthy", "n", "rising_seeds", "monotone")}
        named |= {"label": label, "guidance": number(settings["guidance"]), **_numbers("rise", item["rise"])}
        for i, severity in enumerate(item["severities"]):
            curves = (("probability", "label"), ("border", "border"), ("healthy_word", "healthy_word"))
            numbers = {key: value for name, own in curves for key, value in _numbers(name, item[own][i]).items()}
            rows.append({**named, "severity": severity, **numbers})
    return rows


def _guidance(settings: Mapping[str, Any], items: Mapping[str, Any]) -> list[dict[str, Any]]:
    extractor = settings["extractor"]
    group = (
        f"{settings['protocol']}, {settings['split']} split, {settings['n_real']} real {settings['real_sha256'][:6]}, "
        f"{settings['n_fake']} generated, {extractor['name']} ({extractor['sha256'][:8]}), k = {settings['k']}"
    )
    rows = []
    for item in sorted(items.values(), key=lambda item: item["guidance"]):
        numbers = {key: value for name in SWEPT for key, value in _numbers(name, item["metrics"][name]).items()}
        named = {"group": group, "protocol": settings["protocol"], "n": settings["n_fake"]}
        rows.append({**named, "guidance": item["guidance"], **numbers})
    return rows


def _region(settings: Mapping[str, Any], items: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a way of repainting and disease."""
    rows = []
    for item in items.values():
        named = {key: item[key] for key in ("cohort", "shown", "asked", "n", "n_subjects", "outside_largest")}
        named |= {"place": settings["place"], "guidance": number(settings["guidance"])}
        named |= {**_numbers("inside", item["inside"]), **_numbers("outside", item["outside"])}
        for word in _judged(item):
            network, border = item["words"][word]["network"], item["words"][word]["border"]
            numbers = _numbers("before", network["before"]) | _numbers("after", network["after"])
            numbers |= _numbers("change", network["change"]) | _numbers("border_change", border["change"])
            rows.append({**named, "judged": word, **numbers})
    return rows


def _judged(item: Mapping[str, Any]) -> list[str]:
    """The diseases whose probability an item is about: what was shown or asked, all where both were healthy."""
    named = [word for word in dict.fromkeys((item["shown"], item["asked"])) if word not in HEALTHY]
    return [word for word in item["words"] if word in named or (not named and word not in HEALTHY)]
