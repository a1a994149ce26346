"""The file between `eval.downstream`, which writes it, and the board, which reads it: results/downstream-DATA.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.groups import LIMITS, numbers
from eval.report import number
from eval.shapes import NUMBER, read_shaped

METRICS = ("accuracy", "auc", "precision", "recall", "ece", "brier")
"""AUC, precision and recall are means over the classes; ECE and Brier measure calibration, lower is better."""
_AGAIN = "run eval.downstream for these data again"

_ENTRY = dict.fromkeys(("value", "low", "high", "patients_low", "patients_high", "seeds_low", "seeds_high"), NUMBER)
_CELL = {"arm": str, "title": str, "model": (str, None), "size": str, "seed": int, "missing": (str, None)}
_SIDE = {"group": str, "n": int, "n_subjects": int, "accuracy": _ENTRY, "auc": _ENTRY, "recall": _ENTRY}
_ROW = {
    "arm": str, "title": str, "model": (str, None), "size": str, "n": int, "n_real": int, "n_synthetic": int,
    "seeds": [int], "metrics": dict.fromkeys(METRICS, _ENTRY),
    "classes": {"*": {"n": int, "auc": _ENTRY, "precision": _ENTRY, "recall": _ENTRY}},
    "against_real": (dict.fromkeys(METRICS, _ENTRY), None),
    "groups": {"*": {"sides": [_SIDE], "gap": dict.fromkeys(("accuracy", "auc", "recall"), _ENTRY)}},
}  # fmt: skip
_VERSUS = {"arm": str, "title": str, "size": str, "a": str, "b": str, "seeds": [int],
           "metrics": dict.fromkeys(METRICS, _ENTRY)}  # fmt: skip
_SHAPE = {
    "data": str, "split": str, "classes": [str], "n": int, "n_subjects": int, "n_train": int, "real_sha256": str,
    "settings": {"*": object}, "pools": {"*": {"n": int, "sha256": str, "weights": {"*": str}}}, "rows": [_ROW],
    "versus": ([_VERSUS], None),
    "cells": [{**_CELL, "metrics": dict.fromkeys(METRICS, NUMBER)}], "versions": {"*": str}, "created": str,
    "command": str,
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """The results of one study.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else in its place.
    """
    values = read_shaped(path, _SHAPE, _AGAIN, path.stem, where=path.name)
    # files from before two models were compared lack it
    return {**values, "versus": values.get("versus") or []}


def frame(values: dict[str, Any]) -> pd.DataFrame:
    """One row an arm, model and N.

    Returns:
        Text `data`, `arm`, `title`, `model` ("" = none), `size`; counts `n`, `n_real`, `n_synthetic`, `seeds` (how
        many), `missing` (how many more were planned); for each of `METRICS` float64 `X`, `X_low`, `X_high` (95 %, over
        patients and seeds), and `X_change`, `X_change_low`, `X_change_high` against real images alone. NaN = missing.
    """
    planned: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in values["cells"]:
        planned.setdefault((cell["arm"], cell["model"], cell["size"]), []).append(cell)
    known = {(row["arm"], row["model"], row["size"]): row for row in values["rows"]}
    found = []
    for key, cells in planned.items():
        row = known.get(key, {})
        line: dict[str, Any] = {
            "data": values["data"], "arm": key[0], "title": cells[0]["title"], "model": key[1] or "",
            "size": key[2], "n": number(row.get("n", values["n_train"] if key[2] == "all" else int(key[2]))),
            "n_real": number(row.get("n_real")), "n_synthetic": number(row.get("n_synthetic")),
            "seeds": len(row.get("seeds", ())), "missing": sum(cell["missing"] is not None for cell in cells),
            "reason": next((cell["missing"] for cell in cells if cell["missing"]), ""),
        }  # fmt: skip
        for name in METRICS:
            line |= _numbers(name, row.get("metrics", {}).get(name))
            line |= _numbers(f"{name}_change", (row.get("against_real") or {}).get(name))
        found.append(line)
    return pd.DataFrame(found)


def cells(values: dict[str, Any]) -> pd.DataFrame:
    """One row a training: `arm`, `model`, `size`, `seed`, `METRICS`, `missing` (the reason; "" = it is there)."""
    lines = [
        {**{key: cell[key] or "" for key in ("arm", "model", "size", "missing")}, "seed": cell["seed"],
         **{name: number(cell["metrics"][name]) for name in METRICS}}
        for cell in values["cells"]
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["arm", "model", "size", "seed", *METRICS, "missing"])


def gaps(values: dict[str, Any]) -> pd.DataFrame:
    """One row an arm, model, N and attribute: AUC, accuracy and recall in both groups and their gap, with intervals."""
    lines = []
    for row in values["rows"]:
        for name, entry in row["groups"].items():
            first, second = entry["sides"]
            line: dict[str, Any] = {"arm": row["arm"], "model": row["model"] or "", "size": row["size"]}
            line |= {"attribute": name, "first": first["group"], "second": second["group"]}
            line |= {"n_first": first["n"], "n_second": second["n"]}
            for metric in ("accuracy", "auc", "recall"):
                line |= {f"{metric}_first": number(first[metric]["value"])}
                line |= {f"{metric}_second": number(second[metric]["value"])}
                line |= _numbers(f"{metric}_gap", entry["gap"][metric])
            lines.append(line)
    return pd.DataFrame(lines)


def words(table: pd.DataFrame) -> str:
    """The frame as lines of text: accuracy and AUC with their intervals, and their change against real alone."""
    shown = []
    for row in table.to_dict("records"):
        line = {"N": row["size"], "arm": row["title"], "model": row["model"] or "-", "seeds": row["seeds"]}
        for name in ("accuracy", "auc"):
            line |= {name: _shown(row, name), f"{name} change": _shown(row, f"{name}_change", sign=True)}
        line["missing"] = f"{row['missing']}: {row['reason']}" if row["missing"] else ""
        shown.append(line)
    return pd.DataFrame(shown).to_string(index=False)


def _shown(row: dict[Any, Any], name: str, sign: bool = False) -> str:
    style = "+.3f" if sign else ".3f"
    value, low, high = (row[f"{name}{end}"] for end in LIMITS)
    if value != value:
        return "-"
    return f"{value:{style}}" if low != low else f"{value:{style}} ({low:{style}} to {high:{style}})"


def _numbers(name: str, entry: dict[str, Any] | None) -> dict[str, float]:
    return numbers({name: entry or {}}, [name], LIMITS)
