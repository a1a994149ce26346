"""What is known of models of volumes as text that a person reads: the same on a screen, a page and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from eval import groups as shared
from eval.export import MISSING, cell, fixed, for_readers, text_table
from eval.report import number
from eval.volumes.file import METRICS, PERCENT
from eval.volumes.rows import FLOOR, Group, Volumes, groups, table

PARTS = ("diversity", "structures", "plausibility", "memorisation", "control", "autoencoder")
"""The tables that stand below the main one."""
NOT_MEASURED = "models of volumes, not measured yet"
Reports = list[tuple[str, dict[str, Any]]]


def entry_of(row: Any, name: str) -> dict[str, float]:
    """The entry of a metric in a row of `rows.table`, for `cell`."""
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def people(shown: pd.DataFrame) -> pd.DataFrame:
    """Model, method, n and each measured metric with its interval.

    Args:
        shown: from `rows.table`.
    """
    rows = []
    measured = [name for name in METRICS if shown[name].notna().any()]
    for _, row in shown.iterrows():
        n = MISSING if math.isnan(row["n"]) else f"{row['n']:.0f}"
        name = "Real volumes" if row["family"] == FLOOR else row["model"]
        cells = [cell(entry_of(row, metric), METRICS[metric].digits) for metric in measured]
        rows.append([name, row["family"] or MISSING, n, *cells])
    return pd.DataFrame(rows, columns=["Model", "Method", "n", *(heading(one) for one in measured)])


def heading(name: str) -> str:
    """A metric with its unit."""
    return METRICS[name].title + (" %" if name in PERCENT else "")


def export(shown: pd.DataFrame, kind: str) -> str:
    """A table of `rows.table` as text, in the kinds of `eval.export.export`.

    Raises:
        MedgenError: no such kind.
    """
    return for_readers(shown, kind, people)


def listing(found: Volumes, kind: str, search: str = "") -> list[str]:
    """Every group as text, under its label where a person reads it.

    Args:
        found: from `volumes()`.
        kind: of `eval.export.KINDS`.
        search: as for `table`.
    """
    none = None if found.frame.empty else NOT_MEASURED
    return shared.listing(groups(found), none, kind, lambda group: export(table(found, group, search=search), kind))


def tables(found: Volumes, group: Group) -> dict[str, pd.DataFrame]:
    """Part -> its table of text; without rows where nothing is known.

    Args:
        found: from `rows.volumes`.
        group: from `rows.groups`.
    """
    reports = found.of(group)
    makers = {
        "diversity": _diversity,
        "structures": _structures,
        "plausibility": _plausibility,
        "memorisation": _memorisation,
        "control": _control,
        "autoencoder": _autoencoder,
    }
    return {part: make([(model, values) for model, values in reports if "reason" not in values[part]])
            for part, make in makers.items()}  # fmt: skip


def _diversity(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["diversity"]
        cells = [f"{cell(part[side], 3)}" for side in ("fake", "real", "train")]
        rows.append([model, *cells, " / ".join(str(part[side]["pairs"]) for side in ("fake", "real", "train"))])
    return text_table(rows, ["Model", "Generated", "Real held-out", "Real train", "Pairs"])


def _structures(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        for one in values["structures"]["measures"].values():
            digits, title = one["digits"], one["title"] + (f", {one['unit']}" if one["unit"] else "")
            made, real = (_spread(one[side], digits) for side in ("fake", "real"))
            floor, p = fixed(number(one["floor"]), digits), fixed(number(one["ks_p"]), 3)
            rows.append([model, title, made, real, cell(one["distance"], digits), floor, p])
    return text_table(rows, ["Model", "Measure", "Generated", "Real held-out", "Distance", "Floor", "KS p"])


def _spread(one: Mapping[str, Any], digits: int) -> str:
    """Mean and standard deviation; how many lack the structure, where any do."""
    lacking = f", {one['missing']} without" if one["missing"] else ""
    return f"{fixed(number(one['mean']), digits)} ± {fixed(number(one['sd']), digits)}{lacking}"


def _plausibility(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["plausibility"]
        percent = [_percent(part[side]) for side in ("share", "real_share")]
        rows.append([model, "any", MISSING, *percent])
        for check in part["checks"].values():
            if check["fails"] or check["real_fails"]:
                counts = [f"{check['fails']} of {part['n']}", f"{check['real_fails']} of {part['n_real']}"]
                rows.append([model, check["title"], _range(check), *counts])
    return text_table(rows, ["Model", "Check", "Passes", "Generated that fail", "Real held-out that fail"])


def _range(check: Mapping[str, Any]) -> str:
    low, high = number(check["low"]), number(check["high"])
    words = [f"from {low:.4g}"] * (not math.isnan(low)) + [f"to {high:.4g}"] * (not math.isnan(high))
    return " ".join(words)


def _percent(entry: Mapping[str, Any]) -> str:
    scaled = {key: None if entry[key] is None else 100.0 * entry[key] for key in ("value", "low", "high")}
    value, *limits = cell(scaled, 1).partition(" ")
    return f"{value} %{''.join(limits)}"


def _memorisation(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["memorisation"]
        closest = min(part["samples"], key=lambda one: number(one["distance"]))
        for space in ("voxels", "features"):
            one = part[space]
            pairs = [f"{fixed(number(one[key]), 4)} / {fixed(number(one[f'real_{key}']), 4)}"
                     for key in ("median", "smallest")]  # fmt: skip
            named = f"seed {closest['seed']}: {closest['subject']}" if space == "voxels" else MISSING
            rows.append([model, space, _percent(one["near"]), *pairs, named])
    heads = ["Near training", "Median, made / real", "Smallest, made / real", "Closest pair"]
    return text_table(rows, ["Model", "Space", *heads])


def _control(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["control"]
        sides = ((model, part), (f"segmenter on real, beside {model}", part["segmenter"]))
        for name, side in sides:
            means = " ".join(f"{value:.0f}" for value in part["means"]) if side is part else MISSING
            asked = " ".join(f"{value:.0f}" for value in part["asked"]) if side is part else MISSING
            digits = {"pearson": 3, "spearman": 3, "slope": 2, "mae": 0}
            rows.append([name, asked, means, *(cell(side[key], places) for key, places in digits.items())])
    heads = ["Asked mm3", "Measured mm3", "Pearson", "Spearman", "Slope", "MAE mm3"]
    return text_table(rows, ["Model", *heads])


def _autoencoder(reports: Reports) -> pd.DataFrame:
    rows = []
    for model, values in reports:
        part = values["autoencoder"]
        mean = [fixed(number(part[f"{name}_of_mean"]), digits) for name, digits in (("psnr", 2), ("ssim", 3))]
        rows.append([model, part["model"], str(part["psnr"]["n"]), cell(part["psnr"], 2), cell(part["ssim"], 3), *mean])
    heads = ["Autoencoder", "n", "PSNR dB", "SSIM", "PSNR of the mean volume", "SSIM of the mean volume"]
    return text_table(rows, ["Model", *heads])
