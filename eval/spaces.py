"""How the feature spaces rank the same models: one table a protocol, and Kendall's tau between any two spaces."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import pandas as pd

from eval.board import NO_MODEL, Group
from eval.export import MISSING, fixed, text_table
from eval.groups import badness
from eval.report import METRICS

_ELSE = tuple(name for name in Group._fields if name != "extractor")


class Ranking(NamedTuple):
    """The models of one protocol as several feature spaces rank them.

    Args:
        label: what was measured.
        values: a row a model, a column a space: float64, NaN where this space has no report of it.
        badness: the same, so that lower is better.
        agreement: a row a pair of spaces: `first`, `second`, `tau`, `p` and `n`, the models that both have measured.
    """

    label: str
    values: pd.DataFrame
    badness: pd.DataFrame
    agreement: pd.DataFrame


def rankings(frame: pd.DataFrame, metric: str = "fid") -> list[Ranking]:
    """One ranking a protocol and set of images that more than one space has seen.

    Args:
        frame: from `board.rows`.
        metric: one of `report.METRICS`.
    """
    is_model = ~frame["family"].isin(NO_MODEL) & (frame["variant"] == "")
    rows = frame[frame["n_real"].notna() & is_model & frame[metric].notna()]
    found = []
    for key, own in rows.groupby(list(_ELSE), sort=True):
        own = own.assign(badness=badness(own[metric], own[f"{metric}_floor"], METRICS[metric]))
        values, worse = (
            own.pivot_table(index="model", columns="extractor", values=name, aggfunc="last")
            for name in (metric, "badness")
        )
        if len(values.columns) < 2:
            continue
        said = dict(zip(_ELSE, key, strict=True))
        label = (
            f"{said['protocol']}, {said['split']} split, {said['n_real']:.0f} real against {said['n_fake']:.0f} "
            f"generated, k = {said['k']:.0f}"
        )
        found.append(Ranking(label, values, worse, _agreement(worse)))
    return found


def _agreement(values: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau-b of every pair of columns, over the rows that have both."""
    from scipy.stats import kendalltau

    rows = []
    for first, second in combinations(values.columns, 2):
        both = values[[first, second]].dropna()
        # a rank correlation of one model is none
        tau, p = kendalltau(both[first], both[second]) if len(both) > 1 else (float("nan"), float("nan"))
        rows.append((first, second, float(tau), float(p), len(both)))
    return pd.DataFrame(rows, columns=["first", "second", "tau", "p", "n"])


def ranks(found: Ranking) -> pd.DataFrame:
    """The place of each model in each space, 1 = best; equal values share the better place; NaN = not measured."""
    return found.badness.rank(method="min")


def tables(found: Ranking, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ranking and the agreement as text.

    Args:
        found: from `rankings`.
        metric: the same.
    """
    places, digits = ranks(found), METRICS[metric].digits
    rows = []
    for model in places.sort_values([*places.columns]).index:
        cells = [
            MISSING if place != place else f"{place:.0f} ({fixed(found.values.loc[model, space], digits)})"
            for space, place in places.loc[model].items()
        ]
        rows.append([str(model), *cells])
    pairs = [
        [f"{one.first} and {one.second}", fixed(one.tau, 2), fixed(one.p, 3), str(one.n)]
        for one in found.agreement.itertuples()
    ]
    return (
        text_table(rows, ["Model", *map(str, places.columns)]),
        text_table(pairs, ["Spaces", "Kendall tau", "p", "Models"]),
    )
