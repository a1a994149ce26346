"""What quality costs: each model by its time an image and one metric, with the front of the best for their time."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING

import pandas as pd

from eval.board import FLOOR, NO_MODEL
from eval.groups import SECONDS, badness
from eval.plots import FONT, SYMBOLS, bars
from eval.report import METRICS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_UNITS = dict(zip(SECONDS, ("Clock seconds an image", "CPU seconds an image"), strict=True))


def front(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The models that no other surpasses: none is both as fast and better, or faster and as good. Fastest first.

    Args:
        table: from `board.table`.
        metric: one of `report.METRICS`.
    """
    floors = table.loc[table["family"] == FLOOR, metric]
    floor = floors.iloc[0] if len(floors) else float("nan")
    models = _placed(table, metric).assign(cost=lambda one: badness(one[metric], floor, METRICS[metric]))
    models = models.sort_values([seconds(models), "cost"], kind="stable")
    best = models["cost"].cummin().shift(fill_value=float("inf"))
    return models[models["cost"] < best].drop(columns="cost")


def seconds(models: pd.DataFrame) -> str:
    """The column of the time an image takes: CPU seconds, which other work on the machine hardly changes.

    Seconds by the clock where a model has no others: two kinds of seconds cannot share an axis.
    """
    wall, cpu = SECONDS
    return cpu if models[cpu].notna().all() else wall


def _placed(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    is_model = ~table["family"].isin(NO_MODEL)
    return table[is_model & table[metric].notna() & (table["seconds_per_image"] > 0)]


def quality_and_cost(table: pd.DataFrame, metric: str) -> Figure | None:
    """Each model at (`seconds` an image, metric), one symbol a family, with 95 % intervals as bars.

    Time is on a logarithmic scale. The front of Pareto is a line in steps; the floor of real images is dashed.

    Args:
        table: from `board.table`: one comparable group.
        metric: one of `report.METRICS`; FID for any other name.

    Returns:
        None where no model has both numbers.
    """
    from plotly.graph_objects import Figure, Scatter

    metric = metric if metric in METRICS else "fid"
    shown, models = METRICS[metric], _placed(table, metric)
    if models.empty:
        return None
    figure, best, time = Figure(), front(table, metric), seconds(models)
    figure.add_trace(
        Scatter(
            x=list(best[time]), y=list(best[metric]), mode="lines", name="best for its time (Pareto)",
            line={"shape": "hv", "color": "#009e73", "width": 3}, hoverinfo="skip",
        )
    )  # fmt: skip
    for i, (family, own) in enumerate(models.groupby("family", sort=True)):
        figure.add_trace(
            Scatter(
                x=list(own[time]), y=list(own[metric]), error_y=bars(own, metric), mode="markers+text",
                text=list(own["title"].where(own["title"] != "", own["model"])), textposition="top center",
                cliponaxis=False, name=str(family),
                marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 14, "line": {"width": 1, "color": "#222222"}},
                hovertext=[
                    f"{row.model}<br>{getattr(row, time):.3g} {_UNITS[time]}, {shown.title} "
                    f"{getattr(row, metric):.{shown.digits}f}, n {row.n_fake:.0f}"
                    for row in own.itertuples()
                ],
                hoverinfo="text",
            )
        )  # fmt: skip
    floor = table.loc[(table["family"] == FLOOR) & table[metric].notna(), metric]
    for value in floor:
        figure.add_hline(y=value, line={"dash": "dash", "color": "#555555"}, annotation_text="floor: real images",
                         annotation_position="bottom right")  # fmt: skip
    _lay_out(figure, metric, _UNITS[time], len(table[~table["family"].isin(NO_MODEL)]) - len(models))
    return figure


def _lay_out(figure: Figure, metric: str, unit: str, missing: int) -> None:
    shown = METRICS[metric]
    note = f" ({missing} without these numbers)" if missing else ""
    side = "near the floor" if shown.like_real else "down" if shown.lower_is_better else "up"
    figure.update_layout(
        title={"text": f"{shown.title} and time{note}", "x": 0.02, "font": {"size": 16},
               "subtitle": {"text": f"left and {side} is better", "font": {"size": 15}}},
        xaxis={"title": unit, "type": "log", "dtick": 1}, yaxis={"title": shown.title},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"}, font=FONT,
        margin={"l": 60, "r": 10, "t": 90, "b": 60}, template="plotly_white", height=560,
    )  # fmt: skip
    x = [value for trace in figure.data for value in trace.x]
    # half a decade to each side, so that no name is cut off
    figure.update_xaxes(range=[log10(min(x)) - 0.5, log10(max(x)) + 0.5])
