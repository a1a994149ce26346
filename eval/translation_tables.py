"""What is known of translators as text that a person reads: the same tables on a screen, a page and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from eval.export import MISSING, cell, fixed, for_readers, text_table
from eval.report import number
from eval.translation_file import GAINS, METRICS, OF_SETS, SAMPLED, TISSUES
from eval.translation_rows import BASELINE, Group, Translations

PARTS = ("patients", "gains", "samples", "cycle", "heads")
"""The tables that stand below the main one."""


def people(table: pd.DataFrame) -> pd.DataFrame:
    """Model, method, n and each measured metric with its interval or range.

    Args:
        table: from `translation_rows.table`.
    """
    rows = []
    shown = [name for name in METRICS if table[name].notna().any()]
    for _, row in table.iterrows():
        n = MISSING if math.isnan(row["n"]) else f"{row['n']:.0f} ({row['n_subjects']:.0f})"
        name = row["title"] if row["family"] == BASELINE else row["model"]
        cells = [cell(entry_of(row, metric), METRICS[metric].digits) for metric in shown]
        rows.append([name, row["family"] or MISSING, n, *cells])
    return pd.DataFrame(rows, columns=["Model", "Method", "n (patients)", *(METRICS[one].title for one in shown)])


def entry_of(row: Any, name: str) -> dict[str, float]:
    """The entry of a metric in a row of `translation_rows.table`, for `cell`."""
    return {"value": row[name], **{end: row[f"{name}_{end}"] for end in ("low", "high", "least", "most")}}


def export(table: pd.DataFrame, kind: str) -> str:
    """A table of `translation_rows.table` as text, in the kinds of `eval.export.export`.

    Raises:
        MedgenError: no such kind.
    """
    return for_readers(table, kind, people)


def tables(found: Translations, group: Group, metric: str = "ssim") -> dict[str, pd.DataFrame]:
    """Part -> its table of text; without rows where nothing is known.

    Args:
        found: from `translation_rows.translations`.
        group: from `translation_rows.groups`.
        metric: of the table patient by patient; SSIM instead of what no single patient has.
    """
    reports = found.of(group)
    return {
        "patients": _patients(reports, metric if metric in METRICS and metric not in OF_SETS else "ssim"),
        "gains": _gains(reports),
        "samples": _samples(reports),
        "cycle": _cycle(reports),
        "heads": _heads(reports),
    }


Reports = list[tuple[str, dict[str, Any]]]


def _patients(reports: Reports, metric: str) -> pd.DataFrame:
    """A row a patient, a column a baseline or model."""
    newest = max((values for _, values in reports), key=lambda values: str(values.get("created")), default={})
    baselines = {name: one["patients"] for name, one in newest.get("baselines", {}).items() if one["patients"]}
    columns = baselines | {model: values["patients"] for model, values in reports}
    rows = []
    for patient, own in newest.get("patients", {}).items():
        values = [number(side.get(patient, {}).get(metric)) for side in columns.values()]
        cells = [fixed(value, METRICS[metric].digits) for value in values]
        rows.append([patient, f"{number(own.get('n')):.0f}", *cells])
    return text_table(rows, ["Patient", "Slices", *columns])


def _gains(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        for name, baseline in values["baselines"].items():
            gains = baseline["gains"]
            if gains:
                cells = [cell(gains.get(one, {}), METRICS[one].digits) for one in GAINS]
                n = values["n_subjects"]
                better = [f"{number(gains.get(one, {}).get('better')):.0f} of {n}" for one in ("ssim", "mae")]
                rows.append([model, name, *cells, *better])
    heads = [f"{METRICS[one].title} gained" for one in GAINS]
    return text_table(rows, ["Model", "Over", *heads, "Patients better in SSIM", "Patients better in MAE"])


def _samples(reports: Reports) -> pd.DataFrame:
    names = ("ssim", "psnr", "mae", "lpips")
    rows = []
    for model, values in reports:
        part = values["samples"]
        if "reason" in part:
            continue
        for which, said in zip(SAMPLED, ("one sample", f"mean of {part['k']}"), strict=True):
            entries = part[which]
            cells = [cell(entries.get(name, {}), METRICS[name].digits) for name in names]
            spread = cell(part["spread"], 2) if which == "one" else MISSING
            rows.append([model, said, _n(entries["ssim"]), *cells, spread])
    heads = [METRICS[name].title for name in names]
    return text_table(rows, ["Model", "Picture", "n (patients)", *heads, "Spread between samples"])


def _cycle(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["cycle"]
        if "reason" in part:
            rows.append([model, part["reason"], *[MISSING] * 3])
            continue
        near, gap = part["metrics"].get("cycle_ssim", {}), part["metrics"].get("cycle_l1", {})
        rows.append([model, part["model"], _n(near), cell(near, 3), cell(gap, 2)])
    return text_table(rows, ["Model", "Back by", "n (patients)", "SSIM there and back", "L1 there and back"])


def _heads(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["heads"]
        if "reason" in part:
            continue
        made, real = part["modes"].get("made", {}), part["modes"].get("real", {})
        peaks = [f"{_hu(made.get(tissue))} / {_hu(real.get(tissue))}" for tissue in TISSUES]
        rows.append([model, _n(part["distance"]), cell(part["distance"], 1), _hu(part["floor"]), *peaks])
    heads = [f"{tissue.capitalize()} peak, made / real" for tissue in TISSUES]
    return text_table(rows, ["Model", "n (patients)", "HU histogram distance", "Other real heads", *heads])


def _hu(value: Any) -> str:
    return MISSING if math.isnan(number(value)) else f"{number(value):.0f}"


def _n(entry: Mapping[str, Any]) -> str:
    return f"{number(entry.get('n')):.0f} ({number(entry.get('n_subjects')):.0f})" if entry else MISSING
