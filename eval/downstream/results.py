"""Finished cells -> what they add up to, with intervals over test patients and over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from eval.bootstrap import LEVEL
from eval.downstream import scores
from eval.downstream.plan import AGE_CUT, ARMS, BASE, SIZES, Cell
from eval.downstream.study import Ready
from eval.over_patients import rounded

ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
FEWEST_SEEDS = 3
"""With fewer, the spread over seeds is not known."""
_GAPS = ("accuracy", "auc", "recall")

Measured = dict[str, np.ndarray]
"""Measure -> `(1 + R,)`: of all test images, then of R resamples of test patients."""


@dataclass(frozen=True)
class Judged:
    """What one finished cell says of the test split, whole and in the groups of an attribute."""

    cell: Cell
    file: dict[str, Any]
    whole: Measured
    groups: dict[str, tuple[Measured, ...]]


def groups_of(here: Ready) -> dict[str, tuple[np.ndarray, ...]]:
    """Attribute -> the rows of the test images in its two groups; who nothing is known of is in neither."""
    told = here.test.attributes or ()

    def group(name: str, values: dict[str, str]) -> str | None:
        if name == "age" and values.get("age"):
            return here.study.groups["age"][int(float(values["age"]) >= AGE_CUT)]
        return values.get(name)

    return {
        name: tuple(np.array([i for i, row in enumerate(told) if group(name, dict(row)) == one]) for one in pair)
        for name, pair in here.study.groups.items()
    }


def judged(here: Ready, cell: Cell, file: dict[str, Any], weights: np.ndarray) -> Judged:
    """Every measure of one finished cell.

    Args:
        here: the study.
        cell: which.
        file: its file.
        weights: from `scores.resamples`, the same for all cells, so that differences are paired by patient.
    """
    table = np.asarray(file["probabilities"], np.float64)
    table /= table.sum(axis=1, keepdims=True)
    truth = here.study.truth(here.test.labels or ())
    split = {
        name: tuple(scores.measures(table[rows], truth[rows], weights[:, rows]) for rows in pair)
        for name, pair in groups_of(here).items()
        if all(len(rows) for rows in pair)
    }
    return Judged(cell, file, scores.measures(table, truth, weights), split)


def rows(here: Ready, cells: list[Judged]) -> list[dict[str, Any]]:
    """One row an arm, model and N: means over its seeds, and their difference to real images alone."""
    found: dict[tuple[str, str | None, str], list[Judged]] = {}
    for one in cells:
        found.setdefault((one.cell.arm, one.cell.model, one.cell.size), []).append(one)
    table = []
    for (arm, model, size), own in found.items():
        seeds = {one.cell.seed for one in own}
        base = {one.cell.seed: one for one in found.get((BASE, None, size), [])}
        paired = [one for one in own if one.cell.seed in base] if arm != BASE else []
        against = [base[one.cell.seed] for one in paired]
        table.append({
            "arm": arm, "title": ARMS[arm].title, "model": model, "size": size, "n": here.n(own[0].cell),
            "n_real": own[0].file["n_real"], "n_synthetic": own[0].file["n_synthetic"], "seeds": sorted(seeds),
            "metrics": {name: entry([one.whole[name] for one in own]) for name in scores.MEASURES},
            "classes": _classes(here, own),
            "against_real": {
                name: _difference([one.whole[name] for one in paired], [one.whole[name] for one in against])
                for name in scores.MEASURES
            } if paired else None,
            "groups": {name: _gap(here, name, own) for name in own[0].groups},
        })  # fmt: skip
    return sorted(table, key=lambda row: (SIZES.index(row["size"]), list(ARMS).index(row["arm"]), row["model"] or ""))


def versus(cells: list[Judged], models: Sequence[str]) -> list[dict[str, Any]]:
    """One row an arm and N where both of two models have cells: the second model's minus the first's, seed by seed.

    Args:
        cells: the finished ones.
        models: names; two are compared, any others are not.
    """
    found: dict[tuple[str, str], dict[tuple[str | None, int], Judged]] = {}
    for one in cells:
        found.setdefault((one.cell.size, one.cell.arm), {})[one.cell.model, one.cell.seed] = one
    table = []
    if len(models) < 2:
        return []
    first, second = models[:2]
    for (size, arm), own in found.items():
        if seeds := [seed for model, seed in own if model == first and (second, seed) in own]:
            sides = [[own[model, seed] for seed in sorted(seeds)] for model in (second, first)]
            table.append({
                "arm": arm, "title": ARMS[arm].title, "size": size, "a": second, "b": first, "seeds": sorted(seeds),
                "metrics": {
                    name: _difference(*([one.whole[name] for one in side] for side in sides))
                    for name in scores.MEASURES
                },
            })  # fmt: skip
    return sorted(table, key=lambda row: (SIZES.index(row["size"]), list(ARMS).index(row["arm"])))


def entry(values: list[np.ndarray]) -> dict[str, float | None]:
    """The mean over S seeds, as a file holds it.

    Args:
        values: S arrays `(1 + R,)`.

    Returns:
        `value`; `low` and `high`, over resampled patients and seeds together; `patients_low`, `patients_high`, over
        patients with these seeds; `seeds_low`, `seeds_high`, Student's t over the seeds on these patients. None where
        the measure is undefined, and for seeds where there are fewer than `FEWEST_SEEDS`.
    """
    table = np.stack(values)  # (S, 1 + R)
    names = ("value", "low", "high", "patients_low", "patients_high", "seeds_low", "seeds_high")
    found: dict[str, float | None] = dict.fromkeys(names)
    if np.isnan(table[:, 0]).any():
        return found
    found["value"] = rounded(table[:, 0].mean())
    repeats = table[:, 1:]
    found["patients_low"], found["patients_high"] = _ends(repeats.mean(axis=0))
    if len(table) < FEWEST_SEEDS:
        return found
    drawn = np.random.default_rng(0).integers(len(table), size=(len(table), repeats.shape[1]))
    found["low"], found["high"] = _ends(np.take_along_axis(repeats, drawn, axis=0).mean(axis=0))
    half = student.ppf(ENDS[1], len(table) - 1) * table[:, 0].std(ddof=1) / np.sqrt(len(table))
    found["seeds_low"], found["seeds_high"] = rounded(table[:, 0].mean() - half), rounded(table[:, 0].mean() + half)
    return found


def _difference(left: list[np.ndarray], right: list[np.ndarray]) -> dict[str, float | None]:
    """`entry` of left minus right, paired by seed and by resampled patient."""
    return entry([a - b for a, b in zip(left, right, strict=True)])


def _ends(values: np.ndarray) -> tuple[float | None, float | None]:
    """95 % of the values; a resample without one of the classes says nothing and is left out."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, ENDS)
    return rounded(low), rounded(high)


