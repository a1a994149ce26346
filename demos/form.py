"""What the Generate form means: its fields checked, turned into tasks, and filled again from a manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import gradio as gr

from demos.runner import Task, batches
from medgen import MedgenError, ModelCard, Request, cards
from medgen.generator import MAX_SEED

IMAGES, WALK = "Images", "Latent walk"
ANY_LABEL = "any"
MAX_MODELS = 6
MAX_IMAGES = 64
MAX_FRAMES = 60


@dataclass(frozen=True)
class Form:
    """The fields of the Generate form, in the order of its components.

    Args:
        models: names of the chosen cards.
        mode: `IMAGES` or `WALK`.
        seeds: "7" for 7, 8, 9, ... or an explicit list such as "3, 1, 4"; in a walk the seed it starts from.
        count: images a model, when `seeds` is one number.
        towards: the seed a walk ends at.
        frames: pictures of a walk, both ends included.
        label: `ANY_LABEL` or one of the labels.
        steps: a number as text (gradio turns an empty number field into 0); "" = each model's default.
        guidance: a number as text; "" = each model's default.
        denoising: stream unfinished pictures.
        real: show real images of the training data beside.
        quantity: what the slider says of `card.quantity`, in its unit.
        any_quantity: leave that number to each model.
    """

    models: list[str]
    mode: str
    seeds: str
    count: float | None
    towards: str
    frames: float | None
    label: str | None
    steps: str
    guidance: str
    denoising: bool
    real: bool
    quantity: float | None = None
    any_quantity: bool = True


FIELDS = tuple(f.name for f in fields(Form))


def problems(form: Form) -> dict[str, str]:
    """Field name -> what is wrong with it and what to do; empty when the form can be run."""
    found = {}
    if not form.models:
        found["models"] = "Choose at least one model."
    elif len(form.models) > MAX_MODELS:
        found["models"] = f"Choose at most {MAX_MODELS} models."
    try:
        seeds(form)
    except MedgenError as error:
        found["seeds"] = str(error)
    if form.mode == WALK:
        if not is_seed(form.towards):
            found["towards"] = "Give one whole number, such as 7."
        if not whole(form.frames, 2, MAX_FRAMES):
            found["frames"] = f"Give a whole number from 2 to {MAX_FRAMES}."
    elif not whole(form.count, 1, MAX_IMAGES):
        found["count"] = f"Give a whole number from 1 to {MAX_IMAGES}."
    if not form.any_quantity and takes("quantity", form.models):
        about = asked_quantity(_chosen(form))
        low, high, unit = about.get("low", -float("inf")), about.get("high", float("inf")), about.get("unit", "")
        if form.quantity is None or not low <= form.quantity <= high:
            found["quantity"] = f"Give a number from {low:g} to {high:g} {unit}."
    return found | sampling_problems(form.steps, form.guidance, form.models)


def asked_quantity(chosen: Sequence[ModelCard]) -> dict[str, Any]:
    """`card.quantity` of the first of these models that may be asked for a number; empty where none may."""
    return next((card.quantity for card in chosen if "quantity" in card.controls), {})


def sampling_problems(steps: str, guidance: str, models: Sequence[str]) -> dict[str, str]:
    """What is wrong with the two fields that may be empty, as `problems`, where one of `models` takes them."""
    found = {}
    whole_steps = re.fullmatch(r"\s*[0-9]{1,4}\s*", steps) and 1 <= int(steps) <= 1000
    if steps.strip() and takes("steps", models) and not whole_steps:
        found["steps"] = "Give a whole number from 1 to 1000, or leave it empty."
    if guidance.strip() and takes("guidance", models) and not (number(guidance) and 0 <= float(guidance) <= 20):
        found["guidance"] = "Give a number from 0 to 20, or leave it empty."
    return found


def takes(control: str, models: Sequence[str]) -> bool:
    """Whether one of the models takes `control`, or is not known: else its field is hidden, and may hold anything.

    A field that turns red where nobody sees it would keep a run from starting without a word.
    """
    found = _known()
    return any(name not in found or control in found[name].controls for name in models)


def _chosen(form: Form) -> list[ModelCard]:
    return [card for name, card in _known().items() if name in form.models]


def _known() -> dict[str, ModelCard]:
    """The models here; none where a card is broken: the run itself says which."""
    try:
        return cards()
    except MedgenError:
        return {}


def validator(*values: Any) -> list[dict[str, Any]]:
    """One `gr.validate` a field, as gradio wants them: bad fields turn red."""
    found = problems(Form(*values))
    return [gr.validate(name not in found, found.get(name, "")) for name in FIELDS]


def whole(value: float | None, low: int, high: int) -> bool:
    """Whether `value` is a whole number from `low` to `high`."""
    return value is not None and float(value).is_integer() and low <= value <= high


def is_seed(text: str) -> bool:
    """Whether `text` is one seed."""
    return re.fullmatch(r"\s*[0-9]{1,19}\s*", text) is not None and int(text) <= MAX_SEED


def number(text: str) -> bool:
    """Whether `text` is a number of 0 or more, written in digits: no nan, no inf."""
    return re.fullmatch(r"\s*\d+(\.\d*)?\s*", text, re.ASCII) is not None


def seeds(form: Form) -> tuple[int, ...]:
    """The seeds the form asks for.

    Raises:
        MedgenError: not whole numbers, or too many.
    """
    words = re.split(r"[\s,;]+", form.seeds.strip())
    if not all(re.fullmatch(r"[0-9]{1,19}", word) for word in words):
        raise MedgenError("Give a whole number such as 0, or a list such as 3, 1, 4.")
    numbers = [int(word) for word in words]
    if form.mode == WALK and len(numbers) > 1:
        raise MedgenError("A walk starts from one seed: give a single whole number.")
    if form.mode == IMAGES and len(numbers) == 1 and whole(form.count, 1, MAX_IMAGES):
        numbers = [numbers[0] + i for i in range(int(form.count or 1))]
    if len(numbers) > MAX_IMAGES:
        raise MedgenError(f"Give at most {MAX_IMAGES} seeds.")
    if max(numbers) > MAX_SEED:
        raise MedgenError("Seeds end at 2**63 - 1: give a smaller number.")
    return tuple(numbers)


def counts_on(numbers: Sequence[int]) -> bool:
    """Whether each is the one before plus one: the first and how many then say all."""
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def request(form: Form, card: ModelCard) -> Request:
    """The form's question in the words of `card`: controls that it lacks are left out (`left_out` says which)."""
    label = form.label if "label" in card.controls and form.label in card.labels else None
    quantity = None if form.any_quantity or "quantity" not in card.controls else form.quantity
    return sampled(Request(seeds=seeds(form), label=label, quantity=quantity), card, form.steps, form.guidance)


