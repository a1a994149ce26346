"""reports -> one DataFrame -> one table a comparable group. `python -m eval.board` prints it."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NamedTuple

import pandas as pd

from eval import groups as shared
from eval import report, translation_board, volumes
from eval.control import Control, control
from eval.control_tables import tables
from eval.export import KINDS, display, export
from eval.groups import SECONDS
from eval.protocols import VOLUME_FAMILY
from eval.reference_rows import REFERENCE, reference_rows
from eval.report import METRICS
from eval.rows import report_rows
from medgen import registry
from medgen.errors import MedgenError, exit_code

__all__ = [
    "FLOOR",
    "METRICS",
    "NOT_MEASURED",
    "NO_MODEL",
    "REFERENCE",
    "SECONDS",
    "Control",
    "Group",
    "classes",
    "control",
    "display",
    "export",
    "families",
    "groups",
    "rows",
    "sort_choices",
    "table",
    "tables",
]

FLOOR = "real"
"""The family of the floor row: real train images measured in place of generated ones."""
NO_MODEL = (FLOOR, REFERENCE)
"""The families of rows that are no model, which stand on top."""

_TEXT = (
    "model",
    "variant",
    "title",
    "family",
    "protocol",
    "data",
    "split",
    "extractor",
    "real_images",
    "created",
    "commit",
)
_PROVENANCE = ("weights", "versions", "hardware", "licence", "warnings", "problem", "report")
_COSTS = (*SECONDS, "params")
_NUMBERS = ("n_real", "n_fake", "n_subjects", "k", "seconds", *_COSTS, "images_seen")
_LOW_IS_BEST = ("seconds", *_COSTS, "model", "family")


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
    """One row a model and report; one floor row a comparable group, and its references. No model is ever left out.

    A card without a report is a row of missing numbers; a card or report that cannot be read is a row whose
    `problem` says why, and so is a report made with other weights than the card's. Missing numbers are NaN.

    Returns:
        Columns: text (`model`, `title`, `family`, `protocol`, ..., `problem`; "" = missing) and float64
        (`fid`, `fid_low`, `fid_high`, `fid_floor`, `kid`, ..., `n_real`, `seconds`, ...; NaN = missing).
    """
    numeric = [*_metric_columns(), *_NUMBERS]
    columns = [*_TEXT, *numeric, *_PROVENANCE]
    # models of volumes wait for no report of these: `eval.volumes` measures them
    own = [row for row in report_rows() if row.get("family") != VOLUME_FAMILY or row.get("report")]
    frame = shared.frame_of(own, columns, numeric)
    found = {tuple(group) for group in groups(frame)}
    beside = shared.frame_of(reference_rows(), columns, numeric)
    scale = [row for row in beside.to_dict("records") if row["problem"] or _key(row) in found]
    return shared.frame_of([*frame.to_dict("records"), *_floors(frame), *(scale if own else [])], columns, numeric)


def _key(row: dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in Group._fields)


def _metric_columns() -> list[str]:
    return [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high", "_floor")]


def _floors(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a group: the floor of its newest report, shown as if the real train images were a model."""
    found = []
    frame = frame[frame["variant"] == ""]
    for group in groups(frame):
        if group == NOT_MEASURED:
            continue
        newest = shared.newest(frame, group)
        if all(math.isnan(newest[f"{name}_floor"]) for name in METRICS):
            continue
        numbers = {name: newest[f"{name}_floor"] for name in METRICS}
        copied = {name: newest[name] for name in (*Group._fields, "n_subjects", "created", "commit", "versions")}
        title = f"Floor: real train images against real {group.split} images"
        floors = {f"{name}_floor": value for name, value in numbers.items()}
        found.append({"model": FLOOR, "title": title, "family": FLOOR, **copied, **numbers, **floors})
    return found


