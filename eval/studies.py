"""The studies of results/ as tables of text and pictures, and which command makes them. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eval import (
    budget_file,
    collapse_file,
    compare_file,
    downstream_file,
    downstream_findings,
    downstream_plot,
    selftest_file,
    study_plots,
)
from eval.export import MISSING, cell, fixed, text_table
from eval.report import METRICS, number
from eval.result_files import files_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Tables = list[tuple[str, pd.DataFrame]]
"""What must be known to read a table, and the table."""


@dataclass(frozen=True)
class Study:
    """A kind of study.

    Args:
        title: of its section.
        meaning: what it asks, and how to read the answer.
        stem: beginning of the names of its files: results/STEM-*.json.
        command: what makes one.
        read: a file -> its content; raises MedgenError for a broken one.
        pick: heading of what a reader may choose.
        picks: the content -> what there is to choose: key -> title.
        tables: the content and one of these keys, or None for all -> its tables.
        figure: the content and one of these keys -> the picture; None where there is nothing to draw.
        prose: whether the cells of its tables are words rather than numbers.
    """

    title: str
    meaning: str
    stem: str
    command: str
    read: Callable[[Path], dict[str, Any]]
    pick: str
    picks: Callable[[dict[str, Any]], dict[str, str]]
    tables: Callable[[dict[str, Any], str | None], Tables]
    figure: Callable[[dict[str, Any], str], Figure | None]
    prose: bool = False

    def files(self) -> list[Path]:
        """The files there are."""
        return files_of(self.stem)


def _limits(row: Any, name: str, digits: int) -> str:
    return cell({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, digits)


def _collapse(values: dict[str, Any], _: str | None) -> Tables:
    """Models and snapshots with the verdict of all spaces; then real images cut on purpose, space by space."""
    frame = collapse_file.frame(values)
    statistics = [name for name in collapse_file.STATISTICS if frame[name].notna().any()]
    heads = ["Name", "Images seen", "Space", "This space", "All spaces", *map(str.capitalize, statistics)]
    parts: dict[bool, list[list[str]]] = {False: [], True: []}
    for row in frame.to_dict("records"):
        seen = MISSING if row["images"] != row["images"] else f"{row['images']:,.0f}"
        cells = [_limits(row, name, _DIGITS[name]) for name in statistics]
        line = [row["name"], seen, row["space"], row["space_verdict"], row["verdict"] or MISSING, *cells]
        parts[row["kind"] == "real"].append(line)
    said = (
        f"{values['n']} generated against {values['n_real']} real images of the {values['split']} split of "
        f"{values['data']}. Collapsed or varied only where every space and both judged statistics agree."
    )
    control = "Real images cut on purpose: what the detector says where the answer is known."
    return [
        (said, text_table(parts[False], heads)),
        (LIMITS, _collapse_limits(values)),
        (control, text_table(parts[True], heads)),
    ]


def _collapse_limits(values: dict[str, Any]) -> pd.DataFrame:
    """Each space and judged statistic: what real images have, and where the verdicts begin."""
    rows = [
        [space, name.capitalize(), *(fixed(facts[end][name], _DIGITS[name]) for end in _ENDS)]
        for space, facts in values["spaces"].items()
        for name in facts["varied_from"]
    ]
    return text_table(rows, ["Space", "Statistic", "Real images", "Varied from", "Collapsed below"])


_ENDS = ("real", "varied_from", "collapsed_below")
_DIGITS = {"vendi": 1, "modes": 0, "spread": 3, "recall": 3}
LIMITS = (
    "The limits, from real images alone. Vendi: how many different images a set amounts to. Modes: from how many "
    "pictures it seems to be drawn, judged by its near-duplicates; where there are none it is the number of pairs and "
    "one, and means no less than that. Varied: the interval reaches what 95 % of equally large draws of real train "
    "images reach. Collapsed: the whole interval lies below real images cut to a tenth. Narrow: anything between. "
    "Pictures that are varied and bad are not found here: noise has no near-duplicates."
)


def _downstream(values: dict[str, Any], _: str | None) -> Tables:
    """What was found against real images alone and model against model; all numbers; gaps between groups of people."""
    frame = downstream_file.frame(values)
    metrics = downstream_file.METRICS
    scores = [_SCORES.get(one, one.capitalize()) for one in metrics]
    heads = ["Trained on", "Model", "N", "Real", "Synthetic", "Seeds", *scores, "AUC against real alone"]
    rows = []
    for row in frame.to_dict("records"):
        cells = [_limits(row, name, 3) for name in metrics]
        missing = f" ({row['missing']} missing)" if row["missing"] else ""
        sizes = [fixed(row["n_real"], 0), fixed(row["n_synthetic"], 0), f"{row['seeds']}{missing}"]
        rows.append([row["title"], row["model"] or MISSING, row["size"], *sizes, *cells, _limits(row, "auc_change", 3)])
    about = (
        f"A classifier of {', '.join(values['classes'])} tested on {values['n']} real images of "
        f"{values['n_subjects']} patients of the {values['split']} split of {values['data']}."
    )
    found = " ".join([about, *downstream_findings.sentences(values), downstream_findings.RULE])
    return [
        (found, downstream_findings.against_real(values)),
        ("The images of one model against those of the other, seed by seed.", downstream_findings.versus(values)),
        ("What every classifier reached. [low, high]: 95 % interval over patients and seeds.", text_table(rows, heads)),
        (GAPS, gaps(values)),
    ]


_SCORES = {"auc": "AUC", "ece": "ECE"}
GAPS = "Gaps between groups of test patients, in AUC: first minus second group."


def gaps(values: dict[str, Any], model: str | None = None) -> pd.DataFrame:
    """The gaps of a study of usefulness as text; where a model is named, of classifiers trained with its images."""
    heads = ["Trained on", "Model", "N", "Attribute", "Groups (n)", "AUC", "Gap"]
    found = downstream_file.gaps(values)
    titles = {row["arm"]: row["title"] for row in values["rows"]}
    rows = []
    for row in found.to_dict("records"):
        if model is None or row["model"] == model:
            groups = f"{row['first']} ({row['n_first']}), {row['second']} ({row['n_second']})"
            sides = f"{fixed(row['auc_first'], 3)}, {fixed(row['auc_second'], 3)}"
            rows.append([titles[row["arm"]], row["model"] or MISSING, row["size"], row["attribute"], groups, sides,
                         _limits(row, "auc_gap", 3)])  # fmt: skip
    return text_table(rows, heads)


def _selftest(values: dict[str, Any], _: str | None) -> Tables:
    """Damage and metric against space: does the metric answer as it should?"""
    wide = selftest_file.verdicts(values)
    rows = [
        [values["degradations"][kind]["title"], METRICS[metric].title, *(said or MISSING for said in row)]
        for (kind, metric), row in zip(wide.index, wide.to_numpy().tolist(), strict=True)
    ]
    said = (
        f"Each damage in growing strength, on {values['n_base']} real images against {values['n_real']} of other "
        f"patients of the {values['split']} split of {values['data']}; k = {values['k']}. {values['rule']}"
    )
    return [(said, text_table(rows, ["Damage", "Metric", *map(str, wide.columns)]))]


def _comparison(values: dict[str, Any], space: str | None) -> Tables:
    """Every pair of models and metric, in one space or all."""
    rows = []
    for one in values["tests"]:
        if space in (None, one["space"]):
            digits = METRICS[one["metric"]].digits
            sides = [fixed(one["a_value"], digits), fixed(one["b_value"], digits)]
            difference = cell({"value": one["difference"], "low": one["low"], "high": one["high"]}, digits)
            said = f"{one['better']} is better" if one["better"] else one["verdict"]
            tested = [difference, fixed(one["p_holm"], 4), said]
            rows.append([one["a"], one["b"], METRICS[one["metric"]].title, one["space"], *sides, *tested])
    heads = ["A", "B", "Metric", "Space", "A has", "B has", "A - B", "p, corrected", "Verdict"]
    said = f"{values['n']} real images of {values['n_subjects']} patients, as many generated. {values['rule']}"
    return [(said, text_table(rows, heads))]


def _budget(values: dict[str, Any], _: str | None) -> Tables:
    """Each share of the budget: what every model reached by then."""
    frame = budget_file.frame(values).sort_values(["share", "model"])
    rows = []
    for row in frame.to_dict("records"):
        cells = [_limits(row, name, METRICS[name].digits) for name in budget_file.SHOWN]
        cost = [fixed(row["share"], 0), f"{row['images_seen']:,.0f}", fixed(row["cpu_seconds"], 0)]
        rows.append([row["model"], *cost, *cells, fixed(row["seconds_per_image"], 3), row["hardware"]])
    heads = ["Model", "Budget, %", "Images seen", "CPU s to train", *(METRICS[one].title for one in budget_file.SHOWN)]
    floors = {name: values["rows"][0]["metrics"][name]["floor"] for name in budget_file.SHOWN}
    floor = ", ".join(f"{METRICS[name].title} {fixed(number(floors[name]), METRICS[name].digits)}" for name in floors)
    said = (
        f"{values['n']} generated against {values['n_real']} real images of {values['n_subjects']} patients of the "
        f"{values['split']} split of {values['data']}, {values['extractor']['name']}. "
        f"Floor, real training images: {floor}."
    )
    return [(said, text_table(rows, [*heads, "Seconds an image", "Trained on"]))]


STUDIES: dict[str, Study] = {
    "budget": Study(
        "GAN and diffusion on one budget",
        "The same data, the same computing time: what has a GAN learned after a tenth of it, a third, all of it, and "
        "what has a diffusion model? One training each: the intervals are over test patients, not over trainings.",
        "budget",
        "python -m eval.budget --protocol brain-128 --models DIR",
        budget_file.read,
        "Plot",
        lambda _: {name: METRICS[name].title for name in budget_file.SHOWN},
        _budget,
        study_plots.budget,
    ),
    "selftest": Study(
        "Does a metric see a fault?",
        "Real images are damaged in known ways, a little and then more: a metric that is worth its name gets worse at "
        "every step, in every feature space that is offered. Where it does not, it says nothing about that fault.",
        "selftest",
        "python -m eval.selftest --protocol cxr-128",
        selftest_file.read,
        "Plot",
        lambda values: study_plots.picks(selftest_file.frame(values)),
        _selftest,
        study_plots.selftest,
        prose=True,
    ),
    "comparison": Study(
        "Is one model better than another?",
        "Every pair of measured models, tested on the same real images. Two intervals that overlap may still belong to "
        "models that differ, and two that do not are no test: read the difference and its corrected p.",
        "comparison",
        "python -m eval.compare --protocol cxr-128",
        compare_file.read,
        "Feature space",
        lambda values: {name: name for name in dict.fromkeys(one["space"] for one in values["tests"])},
        _comparison,
        lambda _values, _pick: None,
    ),
    "collapse": Study(
        "Mode collapse",
        "Does a model make few pictures again and again? Judged on final models, on snapshots along the training of a "
        "GAN, and on a GAN that was made to collapse, which the detector must find.",
        "collapse",
        "python -m eval.collapse --protocol cxr-128",
        collapse_file.read,
        "Plot",
        lambda _: {name: name.capitalize() for name in collapse_file.STATISTICS},
        _collapse,
        study_plots.collapse,
    ),
    "downstream": Study(
        "Usefulness",
        "Does a classifier that has also, or only, seen generated images do better on real test patients? Beside it "
        "stand classical augmentation, and training on generated images first.",
        "downstream",
        "python -m eval.downstream --data kermany_cxr_128",
        downstream_file.read,
        "Plot",
        lambda _: {name: _SCORES.get(name, name.capitalize()) for name in downstream_file.METRICS},
        _downstream,
        lambda values, pick: downstream_plot.curves(downstream_file.frame(values), pick),
    ),
}
