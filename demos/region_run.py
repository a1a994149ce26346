"""A region of an X-ray made anew: the form checked, the run, what changed inside and outside, and the download."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from demos import downloads, lane, look, running, scratch, widgets
from demos.form import is_seed, sampled, sampling_problems
from demos.labels import words
from demos.opinions import NO_CLASSIFIER, Judge, Opinion, footnote, sentences
from demos.pathology_form import MODALITY
from demos.pathology_grid import figure
from demos.region_source import Box, Source, box_mask, drawn_mask, fitted
from demos.runner import Process, Result, Task
from medgen import ImageSet, MedgenError, ModelCard, Request
from medgen.files import png_bytes
from medgen.region import Region

BOX, DRAWING = "a box", "a drawing"
NOT_JUDGED = "Not judged."


@dataclass(frozen=True, eq=False)
class RegionForm:
    """The fields of the region form, in the order of its components.

    Args:
        source: the picture to change; None = none was chosen.
        where: `BOX` or `DRAWING`.
        left, top, right, bottom: edges of the box in percent of the picture.
        drawing: `(h, w)` bool, what was drawn; None = nothing.
        model: name of a card.
        label: what the region is to show.
        guidance, steps: numbers as text; "" = the model's default.
        seed: a whole number as text.
    """

    source: Source | None
    where: str
    left: float | None
    top: float | None
    right: float | None
    bottom: float | None
    drawing: np.ndarray | None
    model: str | None
    label: str | None
    guidance: str
    steps: str
    seed: str

    def box(self) -> Box:
        """The four edges; one that is missing counts as 0."""
        return (self.left or 0.0, self.top or 0.0, self.right or 0.0, self.bottom or 0.0)


FIELDS = tuple(f.name for f in fields(RegionForm))


@dataclass(frozen=True, eq=False)
class Changed:
    """What a run has changed.

    Args:
        source: the picture as it was given.
        before: the same as the model got it, one image.
        result: the picture after.
        opinions: of the classifier before and after, None where none knows the label; None as long as it was not asked.
    """

    source: Source
    before: ImageSet
    result: Result
    opinions: tuple[Opinion | None, Opinion | None] | None = None

    @property
    def request(self) -> Request:
        """What was asked."""
        return self.result.requests[0]

    def levels(self) -> np.ndarray:
        """`(H, W)` float32: after less before, in levels of 255 from black to white."""
        after, before = self.result.images.unit_range()[0, 0], self.before.unit_range()[0, 0]
        return (after - before) * np.float32(255.0)


def paints(found: dict[str, ModelCard]) -> dict[str, ModelCard]:
    """The cards that can make a region anew and be told what it is to show."""
    return {name: card for name, card in found.items() if {"source", "region", "label"} <= set(card.controls)}


def problems(form: RegionForm) -> dict[str, str]:
    """Field name -> what is wrong with it and what to do; empty when the form can be run."""
    found = {}
    edges = {name: getattr(form, name) for name in ("left", "top", "right", "bottom")}
    for name, edge in edges.items():
        if form.where == BOX and (edge is None or not 0.0 <= edge <= 100.0):  # else the four fields are hidden
            found[name] = "Give a number from 0 to 100."
    if form.where == BOX and not found:
        if form.left >= form.right:
            found["right"] = "The right edge must lie to the right of the left one."
        if form.top >= form.bottom:
            found["bottom"] = "The lower edge must lie below the upper one."
    if not form.model:
        found["model"] = "Choose a model."
    if not form.label:
        found["label"] = "Choose what the region is to show."
    if not is_seed(form.seed):
        found["seed"] = "Give one whole number, such as 0."
    return found | sampling_problems(form.steps, form.guidance, [form.model] if form.model else [])


def validator(*values: Any) -> list[dict[str, Any]]:
    """One `gr.validate` a field, as gradio wants them: bad fields turn red."""
    found = problems(RegionForm(*values))
    return [gr.validate(name not in found, found.get(name, "")) for name in FIELDS]


def task(form: RegionForm, cards: dict[str, ModelCard]) -> Task:
    """The call of `sample()` that answers the form.

    Raises:
        MedgenError: there is no picture or no region, or the model cannot answer.
    """
    if form.source is None:
        raise MedgenError("There is no picture to change: choose one of the grid or upload an X-ray.")
    if form.model not in paints(cards):
        raise MedgenError(f"{form.model} cannot change a region: choose a model of the list.")
    card = cards[form.model]
    height, width = card.shape[-2:]
    mask = drawn_mask((height, width), form.drawing) if form.where == DRAWING else box_mask((height, width), form.box())
    region, source = Region.from_mask(mask), fitted(form.source.images, card)
    made = form.source.mark is not None
    request = Request((int(form.seed),), label=form.label, source=source, region=region, source_synthetic=made)
    request = sampled(request, card, form.steps, form.guidance)
    request.checked(card)
    return Task(card, request)


def run(process: Process, judge: Judge, session: str, *values: Any) -> Iterator[list[Any]]:
    """Changes the region. Yields `[status, changed, html]`, with `gr.skip()` where nothing changed.

    Args:
        process: what runs the task: `runner.portions`, or a fake.
        judge: what the classifier says of pictures.
        session: whose stop signal it listens to.
        values: the fields of `RegionForm`, in order.

    Raises:
        gr.Error: something is wrong with the form, the model or a classifier; the sentence says what to do.
    """
    form = RegionForm(*values)
    stop = lane.signal(session)
    started = time.monotonic()
    try:
        work = task(form, widgets.known_cards(MODALITY))
        yield [widgets.bar("Starting …", 0.0), None, ""]
        status, count = "", 0
        for event in process([work], stop, False):
            if isinstance(event, Result) and form.source is not None and work.request.source is not None:
                count += 1
                before, label = work.request.source, work.request.label or ""
                changed = Changed(form.source, before, event)
                place = scratch.SHOWN.folder(session)
                # shown before it is judged: a classifier that fails takes nothing away
                yield [widgets.bar("Asking the classifier …", 1.0), changed, html(changed, place)]
                (was,), (now,) = judge(before, label), judge(event.images, label)
                changed = replace(changed, opinions=(was, now))
                yield [gr.skip(), changed, html(changed, place)]
            else:
                status = running.progress(event, status, count, 1, time.monotonic() - started)
                yield [status, gr.skip(), gr.skip()]
        yield [running.ended(stop.is_set(), count, time.monotonic() - started), gr.skip(), gr.skip()]
    except MedgenError as error:
        raise widgets.toast(error) from error


def html(changed: Changed, place: Path) -> str:
    """Before, after and difference beside each other, the opinions below, and what changed outside the region."""
    uploaded = changed.source.mark is None
    marks = ("UPLOADED", "PARTLY SYNTHETIC") if uploaded else ("SYNTHETIC", "SYNTHETIC")
    label = changed.request.label or ""
    levels, mask = changed.levels(), changed.request.region.mask()  # type: ignore[union-attr]
    shade, largest = look.about_grey(levels, least=1.0)
    pictures = {
        "before": look.pictures(changed.before, marks[0])[0],
        "after": look.pictures(changed.result.images, marks[1])[0],
        "difference": look.burn_in(Image.fromarray(shade), ""),
    }
    unsaid = NOT_JUDGED if changed.opinions is None else NO_CLASSIFIER
    opinions = changed.opinions or (None, None)
    was, now = (sentences(one, label) if one else (unsaid,) for one in opinions)
    # outside the region an upload stays the picture of a patient
    made = f"Asked inside the region: {words(label)}. " + ("The rest is the upload." if uploaded else "All synthetic.")
    scale = f"Grey: unchanged. White: {largest:.0f} of 255 levels brighter, black: darker."
    lines = {"before": (changed.source.said, *was), "after": (made, *now),
             "difference": (scale,)}  # fmt: skip
    figures = "".join(
        figure(scratch.address(picture, place), f"{name.title()}: {lines[name][0]}", (name.title(), *lines[name]))
        for name, picture in pictures.items()
    )
    share = mask.mean()
    outside, inside = np.abs(levels[~mask]), np.abs(levels[mask])
    said = (
        f"{changed.result.card.title}, seed {changed.request.seeds[0]}, {changed.result.seconds:.2f} s. The region is "
        f"{share:.0%} of the picture. Measured, in levels of 255: largest change outside it "
        f"{outside.max() if outside.size else 0.0:.2f}, mean change inside {inside.mean():.1f}."
    )
    judged = footnote((one.card, label) for one in opinions if one)
    return f"<p class='caption'>{escape(said)}</p><div class='figures'>{figures}</div>{judged}"


def pack(session: str, changed: Changed | None, format: str) -> Any:
    """The download: the picture after with its manifest, and beside it `source.png` and `region.png`.

    `source.png` holds exactly the pixels whose SHA-256 the manifest names.
    """
    if changed is None:
        return gr.update(value=None, interactive=False)
    was, now = changed.opinions or (None, None)
    cells = {**(now.cells() if now else {}), **{f"before: {k}": v for k, v in (was.cells() if was else {}).items()}}
    source = changed.before.uint8()[0, 0]
    mask = np.where(changed.request.region.mask(), 255, 0).astype(np.uint8)  # type: ignore[union-attr]
    mark = changed.source.mark
    more = {
        "source.png": downloads.bare_png(source) if mark is None else png_bytes(source, dict(mark)),
        "region.png": downloads.bare_png(mask),
    }
    try:
        columns = {changed.result.card.name: [cells]}
        path, _ = downloads.pack([changed.result], scratch.DOWNLOADS.folder(session), format, columns, more)
    except MedgenError as error:
        raise widgets.toast(error) from error
    return gr.update(value=str(path), interactive=True)
