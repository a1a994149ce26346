"""What the form of the Volume tab means: its fields checked, and turned into one call of a model a volume."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import gradio as gr

from demos.form import MAX_MODELS, asked_quantity, is_seed, number, sampled, sampling_problems, takes, whole
from demos.runner import Task
from medgen import MedgenError, ModelCard, Request
from medgen.generator import MAX_SEED
from medgen.volume_sets import VOLUMES

VOLUMES_MODE, WALK = "Volumes", "Latent walk"
MAX_COUNT = 6
MAX_FRAMES = 24
"""Of a film: all frames of two models travel to the page at once."""


@dataclass(frozen=True)
class VolumeForm:
    """The fields of the Volume form, in the order of its components.

    Args:
        models: names of the chosen cards.
        mode: `VOLUMES_MODE` or `WALK`.
        seed: of the first volume, a whole number as text; in a walk the seed it starts from.
        count: volumes a model, on the seeds that follow.
        towards: the seed a walk ends at.
        frames: volumes of a walk, both ends included.
        quantity: a number as text in the unit of `card.quantity`; "" = any.
        steps: a whole number as text; "" = each model's default.
        guidance: a number as text; "" = each model's default.
        previews: show unfinished volumes.
    """

    models: list[str]
    mode: str
    seed: str
    count: float | None
    towards: str
    frames: float | None
    quantity: str
    steps: str
    guidance: str
    previews: bool


FIELDS = tuple(f.name for f in fields(VolumeForm))


def offered(found: dict[str, ModelCard], data: str | None = None) -> dict[str, ModelCard]:
    """The cards that make volumes, those of `data` alone where it is given; models of many steps come last."""
    fitting = {
        name: card
        for name, card in found.items()
        if len(card.shape) == 4 and not card.translates and data in (None, group(card))
    }
    return dict(sorted(fitting.items(), key=lambda item: "steps" in item[1].controls))


def group(card: ModelCard) -> str:
    """What its volumes may be compared with: those of models of the same data; a size where it had none."""
    return card.data or f"{card.modality} {' x '.join(map(str, card.shape[1:]))}"


def groups(found: dict[str, ModelCard]) -> list[tuple[str, str]]:
    """(shown, data) of every data set that a model of volumes learned from, the one with most models first."""
    count: dict[str, int] = {}
    for card in offered(found).values():
        count[group(card)] = count.get(group(card), 0) + 1
    names = sorted(count, key=lambda name: (-count[name], name))
    return [(VOLUMES[name].title if name in VOLUMES else name, name) for name in names]


def problems(form: VolumeForm, found: dict[str, ModelCard]) -> dict[str, str]:
    """Field name -> what is wrong with it and what to do; empty when the form can be run."""
    wrong = {}
    if not 1 <= len(form.models) <= MAX_MODELS:
        wrong["models"] = f"Choose 1 to {MAX_MODELS} models."
    if not is_seed(form.seed) or int(form.seed) > MAX_SEED - MAX_COUNT:
        wrong["seed"] = "Give one whole number, such as 0."
    if form.mode == WALK:
        if not is_seed(form.towards):
            wrong["towards"] = "Give one whole number, such as 7."
        if not whole(form.frames, 2, MAX_FRAMES):
            wrong["frames"] = f"Give a whole number from 2 to {MAX_FRAMES}."
    elif not whole(form.count, 1, MAX_COUNT):
        wrong["count"] = f"Give a whole number from 1 to {MAX_COUNT}."
    if form.quantity.strip() and takes("quantity", form.models):
        about = asked_quantity([found[name] for name in form.models if name in found])
        low, high, unit = about.get("low", 0.0), about.get("high", float("inf")), about.get("unit", "")
        if not (number(form.quantity) and low <= float(form.quantity) <= high):
            wrong["quantity"] = f"Give a number from {low:g} to {high:g} {unit}, or leave it empty."
    return wrong | sampling_problems(form.steps, form.guidance, form.models)


def seeds(form: VolumeForm) -> tuple[int, ...]:
    """The seeds that every model gets."""
    first = int(form.seed)
    return (first,) if form.mode == WALK else tuple(range(first, first + int(form.count or 1)))


def request(form: VolumeForm, card: ModelCard) -> Request:
    """The form's question in the words of `card`: controls that it lacks are left out (`left_out` says which)."""
    asked = Request(seeds=seeds(form))
    if form.quantity.strip() and "quantity" in card.controls:
        asked = replace(asked, quantity=float(form.quantity))
    return sampled(asked, card, form.steps, form.guidance)


def left_out(form: VolumeForm, card: ModelCard) -> str:
    """What of the form this model could not take into account, as a sentence; "" when nothing."""
    ignored = [f"no {name}" for name in ("steps", "guidance", "quantity") if getattr(form, name).strip()
               and name not in card.controls]  # fmt: skip
    return f"This model takes {' and '.join(ignored)}." if ignored else ""


def chosen(form: VolumeForm, cards: dict[str, ModelCard]) -> list[ModelCard]:
    """The cards of the form, in the order of their columns.

    Raises:
        MedgenError: a model is gone, or none of them can do what is asked.
    """
    known = offered(cards)
    if gone := [name for name in form.models if name not in known]:
        raise MedgenError(f"The model {gone[0]} is no longer there: reload the page and choose again.")
    found = [card for name, card in known.items() if name in form.models]
    if form.mode == WALK:
        found = [card for card in found if "towards" in card.controls]
        if not found:
            raise MedgenError("None of the chosen models can walk between two seeds: choose another model.")
    return found


def tasks(form: VolumeForm, columns: list[ModelCard]) -> list[Task]:
    """One call of `sample()` a volume, so that each is shown, and survives a Stop, as soon as it is there.

    Volumes come model by model; a walk goes frame by frame, so that all models move together.

    Raises:
        MedgenError: a model cannot answer.
    """
    questions = [(card, request(form, card)) for card in columns]
    for card, question in questions:
        question.checked(card)
    if form.mode != WALK:
        return [Task(card, replace(question, seeds=(seed,))) for card, question in questions for seed in question.seeds]
    last = int(form.frames or 2) - 1
    return [
        Task(card, replace(question, towards=int(form.towards), mix=frame / last))
        for frame in range(last + 1)
        for card, question in questions
    ]


def validated(values: tuple[Any, ...], found: dict[str, ModelCard]) -> list[dict[str, Any]]:
    """One `gr.validate` a field, as gradio wants them: bad fields turn red."""
    wrong = problems(VolumeForm(*values), found)
    return [gr.validate(name not in wrong, wrong.get(name, "")) for name in FIELDS]
