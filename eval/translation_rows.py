"""translation*.json of all models -> rows of the board. No torch here, and nothing broken or stale is believed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval.protocols import TRANSLATIONS, translation_of
from eval.report import number
from eval.rows import card_of, from_card
from eval.translation_file import METRICS, SIGNED, read
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError

BASELINE = "baseline"
"""The family of rows that are no model: what needs no network, and the floor of true slices."""
ENDS = ("", "_low", "_high", "_least", "_most")
_KEYS = ("value", "low", "high", "least", "most")
_TEXT = ("model", "title", "family", "protocol", "direction", "data", "split", "extractor", "pairs", "unit", "created")
_ORIGIN = ("commit", "weights", "versions", "hardware", "licence", "problem", "report")
_NUMBERS = ("n", "n_subjects", "steps", "seconds_per_image", "params", "images_seen")
_LOWER_IS_BETTER = ("seconds_per_image", "params", "model", "family")


class Group(NamedTuple):
    """Rows that may stand in one table. Anything else is not comparable."""

    protocol: str
    direction: str
    data: str
    split: str
    extractor: str
    pairs: str
    unit: str
    n: int
    n_subjects: int

    @property
    def label(self) -> str:
        """What a drop-down shows; different groups have different labels."""
        return (
            f"{self.protocol}, {self.direction.replace('-', ' to ')}, {self.split} split, {self.n} slices of "
            f"{self.n_subjects} patients ({self.pairs[:6]}), {self.extractor}"
        )


class Translations(NamedTuple):
    """What is known of all translators.

    Args:
        frame: a row a model and report, and the baselines of each group; missing numbers are NaN, missing words "".
        reports: (model, name of the file) -> its content, for the rows that are believed.
        problems: what was not believed.
    """

    frame: pd.DataFrame
    reports: dict[tuple[str, str], dict[str, Any]]
    problems: tuple[str, ...]

    def models(self) -> list[str]:
        """The names of all translators."""
        return sorted(set(self.frame.loc[self.frame["family"] != BASELINE, "model"]))

    def of(self, group: Group) -> list[tuple[str, dict[str, Any]]]:
        """Model and report of each row of `group`, by name."""
        own = self.frame[_in_group(self.frame, group) & (self.frame["family"] != BASELINE)]
        pairs = sorted(zip(own["model"], own["report"], strict=True))
        return [(model, self.reports[model, file]) for model, file in pairs]


def translations() -> Translations:
    """Reads every translator's card and reports; never raises for what is broken, but says so."""
    rows: list[dict[str, Any]] = []
    reports: dict[tuple[str, str], dict[str, Any]] = {}
    problems: list[str] = []
    for folder in _folders():
        card, problem = card_of(folder)
        paths = sorted(folder.glob("translation*.json"))
        if not paths and (card is None or not card.translates):
            continue
        base = {"model": folder.name, "problem": problem, **_from_card(card)}
        for path in paths:
            try:
                values = _believed(path, card)
            except MedgenError as error:
                rows.append({**base, "problem": str(error)})
                continue
            problems += _without_stale(values)
            reports[folder.name, path.name] = values
            rows.append({**base, **_from_report(values), "report": path.name})
        rows += [] if paths else [base]
    frame = _frame(rows)
    frame = _frame([*rows, *_baselines(frame, reports)])
    return Translations(frame, reports, (*sorted(set(frame["problem"]) - {""}), *problems))


def _folders() -> list[Path]:
    root = registry.checkpoints_dir()
    return sorted({path.parent for name in ("card.json", "translation*.json") for path in root.glob(f"*/{name}")})


def _frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    text, numeric = [*_TEXT, *_ORIGIN], [*(name + end for name in METRICS for end in ENDS), *_NUMBERS]
    frame = pd.DataFrame(list(rows), columns=[*_TEXT, *numeric, *_ORIGIN])
    frame[numeric] = frame[numeric].astype("float64")
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "").astype(str)
    return frame


def _from_card(card: ModelCard | None) -> dict[str, Any]:
    if card is None:
        return {}
    known = translation_of(card)
    own = {"family": str(card.net.get("method") or card.family), "direction": str(card.translates.get("direction", ""))}
    return from_card(card) | own | {"data": "" if known is None else known.data}


def _believed(path: Path, card: ModelCard | None) -> dict[str, Any]:
    """The content of a report.

    Raises:
        MedgenError: it is broken, or was made with other weights than the card's.
    """
    values = read(path)
    if card is not None and values["weights"] != card.weights:
        where = f"{path.parent.name}/{path.name}"
        raise MedgenError(f"{where} was made with other weights than the card names; run eval.run again.")
    return values


