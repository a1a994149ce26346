"""What the form of the Translate tab means: its fields checked and turned into one call a model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr
import numpy as np

from demos.form import MAX_MODELS, is_seed, sampled, sampling_problems, whole
from demos.runner import Task
from demos.slice_source import LEVELS, Given, Opened, refuse_modality
from medgen import ImageSet, MedgenError, ModelCard, Request
from medgen.generator import MAX_SEED
from medgen.slice_grid import SliceGrid, middle
from medgen.volume import Section

KNOWN_DIRECTIONS = ("t1-t2", "t2-t1", "t1-flair", "mr-ct", "ct-mr")
"""The order on the page; others follow."""
MAX_SAMPLES = 8


@dataclass(frozen=True)
class TranslateForm:
    """The fields of the Translate form, in the order of its components.

    Args:
        source: the head to translate; None = none was chosen.
        truth: what it really looks like in the other contrast; None = nobody knows.
        direction: such as "t1-t2".
        models: names of the chosen cards.
        plane: one of `volume.PLANES`.
        index: number of the slice.
        seed: of the first sample, a whole number as text.
        samples: pictures of every model that draws them.
        steps: a whole number as text; "" = each model's default.
    """

    source: Given | None
    truth: Given | None
    direction: str | None
    models: list[str]
    plane: str
    index: float | None
    seed: str
    samples: float | None
    steps: str


FIELDS = tuple(f.name for f in fields(TranslateForm))


def problems(form: TranslateForm) -> dict[str, str]:
    """Field name -> what is wrong with it and what to do; empty when the form can be run."""
    found = {}
    if not form.direction:
        found["direction"] = "Choose a translation."
    if not 1 <= len(form.models) <= MAX_MODELS:
        found["models"] = f"Choose 1 to {MAX_MODELS} models."
    if not is_seed(form.seed) or int(form.seed) > MAX_SEED - MAX_SAMPLES:
        found["seed"] = "Give one whole number, such as 0."
    if not whole(form.samples, 1, MAX_SAMPLES):
        found["samples"] = f"Give a whole number from 1 to {MAX_SAMPLES}."
    return found | sampling_problems(form.steps, "", form.models)


def validator(*values: Any) -> list[dict[str, Any]]:
    """One `gr.validate` a field, as gradio wants them: bad fields turn red."""
    found = problems(TranslateForm(*values))
    return [gr.validate(name not in found, found.get(name, "")) for name in FIELDS]


def directions(found: dict[str, ModelCard]) -> list[tuple[str, str]]:
    """(shown, direction) of every translation that a model here can make."""
    titles = {card.translates["direction"]: title(card) for card in found.values() if "direction" in card.translates}
    known = [one for one in KNOWN_DIRECTIONS if one in titles]
    return [(titles[one], one) for one in (*known, *sorted(set(titles) - set(known)))]


def title(card: ModelCard) -> str:
    """What a translator does, in words."""
    return f"{card.translates['source']} to {card.translates['target']}"


def offered(found: dict[str, ModelCard], direction: str | None) -> dict[str, ModelCard]:
    """The cards that translate in `direction`; those that draw samples, and take longest, come last."""
    fitting = {name: card for name, card in found.items() if card.translates.get("direction") == direction}
    return dict(sorted(fitting.items(), key=lambda item: draws(item[1])))


def draws(card: ModelCard) -> bool:
    """Whether another seed gives another picture: those models that take steps."""
    return "steps" in card.controls


def chosen(form: TranslateForm, cards: dict[str, ModelCard]) -> list[ModelCard]:
    """The cards of the form, in the order of `cards`.

    Raises:
        MedgenError: one is gone, or translates something else.
    """
    fitting = offered(cards, form.direction)
    if gone := [name for name in form.models if name not in fitting]:
        raise MedgenError(f"The model {gone[0]} does not make this translation here: reload the page and choose again.")
    return [card for name, card in fitting.items() if name in form.models]


def grid_of(card: ModelCard, found: Opened, section: Section) -> SliceGrid:
    """Where the picture of `card` lies on a slice: the same for all slices of one plane.

    Raises:
        MedgenError: the pixels are too fine or too coarse for any head.
    """
    side = card.shape[-1]
    pixel_mm = card.spacing_mm[0] if card.spacing_mm else 256.0 / side
    height, width = section.pixels.shape
    too_large = max(height * section.spacing_mm[0], width * section.spacing_mm[1]) > side * pixel_mm
    centre = middle(found.volume, section.plane) if too_large else None
    return SliceGrid.around((height, width), section.spacing_mm, side, pixel_mm, centre)


def picture(card: ModelCard, found: Opened, section: Section, grid: SliceGrid) -> np.ndarray:
    """A slice as `card` takes it, `(side, side)` float32: whole levels of 255, or whole HU, which a file can hold."""
    low, high = card.translates["window"] if found.volume.unit == "HU" else LEVELS
    pixels = np.clip(found.levels(section.pixels), low, high)
    return np.rint(grid.picture(pixels, background=low))


def image_set(card: ModelCard, pictures: np.ndarray) -> ImageSet:
    """Pictures `(N, side, side)` as the source of a request to `card`."""
    wanted = card.translates
    window = wanted["window"] if wanted["unit"] == "HU" else LEVELS
    low, high = (float(end) for end in window)
    return ImageSet(np.asarray(pictures, np.float32)[:, None], wanted["modality"], wanted["unit"], (low, high))


def request(form: TranslateForm, card: ModelCard, source: ImageSet, synthetic: bool) -> Request:
    """The question to one model: a sample on each of the seeds that follow, where it draws them.

    Raises:
        MedgenError: the model cannot answer it.
    """
    first = int(form.seed)
    seeds = tuple(range(first, first + int(form.samples or 1))) if draws(card) else (first,)
    asked = sampled(Request(seeds, source=source, source_synthetic=synthetic), card, form.steps, "")
    asked.checked(card)
    return asked


def tasks(form: TranslateForm, columns: list[ModelCard], found: Opened) -> list[tuple[Task, SliceGrid]]:
    """One call of `sample()` a model, and where its picture lies on the slice.

    Raises:
        MedgenError: there is nothing to translate, it is of another modality, or a model cannot answer.
    """
    refuse_modality(found, form.source.name if form.source else "", columns[0].translates)
    section = found.section(form.plane, int(form.index or 0))
    work = []
    for card in columns:
        grid = grid_of(card, found, section)
        source = image_set(card, picture(card, found, section, grid)[None])
        work.append((Task(card, request(form, card, source, found.volume.synthetic)), grid))
    return work
