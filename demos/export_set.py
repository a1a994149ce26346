"""The page "Export a set": as many pictures of each chosen label as of the others, streamed into one ZIP."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from demos import lane, look, running, scratch, widgets
from demos.controls import with_default
from demos.export_form import MAX_PICTURES, ExportForm, tasks, validator
from demos.labels import is_rare, label_choices, words
from demos.opinions import Judge
from demos.pathology_form import MODALITY, offered
from demos.pathology_grid import figure
from demos.runner import Process, Result
from medgen import MedgenError, Stopped
from medgen.files import SetWriter, zip_writer

FORMATS = [("PNG", "png"), ("DICOM", "dcm")]
IDLE = "Choose a model and its labels, then press Make the set."
KEY = "export"
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class Progress:
    """How far each label is, and its newest picture.

    Args:
        form: the question.
        place: a folder of `scratch.SHOWN` for the pictures.
    """

    def __init__(self, form: ExportForm, place: Path) -> None:
        self._form, self._place = form, place
        self._newest: dict[str, tuple[str, int]] = {}
        self._made: Counter[str] = Counter()
        self.seconds, self.peak_mb = 0.0, 0.0

    @property
    def pictures(self) -> int:
        """How many there are."""
        return self._made.total()

    def take(self, result: Result) -> None:
        """A portion is in the set."""
        request = result.requests[0]
        label = request.label or ""
        self._made[label] += len(request.seeds)
        self.seconds += result.seconds
        self.peak_mb = max(self.peak_mb, result.peak_mb)
        last = look.pictures(result.images.take([len(result.images) - 1]))[0]
        self._newest[label] = scratch.address(last, self._place), request.seeds[-1]

    def html(self) -> str:
        """One figure a label."""
        figures = ""
        for label in self._form.labels:
            said = f"{words(label)}: {self._made[label]} of {int(self._form.count or 0)}"
            if label in self._newest:
                address, seed = self._newest[label]
                figures += figure(address, f"{words(label)}, seed {seed}, synthetic", (said, f"newest: seed {seed}"))
            else:
                figures += f"<figure><figcaption><span>{escape(said)}</span></figcaption></figure>"
        return f"<div class='figures newest'>{figures}</div>"


def run(process: Process, judge: Judge, session: str, *values: Any) -> Iterator[list[Any]]:
    """Makes the set. Yields `[status, html, zip button]`, with `gr.skip()` where nothing changed.

    Every portion is written before the next is made. A run that is stopped leaves a ZIP of what was finished.

    Raises:
        gr.Error: something is wrong with the form, the model, a classifier or the disk.
    """
    form = ExportForm(*values)
    stop = lane.signal(session)
    started = time.monotonic()
    try:
        work = tasks(form, offered(widgets.known_cards(MODALITY)))
        shown = Progress(form, scratch.SHOWN.folder(session))
        path = scratch.DOWNLOADS.folder(session) / _name(form)
        yield [widgets.bar("Starting …", 0.0), shown.html(), gr.update(value=None, interactive=False)]
        with zip_writer(work[0].card, path, form.format) as writer:
            done, last_draw, status = 0, 0.0, ""
            for event in process(work, stop, False):
                if isinstance(event, Result):
                    _write(writer, event, judge if form.scores else None)
                    shown.take(event)
                    done += 1
                else:
                    status = running.progress(event, status, done, len(work), time.monotonic() - started)
                if isinstance(event, Result) or time.monotonic() - last_draw > running.REDRAW_SECONDS:
                    last_draw = time.monotonic()
                    yield [status, shown.html() if isinstance(event, Result) else gr.skip(), gr.skip()]
            if not shown.pictures:
                raise Stopped
            writer.finish(seconds=shown.seconds, peak_mb=shown.peak_mb)
    except Stopped:
        yield [widgets.bar("Stopped before the first picture was finished."), gr.skip(), gr.skip()]
        return
    except MedgenError as error:
        raise widgets.toast(error) from error
    line = running.ended(stop.is_set(), shown.pictures, time.monotonic() - started)
    yield [line, shown.html(), gr.update(value=str(path), interactive=True)]


def _write(writer: SetWriter, result: Result, judge: Judge | None) -> None:
    """One portion into the folder of its label."""
    request = result.requests[0]
    label = request.label or ""
    said = judge(result.images, label) if judge else None
    cells = None if said is None else [one.cells() if one else {} for one in said]
    writer.add(result.images, request, folder=label, columns=cells)


def _name(form: ExportForm) -> str:
    """A file name that no other set of this app has."""
    when = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"medgen-{form.model}-{int(form.count or 0)}-each-seed{int(form.seed)}-{form.format}-{when}.zip"


def on_load() -> Any:
    """The models of the page."""
    found = offered(widgets.known_cards(MODALITY))
    return gr.update(choices=widgets.model_choices(found), value=next(iter(found), None))


def on_model(name: str | None) -> list[Any]:
    """The labels and fields of the chosen model: `[labels, guidance, steps]`; rare labels are not chosen at first."""
    card = offered(widgets.known_cards(MODALITY)).get(name or "")
    if card is None:
        return [gr.update(choices=[], value=[]), gr.update(visible=False), gr.update(visible=False)]
    labels = gr.update(choices=label_choices([card]), value=[word for word in card.labels if not is_rare(card, word)])
    return [labels, with_default([card], "guidance"), with_default([card], "steps")]


def create(page: gr.Blocks, process: Process, judge: Judge) -> None:
    """Puts the page into the tab; `process` runs its tasks and `judge` looks at the pictures."""
    with gr.Row(elem_classes="fields"):
        model = gr.Dropdown([], label="Model", elem_id="export-model", min_width=220)
        count = gr.Number(20, label="Pictures a label", info=f"{MAX_PICTURES:,} in all at most", precision=0,
                          elem_id="export-count", min_width=160)  # fmt: skip
        seed = gr.Textbox("0", label="First seed", info="every picture has its own", elem_id="export-seed",
                          min_width=160)  # fmt: skip
        guidance = gr.Textbox("", label="Guidance", info="empty = default", elem_id="export-guidance", visible=False,
                              min_width=140)  # fmt: skip
        steps = gr.Textbox("", label="Steps", info="empty = default", elem_id="export-steps", visible=False,
                           min_width=140)  # fmt: skip
    labels = gr.CheckboxGroup([], label="Labels, each as often as the others", elem_id="export-labels")
    with gr.Row():
        format = gr.Radio(FORMATS, value="png", label="Files", min_width=200)
        scores = gr.Checkbox(True, label="Classifier and border scores in labels.csv", min_width=240)
        go = gr.Button("Make the set", variant="primary", elem_id="export-go", min_width=180)
        halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="export-stop", min_width=120)
    status = running.status_line(IDLE, "export-status")
    archive = gr.DownloadButton("Download the set", interactive=False, elem_id="export-zip")
    shown = gr.HTML(elem_id="export-shown", padding=False)
    gr.Markdown(
        "The ZIP has a folder of files a label, labels.csv, and manifest.json with every seed. "
        "`python -m medgen.sample --manifest manifest.json --out DIR` remakes the same pixels.",
        elem_classes="quiet",
    )

    def on_run(session: str, *values: Any) -> Iterator[list[Any]]:
        yield from run(process, judge, session, *values)

    inputs = [model, labels, count, seed, guidance, steps, format, scores]
    running.wire(page, running.Buttons(go, halt, status), on_run, inputs, [status, shown, archive], validator, KEY)
    page.load(on_load, None, model, **_QUIET)
    model.change(on_model, model, [labels, guidance, steps], **_QUIET)
