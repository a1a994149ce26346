"""The form of the Generate tab: its fields, and which of them a chosen model shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demos import widgets
from demos.form import ANY_LABEL, IMAGES, MAX_FRAMES, MAX_IMAGES, WALK


@dataclass(frozen=True)
class Controls:
    """The components that the tab listens to.

    Args:
        modality: which cards are offered.
        models: which are chosen; also the first of `fields`.
        fields: one component a field of `form.Form`, in its order.
        go: starts a run.
        halt: stops it.
    """

    modality: gr.Dropdown
    models: gr.CheckboxGroup
    fields: list[gr.blocks.Block]
    go: gr.Button
    halt: gr.Button


def labels_of(models: list[str]) -> list[str]:
    """`ANY_LABEL`, then the labels that any of these models knows."""
    found = widgets.known_cards()
    labels = (label for name in models if name in found for label in found[name].labels)
    return [ANY_LABEL, *dict.fromkeys(labels)]


def on_load() -> tuple[Any, Any]:
    """Choices of the page: `(modality, models)`."""
    modalities = sorted({card.modality for card in widgets.known_cards().values()})
    if not modalities:
        gr.Warning("There is no model yet: train one or put its folder into checkpoints/, then reload.", duration=9)
        return gr.update(choices=[]), gr.update(choices=[])
    modality = "CR" if "CR" in modalities else modalities[0]
    return gr.update(choices=modalities, value=modality), on_modality(modality)


def on_modality(modality: str) -> Any:
    """The models of this modality, the first three chosen."""
    found = widgets.known_cards(modality)
    return gr.update(choices=widgets.model_choices(found), value=list(found)[:3])


def on_models(models: list[str], label: str | None) -> list[Any]:
    """Shows the controls that a chosen model has: `[mode, label, steps, guidance]`."""
    found = widgets.known_cards()
    chosen = [found[name] for name in models if name in found]

    def defaults(control: str) -> Any:
        have = [card for card in chosen if control in card.controls]
        words = ", ".join(f"{card.title} {getattr(card, control)}" for card in have)
        return gr.update(visible=bool(have), info=f"Empty = default: {words}")

    walkers = any("towards" in card.controls for card in chosen)
    labels = labels_of([card.name for card in chosen if "label" in card.controls])
    return [
        gr.update(interactive=walkers),
        gr.update(choices=labels, value=label if label in labels else ANY_LABEL, visible=len(labels) > 1),
        defaults("steps"),
        defaults("guidance"),
    ]


def about(models: list[str]) -> str:
    """What a reader must know of the chosen models, as Markdown."""
    found = widgets.known_cards()
    return "\n\n---\n\n".join(widgets.about(found[n]) for n in models if n in found) or "No model is chosen."


def on_mode(mode: str) -> list[Any]:
    """Shows the fields of a walk or of images: `[count, towards, frames, denoising, real]`."""
    walk = mode == WALK
    return [gr.update(visible=show) for show in (not walk, walk, walk, not walk, not walk)]


def create(page: gr.Blocks) -> Controls:
    """Creates the form and wires its fields to each other."""
    with gr.Row():
        modality = widgets.modality_picker()
        models = widgets.model_picker()
    with gr.Row():
        mode = gr.Radio([IMAGES, WALK], value=IMAGES, label="Make", min_width=270)
        seeds = gr.Textbox("0", label="Seed", info="First seed, or a list: 3, 1, 4", elem_id="seed", min_width=150)
        count = gr.Number(4, label="Images", info=f"a model, up to {MAX_IMAGES}", precision=0, min_width=130)
        towards = gr.Textbox("1", label="Towards seed", info="where the walk ends", visible=False, min_width=130)
        frames = gr.Number(12, label="Frames", info=f"2 to {MAX_FRAMES}", precision=0, visible=False, min_width=130)
        label = gr.Dropdown([ANY_LABEL], value=ANY_LABEL, label="Label", visible=False, min_width=160)
        # text, not numbers: gradio turns an empty number field into 0
        steps = gr.Textbox("", label="Steps", visible=False, elem_id="steps", min_width=160)
        guidance = gr.Textbox("", label="Guidance", visible=False, min_width=160)
    with gr.Row():
        denoising = gr.Checkbox(True, label="Show denoising", min_width=180)
        real = gr.Checkbox(True, label="Real images beside", min_width=180)
        go = gr.Button("Generate", variant="primary", elem_id="generate", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=120)
    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    modality.input(on_modality, modality, models, **quiet)
    models.change(on_models, [models, label], [mode, label, steps, guidance], **quiet)
    mode.change(on_mode, mode, [count, towards, frames, denoising, real], **quiet)
    page.load(on_load, None, [modality, models], **quiet)
    fields = [models, mode, seeds, count, towards, frames, label, steps, guidance, denoising, real]
    return Controls(modality, models, fields, go, halt)
