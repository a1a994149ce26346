"""volumes*.json of all models -> rows of the board. No torch here, and nothing broken or stale is believed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval.protocols import VOLUME_FAMILY, VOLUMETRIC
from eval.report import number
from eval.rows import card_of, from_card
from eval.volumes.file import AS_REAL, METRICS, read
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.segmenter import segmenters

FLOOR = "real"
"""The family of the row of real volumes: what a perfect model would score."""
ENDS = ("", "_low", "_high", "_floor")
_KEYS = ("value", "low", "high", "floor")
_TEXT = ("model", "title", "family", "protocol", "data", "split", "extractor", "real_volumes", "segmenter", "created")
_ORIGIN = ("commit", "weights", "versions", "hardware", "licence", "problem", "report")
_NUMBERS = ("n", "n_real", "steps", "seconds_per_image", "params", "images_seen")
_LOWER_IS_BETTER = ("seconds_per_image", "params", "model", "family")


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
        own = self.frame[_in_group(self.frame, group) & (self.frame["family"] != FLOOR)]
        pairs = sorted(zip(own["model"], own["report"], strict=True))
        return [(model, self.reports[model, file]) for model, file in pairs]


def volumes() -> Volumes:
    """Reads every volume model's card and reports; never raises for what is broken, but says so."""
    rows: list[dict[str, Any]] = []
    reports: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in _folders():
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
    frame = _frame([*frame.to_dict("records"), *_real(frame, reports)])
    return Volumes(frame, reports, tuple(sorted(set(frame["problem"]) - {""})))


def _folders() -> list[Path]:
    root = registry.checkpoints_dir()
    return sorted({path.parent for name in ("card.json", "volumes*.json") for path in root.glob(f"*/{name}")})


def _frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    text, numeric = [*_TEXT, *_ORIGIN], [*(name + end for name in METRICS for end in ENDS), *_NUMBERS]
    frame = pd.DataFrame(list(rows), columns=[*_TEXT, *numeric, *_ORIGIN])
    frame[numeric] = frame[numeric].astype("float64")
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "").astype(str)
    return frame


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
    where = f"{path.parent.name}/{path.name}"
    if card is not None and values["weights"] != card.weights:
        raise MedgenError(f"{where} was made with other weights than the card names; run eval.run again.")
    judge = values["segmenter"]
    known = segmenters().get(judge.get("name", ""))
    if known is not None and known.weights != judge["weights"]:
        raise MedgenError(f"{where} was measured by other weights of {known.name}; run eval.run again.")
    return values


def _from_report(values: dict[str, Any]) -> dict[str, Any]:
    extractor, weights, judge = values["extractor"], values["weights"], values["segmenter"]
    versions = values.get("versions")
    said = {name: values[name] for name in ("protocol", "data", "split", "n", "n_real")}
    return said | {
        **numbers(values["metrics"]),
        "extractor": f"{extractor['name']} ({extractor['sha256'][:8]})",
        "segmenter": _segmenter(judge),
        "real_volumes": values["real_sha256"][:12],
        "steps": number(values.get("steps")),
        "seconds_per_image": number(values.get("seconds_per_volume")),
        "created": str(values.get("created") or ""),
        "commit": str(values.get("commit") or ""),
        "weights": " ".join(f"{file}:{str(sha)[:12]}" for file, sha in sorted(weights.items())),
        "versions": json.dumps(versions, sort_keys=True) if isinstance(versions, dict) else "",
    }


def _segmenter(judge: dict[str, Any]) -> str:
    """A segmenter with the first digits of its weights; "" where there was none."""
    return f"{judge['name']} ({''.join(judge['weights'].values())[:8]})" if "name" in judge else ""


def numbers(entries: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The columns of a report's entries."""
    return {
        name + end: number(entries.get(name, {}).get(key))
        for name in METRICS
        for end, key in zip(ENDS, _KEYS, strict=True)
    }


def _real(frame: pd.DataFrame, reports: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """A row of real volumes for each group, from its newest report."""
    found = []
    for group in _groups(frame):
        own = frame[_in_group(frame, group)]
        newest = own.loc[own["created"].idxmax()]
        said = {name: newest[name] for name in (*Group._fields, "created", "commit", "versions")}
        floors = {name: newest[f"{name}_floor"] for name in METRICS}
        title = "Real volumes: train subjects in place of generated ones; a segmenter on held-out ones"
        found.append({**said, "model": FLOOR, "title": title, "family": FLOOR, **floors})
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
    order = list(VOLUMETRIC)
    place = {name: order.index(name) if name in order else len(order) for name in {group.protocol for group in found}}
    return sorted(found, key=lambda g: (place[g.protocol], g.split != "test", "inception" not in g.extractor, -g.n, g))


def groups(found: Volumes) -> list[Group]:
    """The comparable groups: full test protocols first, most volumes first."""
    return _groups(found.frame)


def sort_choices() -> list[str]:
    """The columns `table` sorts by, for a drop-down."""
    return [*METRICS, "seconds_per_image", "params", "model", "family"]


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
    if sort_by not in sort_choices():
        raise MedgenError(f"There is no column {sort_by!r} to sort by; choose from {', '.join(sort_choices())}.")
    frame = found.frame
    measured = set(frame.loc[frame["n"].notna(), "model"])
    shown = frame["n"].isna() & ((frame["problem"] != "") | ~frame["model"].isin(measured))
    if group is not None:
        here = frame["data"].map(lambda names: names == "" or group.data in names.split("+")).astype(bool)
        shown = _in_group(frame, group) | (shown & here)
    own = frame[shown]
    words = own["model"] + " " + own["title"] + " " + own["family"]
    is_real = own["family"] == FLOOR
    top, own = own[is_real], own[~is_real & words.str.contains(search.strip(), case=False, regex=False)]
    up = sort_by in _LOWER_IS_BETTER or (sort_by in METRICS and METRICS[sort_by].lower_is_better)
    if sort_by in AS_REAL:
        own = own.assign(apart=(own[sort_by] - own[f"{sort_by}_floor"]).abs())
    by = "apart" if sort_by in AS_REAL else sort_by
    own = own.sort_values("model").sort_values(by, ascending=up, kind="stable", na_position="last")
    digits = {name + end: metric.digits for name, metric in METRICS.items() for end in ENDS}
    return (
        pd.concat([top, own.drop(columns="apart", errors="ignore")])
        .reset_index(drop=True)
        .round({**digits, "seconds_per_image": 4})
    )
