"""The form of the Translate tab as components: what is chosen, uploaded and shown at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demos import lane, slice_examples, widgets
from demos.controls import with_default
from demos.slice_source import MODALITIES, Given
from demos.translate_form import MAX_SAMPLES, directions, draws, offered
from demos.translate_source import (
    NO_SOURCE,
    NO_TRUTH,
    on_example,
    on_plane,
    on_says,
    on_series,
    on_truth,
    on_upload,
    preview,
)
from demos.translate_view import CT_WINDOWS, MR_WINDOWS
from medgen.volume import PLANES

NONE_YET = "There is no translator yet: put the folder of one into checkpoints/, then reload."
KEY = "translate-source"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Controls:
    """The components that the tab listens to.

    Args:
        fields: one a field of `TranslateForm`, in its order.
        windows: of CT, and of MR; not yet rendered.
        go: starts a run.
        halt: stops it.
        whole: the model that translates whole heads; not yet rendered.
    """

    fields: list[gr.blocks.Block]
    windows: list[gr.Radio]
    go: gr.Button
    halt: gr.Button
    whole: gr.Dropdown


def on_load() -> list[Any]:
    """What the models here can do: `[why not, form, direction]`."""
    found = directions(widgets.known_cards())
    return [
        gr.update(value="" if found else f"<p class='caption'>{NONE_YET}</p>", visible=not found),
        gr.update(visible=bool(found)),
        gr.update(choices=found, value=found[0][1] if found else None),
    ]


def on_direction(direction: str | None, source: Given | None, example: str | None) -> list[Any]:
    """What another translation changes.

    Returns:
        Updates of `[models, example, says, steps, samples, truth, truth said, truth upload, CT, MR, whole]`.
    """
    cards = list(offered(widgets.known_cards(), direction).values())
    if not cards or direction is None:
        return [gr.skip()] * 11
    wanted, choices = cards[0].translates, widgets.model_choices({card.name: card for card in cards})
    examples = [(shown, key) for shown, key, _ in slice_examples.offered(direction)]
    kinds = {wanted["modality"], cards[0].modality}
    names = [card.name for card in cards]
    return [
        gr.update(choices=choices, value=names),
        gr.update(choices=examples, value=example if example in [key for _, key in examples] else None),
        gr.update(value=wanted["modality"]) if source is None else gr.skip(),
        with_default(cards, "steps"),
        gr.update(visible=any(draws(card) for card in cards)),
        None,  # the truth of another contrast
        NO_TRUTH,
        gr.update(label=f"Upload the true {wanted['target']}"),
        gr.update(visible="CT" in kinds),
        gr.update(visible="MR" in kinds),
        gr.update(choices=choices, value=names[0]),
    ]


def create(page: gr.Blocks) -> Controls:
    """Creates the form and wires its fields to each other."""
    nobody = gr.HTML(visible=False, padding=False, elem_id="translate-nobody")
    source, truth = gr.State(None, time_to_live=3600), gr.State(None, time_to_live=3600)
    with gr.Column(visible=False, elem_id="translate-form") as box:
        direction = gr.Radio([], label="Translation", elem_id="translate-direction")
        with gr.Row():
            with gr.Column(min_width=300):
                example, upload, says, series, about = _create_source()
                plane = gr.Radio(PLANES, value=PLANES[0], label="Plane", elem_id="translate-plane")
                index = gr.Slider(
                    0, 1, 0, step=1, precision=0, label="Slice", buttons=[], elem_id="translate-slice",
                    info="axial: towards the head; coronal: towards the face; sagittal: to the right",
                )  # fmt: skip
                true, forget, truth_said = _create_truth()
            with gr.Column(min_width=300):
                shown = gr.HTML(NO_SOURCE, elem_id="translate-preview", padding=False)
        models = gr.CheckboxGroup([], label="Models, all on the same slice and seed", elem_id="translate-models")
        # not before there is a head: pressed while one is read, the button would send the slice of the one before
        with gr.Column(visible=False) as ask:
            seed, samples, steps, go, halt = _create_question()
    # rendered by the tab, where the results are
    ct = gr.Radio(list(CT_WINDOWS), value=next(iter(CT_WINDOWS)), label="CT window, HU: width/level",
                  elem_id="translate-ct", render=False)  # fmt: skip
    mr = gr.Radio(list(MR_WINDOWS), value=next(iter(MR_WINDOWS)), label="MR window", elem_id="translate-mr",
                  render=False)  # fmt: skip
    whole = gr.Dropdown([], label="Model", elem_id="translate-whole", min_width=240, render=False)
    kept = [source, about, series, plane, index]
    true_kept = [truth, truth_said]
    page.load(on_load, None, [nobody, box, direction], **QUIET)
    direction.change(
        on_direction,
        [direction, source, example],
        [models, example, says, steps, samples, *true_kept, true, ct, mr, whole],
        **QUIET,
    )
    upload.upload(on_upload, [upload, says], [*kept, example, *true_kept], **QUIET)
    example.input(on_example, [example, direction], [*kept, *true_kept], **QUIET)
    says.input(on_says, [source, says], [*kept, *true_kept], **QUIET)
    series.input(on_series, [source, series], [*kept, *true_kept], **QUIET)
    plane.input(on_plane, [source, plane], index, **QUIET)
    true.upload(on_truth, [true, source, direction], true_kept, **QUIET)
    forget.click(lambda: [None, NO_TRUTH], None, true_kept, **QUIET)
    source.change(lambda given: gr.update(visible=given is not None), source, ask, **QUIET)
    for change in (source.change, direction.change, plane.change, index.change, ct.change, mr.change):
        change(_on_preview, [source, direction, plane, index, ct, mr], shown, trigger_mode="always_last", **QUIET)
    fields: list[gr.blocks.Block] = [source, truth, direction, models, plane, index, seed, samples, steps]
    return Controls(fields, [ct, mr], go, halt, whole)


def _create_source() -> tuple[gr.Dropdown, gr.UploadButton, gr.Radio, gr.Dropdown, gr.HTML]:
    """Which head: `(example, upload, says, series, about)`."""
    example = gr.Dropdown([], label="Example", elem_id="translate-example")
    upload = gr.UploadButton("Or upload a head", type="filepath", elem_id="translate-upload")
    gr.Markdown(
        "DICOM (a file, or a series as a ZIP), NIfTI, PNG or JPEG. Uploads stay on this machine and are dropped after "
        "a day.",
        elem_classes="quiet",
    )
    says = gr.Radio(MODALITIES, value="MR", label="NIfTI and pictures show", info="DICOM says so itself",
                    elem_id="translate-says")  # fmt: skip
    series = gr.Dropdown([], label="Series of the upload", visible=False, elem_id="translate-series")
    return example, upload, says, series, gr.HTML(elem_id="translate-about", padding=False)


def _create_truth() -> tuple[gr.UploadButton, gr.Button, gr.HTML]:
    """What the head really looks like in the other contrast: `(upload, forget, said)`."""
    with gr.Row():
        upload = gr.UploadButton("Upload the truth", type="filepath", elem_id="translate-truth", min_width=200)
        forget = gr.Button("Without a truth", elem_id="translate-forget", min_width=160)
    return upload, forget, gr.HTML(NO_TRUTH, elem_id="translate-truth-said", padding=False)


def _create_question() -> tuple[gr.Textbox, gr.Slider, gr.Textbox, gr.Button, gr.Button]:
    """What to ask the models: `(seed, samples, steps, go, halt)`."""
    with gr.Row(elem_classes="fields"):
        seed = gr.Textbox("0", label="Seed", info="the same for every model", elem_id="translate-seed", min_width=140)
        samples = gr.Slider(
            1, MAX_SAMPLES, 4, step=1, precision=0, label="Samples", buttons=[], min_width=220,
            info="of models that draw them, on the seeds that follow", elem_id="translate-samples",
        )  # fmt: skip
        # text, not a number: gradio turns an empty number field into 0
        steps = gr.Textbox("", label="Steps", info="empty = default", visible=False, min_width=140,
                           elem_id="translate-steps")  # fmt: skip
    with gr.Row():
        go = gr.Button("Translate the slice", variant="primary", elem_id="translate-go", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="translate-stop", min_width=120)
    return seed, samples, steps, go, halt


def _on_preview(
    request: gr.Request, source: Given | None, direction: str | None, plane: str, index: float | None, ct: str, mr: str
) -> str:
    return preview(lane.session(request, KEY), source, direction, plane, index, ct, mr)
