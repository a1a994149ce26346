"""The page "Change a region": choose or upload an X-ray, say where, and have a model make that part anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demos import lane, region_run, running, scratch, widgets
from demos.controls import with_default
from demos.labels import label_choices
from demos.opinions import Judge, as_saved
from demos.pathology_form import MODALITY
from demos.pathology_grid import Finished, figure
from demos.region_run import BOX, DRAWING, paints
from demos.region_source import CANVAS_PX, Source, canvas, drawn, read_upload, with_box
from demos.runner import Process
from medgen import MedgenError
from medgen.provenance import mark

IDLE = "Choose a picture, say where it is to change, then press Change the region."
KEY = "region"
NOBODY = "No model here can change a part of a picture: put one that takes a source and a region into checkpoints/."
NO_PICTURE = "No picture is chosen yet."
FORMATS = [("PNG", "png"), ("DICOM", "dcm")]
FIRST_BOX = (55, 35, 85, 75)
"""Percent: the lower field of the lung at the right of the picture."""
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def on_load() -> list[Any]:
    """What the models here can do: `[why not, form, model]`."""
    found = paints(widgets.known_cards(MODALITY))
    first = next(iter(found), None)
    return [
        gr.update(value="" if found else f"<p class='caption'>{NOBODY}</p>", visible=not found),
        gr.update(visible=bool(found)),
        gr.update(choices=widgets.model_choices(found), value=first),
    ]


def on_model(name: str | None, label: str | None) -> list[Any]:
    """The labels and the fields of the chosen model: `[label, guidance, steps]`."""
    card = paints(widgets.known_cards(MODALITY)).get(name or "")
    if card is None:
        return [gr.update(choices=[], value=None), gr.update(visible=False), gr.update(visible=False)]
    choices = label_choices([card])
    known = [word for _, word in choices]
    labels = gr.update(choices=choices, value=label if label in known else next(reversed(known), None))
    return [labels, with_default([card], "guidance"), with_default([card], "steps")]


def offer(finished: Finished) -> Any:
    """The pictures of the grid to choose from."""
    return gr.update(choices=[(shown, shown) for shown, _ in finished.pictures()], value=None)


def of_grid(finished: Finished, chosen: str | None) -> Source | None:
    """The chosen picture of the grid, by its words: None where a newer run, which may go on, has no such picture."""
    for shown, (name, index) in finished.pictures():
        if chosen == shown:
            result = next(result for result in finished.results if result.card.name == name)
            asked = [(request, i) for request in result.requests for i in range(len(request.seeds))]
            picture = as_saved(result.images.take([index]))
            return Source(picture, shown, mark(result.card, *asked[index]))
    return None


def shown(session: str, source: Source | None, where: str, *edges: float | None) -> str:
    """The chosen picture with the box on it, as HTML."""
    if source is None:
        return f"<p class='caption'>{NO_PICTURE}</p>"
    picture = canvas(source)
    lines: tuple[str, ...] = (source.said,)
    if where == BOX:
        left, top, right, bottom = (edge or 0.0 for edge in edges)
        picture = with_box(picture, (left, top, right, bottom))
        lines += (f"Box: {left:g} to {right:g} % from the left, {top:g} to {bottom:g} % from the top",)
    address = scratch.address(picture, scratch.SHOWN.lasting(session))
    return f"<div class='figures one'>{figure(address, f'Picture to change: {source.said}', lines)}</div>"


def create(
    page: gr.Blocks, finished: gr.State, after_grid: list[Callable[..., Any]], process: Process, judge: Judge
) -> None:
    """Puts the page into the tab.

    Args:
        page: the whole page.
        finished: a `Finished`, whose pictures can be chosen.
        after_grid: what to attach an event to that comes after a run of the grid.
        process: runs the tasks.
        judge: looks at the pictures.
    """
    nobody = gr.HTML(visible=False, padding=False, elem_id="region-nobody")
    with gr.Column(visible=False, elem_id="region-form") as box:
        with gr.Row():
            with gr.Column(min_width=300):
                source, edges, where, drawing = _create_source(finished, after_grid)
            with gr.Column(min_width=300):
                model, asked, go, halt = _create_question()
        status = running.status_line(IDLE, "region-status")
        result = gr.HTML(elem_id="region-result", padding=False)
        with gr.Row(elem_classes="downloads"):
            format = gr.Radio(FORMATS, value="png", label="Download as", min_width=200)
            archive = gr.DownloadButton("Download ZIP", interactive=False, elem_id="region-zip", min_width=180)
    changed = gr.State(None, time_to_live=3600)

    def on_run(session: str, *values: Any) -> Iterator[list[Any]]:
        yield from region_run.run(process, judge, session, *values)

    inputs = [source, where, *edges, drawing, model, *asked]
    ended = running.wire(
        page, running.Buttons(go, halt, status), on_run, inputs, [status, changed, result], region_run.validator, KEY
    )
    for trigger in (*ended, format.change):
        trigger(_on_pack, [changed, format], archive, **_QUIET)
    page.load(on_load, None, [nobody, box, model], **_QUIET)
    model.change(on_model, [model, asked[0]], asked[:3], **_QUIET)


def _create_source(
    finished: gr.State, after_grid: list[Callable[..., Any]]
) -> tuple[gr.State, list[gr.Number], gr.Radio, gr.State]:
    """Which picture, and where: `(source, four edges, where, drawing)`."""
    source, drawing = gr.State(None, time_to_live=3600), gr.State(None, time_to_live=3600)
    choice = gr.Dropdown([], label="Picture of the grid", info="those of the last run", elem_id="region-picture")
    upload = gr.UploadButton("Or upload an X-ray", type="filepath", elem_id="region-upload")
    gr.Markdown("Uploads: PNG, JPEG or DICOM, grey. They stay on this machine and are dropped after a day.",
                elem_classes="quiet")  # fmt: skip
    where = gr.Radio([BOX, DRAWING], value=BOX, label="The region is", elem_id="region-where")
    with gr.Row(elem_classes="fields edges") as numbers:
        edges = [
            gr.Number(value, label=f"{name}, %", elem_id=f"region-{name.lower()}", min_width=80)
            for name, value in zip(("Left", "Top", "Right", "Bottom"), FIRST_BOX, strict=True)
        ]
    preview = gr.HTML(f"<p class='caption'>{NO_PICTURE}</p>", elem_id="region-preview", padding=False)
    editor = gr.ImageEditor(
        label="Paint where it is to change",
        type="numpy",
        format="png",
        sources=[],
        transforms=[],
        layers=False,
        buttons=[],
        brush=gr.Brush(default_size=40, colors=["rgb(255, 191, 0)"], color_mode="fixed"),
        canvas_size=(CANVAS_PX, CANVAS_PX),
        visible=False,
        elem_id="region-editor",
    )
    pictured = [source, where, *edges]
    upload.upload(_on_upload, upload, [source, choice], **_QUIET)
    choice.input(of_grid, [finished, choice], source, **_QUIET)
    for change in (source.change, where.change, *(edge.change for edge in edges)):
        change(_on_shown, pictured, preview, trigger_mode="always_last", **_QUIET)
    for change in (source.change, where.change):
        change(_on_canvas, [source, where], [editor, drawing, numbers, preview], **_QUIET)
    editor.input(drawn, editor, drawing, trigger_mode="always_last", **_QUIET)  # `change` is silent while one paints
    for trigger in after_grid:
        trigger(offer, finished, choice, **_QUIET)
    return source, edges, where, drawing


def _create_question() -> tuple[gr.Dropdown, list[gr.blocks.Block], gr.Button, gr.Button]:
    """What to make there: `(model, [label, guidance, steps, seed], go, halt)`."""
    model = gr.Dropdown([], label="Model", elem_id="region-model")
    label = gr.Dropdown([], label="What the region is to show", info="the healthy label asks for no disease",
                        elem_id="region-label")  # fmt: skip
    with gr.Row(elem_classes="fields"):
        guidance = gr.Textbox("", label="Guidance", info="empty = default", elem_id="region-guidance", min_width=120)
        steps = gr.Textbox("", label="Steps", info="empty = default", elem_id="region-steps", min_width=120)
        seed = gr.Textbox("0", label="Seed", info="another: another try", elem_id="region-seed", min_width=120)
    with gr.Row():
        go = gr.Button("Change the region", variant="primary", elem_id="region-go", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="region-stop", min_width=120)
    return model, [label, guidance, steps, seed], go, halt


def _on_upload(path: str | None) -> tuple[Any, Any]:
    if path is None:
        return gr.skip(), gr.skip()
    try:
        return read_upload(Path(path)), None
    except MedgenError as error:
        raise widgets.toast(error) from error


def _on_shown(request: gr.Request, source: Source | None, where: str, *edges: float | None) -> str:
    return shown(lane.session(request, f"{KEY}-source"), source, where, *edges)


def _on_canvas(source: Source | None, where: str) -> list[Any]:
    """`[editor, drawing, numbers, preview]`: the one of the two ways to say where that was chosen."""
    by_hand = where == DRAWING and source is not None
    picture = canvas(source) if by_hand and source is not None else None
    return [
        gr.update(value=picture, visible=by_hand),
        None,
        gr.update(visible=where == BOX),
        gr.update(visible=not by_hand),
    ]


def _on_pack(request: gr.Request, changed: Any, format: str) -> Any:
    return region_run.pack(lane.session(request, KEY), changed, format)
