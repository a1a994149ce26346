"""The columns of the Generate tab: a gallery and a note for each model, one for real images, and the walk's slider."""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from demos import look, walk, widgets
from demos.form import ANY_LABEL, MAX_MODELS, WALK, Form, counts_on, left_out, seeds
from demos.runner import Event, Result, Step
from medgen import ImageSet, MedgenError, ModelCard
from medgen.data import DATASETS, available
from medgen.data import real as real_images

SLOTS = MAX_MODELS + 1
"""The last one holds real images."""
PER_SLOT = 4
_COLUMN, _HEADING, _GALLERY, _NOTE = range(PER_SLOT)
SPLIT = "train"
_LABEL_DRAW = 8
"""Real images drawn for each one wanted when a label is asked for: enough for a class of an eighth of the set."""

Captioned = list[tuple[Image.Image | Path, str]]


class Columns:
    """Collects what has to change on the page between two redraws.

    Args:
        form: the question.
        cards: the models, in the order of their columns.
    """

    @staticmethod
    def components() -> list[gr.blocks.Block]:
        """Creates slider and columns, hidden: `[*walk, *[column, heading, gallery, note] * SLOTS]`, as `changes()`."""
        made = walk.components()
        with gr.Row(elem_classes="columns"):
            for slot in range(SLOTS):
                with gr.Column(visible=False, min_width=240) as column:
                    heading = gr.HTML(elem_id=f"heading-{slot}", padding=False)
                    gallery = gr.Gallery(
                        format="png",
                        show_label=False,
                        columns=2,
                        height="auto",
                        object_fit="contain",
                        buttons=["fullscreen"],
                        interactive=False,
                        elem_id=f"gallery-{slot}",
                        elem_classes="results",
                    )
                    made += [column, heading, gallery, gr.HTML(elem_id=f"note-{slot}", padding=False)]
        return made

    def __init__(self, form: Form, cards: list[ModelCard]) -> None:
        self._form = form
        self._slot = {card.name: slot for slot, card in enumerate(cards)}
        self._finished: dict[str, Captioned] = {card.name: [] for card in cards}
        self._unfinished: dict[str, Captioned] = {}
        self._walk = walk.closed()
        self._changes: dict[int, Any] = {}
        self._files = tempfile.TemporaryDirectory(prefix="medgen-pictures-")  # gradio copies what it serves
        data = next((card.data for card in cards if card.data and available(card.data)), None)
        beside = data if form.real and form.mode != WALK else None
        across = _across(form, len(cards) + (beside is not None))
        for slot in range(SLOTS):
            self._put(slot, _COLUMN, gr.update(visible=slot < len(cards)))
        titles = widgets.titles(cards)
        for slot, card in enumerate(cards):
            self._put(slot, _HEADING, f"<h2>{escape(titles[card.name])}</h2>")
            self._put(slot, _GALLERY, gr.update(value=[], label=card.title, columns=across))
            self._put(slot, _NOTE, _note(left_out(form, card) or "Waiting …"))
        if beside is not None:
            self._show_real(beside, across)

    def _put(self, slot: int, what: int, value: Any) -> None:
        self._changes[PER_SLOT * slot + what] = value

    def changes(self) -> list[Any]:
        """The updates since the last call, one a component."""
        changed = [self._changes.get(index, gr.skip()) for index in range(PER_SLOT * SLOTS)]
        moved, self._walk, self._changes = self._walk, [gr.skip()] * len(self._walk), {}
        return [*moved, *changed]

    def take(self, event: Event) -> None:
        """Remembers what `event` changes."""
        if isinstance(event, Result):
            name = event.card.name
            self._finished[name] += self._saved(event, len(self._finished[name]))
            self._unfinished.pop(name, None)
            self._draw(name)
            if self._form.mode == WALK and (frames := min(map(len, self._finished.values()))):
                self._walk = walk.at(frames)
            self._put(self._slot[name], _NOTE, _note(*facts(event), left_out(self._form, event.card)))
        elif isinstance(event, Step) and event.preview is not None:
            caption = f"{event.name}, step {event.done} of {event.total}, unfinished"
            self._unfinished[event.name] = [(picture, caption) for picture in look.pictures(event.preview)]
            self._draw(event.name)

    def close(self) -> None:
        """The run is over: pictures that never got finished make way, where there are finished ones."""
        for name, slot in self._slot.items():
            if self._finished[name]:
                if self._unfinished.pop(name, None):
                    self._draw(name)
            elif name in self._unfinished:
                self._put(slot, _NOTE, _note("Unfinished, and not in the download."))
            else:
                self._put(slot, _NOTE, _note("No picture was finished."))

    def _saved(self, result: Result, start: int) -> Captioned:
        """The pictures of `result` from number `start` on as files: a redraw need not compress them again."""
        captions = _captions(result)[start:]
        saved: Captioned = []
        for i, picture in enumerate(look.pictures(result.images.take(range(start, len(result.images))))):
            path = Path(self._files.name) / f"{result.card.name}-{start + i}.png"
            picture.save(path)
            saved.append((path, captions[i]))
        return saved

    def _draw(self, name: str) -> None:
        shown = self._finished[name] + self._unfinished.get(name, [])
        self._put(self._slot[name], _GALLERY, gr.update(value=shown))

    def _show_real(self, data: str, across: int) -> None:
        images = real_like(data, self._form)
        slot = SLOTS - 1
        source = DATASETS[data]
        words = images.labels or [f"{value:g} {source.quantity['unit']}" for value in images.quantities or ()]
        captions = [f"Real image, {word}" for word in words] or ["Real image"] * len(images)
        shown = list(zip(look.pictures(images, "REAL"), captions, strict=True))
        self._put(slot, _COLUMN, gr.update(visible=True))
        self._put(slot, _HEADING, "<h2>Real</h2>")
        self._put(slot, _GALLERY, gr.update(value=shown, label="Real", columns=across))
        about = f"{source.title}, {SPLIT} split: the models have seen it. {source.licence}. Not in the download."
        self._put(slot, _NOTE, _note(f"{len(images)} real image{'s' * (len(images) > 1)}", about))


