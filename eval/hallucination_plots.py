"""Calibration of disagreement as a picture. plotly is imported when one is drawn: the app must be on screen first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from eval.hallucination_words import way

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_UNITS = {"au": "grey levels", "HU": "HU"}


def calibration_curves(frame: pd.DataFrame) -> Figure | None:
    """Observed error against the error that the spread of the samples promises; one line a model, 95 % intervals.

    On the dashed line the samples are as sure as they may be; above it they are surer. MR and CT have panels of
    their own, for their units differ.

    Args:
        frame: the field `curve` of `hallucination_tables.hallucination()`.

    Returns:
        None where nothing is measured.
    """
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    measured = frame[frame["measured"].astype(bool)]
    if measured.empty:
        return None
    units = sorted(set(measured["unit"]))
    height = 380 * len(units) + 120
    figure: Figure = make_subplots(rows=len(units), cols=1, vertical_spacing=min(0.3, 110 / height))
    models = sorted(set(measured["model"]))
    for panel, unit in enumerate(units, start=1):
        own = measured[measured["unit"] == unit]
        top = float(max(own["promised"].max(), own["error"].max()))
        figure.add_trace(
            Scatter(x=[0, top], y=[0, top], mode="lines", name="as promised", legendgroup="promise",
                    showlegend=panel == 1, line={"color": "#555555", "dash": "dash"}, hoverinfo="skip"),
            row=panel, col=1,
        )  # fmt: skip
        for model, curve in own.groupby("model", sort=True):
            figure.add_trace(
                _line(str(model), curve.sort_values("promised"), _COLOURS[models.index(model) % 7]), row=panel, col=1
            )
        figure.update_xaxes(title_text=f"Promised error, {_UNITS.get(unit, unit)}", row=panel)
        figure.update_yaxes(title_text=f"Observed error, {_UNITS.get(unit, unit)}", row=panel)
    figure.update_layout(
        font={"family": "system-ui, sans-serif", "size": 16}, template="plotly_white", height=height,
        margin={"l": 60, "r": 10, "t": 20, "b": 60}, legend={"orientation": "h", "y": -90 / height, "yanchor": "top"},
    )  # fmt: skip
    return figure


def _line(model: str, curve: pd.DataFrame, colour: str) -> object:
    from plotly.graph_objects import Scatter

    gaps = [(curve["error_high"] - curve["error"]), (curve["error"] - curve["error_low"])]
    up, down = (list(gap.clip(lower=0).fillna(0.0)) for gap in gaps)
    said = way(curve["direction"].iloc[0])
    return Scatter(
        x=list(curve["promised"]), y=list(curve["error"]), mode="lines+markers", name=model, legendgroup=model,
        error_y={"type": "data", "symmetric": False, "array": up, "arrayminus": down},
        line={"color": colour}, marker={"size": 9}, hoverinfo="text",
        hovertext=[f"{model}, {said}<br>promised {x:.3g}, observed {y:.3g}"
                   for x, y in zip(curve["promised"], curve["error"], strict=True)],
    )  # fmt: skip
