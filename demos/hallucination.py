"""The section of the Board tab on what translators keep, lose, move and invent: tables and the calibration picture."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demos import tables
from eval import hallucination_plots, hallucination_tables, hallucination_words

HELP = """
## Translation: what is kept, lost, moved and invented

Known lesions are drawn into held-out slices, and each slice is translated with and without. Measured by
`python -m eval.hallucination NAME`; what the words mean stands in `docs/hallucination.md`. Models may be compared
where the way, the lesions and the patients are the same. Drawn lesions are no disease: what is kept here may be lost
in a patient.
"""
CAPTIONS = {
    "lesions": (
        "Lesions: kept = the translation answers at the lesion's place, moved = beside it, lost = not at all. "
        "Invented: other structures that the lesion brings about. Changes as a share of what was inserted. Of the true "
        "change: where the truth is known exactly, 1 = all of it, below 0 = the wrong way."
    ),
    "sizes": "Lesions kept by size and contrast; lesions: how many of each contrast.",
    "floors": (
        "What the answer depends on: the sign of the lesion, and how small an answer counts (floor, as a share of what "
        "was inserted; 0 = anything that chance does not give)."
    ),
    "invention": (
        "Without any lesion: connected parts of held-out slices that are brighter or darker than the truth. Two real "
        "scans differ by more than contrast, so read the models beside the source as it is."
    ),
    "disagreement": (
        "Disagreement of several samples as a warning of error: AUC 0.5 = none, 1 = always. Promised: the same with "
        "one more sample in the place of the truth. Error over promise above 1: the samples are surer than they may be."
    ),
}


def draw() -> list[Any]:
    """`[lesions, sizes, floors, invention, disagreement, plot, notes]`: what is not measured is not drawn."""
    found = hallucination_tables.hallucination()
    words = hallucination_words.tables(found._asdict())
    figure = hallucination_plots.calibration_curves(found.curve)
    notes = [*found.problems] if len(found.lesions) else ["No model here translates.", *found.problems]
    return [
        *(tables.plain(words[name], caption) for name, caption in CAPTIONS.items()),
        gr.update(value=figure, visible=figure is not None),
        "\n\n".join(notes),
    ]


def create() -> list[Any]:
    """Puts the section where it is called; returns what `draw` fills."""
    gr.Markdown(HELP)
    filled: list[Any] = [gr.HTML(elem_id=f"hallucination-{name}", padding=False) for name in CAPTIONS]
    plot = gr.Plot(show_label=False, format="png", elem_id="calibration", visible=False)
    return [*filled, plot, gr.Markdown()]
