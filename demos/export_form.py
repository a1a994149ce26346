"""What the form of the export page means: its fields checked, and turned into tasks that share no seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from demos.form import is_seed, sampled, sampling_problems, whole
from demos.runner import Task, batches
from medgen import MedgenError, ModelCard, Request
from medgen.generator import MAX_SEED

MAX_PICTURES = 1000


@dataclass(frozen=True)
class ExportForm:
    """The fields of the export form, in the order of its components.

    Args:
        model: name of a card.
        labels: the classes.
        count: pictures a class.
        seed: of the first picture; every picture of the set has a seed of its own.
        guidance, steps: numbers as text; "" = the model's default.
        format: "png" or "dcm".
        scores: write what the classifier says of each picture into labels.csv.
    """

    model: str | None
    labels: list[str]
    count: float | None
    seed: str
    guidance: str
    steps: str
    format: str
    scores: bool


FIELDS = tuple(f.name for f in fields(ExportForm))


def problems(form: ExportForm) -> dict[str, str]:
    """Field name -> what is wrong with it and what to do; empty when the form can be run."""
    found = {}
    if not form.model:
        found["model"] = "Choose a model."
    if not form.labels:
        found["labels"] = "Choose at least one label."
    most = MAX_PICTURES // max(len(form.labels), 1)
    if not whole(form.count, 1, most):
        found["count"] = f"Give a whole number from 1 to {most}: at most {MAX_PICTURES:,} pictures in all."
    if not is_seed(form.seed) or int(form.seed) > MAX_SEED - MAX_PICTURES:
        found["seed"] = "Give one whole number, such as 0."
    return found | sampling_problems(form.steps, form.guidance, [form.model] if form.model else [])


def validator(*values: Any) -> list[dict[str, Any]]:
    """One `gr.validate` a field, as gradio wants them: bad fields turn red."""
    found = problems(ExportForm(*values))
    return [gr.validate(name not in found, found.get(name, "")) for name in FIELDS]


def tasks(form: ExportForm, cards: dict[str, ModelCard]) -> list[Task]:
    """The calls of `sample()`: the labels take turns, so that a set that is stopped is nearly balanced.

    Label k has the seeds after those of label k - 1: no two pictures of the set share one.

    Raises:
        MedgenError: the model is gone or cannot answer.
    """
    card = cards.get(form.model or "")
    if card is None:
        raise MedgenError(f"The model {form.model} is no longer there: reload the page and choose again.")
    count, first = int(form.count or 1), int(form.seed)
    turns = []
    for k, label in enumerate(form.labels):
        request = Request(seeds=tuple(range(first + k * count, first + (k + 1) * count)), label=label)
        request = sampled(request, card, form.steps, form.guidance)
        request.checked(card)
        turns.append(batches(card, request))
    return [one for turn in zip(*turns, strict=True) for one in turn]
