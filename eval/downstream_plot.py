"""Usefulness as a picture: what a classifier reaches on real test patients against N, GAN beside diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from medgen.errors import MedgenError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_FONT = {"family": "system-ui, sans-serif", "size": 16}
# Okabe and Ito's colours, told apart by colour-blind readers too; one an arm, the same in every panel
_COLOURS = ("#000000", "#e69f00", "#d55e00", "#56b4e9", "#0072b2", "#009e73", "#cc79a7")
_TITLES = {"accuracy": "Accuracy", "auc": "AUC", "precision": "Precision", "recall": "Recall",
           "ece": "Calibration error (lower is better)", "brier": "Brier score (lower is better)"}  # fmt: skip
_PANEL_PX = 420


def curves(table: pd.DataFrame, metric: str = "auc") -> Figure:
    """One panel a generator: `metric` against N, one line an arm, 95 % intervals over patients and seeds as bars.

    Arms without synthetic images stand in every panel, so that each generator is compared within its own. The title
    counts what is missing, so that nobody takes the picture for the whole study.

    Args:
        table: from `downstream_file.frame`.
        metric: one of `downstream_file.METRICS`.

    Raises:
        MedgenError: no such metric.
    """
    from plotly.subplots import make_subplots

    if metric not in _TITLES:
        raise MedgenError(f"There is no metric {metric!r}; choose from {', '.join(_TITLES)}.")
    models = [name for name in dict.fromkeys(table["model"]) if name]
    sizes = table.drop_duplicates("size").sort_values("n")
    places = {size: i for i, size in enumerate(sizes["size"])}
    figure = make_subplots(rows=max(1, len(models)), cols=1, subplot_titles=models, vertical_spacing=0.16)
    arms = list(dict.fromkeys(table["arm"]))
    for panel, model in enumerate(models, start=1):
        own = table[table["model"].isin(["", model]) & table[metric].notna()]
        for i, arm in enumerate(arms):
            line = own[own["arm"] == arm]
            if len(line):
                # side by side, or the bars would hide each other
                shift = (i - (len(arms) - 1) / 2) * 0.07
                figure.add_trace(_line(line, metric, places, shift, _COLOURS[i % len(_COLOURS)]), row=panel, col=1)
    missing = int(table["missing"].sum())
    _lay_out(figure, metric, sizes, f"; {missing} trainings missing" if missing else "")
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)
    return figure


def _line(own: pd.DataFrame, metric: str, places: dict[str, int], shift: float, colour: str) -> Any:
    from plotly.graph_objects import Scatter

    own = own.sort_values("n")
    title = own["title"].iloc[0]
    value, low, high = own[metric], own[f"{metric}_low"], own[f"{metric}_high"]
    return Scatter(
        x=[places[size] + shift for size in own["size"]], y=list(value),
        error_y={"type": "data", "symmetric": False, "array": list((high - value).clip(lower=0).fillna(0.0)),
                 "arrayminus": list((value - low).clip(lower=0).fillna(0.0))},
        mode="lines+markers", name=title, legendgroup=title, line={"color": colour}, marker={"size": 9},
        hovertext=[
            f"{title}<br>N {row['n']:.0f}, {row['n_synthetic']:.0f} synthetic, {row['seeds']} seeds<br>"
            f"{_TITLES[metric]} {row[metric]:.3f} ({row[metric + '_low']:.3f} to {row[metric + '_high']:.3f})"
            for row in own.to_dict("records")
        ],
        hoverinfo="text",
    )  # fmt: skip


def _lay_out(figure: Figure, metric: str, sizes: pd.DataFrame, note: str) -> None:
    panels = max(1, len(figure.layout.annotations))
    height = _PANEL_PX * panels + 120
    words = [f"{row['n']:.0f}" for row in sizes.to_dict("records")]
    figure.update_xaxes(tickvals=list(range(len(sizes))), ticktext=words, title_text="real training images")
    figure.update_yaxes(title_text=_TITLES[metric])
    subtitle = {"text": f"real test patients only{note}", "font": {"size": 15}}
    figure.update_layout(
        title={"text": _TITLES[metric], "x": 0.02, "font": {"size": 16}, "subtitle": subtitle},
        font=_FONT, template="plotly_white", height=height, margin={"l": 60, "r": 10, "t": 110, "b": 60},
        legend={"orientation": "h", "y": -90 / height, "yanchor": "top"},
    )  # fmt: skip
