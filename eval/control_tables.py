"""What is known of the controls as text that a person reads: the same tables on a screen, a page and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from eval.export import MISSING
from eval.pathology_file import PARTS
from eval.report import METRICS, SWEPT

NOT_MEASURED = "not measured"


def tables(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Part -> its table of text: values as "0.93 [0.90, 0.96]" with their 95 % interval, "-" for missing.

    Args:
        frames: from `control.frames`, or the fields of a `Control`.
    """
    makers = {"adherence": _adherence, "severity": _severity, "guidance": _guidance, "region": _region}
    return {part: makers[part](frames[part]) for part in PARTS}


def _with_interval(row: Any, name: str, digits: int = 2) -> str:
    value, low, high = (float(row[name + end]) for end in ("", "_low", "_high"))
    if math.isnan(value):
        return MISSING
    interval = "" if math.isnan(low) or math.isnan(high) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


def _plain(value: Any, layout: str = "{}") -> str:
    return MISSING if value is None or value != value else layout.format(value)


def _table(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """A row of `frame` a row; `columns`: heading -> what it says of a row. A row not measured says so, once."""
    rows = []
    for _, row in frame.iterrows():
        if row["measured"]:
            rows.append([row["model"], *(say(row) for say in columns.values())])
        else:
            rows.append([row["model"], NOT_MEASURED, *[MISSING] * (len(columns) - 1)])
    return pd.DataFrame(rows, columns=["Model", *columns], dtype=object)


def _adherence(frame: pd.DataFrame) -> pd.DataFrame:
    return _table(
        frame,
        {
            "Label": lambda row: row["label"],
            "Classifier, generated": lambda row: _with_interval(row, "generated"),
            "Classifier, real": lambda row: _with_interval(row, "real"),
            "Border, generated": lambda row: _with_interval(row, "generated_border"),
            "Border, real": lambda row: _with_interval(row, "real_border"),
            "n generated": lambda row: f"{row['generated_with']:.0f} / {row['generated_without']:.0f}",
            "n real": lambda row: f"{row['real_with']:.0f} / {row['real_without']:.0f}",
            "Guidance": lambda row: _plain(row["guidance"], "{:g}"),
        },
    )


def _severity(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a model and disease, one column a severity."""
    severities = sorted(frame.loc[frame["measured"].astype(bool), "severity"].unique())
    whole = []
    for _, own in frame.groupby(["model", "label"], sort=False, dropna=False):
        curve = {row["severity"]: _with_interval(row, "probability") for _, row in own.iterrows()}
        fall = " to ".join(_with_interval(row, "healthy_word") for _, row in own.iloc[[0, -1]].iterrows())
        whole.append({**own.iloc[0], "curve": curve, "fall": fall})
    return _table(
        pd.DataFrame(whole, columns=[*frame.columns, "curve", "fall"]),
        {
            "Label": lambda row: row["label"],
            **{f"{one:g}": lambda row, one=one: row["curve"].get(one, MISSING) for one in severities},
            "Rise": lambda row: _with_interval(row, "rise"),
            "Mean rises at every step": lambda row: "yes" if row["monotone"] else "not shown",
            "Healthy word, from 0 to 1": lambda row: row["fall"],
            "Seeds that do": lambda row: f"{100 * row['rising_seeds']:.0f} %",
            "Seeds": lambda row: f"{row['n']:.0f}",
            "Guidance": lambda row: _plain(row["guidance"], "{:g}"),
        },
    )


def _guidance(frame: pd.DataFrame) -> pd.DataFrame:
    shown = [name for name in SWEPT if name != "histogram_distance"]
    return _table(
        frame,
        {
            "Guidance": lambda row: f"{row['guidance']:g}",
            "Protocol": lambda row: row["protocol"],
            "n": lambda row: f"{row['n']:.0f}",
            **{
                METRICS[name].title: lambda row, name=name: _with_interval(row, name, METRICS[name].digits)
                for name in shown
            },
        },
    )


def _region(frame: pd.DataFrame) -> pd.DataFrame:
    return _table(
        frame,
        {
            "Real picture": lambda row: row["shown"],
            "Repainted as": lambda row: row["asked"] if row["asked"] != row["shown"] else "what it was",
            "n (patients)": lambda row: f"{row['n']:.0f} ({row['n_subjects']:.0f})",
            "Change inside": lambda row: _with_interval(row, "inside"),
            "Outside": lambda row: _with_interval(row, "outside"),
            "Largest outside": lambda row: f"{row['outside_largest']:.2f}",
            "Probability of": lambda row: row["judged"],
            "Before": lambda row: _with_interval(row, "before"),
            "After": lambda row: _with_interval(row, "after"),
            "Change": lambda row: _with_interval(row, "change"),
            "Change, border": lambda row: _with_interval(row, "border_change"),
        },
    )