def groups(frame: pd.DataFrame) -> list[Group]:
    """The comparable groups: full test protocols first, most images first; `NOT_MEASURED` where nothing else is."""
    found = shared.comparable(frame, Group, Group._fields, "n_real")
    ordered = shared.ranked(found, sorted({group.protocol for group in found}), lambda g: (g.n_fake, g.n_real))
    return ordered or ([NOT_MEASURED] if len(frame) else [])


def families(frame: pd.DataFrame) -> list[str]:
    """The families of models and references that `table` can be limited to."""
    return sorted(set(frame["family"]) - {FLOOR, ""})


def sort_choices() -> list[str]:
    """The columns `table` sorts by, for a drop-down."""
    return [*METRICS, *_COSTS, "images_seen", "model", "family"]


def table(
    frame: pd.DataFrame, group: Group | None = None, sort_by: str = "fid", search: str = "", family: str = ""
) -> pd.DataFrame:
    """One comparable group, best first, floor and references on top; numbers stay numbers, missing ones NaN.

    Models without any usable report stand at the end of every table of their data set: they are part of the answer.

    Args:
        frame: from `rows()`.
        group: from `groups(frame)`; None = the first.
        sort_by: one of `sort_choices()`.
        search: keeps the models whose name, title or family contains this; the floor and the references stay.
        family: keeps only this one of `families(frame)`, and the floor; "" = all.

    Raises:
        MedgenError: no such column to sort by.
    """
    shared.must_sort_by(sort_by, sort_choices())
    group = group or next(iter(groups(frame)), NOT_MEASURED)
    here = shared.of_data(frame, group.data) | (group == NOT_MEASURED) | (frame["problem"] != "")
    shown = frame[shared.in_group(frame, group) | (shared.waiting(frame, "n_real") & here)]
    shown = shown[(family == "") | shown["family"].isin([family, FLOOR])]
    by = shown[sort_by]
    if sort_by in METRICS and METRICS[sort_by].like_real:
        by = shared.badness(by, shown[f"{sort_by}_floor"], METRICS[sort_by])
    shown = shown[[name for name in shown.columns if not name.endswith("_floor")]]
    digits = {name + end: shown_as.digits for name, shown_as in METRICS.items() for end in ("", "_low", "_high")}
    return shared.best_first(
        shown, by, up=shared.low_is_best(sort_by, METRICS, _LOW_IS_BEST), search=search, top=NO_MODEL,
        digits={**digits, "seconds": 1, **SECONDS},
    )  # fmt: skip


def classes(frame: pd.DataFrame, group: Group) -> pd.DataFrame:
    """The numbers of `group` label by label, one row a model and label, label by label; no rows where none has any.

    Args:
        frame: from `rows()`.
        group: from `groups(frame)`.

    Returns:
        Columns `label`, `model`, `title`, `family`, and float64 `n_real`, `n_fake` and the metrics; NaN = missing.
    """
    found = []
    own = shared.in_group(frame, group) & ~frame["family"].isin(NO_MODEL) & (frame["variant"] == "")
    for row in frame[own & (frame["report"] != "")].to_dict("records"):
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


def _check(exported: list[str]) -> int:
    from eval.check import check  # which reads this module's tables

    found = check(exported)
    for fault in found.faults:
        print(fault, file=sys.stderr)
    print(f"{found.numbers:,} numbers in {found.tables} tables looked up; {len(found.faults) or 'no'} faults.")
    return 1 if found.faults else 0


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = printed, 1 = printed, but a card or report is broken (said on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m eval.board", description="All measured models, group by group.")
    parser.add_argument("--sort", default="fid", choices=sort_choices())
    parser.add_argument("--search", default="", help="only models whose name, title or family contains this")
    parser.add_argument("--format", default="markdown", choices=KINDS, help="default: markdown")
    said = (
        "look every displayed number up in the report files, and every number of these CSV or JSON exports; 1 = faults"
    )
    parser.add_argument("--check", nargs="*", metavar="FILE", help=said)
    options = parser.parse_args(argv)
    if options.check is not None:
        return exit_code(lambda: _check(options.check))
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