def sampled(request: Request, card: ModelCard, steps: str, guidance: str) -> Request:
    """`request` with what the two fields that may be empty say, as far as `card` takes it."""
    return replace(
        request,
        steps=int(steps) if steps.strip() and "steps" in card.controls else None,
        guidance=float(guidance) if guidance.strip() and "guidance" in card.controls else None,
    )


def left_out(form: Form, card: ModelCard) -> str:
    """What of the form this model could not take into account, as a sentence; "" when nothing."""
    ignored = []
    if form.label not in (None, ANY_LABEL) and form.label not in (card.labels if "label" in card.controls else ()):
        ignored.append(f"no label “{form.label}”")
    ignored += [f"no {n}" for n in ("steps", "guidance") if getattr(form, n).strip() and n not in card.controls]
    if not form.any_quantity and "quantity" not in card.controls and takes("quantity", form.models):
        ignored.append(f"no {asked_quantity(_chosen(form)).get('name', 'quantity')}")
    return f"This model takes {' and '.join(ignored)}." if ignored else ""


def tasks(form: Form, cards: dict[str, ModelCard]) -> list[Task]:
    """The calls of `sample()` that answer the form, in running order.

    Models come in the order of `cards`. Images go model by model; a walk goes frame by frame, so that all models
    move together.

    Raises:
        MedgenError: a model is gone, cannot answer, or none of them can walk.
    """
    if gone := [name for name in form.models if name not in cards]:
        raise MedgenError(f"The model {gone[0]} is no longer there: reload the page and choose again.")
    chosen = [card for name, card in cards.items() if name in form.models]
    if form.mode == WALK:
        chosen = [card for card in chosen if "towards" in card.controls]
        if not chosen:
            raise MedgenError("None of the chosen models can walk between two seeds: choose another model.")
    questions = [(card, request(form, card)) for card in chosen]
    for card, question in questions:
        question.checked(card)
    if form.mode == IMAGES:
        return [task for card, question in questions for task in batches(card, question)]
    last = int(form.frames or 2) - 1
    return [
        Task(card, replace(question, towards=int(form.towards), mix=frame / last))
        for frame in range(last + 1)
        for card, question in questions
    ]
