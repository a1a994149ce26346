"""One model on the Board tab: limits, licence, bias, training data, memorisation, and where its numbers come from."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from demos import tables
from eval import model_page
from medgen.registry import checkpoints_dir

NONE = "Choose a model."
CAPTIONS = {
    "Training": "How it was trained, as the training script wrote it.",
    "Training data": "What it has learned from.",
    "Whom it learned from": (
        "Images and patients of the train split with each finding. A finding of few patients is not offered."
    ),
    "Shortcuts": (
        "Area under the ROC curve of an independent classifier that sees the whole picture, and of one that sees its "
        "border."
    ),
    "Usefulness by group": "Gaps between groups of real test patients, of classifiers trained with the model's images.",
    "Memorisation": "How many generated images lie nearer to a training image than 5 % of held-out real ones do.",
    "Provenance": "The files behind every number of this model.",
}


def files_of(name: str | None) -> dict[str, Any]:
    """Card, reports and measured controls of one model as they stand on the disk."""
    if name is None or Path(name).name != name or not (checkpoints_dir() / name).is_dir():
        return {}
    found: dict[str, Any] = {}
    for path in model_page.files(name):
        try:
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found[path.name] = f"cannot be read: {error}"
    return found


def draw(name: str | None) -> str:
    """The page as HTML."""
    found = None if not name else model_page.page(name)
    if found is None:
        return NONE
    if found.card is None:
        head = f"<h2>{escape(str(name))}</h2><p class='caption warning'>{escape(found.problem)}</p>"
    else:
        card = found.card
        said = {"Limits": card.limits, "Licence": card.licence, "Bias": " ".join(found.bias)}
        words = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in said.items())
        head = f"<h2>{escape(card.title)} <small>{escape(card.name)}</small></h2><dl class='facts'>{words}</dl>"
    if found.alarm:
        head += f"<p class='caption{' warning' * found.alarmed}' role='note'>{escape(found.alarm)}</p>"
    shown = {part: tables.in_words(table, CAPTIONS[part]) for part, table in found.sections.items()}
    return head + "".join(f"<h3>{escape(part)}</h3>{html}" for part, html in shown.items() if html)


def create(model: gr.Dropdown, opened: Any) -> None:
    """Puts the section where it is called.

    Args:
        model: the choice of a model, which the section of pictures fills.
        opened: event that draws it.
    """
    model.render()
    shown = gr.HTML(elem_id="model-page", padding=False)
    with gr.Accordion("Card and reports as they stand on the disk", open=False) as raw:
        details = gr.JSON(label="Files")
    for trigger in (opened, model.input):
        trigger(draw, model, shown, show_progress="hidden", api_visibility="private")
    raw.expand(files_of, model, details, show_progress="hidden", api_visibility="private")
    # a file of another model under the heading of this one would be a lie
    model.input(dict, None, details, show_progress="hidden", api_visibility="private")
