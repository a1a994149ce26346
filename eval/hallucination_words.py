"""What is known of hallucination as text that a person reads: the same tables on a screen, a page and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from eval.export import MISSING
from eval.hallucination_tables import AS_IT_WAS
from medgen.paired import CONTRASTS

NOT_MEASURED = "not measured"
Say = Callable[[Any], str]


def tables(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Name -> table of text: "0.93 [0.90, 0.96]" with a 95 % interval, or the range of the patients where they are few.

    Args:
        frames: from `hallucination_tables.frames`, or the fields of a `Hallucination`.

    Returns:
        `lesions`, `sizes`, `floors`, `invention` and `disagreement`.
    """
    return {
        "lesions": _lesions(frames["lesions"]),
        "sizes": _sizes(frames["cells"]),
        "floors": _floors(frames["lesions"]),
        "invention": _invention(frames["invention"]),
        "disagreement": _disagreement(frames["disagreement"]),
    }


def with_interval(row: Any, name: str, digits: int = 2, percent: bool = False) -> str:
    """A value with its interval; with the range of the patients where there is none because they are few."""
    value, low, high, least, most = (
        float(row[name + end]) * (100 if percent else 1) for end in ("", "_low", "_high", "_least", "_most")
    )
    if math.isnan(value):
        return MISSING
    unit = " %" if percent else ""
    digits = 0 if percent else digits
    if not (math.isnan(low) or math.isnan(high)):
        return f"{value:.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"
    if math.isnan(least) or least == most:
        return f"{value:.{digits}f}{unit}"
    return f"{value:.{digits}f}{unit} [{least:.{digits}f} to {most:.{digits}f} in {row['n_subjects']:.0f} patients]"


def way(direction: str) -> str:
    """ "t1-flair" -> "T1 to FLAIR"."""
    return " to ".join(CONTRASTS.get(word, word) for word in str(direction).split("-"))


def _plain(value: Any, layout: str) -> str:
    return MISSING if value != value else layout.format(value)


def _share(row: Any, name: str) -> str:
    return _plain(100 * row[name], "{:.0f} %")


def _count(row: Any) -> str:
    return f"{row['n']:.0f} ({row['n_subjects']:.0f})"


def _table(frame: pd.DataFrame, columns: Mapping[str, Say]) -> pd.DataFrame:
    """A row of `frame` a row; `columns`: heading -> what it says of a row. A row not measured says so, once."""
    rows = []
    # comparable rows stand together, those that wait for numbers below
    ordered = frame.sort_values(["direction", "group", "model"], na_position="last", kind="stable")
    for _, row in ordered.iterrows():
        if row["measured"]:
            rows.append([row["model"], way(row["direction"]), *(say(row) for say in columns.values())])
        else:
            rows.append([row["model"], way(row["direction"]), NOT_MEASURED, *[MISSING] * (len(columns) - 1)])
    return pd.DataFrame(rows, columns=["Model", "Way", *columns], dtype=object)


def _lesions(frame: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Say] = {"Lesions (patients)": _count}
    columns |= {
        word.capitalize(): partial(with_interval, name=word, percent=True)
        for word in ("kept", "moved", "reversed", "lost")
    }
    columns |= {
        "Invented a slice": lambda row: with_interval(row, "invented"),
        "Change at the lesion": lambda row: with_interval(row, "response"),
        "Change elsewhere": lambda row: with_interval(row, "outside", 3),
        "Of the true change": lambda row: with_interval(row, "recovered"),
        "Kept by chance": lambda row: _plain(100 * row["by_chance"], "{:.1f} %"),
        "Samples that keep it": _samples,
    }
    return _table(frame, columns)


def _samples(row: Any) -> str:
    kept = with_interval(row, "samples_kept", percent=True)
    return kept if kept == MISSING else kept.replace(" %", f" % of {row['samples_k']:.0f}", 1)


def _sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a model and size, one column a contrast."""
    contrasts = list(dict.fromkeys(frame["contrast"]))
    rows = []
    for (model, direction, _, radius), own in frame.groupby(["model", "direction", "group", "radius_mm"], sort=False):
        kept = {row["contrast"]: with_interval(row, "kept", percent=True) for _, row in own.iterrows()}
        counts = " / ".join(f"{n:.0f}" for n in own["n"])
        rows.append([model, way(direction), radius, *(kept.get(one, MISSING) for one in contrasts), counts])
    heads = ["Model", "Way", "Radius mm", *(f"Kept, contrast {one}" for one in contrasts), "Lesions"]
    return pd.DataFrame(rows, columns=heads, dtype=object)


def _floors(frame: pd.DataFrame) -> pd.DataFrame:
    """How much the answer depends on what was laid down."""
    measured = frame[frame["measured"].astype(bool)]
    columns: dict[str, Say] = {
        "Darker, kept": lambda row: with_interval(row, "darker", percent=True),
        "Brighter, kept": lambda row: with_interval(row, "brighter", percent=True),
    }
    for floor in ("0", "0.1", "0.2", "0.5"):
        columns[f"Kept, floor {floor}"] = partial(_share, name=f"kept_at_{floor}")
    return _table(measured, columns)


def _invention(frame: pd.DataFrame) -> pd.DataFrame:
    # the source as it is stands once in each comparable group, whichever model's file it came from
    repeated = (frame["model"] == AS_IT_WAS) & frame.duplicated(["model", "group"])
    return _table(
        frame[~repeated],
        {
            "Slices (patients)": _count,
            "Brighter a slice": lambda row: with_interval(row, "brighter"),
            "Darker a slice": lambda row: with_interval(row, "darker"),
            "Brighter, % of head": lambda row: with_interval(row, "brighter_percent"),
            "Darker, % of head": lambda row: with_interval(row, "darker_percent"),
        },
    )


def _disagreement(frame: pd.DataFrame) -> pd.DataFrame:
    return _table(
        frame,
        {
            "Slices (patients)": _count,
            "Samples": lambda row: f"{row['k']:.0f}",
            "AUC of a large error": lambda row: with_interval(row, "auc", 3),
            "Promised AUC": lambda row: _plain(row["promised_auc"], "{:.3f}"),
            "Spearman": lambda row: with_interval(row, "spearman"),
            "Promised Spearman": lambda row: _plain(row["promised_spearman"], "{:.2f}"),
            "Error over promise": lambda row: with_interval(row, "ratio"),
            "Truth within samples": lambda row: with_interval(row, "coverage", percent=True),
            "Promised within": lambda row: _plain(100 * row["promised_coverage"], "{:.0f} %"),
        },
    )