def real_like(name: str, form: Form) -> ImageSet:
    """As many real images as the form asks of a model, of its label where the data has it."""
    asked = seeds(form)
    have = DATASETS[name].splits[SPLIT]
    wanted = min(len(asked), have)
    if form.quantity is not None and not form.any_quantity and DATASETS[name].quantity:
        return nearest(real_images(name, SPLIT), form.quantity, wanted)
    # a seed of ours goes to 2**63 - 1, which numpy takes as well
    if form.label in (None, ANY_LABEL):
        return real_images(name, SPLIT, wanted, asked[0])
    try:
        drawn = real_images(name, SPLIT, min(_LABEL_DRAW * wanted, have), asked[0])
    except MedgenError:  # a copy with fewer images than published
        drawn = real_images(name, SPLIT, None)
    fits = [i for i, label in enumerate(drawn.labels or ()) if label == form.label]
    return drawn.take(fits[:wanted]) if fits else drawn.take(range(wanted))


def nearest(images: ImageSet, quantity: float, wanted: int) -> ImageSet:
    """The images whose number is nearest to `quantity`, one a person before a second of anyone."""
    away = np.abs(np.asarray(images.quantities or [0.0] * len(images)) - quantity)
    order = np.argsort(away, kind="stable")
    turns: dict[str, int] = {}
    turn = np.empty(len(images), np.int64)
    for place in order.tolist():
        person = (images.subjects or ("",) * len(images))[place]
        turn[place] = turns[person] = turns.get(person, -1) + 1
    return images.take(order[np.argsort(turn[order], kind="stable")][:wanted])


def _across(form: Form, columns: int) -> int:
    """Pictures beside each other in one of so many columns: the fewer there are, the larger they stand."""
    n = len(seeds(form))
    if form.mode == WALK or (n <= 2 and columns > 2):
        return 1
    return min(n, 2 if n <= 8 and columns > 2 else 4)


def _captions(result: Result) -> list[str]:
    """What each picture of `result` is."""
    captions = []
    for request in result.requests:
        for seed in request.seeds:
            walked = f" to {request.towards}, {request.mix:.0%} of the way" if request.mix is not None else ""
            label = f", {request.label}" if request.label else ""
            about = result.card.quantity
            label += f", {about['name']} {request.quantity:g} {about['unit']}" if request.quantity is not None else ""
            captions.append(f"{result.card.name}, seed {seed}{walked}{label}, synthetic")
    return captions


def facts(result: Result) -> list[str]:
    """How long the pictures of `result` took, from which seeds they come, and the memory they needed."""
    first = result.requests[0]
    n = len(result.images)
    plural = "s" * (n > 1)
    if first.towards is not None:
        used = f"seed {first.seeds[0]} to {first.towards}"
    else:
        numbers = [seed for request in result.requests for seed in request.seeds]
        whole = n > 1 and counts_on(numbers)
        used = f"seed{plural} " + (f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers)))
    each = f", {result.seconds / n:.2f} s each" if n > 1 else ""
    return [f"{n} image{plural} in {result.seconds:.2f} s{each}", used, f"peak memory {result.peak_mb:,.0f} MiB"]


def _note(*sentences: str) -> str:
    return "<div class='result-note'>" + "<br>".join(escape(sentence) for sentence in sentences if sentence) + "</div>"
