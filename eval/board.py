"""reports -> one DataFrame -> one table a comparable group. `python -m eval.board` prints it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from eval import report
from eval.export import KINDS, display, export
from eval.report import METRICS
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError

__all__ = ["FLOOR", "METRICS", "NOT_MEASURED", "Group", "display", "export", "groups", "rows", "sort_choices", "table"]

FLOOR = "real"
"""The family of the floor row: real train images measured in place of generated ones."""

_TEXT = ("model", "title", "family", "protocol", "data", "split", "extractor", "real_images", "created", "commit")
_PROVENANCE = ("weights", "versions", "hardware", "licence", "problem")
_NUMBERS = ("n_real", "n_fake", "n_subjects", "k", "seconds", "seconds_per_image", "params", "images_seen")
_LOWER_IS_BETTER = {"seconds", "seconds_per_image", "params"}


class Group(NamedTuple):
    """Rows that may stand in one table. Anything else is not comparable."""

    protocol: str
    data: str
    split: str
    extractor: str
    real_images: str
    n_real: int
    n_fake: int
    k: int

    @property
    def label(self) -> str:
        """What a drop-down shows; different groups have different labels."""
        if self == NOT_MEASURED:
            return "not measured yet"
        side = f"{self.protocol}, {self.split} split, {self.extractor}"
        images = f"{self.n_real} real ({self.data} {self.real_images[:6]}) against {self.n_fake} generated"
        return f"{side}, {images}, k = {self.k}"


NOT_MEASURED = Group("", "", "", "", "", 0, 0, 0)


def rows() -> pd.DataFrame:
    """One row a model and report, one floor row a comparable group. Nothing on disk is ever left out.

    A card without a report is a row of missing numbers; a card or report that cannot be read is a row whose
    `problem` says why, and so is a report made with other weights than the card's. Missing numbers are NaN.

    Returns:
        Columns: text (`model`, `title`, `family`, `protocol`, ..., `problem`; "" = missing) and float64
        (`fid`, `fid_low`, `fid_high`, `fid_floor`, `kid`, ..., `n_real`, `seconds`, ...; NaN = missing).
    """
    found = []
    folders = {path.parent for name in ("card.json", "report*.json") for path in _glob(name)}
    for folder in sorted(folders):
        card, problem = _card(folder / "card.json")
        base = {"model": folder.name, "problem": problem, **_from_card(card)}
        paths = sorted(folder.glob("report*.json"))
        found += [{**base, **_from_report(path, card, problem)} for path in paths] or [base]
    columns = [*_TEXT, *_metric_columns(), *_NUMBERS, *_PROVENANCE]
    frame = pd.DataFrame(found, columns=columns)
    frame = pd.concat([frame, pd.DataFrame(_floors(frame), columns=columns)]) if len(frame) else frame
    numeric = [*_metric_columns(), *_NUMBERS]
    text = [name for name in columns if name not in numeric]
    frame[numeric] = frame[numeric].astype("float64")
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "").astype(str)
    return frame.reset_index(drop=True)


def _glob(name: str) -> list[Path]:
    return list(registry.checkpoints_dir().glob(f"*/{name}"))


def _metric_columns() -> list[str]:
    return [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high", "_floor")]


def _card(path: Path) -> tuple[ModelCard | None, str]:
    """The card, or why there is none."""
    if not path.is_file():
        return None, f"{path.parent.name} has a report but no card.json."
    try:
        return ModelCard.read(path), ""
    except MedgenError as error:
        return None, str(error)


def _from_card(card: ModelCard | None) -> dict[str, Any]:
    if card is None:
        return {}
    trained = card.trained
    return {
        "title": card.title,
        "family": card.family,
        "data": card.data or "",
        "params": report.number(trained.get("parameters")),
        "images_seen": report.number(trained.get("images_seen")),
        "hardware": str(trained.get("hardware") or ""),
        "licence": card.licence,
    }


def _from_report(path: Path, card: ModelCard | None, problem: str) -> dict[str, Any]:
    """The columns of one report; only `problem` where the report cannot be believed."""
    try:
        values = report.read(path)
    except MedgenError as error:
        return {"problem": str(error)}
    if card is not None and values.get("weights", {}) != card.weights:
        where = f"{path.parent.name}/{path.name}"
        return {"problem": f"{where} was made with other weights than the card names; run eval.run again."}
    extractor = values["extractor"]
    weights = values.get("weights") or {}
    found: dict[str, Any] = {name: values[name] for name in ("protocol", "data", "split", "n_real", "n_fake", "k")}
    for name in METRICS:
        entry = values["metrics"].get(name, {})
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"), ("floor", "_floor")):
            found[name + end] = report.number(entry.get(key))
    seconds = values.get("seconds")
    sampling = seconds.get("sampling") if isinstance(seconds, dict) else None
    versions = values.get("versions")
    return found | {
        "extractor": f"{extractor['name']} ({extractor['sha256'][:8]})",
        "real_images": values["real_sha256"][:12],
        "n_subjects": report.number(values.get("n_subjects")),
        "seconds": report.number(sampling),
        "seconds_per_image": report.number(values.get("seconds_per_image")),
        "created": str(values.get("created") or ""),
        "commit": str(values.get("commit") or ""),
        "weights": " ".join(f"{file}:{str(sha)[:12]}" for file, sha in sorted(weights.items())),
        "versions": json.dumps(versions, sort_keys=True) if isinstance(versions, dict) else "",
        "problem": problem,
    }


def _floors(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a group: the floor of its newest report, shown as if the real train images were a model."""
    found = []
    for group in groups(frame):
        own = frame[_in_group(frame, group)]
        if group == NOT_MEASURED or own.empty:
            continue
        newest = own.loc[own["created"].astype(str).idxmax()]
        if all(math.isnan(newest[f"{name}_floor"]) for name in METRICS):
            continue
        numbers = {name: newest[f"{name}_floor"] for name in METRICS}
        copied = {name: newest[name] for name in (*Group._fields, "n_subjects", "created", "commit", "versions")}
        title = f"Floor: real train images against real {group.split} images"
        floors = {f"{name}_floor": value for name, value in numbers.items()}
        found.append({"model": FLOOR, "title": title, "family": FLOOR, **copied, **numbers, **floors})
    return found


