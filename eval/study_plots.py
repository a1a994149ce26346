"""Pictures of studies. plotly is imported only when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from eval import budget_file, collapse_file, selftest_file
from eval.plots import COLOURS, line_of, panels_of, with_one_entry_a_name
from eval.report import METRICS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def collapse(values: dict[str, Any], statistic: str) -> Figure | None:
    """A statistic along the training of each run, one panel a space; dashed, where varied ends and collapsed begins.

    Args:
        values: from `collapse_file.read`.
        statistic: one of `collapse_file.STATISTICS`.

    Returns:
        None where no run has snapshots.
    """
    frame = collapse_file.frame(values)
    along = frame[frame["images"].notna()]
    spaces = sorted(set(along["space"]))
    if not spaces:
        return None
    figure = panels_of(spaces, "Training images seen", statistic.capitalize())
    names = sorted(set(along["name"]))
    for panel, space in enumerate(spaces, start=1):
        own = along[along["space"] == space]
        for i, name in enumerate(names):
            run = own[own["name"] == name]
            if len(run):
                line_of(figure, panel, run, "images", statistic, name, COLOURS[i % len(COLOURS)])
        for end in ("varied_from", "collapsed_below"):
            column = f"{statistic}_{end}"
            if column in own:
                figure.add_hline(y=own[column].iloc[0], line={"dash": "dash", "color": "#555555"}, row=panel, col=1,
                                 annotation_text=end.replace("_", " "), annotation_position="bottom right")  # fmt: skip
    return with_one_entry_a_name(figure)


def budget(values: dict[str, Any], metric: str) -> Figure:
    """A metric against the computing time of the training, one line a model; dashed, what real images reach.

    Args:
        values: from `budget_file.read`.
        metric: one of `budget_file.SHOWN`.
    """
    frame = budget_file.frame(values)
    titles = frame.drop_duplicates("model").set_index("model")["title"]
    figure = panels_of(
        [f"{METRICS[metric].title}, {values['protocol']}"], "CPU seconds of training", METRICS[metric].title
    )
    for i, (name, title) in enumerate(titles.sort_index().items()):
        line_of(figure, 1, frame[frame["model"] == name], "cpu_seconds", metric, str(title), COLOURS[i % len(COLOURS)])
    floor = frame[f"{metric}_floor"].iloc[0]
    if floor == floor:
        figure.add_hline(y=floor, line={"dash": "dash", "color": "#555555"}, annotation_text="real training images",
                         annotation_position="bottom right")  # fmt: skip
    figure.update_xaxes(type="log")
    return figure


def selftest(values: dict[str, Any], metric: str) -> Figure | None:
    """A metric from undamaged to most damaged images, one line a damage, one panel a space.

    Dotted: the metric does not answer as it should. The strengths of different damages have different units, so that
    the axis counts steps; the strength is under the pointer.

    Args:
        values: from `selftest_file.read`.
        metric: one of `report.METRICS`.

    Returns:
        None where the metric was not measured.
    """
    frame = selftest_file.frame(values)
    own = frame[(frame["metric"] == metric) & frame["value"].notna()].rename(
        columns={"value": metric, "low": f"{metric}_low", "high": f"{metric}_high", "n_fake": "n"}
    )
    if own.empty:
        return None
    spaces = [space for space in values["spaces"] if space in set(own["space"])]
    figure = panels_of(spaces, "Step of damage", METRICS[metric].title)
    kinds = list(values["degradations"])
    for panel, space in enumerate(spaces, start=1):
        for i, kind in enumerate(kinds):
            curve = own[(own["space"] == space) & (own["degradation"] == kind)]
            if len(curve):
                curve = curve.sort_values("strength").assign(step=range(len(curve)))
                dash = "dot" if curve["fails"].iloc[0] else "solid"
                title = values["degradations"][kind]["title"]
                line_of(figure, panel, curve, "step", metric, title, COLOURS[i % len(COLOURS)], dash=dash)
                damaged = f"{title}, {{}} {values['degradations'][kind]['unit']}<br>{METRICS[metric].title}"
                figure.data[-1].hovertext = [
                    f"{damaged.format(row['strength'])} {row[metric]:.4g}, n {row['n']:.0f}"
                    for row in curve.to_dict("records")
                ]
    figure.update_xaxes(dtick=1)
    return with_one_entry_a_name(figure)


def picks(frame: pd.DataFrame) -> dict[str, str]:
    """The metrics that a self-test has measured, with their titles, in the order of the board."""
    return {name: metric.title for name, metric in METRICS.items() if name in set(frame["metric"])}
