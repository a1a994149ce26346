"""The columns of the Generate tab: a gallery and a note for each model, and one for real images."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from demos import look
from demos.form import ANY_LABEL, IMAGES, MAX_MODELS, Form, left_out, seeds
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

Captioned = list[tuple[Image.Image, str]]


class Columns:
    """Collects what has to change on the page between two redraws.

    Args:
        form: the question.
        cards: the models, in the order of their columns.
    """

    @staticmethod
    def components() -> list[gr.blocks.Block]:
        """Creates the columns, hidden: `[column, heading, gallery, note] * SLOTS`, the order of `changes()`."""
        made: list[gr.blocks.Block] = []
        with gr.Row(elem_classes="columns"):
            for slot in range(SLOTS):
                with gr.Column(visible=False, min_width=240) as column:
                    heading = gr.HTML(elem_id=f"heading-{slot}")
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
                    made += [column, heading, gallery, gr.HTML(elem_id=f"note-{slot}")]
        return made

    def __init__(self, form: Form, cards: list[ModelCard]) -> None:
        self._form = form
        self._slot = {card.name: slot for slot, card in enumerate(cards)}
        self._finished: dict[str, Captioned] = {}
        self._unfinished: dict[str, Captioned] = {}
        self._changes: dict[int, Any] = {}
        across = 2 if form.mode == IMAGES and len(seeds(form)) <= 4 else 4
        for slot in range(SLOTS):
            self._put(slot, _COLUMN, gr.update(visible=slot < len(cards)))
        for slot, card in enumerate(cards):
            self._put(slot, _HEADING, f"<h3>{escape(card.title)}</h3>")
            self._put(slot, _GALLERY, gr.update(value=[], label=card.title, columns=across))
            self._put(slot, _NOTE, _note(left_out(form, card) or "Waiting …"))
        if form.real and form.mode == IMAGES:
            self._show_real(cards, across)

    def _put(self, slot: int, what: int, value: Any) -> None:
        self._changes[PER_SLOT * slot + what] = value

    def changes(self) -> list[Any]:
        """The updates since the last call, one a component."""
        changed = [self._changes.get(index, gr.skip()) for index in range(PER_SLOT * SLOTS)]
        self._changes = {}
        return changed

    def take(self, event: Event) -> None:
        """Remembers what `event` changes."""
        if isinstance(event, Result):
            name = event.card.name
            self._finished[name] = _captioned(event)
            self._unfinished.pop(name, None)
            self._draw(name)
            self._put(self._slot[name], _NOTE, _note(_facts(event), left_out(self._form, event.card)))
        elif isinstance(event, Step) and event.preview is not None:
            caption = f"{event.name}, step {event.done} of {event.total}, unfinished"
            self._unfinished[event.name] = [(picture, caption) for picture in look.pictures(event.preview)]
            self._draw(event.name)

    def close(self) -> None:
        """The run is over: pictures that never got finished make way, where there are finished ones."""
        for name, slot in self._slot.items():
            if name in self._unfinished:
                self._put(slot, _NOTE, _note("Stopped: this picture is unfinished and not in the download."))
                if name in self._finished:
                    del self._unfinished[name]
                    self._draw(name)
            if name not in self._finished and name not in self._unfinished:
                self._put(slot, _NOTE, _note("Stopped before a picture was finished."))

    def _draw(self, name: str) -> None:
        shown = self._finished.get(name, []) + self._unfinished.get(name, [])
        self._put(self._slot[name], _GALLERY, gr.update(value=shown))

    def _show_real(self, cards: list[ModelCard], across: int) -> None:
        names = [card.data for card in cards if card.data is not None and available(card.data)]
        if not names:
            return
        images = real_like(names[0], self._form)
        slot = SLOTS - 1
        words = images.labels or ("",) * len(images)
        shown = [(p, f"Real image, {w}") for p, w in zip(look.pictures(images, "REAL"), words, strict=True)]
        source = DATASETS[names[0]]
        self._put(slot, _COLUMN, gr.update(visible=True))
        self._put(slot, _HEADING, "<h3>Real</h3>")
        self._put(slot, _GALLERY, gr.update(value=shown, label="Real", columns=across))
        about = f"{source.title}, {SPLIT} split: the models have seen it. {source.licence}. Not in the download."
        self._put(slot, _NOTE, _note(f"{len(images)} real images · {about}"))


def real_like(name: str, form: Form) -> ImageSet:
    """As many real images as the form asks of a model, of its label where the data has it."""
    asked = seeds(form)
    have = DATASETS[name].splits[SPLIT]
    wanted = min(len(asked), have)
    # a seed of ours goes to 2**63 - 1, which numpy takes as well
    if form.label in (None, ANY_LABEL):
        return real_images(name, SPLIT, wanted, asked[0])
    try:
        drawn = real_images(name, SPLIT, min(_LABEL_DRAW * wanted, have), asked[0])
    except MedgenError:  # a copy with fewer images than published
        drawn = real_images(name, SPLIT, None)
    fits = [i for i, label in enumerate(drawn.labels or ()) if label == form.label]
    return drawn.take(fits[:wanted]) if fits else drawn.take(range(wanted))


def _captioned(result: Result) -> Captioned:
    captions = []
    for request in result.requests:
        for seed in request.seeds:
            walk = f" to {request.towards}, {request.mix:.0%} of the way" if request.mix is not None else ""
            label = f", {request.label}" if request.label else ""
            captions.append(f"{result.card.name}, seed {seed}{walk}{label}, synthetic")
    return list(zip(look.pictures(result.images), captions, strict=True))


def _facts(result: Result) -> str:
    first, last = result.requests[0], result.requests[-1]
    n = len(result.images)
    if first.towards is not None:
        used = f"seed {first.seeds[0]} to {first.towards}"
    else:
        numbers = [seed for request in result.requests for seed in request.seeds]
        run = numbers == list(range(numbers[0], numbers[0] + n)) and n > 1
        used = f"seeds {numbers[0]} to {last.seeds[-1]}" if run else f"seeds {', '.join(map(str, numbers))}"
    each = f" ({result.seconds / n:.2f} s each)" if n > 1 else ""
    return f"{n} images in {result.seconds:.2f} s{each} · peak memory {result.peak_mb:,.0f} MiB · {used}"


def _note(*sentences: str) -> str:
    return "<div class='result-note'>" + "<br>".join(escape(sentence) for sentence in sentences if sentence) + "</div>"