def _without_stale(values: dict[str, Any]) -> list[str]:
    """Takes the way back out of a report where its model has changed since, and says so."""
    back = values["cycle"]
    if "reason" in back:
        return []
    card, _ = card_of(registry.checkpoints_dir() / back["model"])
    if card is not None and card.weights == back["weights"]:
        return []
    reason = f"{back['model']} is gone or has other weights now; run eval.run for {values['model']} again"
    values["cycle"] = {"reason": reason}
    return [f"The way back of {values['model']} is not shown: {reason}."]


def _from_report(values: dict[str, Any]) -> dict[str, Any]:
    extractor, weights = values["extractor"], values["weights"]
    versions = values.get("versions")
    names = ("protocol", "direction", "data", "split", "unit", "n", "n_subjects")
    return {name: values[name] for name in names} | {
        **numbers(values["metrics"]),
        "extractor": f"{extractor['name']} ({extractor['sha256'][:8]})",
        "pairs": values["pairs_sha256"],
        "steps": number(values.get("steps")),
        "seconds_per_image": number(values.get("seconds_per_image")),
        "created": str(values.get("created") or ""),
        "commit": str(values.get("commit") or ""),
        "weights": " ".join(f"{file}:{str(sha)[:12]}" for file, sha in sorted(weights.items())),
        "versions": json.dumps(versions, sort_keys=True) if isinstance(versions, dict) else "",
    }


def numbers(entries: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The columns of a report's entries."""
    return {
        name + end: number(entries.get(name, {}).get(key))
        for name in METRICS
        for end, key in zip(ENDS, _KEYS, strict=True)
    }


def _baselines(frame: pd.DataFrame, reports: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """The baselines of each group, once, from its newest report."""
    found = []
    for group in _groups(frame):
        own = frame[_in_group(frame, group)]
        newest = own.loc[own["created"].idxmax()]
        said = {name: newest[name] for name in (*Group._fields, "created", "commit", "versions")}
        for name, one in reports[newest["model"], newest["report"]]["baselines"].items():
            found.append({**said, "model": name, "title": one["title"], "family": BASELINE, **numbers(one["metrics"])})
    return found


def _in_group(frame: pd.DataFrame, group: Group) -> pd.Series:
    keep = pd.Series(True, index=frame.index)
    for name, value in group._asdict().items():
        keep &= frame[name] == value
    return keep


def _groups(frame: pd.DataFrame) -> list[Group]:
    measured = frame.loc[frame["n"].notna(), list(Group._fields)]
    found = {
        Group._make((*values[:-2], int(values[-2]), int(values[-1]))) for values in measured.itertuples(index=False)
    }
    order = list(TRANSLATIONS)
    place = {name: order.index(name) if name in order else len(order) for name in {group.protocol for group in found}}
    return sorted(found, key=lambda g: (place[g.protocol], g.split != "test", "inception" not in g.extractor, -g.n, g))


def groups(found: Translations) -> list[Group]:
    """The comparable groups: full test protocols first, most slices first."""
    return _groups(found.frame)


def sort_choices() -> list[str]:
    """The columns `table` sorts by, for a drop-down."""
    return [*METRICS, "seconds_per_image", "params", "model", "family"]


def table(found: Translations, group: Group | None, sort_by: str = "ssim", search: str = "") -> pd.DataFrame:
    """One group, baselines on top, then the models, best first; numbers stay numbers, missing ones NaN.

    Translators of these pairs without any usable report stand at the end.

    Args:
        found: from `translations()`.
        group: from `groups(found)`; None where there is none: all translators that wait to be measured.
        sort_by: one of `sort_choices()`.
        search: keeps the models whose name, title or method contains this; the baselines stay.

    Raises:
        MedgenError: no such column to sort by.
    """
    if sort_by not in sort_choices():
        raise MedgenError(f"There is no column {sort_by!r} to sort by; choose from {', '.join(sort_choices())}.")
    frame = found.frame
    measured = set(frame.loc[frame["n"].notna(), "model"])
    shown = frame["n"].isna() & ((frame["problem"] != "") | ~frame["model"].isin(measured))
    if group is not None:
        here = (frame["data"].isin(("", group.data))) & frame["direction"].isin(("", group.direction))
        shown = _in_group(frame, group) | (shown & here)
    own = frame[shown]
    words = own["model"] + " " + own["title"] + " " + own["family"]
    is_baseline = own["family"] == BASELINE
    top, own = own[is_baseline], own[~is_baseline & words.str.contains(search.strip(), case=False, regex=False)]
    up = sort_by in _LOWER_IS_BETTER or (sort_by in METRICS and METRICS[sort_by].lower_is_better)
    distance = (lambda column: column.abs()) if sort_by in SIGNED else None
    own = own.sort_values("model").sort_values(sort_by, ascending=up, kind="stable", na_position="last", key=distance)
    digits = {name + end: metric.digits for name, metric in METRICS.items() for end in ENDS}
    return pd.concat([top, own]).reset_index(drop=True).round({**digits, "seconds_per_image": 4})
