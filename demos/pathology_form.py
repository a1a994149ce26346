"""What the form of the pathology tab means: its fields checked, turned into one request a cell, and filled again."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import gradio as gr

from demos import downloads
from demos.form import MAX_MODELS, is_seed, number, sampled, sampling_problems, takes, whole
from demos.labels import words
from demos.runner import Task
from medgen import MedgenError, ModelCard, Request
from medgen.conditions import HEALTHY, MAX_AGE
from medgen.generator import MAX_SEED
from medgen.provenance import explicit

MODALITY = "CR"
ANY = "any"
EACH, TOGETHER = "one row each", "all in one picture"
MAX_ROWS = 8
MAX_PER_CELL = 4
_TOO_MUCH = "This manifest asks for more than the form can: remake it with python -m medgen.sample --manifest FILE."


@dataclass(frozen=True)
class PathologyForm:
    """The fields of the pathology form, in the order of its components.

    Args:
        models: names of the chosen cards, the columns.
        labels: the rows.
        combine: `EACH` or `TOGETHER`.
        seed: of the first picture of every cell.
        count: pictures a cell, on the seeds that follow.
        severity: 0 to 1; 1 is the label itself.
        guidance: a number as text; "" = each model's default. So are the next.
        steps: a whole number as text.
        age: years as text; "" = nobody said.
        sex: `ANY`, "F" or "M".
        view: `ANY`, "AP" or "PA".
    """

    models: list[str]
    labels: list[str]
    combine: str
    seed: str
    count: float | None
    severity: float
    guidance: str
    steps: str
    age: str
    sex: str
    view: str


FIELDS = tuple(f.name for f in fields(PathologyForm))


def problems(form: PathologyForm) -> dict[str, str]:
    """Field name -> what is wrong with it and what to do; empty when the form can be run."""
    found = {}
    if not 1 <= len(form.models) <= MAX_MODELS:
        found["models"] = f"Choose 1 to {MAX_MODELS} models."
    if not 1 <= len(form.labels) <= MAX_ROWS:
        found["labels"] = f"Choose 1 to {MAX_ROWS} labels."
    elif form.combine == TOGETHER and len(form.labels) > 1 and set(form.labels) & set(HEALTHY):
        found["labels"] = "A healthy picture shows nothing else: take out the healthy label, or give each label a row."
    if not is_seed(form.seed) or int(form.seed) > MAX_SEED - MAX_PER_CELL:
        found["seed"] = "Give one whole number, such as 0."
    if not whole(form.count, 1, MAX_PER_CELL):
        found["count"] = f"Give a whole number from 1 to {MAX_PER_CELL}."
    if not (isinstance(form.severity, (int, float)) and 0.0 <= form.severity <= 1.0):
        found["severity"] = "Give a number from 0 (healthy) to 1 (the label itself)."
    if form.age.strip() and takes("age", form.models) and not (number(form.age) and float(form.age) <= MAX_AGE):
        found["age"] = f"Give years from 0 to {MAX_AGE}, or leave it empty."
    return found | sampling_problems(form.steps, form.guidance, form.models)


def validator(*values: Any) -> list[dict[str, Any]]:
    """One `gr.validate` a field, as gradio wants them: bad fields turn red."""
    found = problems(PathologyForm(*values))
    return [gr.validate(name not in found, found.get(name, "")) for name in FIELDS]


def offered(found: dict[str, ModelCard]) -> dict[str, ModelCard]:
    """The cards that this tab has columns for: those that take a label."""
    return {name: card for name, card in found.items() if "label" in card.controls}


def rows(form: PathologyForm) -> list[str]:
    """The labels of the rows: each its own, or all of them joined."""
    return ["|".join(form.labels)] if form.combine == TOGETHER else list(form.labels)


def seeds(form: PathologyForm) -> tuple[int, ...]:
    """The seeds of every cell: the same everywhere."""
    first = int(form.seed)
    return tuple(range(first, first + int(form.count or 1)))


def request(form: PathologyForm, card: ModelCard, label: str) -> Request:
    """The question of one cell in the words of `card`: what it does not take is left out (`left_out` says which).

    A severity of 1 is the label itself, and a healthy label has none.
    """
    graded = "severity" in card.controls and form.severity != 1.0 and label not in HEALTHY
    asked = Request(
        seeds=seeds(form),
        label=label,
        severity=float(form.severity) if graded else None,
        age=float(form.age) if form.age.strip() and "age" in card.controls else None,
        sex=form.sex if form.sex != ANY and "sex" in card.controls else None,
        view=form.view if form.view != ANY and "view" in card.controls else None,
    )
    return sampled(asked, card, form.steps, form.guidance)


def left_out(form: PathologyForm, card: ModelCard) -> str:
    """What of the form this model does not take into account, as a sentence; "" when nothing."""
    said = {
        "severity": form.severity != 1.0,
        **{name: bool(getattr(form, name).strip()) for name in ("guidance", "steps", "age")},
        **{name: getattr(form, name) != ANY for name in ("sex", "view")},
    }
    ignored = [f"no {name}" for name, given in said.items() if given and name not in card.controls]
    return f"This model takes {' and '.join(ignored)}." if ignored else ""


def cells(
    form: PathologyForm, cards: dict[str, ModelCard]
) -> tuple[list[ModelCard], dict[tuple[str, str], Request | str]]:
    """The columns, and (model, row) -> its request, or the reason why that cell stays empty.

    Raises:
        MedgenError: a model is gone, or no cell can be filled.
    """
    if gone := [name for name in form.models if name not in cards]:
        raise MedgenError(f"The model {gone[0]} is no longer there: reload the page and choose again.")
    columns = [card for name, card in cards.items() if name in form.models]
    found: dict[tuple[str, str], Request | str] = {}
    for card in columns:
        for label in rows(form):
            if unknown := [word for word in label.split("|") if word not in card.labels]:
                found[card.name, label] = f"This model does not know {words(unknown[0])}."
                continue
            asked = request(form, card, label)
            try:
                asked.checked(card)
                found[card.name, label] = asked
            except MedgenError as error:
                found[card.name, label] = str(error)
    if all(isinstance(value, str) for value in found.values()):
        raise MedgenError(f"No cell of the grid can be filled. {next(iter(found.values()))}")
    return columns, found


def tasks(columns: list[ModelCard], found: dict[tuple[str, str], Request | str]) -> list[Task]:
    """The calls of `sample()`, model by model: the fast ones are done while the slow ones begin."""
    by_name = {card.name: card for card in columns}
    return [Task(by_name[name], asked) for (name, _), asked in found.items() if isinstance(asked, Request)]


def form_of(manifests: dict[str, downloads.Manifest], cards: dict[str, ModelCard]) -> PathologyForm:
    """The form that asks for what `manifests` recorded.

    Raises:
        MedgenError: a model is missing or has other weights, or the form cannot ask this question.
    """
    asked = downloads.asked_of(manifests, cards)
    labels = list(dict.fromkeys(one.label for _, requests in asked for one in requests if one.label))
    together = any("|" in label for label in labels)
    first = asked[0][1][0]
    severities = [one.severity for _, requests in asked for one in requests if one.severity is not None]
    age, sex, view = (downloads.shared(asked, name) for name in ("age", "sex", "view"))
    if not first.seeds:
        raise MedgenError(_TOO_MUCH)
    form = PathologyForm(
        models=list(manifests),
        labels=labels[0].split("|") if together else labels,
        combine=TOGETHER if together else EACH,
        seed=str(first.seeds[0]),
        count=len(first.seeds),
        severity=severities[0] if severities else 1.0,
        guidance=downloads.number_text(downloads.shared(asked, "guidance")),
        steps=downloads.number_text(downloads.shared(asked, "steps")),
        age=downloads.number_text(age),
        sex=sex or ANY,
        view=view or ANY,
    )
    if problems(form) or not _asks(form, asked, cards):
        raise MedgenError(_TOO_MUCH)
    return replace(form, models=[name for name in cards if name in manifests])


def _asks(form: PathologyForm, asked: list[tuple[ModelCard, list[Request]]], cards: dict[str, ModelCard]) -> bool:
    """Whether the form would ask every model what it was asked."""
    found = cells(form, cards)[1]
    for card, requests in asked:
        would = [one for (name, _), one in found.items() if name == card.name and isinstance(one, Request)]
        if [explicit(card, one) for one in would] != requests:
            return False
    return True
