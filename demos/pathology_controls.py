"""The form of the pathology tab as components: which of them the chosen models show."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demos import widgets
from demos.controls import chosen_at_first, with_default
from demos.labels import RARE, RARE_MARK, label_choices
from demos.pathology_form import ANY, EACH, FIELDS, MAX_PER_CELL, MAX_ROWS, MODALITY, TOGETHER, offered
from medgen.conditions import CHOICES

CHANGED = ("labels", "combine", "severity", "guidance", "steps", "age", "sex", "view")
"""The fields that a choice of models changes."""
UNMEASURED = "effect not measured"
"""No classifier here can tell age, sex or view, so nobody has looked at whether these controls act rightly."""
NONE_YET = "There is no chest X-ray model that takes a label: put its folder into checkpoints/, then reload."


def on_load() -> Any:
    """The models of the page, a few that may be compared chosen."""
    found = offered(widgets.known_cards(MODALITY))
    if not found:
        gr.Warning(NONE_YET, duration=9)
    return gr.update(choices=widgets.model_choices(found), value=chosen_at_first(found))


def on_choice(models: list[str], labels: list[str]) -> list[Any]:
    """Updates of the fields of `CHANGED`: shown are those that a chosen model takes."""
    found = offered(widgets.known_cards(MODALITY))
    chosen = [found[name] for name in models if name in found]
    choices = label_choices(chosen)
    known = [word for _, word in choices]
    kept = [word for word in labels if word in known] or known[:3]
    several = any("conditions" in card.net and len(card.labels) > 1 for card in chosen)

    def taken(control: str) -> bool:
        return any(control in card.controls for card in chosen)

    # the value only where it must change: a label ticked meanwhile would be undone by the answer
    return [
        gr.update(choices=choices, value=kept) if chosen and kept != labels else gr.update(choices=choices or labels),
        # hidden, it must not go on asking for all labels in one picture
        gr.update(visible=False, value=EACH) if chosen and not several else gr.update(visible=several),
        gr.update(visible=taken("severity")),
        with_default(chosen, "guidance"),
        with_default(chosen, "steps"),
        *(gr.update(visible=taken(name)) for name in ("age", "sex", "view")),
    ]


def create(page: gr.Blocks) -> tuple[list[gr.blocks.Block], gr.Button, gr.Button]:
    """Creates the form and wires its fields to each other.

    Returns:
        One component a field of `PathologyForm`, in its order; Generate; Stop.
    """
    models = gr.CheckboxGroup([], label="Models: the columns, all on the same seeds", elem_id="pathology-models")
    labels = gr.CheckboxGroup(
        [], label=f"Labels: the rows, up to {MAX_ROWS}", elem_id="pathology-labels",
        info=f"with the real train images and patients behind each, of the chosen model that has seen most; "
        f"{RARE_MARK}: fewer than {RARE} patients",
    )  # fmt: skip
    with gr.Row(elem_classes="fields"):
        combine = gr.Radio([EACH, TOGETHER], value=EACH, label="Several labels", min_width=300)
        seed = gr.Textbox("0", label="Seed", info="the same in every cell", elem_id="pathology-seed", min_width=140)
        count = gr.Number(1, label="Pictures a cell", info=f"up to {MAX_PER_CELL}", precision=0, min_width=140)
        severity = gr.Slider(0.0, 1.0, 1.0, step=0.05, label="Severity", info="0 healthy, 1 the label",
                             visible=False, buttons=[], elem_id="pathology-severity", min_width=220)  # fmt: skip
    with gr.Row(elem_classes="fields"):
        # text, not numbers: gradio turns an empty number field into 0
        guidance = gr.Textbox("", label="Guidance", info="empty = default", visible=False, min_width=140,
                              elem_id="pathology-guidance")  # fmt: skip
        steps = gr.Textbox("", label="Steps", info="empty = default", visible=False, min_width=140,
                           elem_id="pathology-steps")  # fmt: skip
        age = gr.Textbox("", label="Age in years", info=f"empty = not said; {UNMEASURED}", visible=False, min_width=140)
        sex, view = (
            gr.Dropdown([ANY, *CHOICES[name]], value=ANY, label=name.title(), visible=False, min_width=140,
                        info=f"any = not said; {UNMEASURED}")
            for name in ("sex", "view")
        )  # fmt: skip
    with gr.Row():
        go = gr.Button("Generate", variant="primary", elem_id="pathology-go", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="pathology-stop", min_width=120)
    fields = [models, labels, combine, seed, count, severity, guidance, steps, age, sex, view]
    by_name = dict(zip(FIELDS, fields, strict=True))
    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    models.change(on_choice, [models, labels], [by_name[name] for name in CHANGED], **quiet)
    page.load(on_load, None, models, **quiet)
    return fields, go, halt
