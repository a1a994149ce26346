"""translation*.json of all models -> rows of the board. No torch here, and nothing broken or stale is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval import groups as shared
from eval.protocols import TRANSLATIONS, translation_of
from eval.report import number
from eval.rows import card_of, folders, from_card, must_be_of
from eval.translation_file import METRICS, SIGNED, read
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError

BASELINE = "baseline"
"""The family of rows that are no model: what needs no network, and the floor of true slices."""
ENDS = {**shared.LIMITS, "_least": "least", "_most": "most"}
_TEXT = ("model", "title", "family", "protocol", "direction", "data", "split", "extractor", "pairs", "unit", "created")
_ORIGIN = ("commit", "weights", "versions", "hardware", "licence", "problem", "report")
_COSTS = (*shared.SECONDS, "params")
_NUMBERS = ("n", "n_subjects", "steps", *_COSTS, "images_seen")
_LOW_IS_BEST = (*_COSTS, "model", "family")


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
        own = self.frame[shared.in_group(self.frame, group) & (self.frame["family"] != BASELINE)]
        pairs = sorted(zip(own["model"], own["report"], strict=True))
        return [(model, self.reports[model, file]) for model, file in pairs]


def translations() -> Translations:
    """Reads every translator's card and reports; never raises for what is broken, but says so."""
    rows: list[dict[str, Any]] = []
    reports: dict[tuple[str, str], dict[str, Any]] = {}
    problems: list[str] = []
    for folder in folders("translation*.json"):
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


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    numeric = [*(name + end for name in METRICS for end in ENDS), *_NUMBERS]
    return shared.frame_of(rows, [*_TEXT, *numeric, *_ORIGIN], numeric)


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
    must_be_of(card, values, path)
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
    names = ("protocol", "direction", "data", "split", "unit", "n", "n_subjects")
    return {
        **{name: values[name] for name in names},
        **shared.numbers(values["metrics"], METRICS, ENDS),
        **shared.origin(values),
        "extractor": shared.extractor(values),
        "pairs": values["pairs_sha256"],
        "steps": number(values.get("steps")),
        "seconds_per_image": number(values.get("seconds_per_image")),
        "cpu_seconds_per_image": number(values.get("cpu_seconds_per_image")),
    }


def _baselines(frame: pd.DataFrame, reports: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """The baselines of each group, once, from its newest report."""
    found = []
    for group in _groups(frame):
        newest = shared.newest(frame, group)
        said = {name: newest[name] for name in (*Group._fields, "created", "commit", "versions")}
        for name, one in reports[newest["model"], newest["report"]]["baselines"].items():
            values = shared.numbers(one["metrics"], METRICS, ENDS)
            found.append({**said, "model": name, "title": one["title"], "family": BASELINE, **values})
    return found


def _groups(frame: pd.DataFrame) -> list[Group]:
    return shared.ranked(shared.comparable(frame, Group, Group._fields, "n"), TRANSLATIONS, lambda g: (g.n,))


def groups(found: Translations) -> list[Group]:
    """The comparable groups: full test protocols first, most slices first."""
    return _groups(found.frame)


def sort_choices() -> list[str]:
    """The columns `table` sorts by, for a drop-down."""
    return [*METRICS, *_COSTS, "model", "family"]


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
    shared.must_sort_by(sort_by, sort_choices())
    frame = found.frame
    shown = shared.waiting(frame, "n")
    if group is not None:
        here = shared.of_data(frame, group.data) & frame["direction"].isin(("", group.direction))
        shown = shared.in_group(frame, group) | (shown & here)
    own = frame[shown]
    digits = {name + end: metric.digits for name, metric in METRICS.items() for end in ENDS}
    return shared.best_first(
        own, own[sort_by].abs() if sort_by in SIGNED else own[sort_by],
        up=shared.low_is_best(sort_by, METRICS, _LOW_IS_BEST), search=search, top=(BASELINE,),
        digits={**digits, **shared.SECONDS},
    )  # fmt: skip
