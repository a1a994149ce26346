"""Studies on the Board tab: how spaces rank, the closest training images, and what results/ holds. Read when opened."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from demos import board_pairs, tables
from eval import board, spaces, studies
from medgen import MedgenError

RANKS = """
Each feature space sees other things in a picture. Where spaces rank the same models alike, the order is likely to be
about the models; where they do not, it is about the space. Kendall's tau: 1 = the same order,
0 = unrelated, -1 = reversed.
"""
FEW = "With so few models tau can hardly differ from chance: read it as a description, not as a test."
NO_RANKS = (
    "No protocol has reports in two feature spaces yet: `python -m eval.run NAME --protocol P --extractor all` "
    "measures a model in every space that is installed."
)


def draw_ranks(metric: str) -> str:
    """A ranking and its agreement a protocol, as HTML; what to do where there is none."""
    found = spaces.rankings(board.rows(), metric)
    parts = []
    for one in found:
        ranking, agreement = spaces.tables(one, metric)
        few = f" {FEW}" if (one.agreement["n"] < 6).any() else ""
        parts.append(tables.plain(ranking, f"{one.label}. The place of each model, 1 = best, and its value.{few}"))
        parts.append(tables.in_words(agreement, "Agreement of two spaces over the models that both have measured."))
    return "".join(parts) or f"<p class='caption'>{escape(NO_RANKS.replace('`', ''))}</p>"


def draw_study(study: studies.Study, file: str | None = None, pick: str | None = None) -> list[Any]:
    """`[file, pick, tables, plot]` of one file of a study.

    Args:
        study: which.
        file: its name; None = the first.
        pick: what the picture shows; None = the first it can.
    """
    files = {path.name: path for path in study.files()}
    nothing = gr.update(value=None, visible=False)
    if not files:
        return [gr.update(choices=[], visible=False), gr.update(choices=[], visible=False), missing(study), nothing]
    name = file if file in files else next(iter(files))
    choice = gr.update(choices=list(files), value=name, visible=len(files) > 1)
    try:
        values = study.read(files[name])
        picks = study.picks(values)
        pick = pick if pick in picks else next(iter(picks), "")
        shown, figure = study.tables(values, pick), study.figure(values, pick)
    except MedgenError as error:
        said = f"<p class='caption warning'>{escape(str(error))}</p>"
        return [choice, gr.update(choices=[], visible=False), said, nothing]
    draw = tables.in_words if study.prose else tables.plain
    html = "".join(draw(table, caption) for caption, table in shown) + origin(values)
    picked = gr.update(choices=[(title, key) for key, title in picks.items()], value=pick, visible=True)
    return [choice, picked, html, gr.update(value=figure, visible=figure is not None)]


def missing(study: studies.Study) -> str:
    """What to say where nobody has made the study."""
    return f"<p class='caption'>Not measured yet: <code>{escape(study.command)}</code> makes it.</p>"


def origin(values: dict[str, Any]) -> str:
    """Where a study comes from, in one line."""
    said = [
        str(values.get("command") or ""),
        str(values.get("created") or "")[:19],
        str(values.get("commit") or "")[:12],
    ]
    return f"<p class='caption footnote'>Made by {escape(', '.join(filter(None, said)))}.</p>"


def create() -> None:
    """Puts the sections where it is called."""
    metrics = [(metric.title, name) for name, metric in board.METRICS.items()]
    with gr.Accordion("How spaces rank", open=False, elem_id="study-spaces") as ranks:
        gr.Markdown(RANKS)
        metric = gr.Dropdown(metrics, value="fid", label="Metric")
        shown = gr.HTML(padding=False)
    for trigger in (ranks.expand, metric.input):
        trigger(draw_ranks, metric, shown, show_progress="hidden", api_visibility="private")
    with gr.Accordion("Closest training images", open=False, elem_id="study-pairs") as pairs:
        board_pairs.create(pairs.expand)
    for name, study in studies.STUDIES.items():
        with gr.Accordion(study.title, open=False, elem_id=f"study-{name}") as section:
            gr.Markdown(study.meaning)
            with gr.Row():
                file = gr.Dropdown([], label="Study", visible=False)
                pick = gr.Dropdown([], label=study.pick, visible=False)
            plot, shown = gr.Plot(show_label=False, format="png", visible=False), gr.HTML(padding=False)
        for trigger in (section.expand, file.input, pick.input):
            trigger(partial(draw_study, study), [file, pick], [file, pick, shown, plot], show_progress="hidden",
                    api_visibility="private")  # fmt: skip
