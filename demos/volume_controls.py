"""The form of the Volume tab as components, and which of its fields the chosen models show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demos import volume_files, widgets
from demos.controls import with_default
from demos.volume_form import (
    FIELDS,
    MAX_COUNT,
    MAX_FRAMES,
    VOLUMES_MODE,
    WALK,
    VolumeForm,
    asked_quantity,
    group,
    groups,
    offered,
)
from medgen import MedgenError

NONE_YET = "There is no model of volumes in checkpoints/ yet; files can be opened below all the same."
SEED_HINT, WALK_HINT = "the same for every model", "where it starts"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Controls:
    """The components that the tab listens to.

    Args:
        data: which models are offered.
        fields: one a field of `VolumeForm`, in its order.
        go: starts a run.
        halt: stops it.
        box: what is hidden where there is no model.
    """

    data: gr.Radio
    fields: list[gr.blocks.Block]
    go: gr.Button
    halt: gr.Button
    box: gr.Column


def on_load() -> list[Any]:
    """What the models here can do: `[why not, form, data, models]`."""
    found = groups(widgets.known_cards())
    data = found[0][1] if found else None
    return [
        gr.update(value="" if found else f"<p class='caption'>{NONE_YET}</p>", visible=not found),
        gr.update(visible=bool(found)),
        gr.update(choices=found, value=data, visible=len(found) > 1),
        on_data(data),
    ]


def on_data(data: str | None) -> Any:
    """The models of one data set, all of them chosen: they may be compared."""
    found = offered(widgets.known_cards(), data) if data is not None else {}
    return gr.update(choices=widgets.model_choices(found), value=list(found))


def on_choice(models: list[str], mode: str) -> list[Any]:
    """Shows the fields that the chosen models and the mode have.

    Returns:
        Updates of `[mode, seed, count, towards, frames, quantity, steps, guidance, previews]`.
    """
    found = widgets.known_cards()
    chosen = [found[name] for name in models if name in found]
    walks = any("towards" in card.controls for card in chosen)
    mode = VOLUMES_MODE if chosen and not walks else mode
    walk = mode == WALK
    about = asked_quantity(chosen)
    span = f"{about['low']:g} to {about['high']:g} {about['unit']}, empty = any" if about else ""
    name = str(about.get("name", "")).capitalize() or "Quantity"
    return [
        gr.update(value=mode, interactive=walks or not chosen),
        gr.update(info=WALK_HINT if walk else SEED_HINT),
        gr.update(visible=not walk),
        gr.update(visible=walk),
        gr.update(visible=walk),
        gr.update(visible=bool(about), label=name, info=span),
        with_default(chosen, "steps"),
        with_default(chosen, "guidance"),
        gr.update(visible=not walk and any("steps" in card.controls for card in chosen)),
    ]


def on_manifest(path: str | None) -> list[Any]:
    """The form from an uploaded manifest or ZIP: `[expected, data, *fields]`.

    Raises:
        gr.Error: it is none of this tab, or its models are not here.
    """
    if path is None:
        return [gr.skip()] * (2 + len(FIELDS))
    cards = widgets.known_cards()
    try:
        manifests, form = volume_files.read(path, cards)
    except MedgenError as error:
        raise widgets.toast(error) from error
    data = group(cards[form.models[0]])
    choices = widgets.model_choices(offered(cards, data))
    return [manifests, data, gr.update(choices=choices, value=form.models), *_values(form)[1:]]


def _values(form: VolumeForm) -> list[Any]:
    return [getattr(form, name) for name in FIELDS]


def about(models: list[str]) -> str:
    """What a reader must know of the chosen models, as Markdown."""
    found = widgets.known_cards()
    return "\n\n---\n\n".join(widgets.about(found[n]) for n in models if n in found) or "No model is chosen."


def create(page: gr.Blocks) -> Controls:
    """Creates the form and wires its fields to each other."""
    nobody = gr.HTML(visible=False, padding=False, elem_id="volume-nobody")
    with gr.Column(visible=False, elem_id="volume-form") as box:
        data = gr.Radio([], label="Volumes like", visible=False, elem_id="volume-data")
        models = gr.CheckboxGroup([], label="Models, all on the same seeds", elem_id="volume-models")
        with gr.Row(elem_classes="fields"):
            mode = gr.Radio(
                [VOLUMES_MODE, WALK], value=VOLUMES_MODE, label="Make", min_width=280, elem_id="volume-mode"
            )
            seed = gr.Textbox("0", label="Seed", info=SEED_HINT, elem_id="volume-seed", min_width=140)
            count = gr.Number(2, label="Volumes", info=f"of each, up to {MAX_COUNT}", precision=0, min_width=140,
                              elem_id="volume-count")  # fmt: skip
            towards = gr.Textbox("1", label="Towards seed", info="where it ends", visible=False, min_width=140,
                                 elem_id="volume-towards")  # fmt: skip
            frames = gr.Number(12, label="Frames", info=f"2 to {MAX_FRAMES}", precision=0, visible=False, min_width=140,
                               elem_id="volume-frames")  # fmt: skip
            # text, not numbers: gradio turns an empty number field into 0
            quantity = gr.Textbox("", label="Quantity", visible=False, min_width=220, elem_id="volume-quantity")
            steps = gr.Textbox("", label="Steps", info="empty = default", visible=False, min_width=140,
                               elem_id="volume-steps")  # fmt: skip
            guidance = gr.Textbox("", label="Guidance", info="empty = default", visible=False, min_width=140,
                                  elem_id="volume-guidance")  # fmt: skip
        with gr.Row():
            previews = gr.Checkbox(True, label="Show denoising", min_width=160, visible=False)
            go = gr.Button("Generate volumes", variant="primary", elem_id="volume-go", min_width=180)
            halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="volume-stop", min_width=120)
    data.input(on_data, data, models, **QUIET)
    shown = [mode, seed, count, towards, frames, quantity, steps, guidance, previews]
    gr.on([models.change, mode.change], on_choice, [models, mode], shown, **QUIET)
    page.load(on_load, None, [nobody, box, data, models], **QUIET)
    fields = [models, mode, seed, count, towards, frames, quantity, steps, guidance, previews]
    return Controls(data, fields, go, halt, box)
