"""reports -> one DataFrame -> one table a comparable group. `python -m eval.board` prints it."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NamedTuple

import pandas as pd

from eval import report, translation_board, volumes
from eval.control import Control, control
from eval.control_tables import tables
from eval.export import KINDS, display, export
from eval.protocols import VOLUME_FAMILY
from eval.report import METRICS
from eval.rows import report_rows
from medgen import registry
from medgen.errors import MedgenError

__all__ = [
    "FLOOR",
    "METRICS",
    "NOT_MEASURED",
    "Control",
    "Group",
    "classes",
    "control",
    "display",
    "export",
    "groups",
    "rows",
    "sort_choices",
    "table",
    "tables",
]

FLOOR = "real"
"""The family of the floor row: real train images measured in place of generated ones."""

_TEXT = ("model", "title", "family", "protocol", "data", "split", "extractor", "real_images", "created", "commit")
_PROVENANCE = ("weights", "versions", "hardware", "licence", "problem", "report")
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
    columns = [*_TEXT, *_metric_columns(), *_NUMBERS, *_PROVENANCE]
    # models of volumes wait for no report of these: `eval.volumes` measures them
    own = [row for row in report_rows() if row.get("family") != VOLUME_FAMILY or row.get("report")]
    frame = pd.DataFrame(own, columns=columns)
    frame = pd.concat([frame, pd.DataFrame(_floors(frame), columns=columns)]) if len(frame) else frame
    numeric = [*_metric_columns(), *_NUMBERS]
    text = [name for name in columns if name not in numeric]
    frame[numeric] = frame[numeric].astype("float64")
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "").astype(str)
    return frame.reset_index(drop=True)


def _metric_columns() -> list[str]:
    return [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high", "_floor")]


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
    # a model of several data sets, "a+b", has a place in the tables of each
    own = frame["data"].map(lambda names: names == "" or group.data in names.split("+")).astype(bool)
    here = own | (group == NOT_MEASURED) | (frame["problem"] != "")
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


def classes(frame: pd.DataFrame, group: Group) -> pd.DataFrame:
    """The numbers of `group` label by label, one row a model and label, label by label; no rows where none has any.

    Args:
        frame: from `rows()`.
        group: from `groups(frame)`.

    Returns:
        Columns `label`, `model`, `title`, `family`, and float64 `n_real`, `n_fake` and the metrics; NaN = missing.
    """
    found = []
    for row in frame[_in_group(frame, group) & (frame["report"] != "")].to_dict("records"):
        try:
            values = report.read(registry.checkpoints_dir() / row["model"] / row["report"])
        except MedgenError:  # replaced since `frame` was made; the next `rows()` says what is wrong with it
            continue
        named = {name: row[name] for name in ("model", "title", "family")}
        for label, entry in values.get("per_class", {}).items():
            numbers = {name: report.number(entry.get(name)) for name in ("n_real", "n_fake", *METRICS)}
            found.append({"label": label, **named, **numbers})
    columns = ["label", "model", "title", "family", "n_real", "n_fake", *METRICS]
    return pd.DataFrame(found, columns=columns).sort_values(["label", "model"]).reset_index(drop=True)


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
    found, solid = translation_board.translations(), volumes.volumes()
    if frame.empty and found.frame.empty and solid.frame.empty:
        print("There are no models in the checkpoints folder yet.", file=sys.stderr)
    for group in groups(frame):
        shown = table(frame, group, options.sort, options.search)
        if options.format == "markdown":
            print(f"{group.label}\n")
        print(export(shown, options.format))
    for text in translation_board.listing(found, options.format, options.search):
        print(text)
    for text in volumes.listing(solid, options.format, options.search):
        print(text)
    broken = sorted({*frame.loc[frame["problem"] != "", "problem"], *found.problems, *solid.problems})
    for problem in broken:
        print(problem, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
