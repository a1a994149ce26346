"""The board as pictures. plotly is imported only when one is drawn: the app must be on screen first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from eval.board import FLOOR, NO_MODEL, REFERENCE
from eval.export import display

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FONT = {"family": "system-ui, sans-serif", "size": 16}
# Okabe and Ito's colours, told apart by colour-blind readers too
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_PANEL_PX = 260
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "cross", "hexagon", "star-triangle-down")


def recall_precision(table: pd.DataFrame) -> Figure:
    """Each model at (recall, precision), coloured by FID, one symbol a family, with 95 % intervals as bars.

    Up and right is better. The floor of real images is a star; references are crosses, named under the pointer alone:
    most lie in a corner, on one another or on a model. Models without the two numbers cannot be placed; the title
    counts them, so that nobody takes the picture for the whole board.

    Args:
        table: from `board.table`: one comparable group, any number of rows.
    """
    from plotly.graph_objects import Figure

    placed = table[table["recall"].notna() & table["precision"].notna()]
    models = placed[~placed["family"].isin(NO_MODEL)]
    figure = Figure()
    for i, family in enumerate(sorted(set(models["family"]))):
        own = models[models["family"] == family]
        symbol = SYMBOLS[i % len(SYMBOLS)]
        # without FID a point is grey: a colour would claim a value
        _add(figure, own[own["fid"].notna()], family, symbol, coloured=True)
        _add(figure, own[own["fid"].isna()], f"{family} (no FID)", symbol, coloured=False)
    # their FID would stretch the scale until all models had one colour
    _add(figure, placed[placed["family"] == REFERENCE], "references", "x-thin-open", coloured=False)
    _add(figure, placed[placed["family"] == FLOOR], "real images (floor)", "star", coloured=False)
    missing = int((~table["family"].isin(NO_MODEL)).sum() - len(models))
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
        font=FONT,
        margin={"l": 60, "r": 10, "t": 90, "b": 60},
        template="plotly_white",
        height=560,
    )  # fmt: skip
    if models["fid"].notna().any():
        # the scale starts at the floor: two good models close together should not look like best and worst
        least = placed.loc[placed["family"] != REFERENCE, "fid"].min()
        figure.update_coloraxes(cmin=least, cmax=max(models["fid"].max(), least + 1))
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
            error_x=bars(part, "recall"),
            error_y=bars(part, "precision"),
            mode="markers+text",
            text=[{FLOOR: "real", REFERENCE: ""}.get(row.family, row.title) for row in part.itertuples()],
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


def guidance_sweep(frame: pd.DataFrame) -> Figure | None:
    """Precision and recall against guidance, with 95 % intervals: one line a model, two panels a comparable group.

    Args:
        frame: the field `guidance` of `control()`.

    Returns:
        None where nothing is measured.
    """
    measured = frame[frame["measured"].astype(bool)]
    if measured.empty:
        return None
    panels = [(group, name) for group in sorted(set(measured["group"])) for name in ("precision", "recall")]
    titles = [f"{name.capitalize()} ({group.split(',')[0]})" for group, name in panels]
    figure = panels_of(titles, "Guidance", "")
    colours = _model_colours(measured)
    for panel, (group, name) in enumerate(panels, start=1):
        for model, own in measured[measured["group"] == group].groupby("model", sort=True):
            # a guidance without this number leaves a gap in the line
            line_of(figure, panel, own, "guidance", name, model, colours[model])
    figure.update_yaxes(range=[-0.03, 1.03])
    return with_one_entry_a_name(figure)


def severity_curves(frame: pd.DataFrame) -> Figure | None:
    """The classifier's probability of a disease against severity, with 95 % intervals over seeds; one panel a disease.

    One line a model; dashed, what the border baseline says of the same pictures; dotted, the probability of the healthy
    word, which falls where a disease is there, whichever the classifier takes it for.

    Args:
        frame: the field `severity` of `control()`.

    Returns:
        None where nothing is measured.
    """
    measured = frame[frame["measured"].astype(bool)]
    if measured.empty:
        return None
    labels = sorted(set(measured["label"]))
    figure = panels_of(labels, "Severity", "Probability")
    colours = _model_colours(measured)
    for panel, label in enumerate(labels, start=1):
        for model, own in measured[measured["label"] == label].groupby("model", sort=True):
            line_of(figure, panel, own, "severity", "probability", model, colours[model])
            line_of(figure, panel, own, "severity", "border", f"{model}, border only", colours[model], dash="dash")
            line_of(figure, panel, own, "severity", "healthy_word", f"{model}, healthy", colours[model], dash="dot")
    figure.update_xaxes(tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(range=[-0.03, 1.03])
    return with_one_entry_a_name(figure)


def panels_of(titles: list[str], x: str, y: str) -> Figure:
    """Empty panels below each other, legible on a phone."""
    from plotly.subplots import make_subplots

    height = _PANEL_PX * len(titles) + 120
    spacing = min(0.3, 80 / height)
    figure = make_subplots(rows=len(titles), cols=1, subplot_titles=titles, vertical_spacing=spacing)
    figure.update_xaxes(title_text=x, row=len(titles))
    figure.update_yaxes(title_text=y)
    figure.update_layout(
        font=FONT, template="plotly_white", height=height, margin={"l": 60, "r": 10, "t": 40, "b": 60},
        legend={"orientation": "h", "y": -90 / height, "yanchor": "top"},
    )  # fmt: skip
    return figure


def _model_colours(frame: pd.DataFrame) -> dict[str, str]:
    return {model: COLOURS[i % len(COLOURS)] for i, model in enumerate(sorted(set(frame["model"])))}


def line_of(
    figure: Figure, panel: int, own: pd.DataFrame, x: str, y: str, name: str, colour: str, dash: str = "solid"
) -> None:
    """One model in one panel: the column `y` with its error bars against the column `x`."""
    from plotly.graph_objects import Scatter

    own = own.sort_values(x)
    figure.add_trace(
        Scatter(
            x=list(own[x]), y=[None if value != value else value for value in own[y]], error_y=bars(own, y),
            mode="lines+markers", name=name, legendgroup=name, line={"color": colour, "dash": dash},
            marker={"size": 9},
            hovertext=[f"{name}<br>{x} {at:g}: {y} {value:.3f}, n {n:.0f}"
                       for at, value, n in zip(own[x], own[y], own["n"], strict=True)],
            hoverinfo="text",
        ),
        row=panel, col=1,
    )  # fmt: skip


def with_one_entry_a_name(figure: Figure) -> Figure:
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)
    return figure


def bars(part: pd.DataFrame, name: str) -> dict[str, object]:
    """plotly's error bars: distances from the value; no bar where there is no interval."""
    up, down = part[f"{name}_high"] - part[name], part[name] - part[f"{name}_low"]
    return {
        "type": "data",
        "symmetric": False,
        "array": list(up.clip(lower=0).fillna(0.0)),
        "arrayminus": list(down.clip(lower=0).fillna(0.0)),
    }
