"""The board as a picture. plotly is imported only when one is drawn: the app must be on screen first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from eval.board import FLOOR
from eval.export import display

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "cross", "hexagon", "star-triangle-down")


def recall_precision(table: pd.DataFrame) -> Figure:
    """Each model at (recall, precision), coloured by FID, one symbol a family, with 95 % intervals as bars.

    Up and right is better. The floor of real images is a star. Models without the two numbers cannot be placed;
    the title counts them, so that nobody takes the picture for the whole board.

    Args:
        table: from `board.table`: one comparable group, any number of rows.
    """
    from plotly.graph_objects import Figure

    placed = table[table["recall"].notna() & table["precision"].notna()]
    models = placed[placed["family"] != FLOOR]
    figure = Figure()
    for i, family in enumerate(sorted(set(models["family"]))):
        own = models[models["family"] == family]
        symbol = _SYMBOLS[i % len(_SYMBOLS)]
        # without FID a point is grey: a colour would claim a value
        _add(figure, own[own["fid"].notna()], family, symbol, coloured=True)
        _add(figure, own[own["fid"].isna()], f"{family} (no FID)", symbol, coloured=False)
    _add(figure, placed[placed["family"] == FLOOR], "real images (floor)", "star", coloured=False)
    missing = int((table["family"] != FLOOR).sum() - len(models))
    note = f"; {missing} without these numbers" if missing else ""
    title = f"{len(models)} {'model' if len(models) == 1 else 'models'}{note}"
    axis = {"range": [-0.03, 1.03], "tickvals": [0, 0.25, 0.5, 0.75, 1]}
    # every word must be legible from the back of a hall, and none may be cut off on a screen of 390 px
    figure.update_layout(
        title={"text": title, "x": 0.02, "font": {"size": 16},
               "subtitle": {"text": "up and right is better", "font": {"size": 15}}},
        xaxis={"title": "Recall (variety)", **axis},
        yaxis={"title": "Precision (likeness)", **axis},
        coloraxis={"colorscale": "Viridis", "reversescale": True,
                   "colorbar": {"title": {"text": "FID ", "side": "top"}, "thickness": 14, "xpad": 4}},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
        font={"family": "system-ui, sans-serif", "size": 16},
        margin={"l": 60, "r": 10, "t": 90, "b": 60},
        template="plotly_white",
        height=560,
    )  # fmt: skip
    if models["fid"].notna().any():
        # the scale starts at the floor: two good models close together should not look like best and worst
        figure.update_coloraxes(cmin=placed["fid"].min(), cmax=max(models["fid"].max(), placed["fid"].min() + 1))
    else:
        figure.update_coloraxes(showscale=False)
    return figure


def _place(row: Any, others: pd.DataFrame) -> str:
    """Where a name stands: towards the middle, above its point, or beside it where another is close above."""
    near = others[(others["recall"] - row.recall).abs() < 0.2]
    gap = near["precision"] - row.precision
    above = (gap > 0) & (gap < 0.06)
    return f"{'middle' if above.any() else 'top'} {'right' if row.recall < 0.5 else 'left'}"


def _add(figure: Figure, part: pd.DataFrame, name: str, symbol: str, *, coloured: bool) -> None:
    """One trace: the models of one family."""
    from plotly.graph_objects import Scatter

    if part.empty:
        return
    colour = {"color": list(part["fid"]), "coloraxis": "coloraxis"} if coloured else {"color": "#555555"}
    figure.add_trace(
        Scatter(
            x=list(part["recall"]),
            y=list(part["precision"]),
            error_x=_bars(part, "recall"),
            error_y=_bars(part, "precision"),
            mode="markers+text",
            text=[row.title if row.family != FLOOR else "real" for row in part.itertuples()],
            textposition=[_place(row, part) for row in part.itertuples()],
            cliponaxis=False,
            name=name,
            marker={"symbol": symbol, "size": 16, "line": {"width": 1, "color": "#222222"}, **colour},
            hovertext=[
                f"{row.model}<br>recall {row.recall}, precision {row.precision}, FID {row.fid}, n {row.n_fake}"
                for row in display(part).itertuples()
            ],
            hoverinfo="text",
        )
    )


def _bars(part: pd.DataFrame, name: str) -> dict[str, object]:
    """plotly's error bars: distances from the value; no bar where there is no interval."""
    up, down = part[f"{name}_high"] - part[name], part[name] - part[f"{name}_low"]
    return {
        "type": "data",
        "symmetric": False,
        "array": list(up.clip(lower=0).fillna(0.0)),
        "arrayminus": list(down.clip(lower=0).fillna(0.0)),
    }
