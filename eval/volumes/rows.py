"""volumes*.json of all models -> rows of the board. No torch here, and nothing broken or stale is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval import groups as shared
from eval.protocols import VOLUME_FAMILY, VOLUMETRIC
from eval.report import number
from eval.rows import ENDS, card_of, folders, from_card, must_be_of
from eval.volumes.file import AS_REAL, METRICS, read
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.segmenter import segmenters

FLOOR = "real"
"""The family of the row of real volumes: what a perfect model would score."""
_TEXT = ("model", "title", "family", "protocol", "data", "split", "extractor", "real_volumes", "segmenter", "created")
_ORIGIN = ("commit", "weights", "versions", "hardware", "licence", "problem", "report")
_COSTS = (*shared.SECONDS, "params")
_NUMBERS = ("n", "n_real", "steps", *_COSTS, "images_seen")
_LOW_IS_BEST = (*_COSTS, "model", "family")


class Group(NamedTuple):
    """Rows that may stand in one table. Anything else is not comparable."""

    protocol: str
    data: str
    split: str
    extractor: str
    real_volumes: str
    segmenter: str
    n_real: int
    n: int

    @property
    def label(self) -> str:
        """What a drop-down shows; different groups have different labels."""
        return (
            f"{self.protocol}, {self.split} split, {self.n_real} real ({self.real_volumes[:6]}) against {self.n} "
            f"generated, {self.extractor}, {self.segmenter or 'no segmenter'}"
        )


class Volumes(NamedTuple):
    """What is known of all models of volumes.

    Args:
        frame: a row a model and report, and real volumes of each group; missing numbers are NaN, missing words "".
        reports: (model, name of the file) -> its content, for the rows that are believed.
        problems: what was not believed.
    """

    frame: pd.DataFrame
    reports: dict[tuple[str, str], dict[str, Any]]
    problems: tuple[str, ...]

    def models(self) -> list[str]:
        """The names of all models of volumes."""
        return sorted(set(self.frame.loc[self.frame["family"] != FLOOR, "model"]))

    def of(self, group: Group) -> list[tuple[str, dict[str, Any]]]:
        """Model and report of each row of `group`, by name."""
        own = self.frame[shared.in_group(self.frame, group) & (self.frame["family"] != FLOOR)]
        pairs = sorted(zip(own["model"], own["report"], strict=True))
        return [(model, self.reports[model, file]) for model, file in pairs]


def volumes() -> Volumes:
    """Reads every volume model's card and reports; never raises for what is broken, but says so."""
    rows: list[dict[str, Any]] = []
    reports: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in folders("volumes*.json"):
        card, problem = card_of(folder)
        paths = sorted(folder.glob("volumes*.json"))
        if not paths and (card is None or card.family != VOLUME_FAMILY):
            continue
        base = {"model": folder.name, "problem": problem, **_from_card(card)}
        for path in paths:
            try:
                values = _believed(path, card)
            except MedgenError as error:
                rows.append({**base, "problem": str(error)})
                continue
            reports[folder.name, path.name] = values
            rows.append({**base, **_from_report(values), "report": path.name})
        rows += [] if paths else [base]
    frame = _frame(rows)
    frame = _frame([*frame.to_dict("records"), *_real(frame)])
    return Volumes(frame, reports, tuple(sorted(set(frame["problem"]) - {""})))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    numeric = [*(name + end for name in METRICS for end in ENDS), *_NUMBERS]
    return shared.frame_of(rows, [*_TEXT, *numeric, *_ORIGIN], numeric)


def _from_card(card: ModelCard | None) -> dict[str, Any]:
    if card is None:
        return {}
    return from_card(card) | {"family": str(card.net.get("method") or card.family)}


def _believed(path: Path, card: ModelCard | None) -> dict[str, Any]:
    """The content of a report.

    Raises:
        MedgenError: it is broken, or was made with other weights than those of the card or of the segmenter.
    """
    values = read(path)
    must_be_of(card, values, path)
    judge = values["segmenter"]
    known = segmenters().get(judge.get("name", ""))
    if known is not None and known.weights != judge["weights"]:
        where = f"{path.parent.name}/{path.name}"
        raise MedgenError(f"{where} was measured by other weights of {known.name}; run eval.run again.")
    return values


def _from_report(values: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: values[name] for name in ("protocol", "data", "split", "n", "n_real")},
        **shared.numbers(values["metrics"], METRICS, ENDS),
        **shared.origin(values),
        "extractor": shared.extractor(values),
        "segmenter": _segmenter(values["segmenter"]),
        "real_volumes": values["real_sha256"][:12],
        "steps": number(values.get("steps")),
        "seconds_per_image": number(values.get("seconds_per_volume")),
        "cpu_seconds_per_image": number(values.get("cpu_seconds_per_volume")),
    }


def _segmenter(judge: dict[str, Any]) -> str:
    """A segmenter with the first digits of its weights; "" where there was none."""
    return f"{judge['name']} ({''.join(judge['weights'].values())[:8]})" if "name" in judge else ""


def _real(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A row of real volumes for each group, from its newest report."""
    found = []
    for group in _groups(frame):
        newest = shared.newest(frame, group)
        said = {name: newest[name] for name in (*Group._fields, "created", "commit", "versions")}
        floors = {name: newest[f"{name}_floor"] for name in METRICS}
        title = "Real volumes: train subjects in place of generated ones; a segmenter on held-out ones"
        found.append({**said, "model": FLOOR, "title": title, "family": FLOOR, **floors})
    return found


def _groups(frame: pd.DataFrame) -> list[Group]:
    return shared.ranked(shared.comparable(frame, Group, Group._fields, "n"), VOLUMETRIC, lambda g: (g.n,))


def groups(found: Volumes) -> list[Group]:
    """The comparable groups: full test protocols first, most volumes first."""
    return _groups(found.frame)


def sort_choices() -> list[str]:
    """The columns `table` sorts by, for a drop-down."""
    return [*METRICS, *_COSTS, "model", "family"]


def table(found: Volumes, group: Group | None, sort_by: str = "kid", search: str = "") -> pd.DataFrame:
    """One group, real volumes on top, then the models, best first; numbers stay numbers, missing ones NaN.

    Models of these volumes without any usable report stand at the end.

    Args:
        found: from `volumes()`.
        group: from `groups(found)`; None where there is none: all models that wait to be measured.
        sort_by: one of `sort_choices()`.
        search: keeps the models whose name, title or method contains this; real volumes stay.

    Raises:
        MedgenError: no such column to sort by.
    """
    shared.must_sort_by(sort_by, sort_choices())
    frame = found.frame
    shown = shared.waiting(frame, "n")
    if group is not None:
        shown = shared.in_group(frame, group) | (shown & shared.of_data(frame, group.data))
    own = frame[shown]
    by = (own[sort_by] - own[f"{sort_by}_floor"]).abs() if sort_by in AS_REAL else own[sort_by]
    digits = {name + end: metric.digits for name, metric in METRICS.items() for end in ENDS}
    return shared.best_first(
        own, by, up=shared.low_is_best(sort_by, METRICS, _LOW_IS_BEST), search=search, top=(FLOOR,),
        digits={**digits, **shared.SECONDS},
    )  # fmt: skip
