"""The section of the Board tab on what the controls do: labels, guidance, severity, regions."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demos import tables
from eval import board
from eval.plots import guidance_sweep, severity_curves

PLOT_PX = 340
"""A narrower plot cannot be read: on a phone two stand below each other."""
HELP = """
## Control: does the label act?

An independent classifier, trained on real images only, looks at generated ones. What the border alone tells stands
beside it: where that is as good, the classifier may have seen how the film was taken rather than the disease. Measured
by `python -m eval.pathology NAME`.
"""


def draw() -> list[Any]:
    """`[adherence, sweep, curves, severity, region, notes]`: what is not measured is not drawn; the tables say so."""
    found = board.control()
    words = board.tables(found._asdict())
    waiting = found.missing("guidance")
    notes = [f"Guidance sweep not measured: {', '.join(waiting)}."] if waiting else []
    notes += [] if len(found.adherence) else ["No model here takes a label."]
    figures = [guidance_sweep(found.guidance), severity_curves(found.severity)]
    return [
        tables.plain(words["adherence"], tables.ADHERENCE),
        *(gr.update(value=figure, visible=figure is not None) for figure in figures),
        tables.plain(words["severity"], tables.SEVERITY),
        tables.plain(words["region"], tables.REGION),
        "\n\n".join([*notes, *found.problems]),
    ]


def create() -> list[Any]:
    """Puts the section where it is called; returns what `draw` fills."""
    gr.Markdown(HELP)
    adherence = gr.HTML(elem_id="adherence", padding=False)
    with gr.Row():
        sweep = gr.Plot(show_label=False, format="png", min_width=PLOT_PX, elem_id="sweep")
        curves = gr.Plot(show_label=False, format="png", min_width=PLOT_PX, elem_id="curves")
    severity = gr.HTML(elem_id="severity", padding=False)
    region = gr.HTML(elem_id="region", padding=False)
    return [adherence, sweep, curves, severity, region, gr.Markdown()]
