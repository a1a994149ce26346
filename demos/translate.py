"""The Translate tab: a slice of a head in another contrast by several models, held against the truth, and whole heads.

python -m demos.translate
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from demos import (
    lane,
    runner,
    running,
    scratch,
    translate_controls,
    translate_files,
    translate_run,
    translate_volume,
    widgets,
)
from demos.runner import Process
from demos.translate_controls import QUIET
from demos.translate_form import validator
from demos.translate_run import Translated
from demos.translate_view import NOTHING, RESULT, VIEWS, View, html, pair
from demos.translate_volume import Made

TITLE = "Translate"
IDLE = "Choose a head and a slice, then press Translate the slice."
WHOLE_IDLE = "Choose a model, then press Translate the head: it takes one run of the model for every few slices."
KEY, WHOLE_KEY, VIEW_KEY = "translate", "translate-whole", "translate-view"


def offer(done: Translated | None, chosen: str | None) -> Any:
    """The models of a run to choose from for the slider."""
    cards = [answer.card for answer in done.answers] if done is not None else []
    choices = widgets.model_choices({card.name: card for card in cards})
    names = [name for _, name in choices]
    return gr.update(choices=choices, value=chosen if chosen in names else next(iter(names), None))


def files(made: Made | None) -> list[Any]:
    """The downloads of a whole head: `[said, NIfTI, manifest, DICOM]`."""
    if made is None:
        return ["", *[gr.update(value=None, interactive=False)] * 2, gr.update(value=None, visible=False)]
    single = [gr.update(value=str(path), interactive=True) for path in (made.nifti, made.manifest)]
    dicom = gr.update(value=None if made.dicom is None else str(made.dicom), visible=made.dicom is not None)
    return [f"<p class='caption'>{escape(made.said)}</p>", *single, dicom]


def create(page: gr.Blocks, process: Process = runner.portions) -> None:
    """Puts the tab into `page`; `process` runs its tasks."""
    form = translate_controls.create(page)
    status = running.status_line(IDLE, "translate-status")
    done = gr.State(None, time_to_live=3600)

    def on_translate(session: str, *values: Any) -> Iterator[list[Any]]:
        yield from translate_run.run(process, session, *values)

    buttons = running.Buttons(form.go, form.halt, status)
    ended = running.wire(page, buttons, on_translate, form.fields, [status, done], validator, KEY)
    _create_view(done, form.windows)
    archive = gr.DownloadButton("Download ZIP", interactive=False, elem_id="translate-zip", min_width=180)
    for trigger in ended:
        trigger(_on_pack, done, archive, **QUIET)
    with gr.Accordion("A whole head, slice by slice", open=False, elem_id="translate-whole-box"):
        _create_whole(page, form, process)


def _create_view(done: gr.State, windows: list[gr.Radio]) -> None:
    """What is shown of a run, which follows every choice."""
    with gr.Row():
        kind = gr.Radio(VIEWS, value=RESULT, label="Show", elem_id="translate-view", min_width=300)
        for window in windows:
            window.render()
    shown = gr.HTML(NOTHING, elem_id="translate-result", padding=False)
    with gr.Accordion("Before and after", open=True, elem_id="translate-slider-box"):
        model = gr.Radio([], label="Source at the left, result of this model at the right", elem_id="translate-after")
        slider = gr.ImageSlider(
            type="pil", format="png", image_mode="L", interactive=False, show_label=False, buttons=["fullscreen"],
            max_height=560, elem_id="translate-slider",
        )  # fmt: skip
    # at once: alone, the slider would be asked for a model that the new choices no longer have
    done.change(_on_done, [done, model, *windows], [model, slider], **QUIET)
    for change in (done.change, kind.change, *(window.change for window in windows)):
        change(_on_view, [done, kind, *windows], shown, trigger_mode="always_last", **QUIET)
    for change in (model.input, *(window.change for window in windows)):
        change(_on_pair, [done, model, *windows], slider, trigger_mode="always_last", **QUIET)


def _create_whole(page: gr.Blocks, form: translate_controls.Controls, process: Process) -> None:
    """The run over all slices, and its files."""
    with gr.Row(elem_classes="downloads"):
        form.whole.render()
        go = gr.Button("Translate the head", variant="primary", elem_id="translate-whole-go", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="translate-whole-stop", min_width=120)
    status = running.status_line(WHOLE_IDLE, "translate-whole-status")
    said = gr.HTML(elem_id="translate-whole-said", padding=False)
    with gr.Row(elem_classes="downloads"):
        nifti = gr.DownloadButton("Download NIfTI", interactive=False, elem_id="translate-nifti", min_width=180)
        manifest = gr.DownloadButton("Download manifest", interactive=False, elem_id="translate-json", min_width=180)
        dicom = gr.DownloadButton("Download DICOM series", visible=False, elem_id="translate-dicom", min_width=180)
    made = gr.State(None, time_to_live=3600)

    def on_whole(session: str, *values: Any) -> Iterator[list[Any]]:
        yield from translate_volume.run(process, session, *values)

    buttons = running.Buttons(go, halt, status)
    inputs = [form.whole, *form.fields]
    ended = running.wire(page, buttons, on_whole, inputs, [status, made], translate_volume.validator, WHOLE_KEY)
    for trigger in ended:
        trigger(files, made, [said, nifti, manifest, dicom], **QUIET)


def _on_view(request: gr.Request, done: Translated | None, kind: str, ct: str, mr: str) -> str:
    return html(done, View(kind, ct, mr), scratch.SHOWN.lasting(lane.session(request, VIEW_KEY)))


def _on_done(done: Translated | None, model: str | None, ct: str, mr: str) -> list[Any]:
    choices = offer(done, model)
    return [choices, _on_pair(done, choices["value"], ct, mr)]


def _on_pair(done: Translated | None, model: str | None, ct: str, mr: str) -> Any:
    return pair(done, model, View(RESULT, ct, mr))


def _on_pack(request: gr.Request, done: Translated | None) -> Any:
    return translate_files.pack(lane.session(request, KEY), done)


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
