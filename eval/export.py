"""A board table as text: for a screen, a spreadsheet, a program or a paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from eval.report import METRICS, number
from medgen.errors import MedgenError

KINDS = ("csv", "json", "latex", "markdown")
MISSING = "-"

_DIGITS = {name + end: shown.digits for name, shown in METRICS.items() for end in ("", "_low", "_high", "_floor")}
_DIGITS |= {"seconds": 1, "seconds_per_image": 3}
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def display(table: pd.DataFrame) -> pd.DataFrame:
    """Every cell as the text a person reads: fixed decimals, whole numbers without a point, "-" for missing."""
    return pd.DataFrame(
        {name: [_cell(value, _DIGITS.get(name, 0)) for value in table[name]] for name in table.columns},
        index=table.index,
        dtype=object,
    )


def cell(entry: Mapping[str, Any], digits: int) -> str:
    """An entry as "0.81 [0.78, 0.84]", its 95 % interval, or as "0.81 (0.78 to 0.84)", the range of few patients."""
    value, low, high, least, most = (number(entry.get(key)) for key in ("value", "low", "high", "least", "most"))
    if math.isnan(value):
        return MISSING
    limits = "" if math.isnan(low) or math.isnan(high) else f" [{fixed(low, digits)}, {fixed(high, digits)}]"
    if not limits and not math.isnan(least):
        limits = f" ({fixed(least, digits)} to {fixed(most, digits)})"
    return f"{fixed(value, digits)}{limits}"


def fixed(value: float, digits: int) -> str:
    """With so many decimals; a rounded zero has no sign."""
    return MISSING if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def text_table(rows: list[list[str]], columns: list[str]) -> pd.DataFrame:
    """A table of text."""
    return pd.DataFrame(rows, columns=columns, dtype=object)


def for_readers(table: pd.DataFrame, kind: str, people: Callable[[pd.DataFrame], pd.DataFrame]) -> str:
    """A table as text: for people as `people` words it, for programs with all its columns.

    Raises:
        MedgenError: no such kind.
    """
    write = {"latex": latex, "markdown": markdown}
    return write[kind](people(table)) if kind in write else export(table, kind)


def _cell(value: object, digits: int) -> str:
    if isinstance(value, int | float):
        return MISSING if math.isnan(value) else f"{value:.{digits}f}"
    return str(value) or MISSING


def export(frame: pd.DataFrame, kind: str) -> str:
    """`frame` (from `board.rows` or `board.table`) as text.

    csv has an empty cell and json null for a missing number, because programs read them; latex (booktabs) and
    markdown print "-" and hold model, n and the metrics with their intervals, for people.

    Args:
        frame: what to write; latex and markdown write one table a comparable group.
        kind: one of `KINDS`.

    Raises:
        MedgenError: no such kind.
    """
    if kind == "csv":
        return frame.to_csv(index=False, lineterminator="\n")
    if kind == "json":
        return frame.to_json(orient="records", indent=2, force_ascii=False, double_precision=12) + "\n"
    if kind not in KINDS:
        raise MedgenError(f"There is no export as {kind!r}; choose from {', '.join(KINDS)}.")
    write = latex if kind == "latex" else markdown
    return "\n".join(write(_for_people(part)) for part in _parts(frame))


def _parts(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """One frame a comparable group; rows without numbers join the first."""
    keys = ["protocol", "data", "split", "extractor", "real_images", "n_real", "n_fake", "k"]
    measured = frame[frame["n_real"].notna()]
    parts = [part for _, part in measured.groupby(keys, sort=False)] or [measured]
    return [pd.concat([parts[0], frame[frame["n_real"].isna()]]), *parts[1:]]


def _for_people(part: pd.DataFrame) -> pd.DataFrame:
    """Model, n and each measured metric as "value [low, high]"."""
    words = display(part)
    named = part["model"] + part["variant"].map(lambda said: f", {said}" if said else "")
    shown = pd.DataFrame({"Model": named, "Family": words["family"], "n": words["n_fake"]})
    for name, metric in METRICS.items():
        if part[name].notna().any():
            cells = words[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
            shown[metric.title] = [
                value if MISSING in (low, high) else f"{value} [{low}, {high}]" for value, low, high in cells
            ]
    return shown


def markdown(shown: pd.DataFrame) -> str:
    """A table of text; the first two columns are words, the rest numbers."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    bars = "|" + "---|" * 3 + "---:|" * (len(shown.columns) - 3)
    return "\n".join([line(list(shown.columns)), bars, *(line(list(row)) for row in shown.to_numpy())]) + "\n"


def latex(shown: pd.DataFrame) -> str:
    """The same with booktabs."""

    def line(cells: list[str]) -> str:
        return " & ".join("".join(_LATEX.get(sign, sign) for sign in cell) for cell in cells) + r" \\"

    columns = "llr" + "r" * (len(shown.columns) - 3)
    body = [line(list(row)) for row in shown.to_numpy()]
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(list(shown.columns)), r"\midrule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"