def _classes(here: Ready, own: list[Judged]) -> dict[str, Any]:
    truth = here.study.truth(here.test.labels or ())
    return {
        word: {
            "n": int((truth == c).sum()),
            **{name: entry([one.whole[f"{name}/{c}"] for one in own]) for name in ("auc", "precision", "recall")},
        }
        for c, word in enumerate(here.study.classes)
    }


def _gap(here: Ready, name: str, own: list[Judged]) -> dict[str, Any]:
    """The measures in both groups of one attribute, and first minus second."""
    pair, rows_of = here.study.groups[name], groups_of(here)[name]
    subjects = here.test.subjects or ()
    truth = here.study.truth(here.test.labels or ())
    sides: list[dict[str, Any]] = []
    for i, (word, index) in enumerate(zip(pair, rows_of, strict=True)):
        counts = {here.study.classes[c]: int((truth[index] == c).sum()) for c in range(len(here.study.classes))}
        own_measures = {key: entry([one.groups[name][i][key] for one in own]) for key in _GAPS}
        people = len({subjects[j] for j in index.tolist()})
        sides.append({"group": word, "n": len(index), "n_subjects": people, "classes": counts, **own_measures})
    pick: Callable[[int, str], list[np.ndarray]] = lambda i, key: [one.groups[name][i][key] for one in own]  # noqa: E731
    return {"sides": sides, "gap": {key: _difference(pick(0, key), pick(1, key)) for key in _GAPS}}


def cell_entry(one: Judged) -> dict[str, Any]:
    """A finished cell in the file of results."""
    numbers = {name: rounded(one.whole[name][0]) for name in scores.MEASURES if not np.isnan(one.whole[name][0])}
    kept = {key: one.file[key] for key in ("n_real", "n_synthetic", "cpu_seconds", "created")}
    return {**_named(one.cell), **kept, "metrics": {**dict.fromkeys(scores.MEASURES), **numbers}, "missing": None}


def missing_entry(cell: Cell, reason: str) -> dict[str, Any]:
    """A cell that is not there, and why."""
    return {**_named(cell), "metrics": dict.fromkeys(scores.MEASURES), "missing": reason}


def _named(cell: Cell) -> dict[str, Any]:
    return {**asdict(cell), "title": ARMS[cell.arm].title}
