"""The form of the Generate tab: its fields, and which of them a chosen model shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demos import widgets
from demos.form import ANY_LABEL, IMAGES, MAX_FRAMES, MAX_IMAGES, WALK, asked_quantity
from medgen import ModelCard
from medgen.data import available

SEED_HINT, WALK_HINT = "or a list: 3, 1, 4", "where it starts"
CHOSEN_AT_FIRST = 3
"""With real images that makes four columns, which a laptop shows side by side."""


@dataclass(frozen=True)
class Controls:
    """The components that the tab listens to.

    Args:
        modality: which cards are offered.
        models: which are chosen; also the first of `fields`.
        mode: images or a walk; also one of `fields`.
        fields: one component a field of `form.Form`, in its order.
        go: starts a run.
        halt: stops it.
    """

    modality: gr.Dropdown
    models: gr.CheckboxGroup
    mode: gr.Radio
    fields: list[gr.blocks.Block]
    go: gr.Button
    halt: gr.Button


def labels_of(models: list[str]) -> list[str]:
    """`ANY_LABEL`, then the labels that any of these models knows."""
    found = widgets.known_cards()
    labels = (label for name in models if name in found for label in found[name].labels)
    return [ANY_LABEL, *dict.fromkeys(labels)]


def offered(modality: str | None = None) -> dict[str, ModelCard]:
    """The cards that this tab has columns for: those that need no picture to begin with."""
    known = widgets.known_cards(modality).items()
    return {name: card for name, card in known if not card.translates and len(card.shape) == 3}


def on_load() -> tuple[Any, Any]:
    """Choices of the page: `(modality, models)`."""
    modalities = sorted({card.modality for card in offered().values()})
    if not modalities:
        gr.Warning("There is no model yet: train one or put its folder into checkpoints/, then reload.", duration=9)
        return gr.update(choices=[]), gr.update(choices=[])
    modality = "CR" if "CR" in modalities else modalities[0]
    choices = widgets.modality_choices(modalities)
    return gr.update(choices=choices, value=modality, visible=len(modalities) > 1), on_modality(modality)


def chosen_at_first(found: dict[str, ModelCard]) -> list[str]:
    """A few models that may be compared: of one data set and one size, and of as many families as there are.

    A model that was made of another one, as a student of its teacher, comes after the others of its turn.

    Of several such groups the largest, of equally large ones the first; where no two are alike, of all.
    """
    groups: dict[Any, list[str]] = {}
    for name, card in found.items():
        groups.setdefault(((card.data or "").split("+")[0], card.shape), []).append(name)
    group = max(groups.values(), key=len, default=[])
    group = group if len(group) > 1 else list(found)
    turns = {
        name: [found[other].family for other in group[:i]].count(found[name].family) for i, name in enumerate(group)
    }
    made_of = {name: (found[name].trained.get("started_from") or {}).get("name") for name in group}
    students = {name for name in group if made_of[name] in group and made_of[name] != name}
    few = sorted(group, key=lambda name: (turns[name], name in students))[:CHOSEN_AT_FIRST]
    return [name for name in group if name in few]


def on_modality(modality: str) -> Any:
    """The models of this modality, a few that may be compared chosen."""
    found = offered(modality)
    return gr.update(choices=widgets.model_choices(found), value=chosen_at_first(found))


def on_choice(models: list[str], mode: str, label: str | None, quantity: float | None = None) -> list[Any]:
    """Shows the fields that the chosen models and the mode have.

    Returns:
        Updates of `[mode, seeds, count, towards, frames, label, steps, guidance, denoising, real, quantity,
        any_quantity]`.
    """
    found = widgets.known_cards()
    chosen = [found[name] for name in models if name in found]

    def takers(control: str) -> list[ModelCard]:
        return [card for card in chosen if control in card.controls]

    if chosen and not takers("towards"):
        mode = IMAGES
    walk = mode == WALK
    labels = labels_of([card.name for card in takers("label")])
    data = any(card.data is not None and available(card.data) for card in chosen)
    return [
        gr.update(value=mode, interactive=bool(takers("towards"))),
        gr.update(info=WALK_HINT if walk else SEED_HINT),
        gr.update(visible=not walk),
        gr.update(visible=walk),
        gr.update(visible=walk),
        gr.update(choices=labels, value=label if label in labels else ANY_LABEL, visible=len(labels) > 1),
        with_default(chosen, "steps"),
        with_default(chosen, "guidance"),
        gr.update(visible=not walk and bool(takers("steps"))),
        gr.update(visible=not walk and data),
        *number(chosen, quantity),
    ]


def number(chosen: list[ModelCard], value: float | None) -> tuple[Any, Any]:
    """The slider of the number that these models may be asked for, and its box, as the first card describes it."""
    about = asked_quantity(chosen)
    if not about:
        return gr.update(visible=False), gr.update(visible=False)
    low, high, step = (about[key] for key in ("low", "high", "step"))
    inside = value is not None and low <= value <= high
    start = value if inside else min(max(0.0, low), high)
    title = f"{about['name'].capitalize()}, {about['unit']}"
    slider = gr.update(visible=True, minimum=low, maximum=high, step=step, value=start, label=title)
    return slider, gr.update(visible=True, label=f"Any {about['name']}")


def with_default(chosen: list[ModelCard], control: str) -> Any:
    """A field that may be empty: shown where a model takes it, with the default that "empty" stands for in it."""
    defaults = [getattr(card, control) for card in chosen if control in card.controls]
    words = dict.fromkeys(f"{value:g}" for value in defaults if value is not None)
    return gr.update(visible=bool(defaults), placeholder=" or ".join(words))


def about(models: list[str]) -> str:
    """What a reader must know of the chosen models, as Markdown."""
    found = widgets.known_cards()
    return "\n\n---\n\n".join(widgets.about(found[n]) for n in models if n in found) or "No model is chosen."


def create(page: gr.Blocks) -> Controls:
    """Creates the form and wires its fields to each other."""
    with gr.Row():
        modality = gr.Dropdown([], label="Modality", visible=False, min_width=160, scale=1)
        models = gr.CheckboxGroup([], label="Models, all on the same seeds", elem_id="models", scale=5)
    with gr.Row(elem_classes="fields"):
        mode = gr.Radio([IMAGES, WALK], value=IMAGES, label="Make", min_width=300)
        seeds = gr.Textbox("0", label="Seed", info=SEED_HINT, elem_id="seed", min_width=140)
        count = gr.Number(4, label="Images", info=f"of each, up to {MAX_IMAGES}", precision=0, min_width=140)
        towards = gr.Textbox("1", label="Towards seed", info="where it ends", visible=False, min_width=140)
        frames = gr.Number(24, label="Frames", info=f"2 to {MAX_FRAMES}", precision=0, visible=False, min_width=140)
        label = gr.Dropdown(
            [ANY_LABEL], value=ANY_LABEL, label="Label", info="what to show", visible=False, min_width=160
        )
        # text, not numbers: gradio turns an empty number field into 0
        steps = gr.Textbox("", label="Steps", info="empty = default", visible=False, elem_id="steps", min_width=140)
        guidance = gr.Textbox("", label="Guidance", info="empty = default", visible=False, min_width=140)
        quantity = gr.Slider(0, 1, 0, label="Quantity", visible=False, elem_id="quantity", min_width=260)
        any_quantity = gr.Checkbox(False, label="Any", visible=False, elem_id="any-quantity", min_width=160)
    with gr.Row():
        denoising = gr.Checkbox(True, label="Show denoising", min_width=160)
        real = gr.Checkbox(True, label="Real images beside", min_width=160)
        go = gr.Button("Generate", variant="primary", elem_id="generate", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop", min_width=120)
    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    modality.input(on_modality, modality, models, **quiet)
    shown = [mode, seeds, count, towards, frames, label, steps, guidance, denoising, real, quantity, any_quantity]
    gr.on([models.change, mode.input], on_choice, [models, mode, label, quantity], shown, **quiet)
    page.load(on_load, None, [modality, models], **quiet)
    fields = [models, *shown]
    return Controls(modality, models, mode, fields, go, halt)