def _in_group(frame: pd.DataFrame, group: Group) -> pd.Series:
    keep = pd.Series(True, index=frame.index)
    for name, value in group._asdict().items():
        keep &= frame[name] == value
    return keep


def groups(frame: pd.DataFrame) -> list[Group]:
    """The comparable groups: full test protocols first, most images first; `NOT_MEASURED` where nothing else is."""
    measured = frame[frame["n_real"].notna()]
    found = set()
    for values in measured[list(Group._fields)].itertuples(index=False):
        found.add(Group(*values[:5], int(values.n_real), int(values.n_fake), int(values.k)))
    ordered = sorted(
        found, key=lambda g: (g.protocol, g.split != "test", "inception" not in g.extractor, -g.n_fake, -g.n_real, g)
    )
    return ordered or ([NOT_MEASURED] if len(frame) else [])


def sort_choices() -> list[str]:
    """The columns `table` sorts by, for a drop-down."""
    return [*METRICS, "seconds_per_image", "params", "images_seen", "model", "family"]


def table(frame: pd.DataFrame, group: Group | None = None, sort_by: str = "fid", search: str = "") -> pd.DataFrame:
    """One comparable group, best first, floor on top, ready to show; numbers stay numbers, missing ones NaN.

    Models without any usable report stand at the end of every table of their data set: they are part of the answer.

    Args:
        frame: from `rows()`.
        group: from `groups(frame)`; None = the first.
        sort_by: one of `sort_choices()`.
        search: keeps the models whose name, title or family contains this; the floor stays.

    Raises:
        MedgenError: no such column to sort by.
    """
    if sort_by not in sort_choices():
        raise MedgenError(f"There is no column {sort_by!r} to sort by; choose from {', '.join(sort_choices())}.")
    group = group or next(iter(groups(frame)), NOT_MEASURED)
    measured = set(frame.loc[frame["n_real"].notna(), "model"])
    waiting = frame["n_real"].isna() & ((frame["problem"] != "") | ~frame["model"].isin(measured))
    here = frame["data"].isin(["", group.data]) | (group == NOT_MEASURED) | (frame["problem"] != "")
    shown = frame[_in_group(frame, group) | (waiting & here)]
    words = shown["model"] + " " + shown["title"] + " " + shown["family"]
    is_floor = shown["family"] == FLOOR
    shown = shown[words.str.contains(search.strip(), case=False, regex=False) | is_floor]
    worse_up = sort_by in ("model", "family") or sort_by in _LOWER_IS_BETTER or _lower_is_better(sort_by)
    shown = shown.sort_values(["model"]).sort_values(sort_by, ascending=worse_up, kind="stable", na_position="last")
    shown = shown.sort_values("family", key=lambda family: family != FLOOR, kind="stable")
    shown = shown[[name for name in shown.columns if not name.endswith("_floor")]].reset_index(drop=True)
    digits = {name + end: shown_as.digits for name, shown_as in METRICS.items() for end in ("", "_low", "_high")}
    return shown.round({**digits, "seconds": 1, "seconds_per_image": 4})


def _lower_is_better(name: str) -> bool:
    return name in METRICS and METRICS[name].lower_is_better


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = printed, 1 = printed, but a card or report is broken (said on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m eval.board", description="All measured models, group by group.")
    parser.add_argument("--sort", default="fid", choices=sort_choices())
    parser.add_argument("--search", default="", help="only models whose name, title or family contains this")
    parser.add_argument("--format", default="markdown", choices=KINDS, help="default: markdown")
    options = parser.parse_args(argv)
    frame = rows()
    if frame.empty:
        print("There are no models in the checkpoints folder yet.", file=sys.stderr)
    for group in groups(frame):
        shown = table(frame, group, options.sort, options.search)
        if options.format == "markdown":
            print(f"{group.label}\n")
        print(export(shown, options.format))
    broken = sorted(set(frame.loc[frame["problem"] != "", "problem"]))
    for problem in broken:
        print(problem, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
