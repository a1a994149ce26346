"""The pathology tab: chest X-rays of chosen labels from several models on one seed, and who else sees the label.

python -m demos.pathology
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demos import (
    downloads,
    export_set,
    lane,
    opinions,
    pathology_controls,
    region,
    replay,
    runner,
    running,
    scratch,
    widgets,
)
from demos.opinions import Judge
from demos.pathology_controls import on_choice
from demos.pathology_form import FIELDS, MODALITY, PathologyForm, cells, form_of, offered, tasks, validator
from demos.pathology_grid import Finished, Grid
from demos.runner import Process, Result
from medgen import MedgenError

TITLE = "Chest X-ray by pathology"
FORMATS = [("PNG", "png"), ("DICOM", "dcm")]
IDLE = "Choose models and labels, then press Generate."
KEY = "pathology"


def generate(process: Process, judge: Judge, session: str, *values: Any) -> Iterator[list[Any]]:
    """Runs the form. Yields `[status, finished, grid]`, with `gr.skip()` where nothing changed.

    Args:
        process: what runs the tasks: `runner.portions`, or a fake.
        judge: what the classifier says of pictures.
        session: whose stop signal it listens to.
        values: the fields of `PathologyForm`, in order.

    Raises:
        gr.Error: something is wrong with the form, a model or a classifier; the sentence says what to do.
    """
    form = PathologyForm(*values)
    stop = lane.signal(session)
    started = time.monotonic()
    grid: Grid | None = None
    try:
        columns, found = cells(form, offered(widgets.known_cards(MODALITY)))
        work = tasks(columns, found)
        grid = Grid(form, columns, found, scratch.SHOWN.folder(session), judge)
        yield [widgets.bar("Starting …", 0.0), Finished(), grid.html()]
        done, last_draw, status = 0, 0.0, ""
        for event in process(work, stop, False):
            if isinstance(event, Result):
                done += 1
                grid.show(event)
                yield [widgets.bar("Asking the classifier …", done / len(work)), grid.finished(), grid.html()]
                if not stop.is_set():
                    grid.judge(event)
                yield [gr.skip(), grid.finished(), grid.html()]
            else:
                status = running.progress(event, status, done, len(work), time.monotonic() - started)
                if isinstance(event, runner.Loading) or time.monotonic() - last_draw > running.REDRAW_SECONDS:
                    last_draw = time.monotonic()
                    yield [status, gr.skip(), gr.skip()]
        grid.close()
        finished = grid.finished()
        count = sum(len(result.images) for result in finished.results)
        yield [running.ended(stop.is_set(), count, time.monotonic() - started), finished, grid.html()]
    except MedgenError as error:
        if grid is not None:  # what was finished is kept
            grid.close()
            yield [gr.skip(), grid.finished(), grid.html()]
        raise widgets.toast(error) from error


def pack(session: str, finished: Finished, format: str, expected: dict[str, Any]) -> list[Any]:
    """The download of a run: `[zip button, verdict]`."""
    if not finished.results:
        return [gr.update(value=None, interactive=False), ""]
    try:
        place = scratch.DOWNLOADS.folder(session)
        path, manifests = downloads.pack(finished.results, place, format, finished.columns())
    except MedgenError as error:
        raise widgets.toast(error) from error
    return [gr.update(value=str(path), interactive=True), downloads.verdict(manifests, expected or {})]


def fill(path: str | None) -> list[Any]:
    """The form from an uploaded manifest or ZIP: `[expected, *fields]`, each field as its choices make it."""
    if path is None:
        return [gr.skip()] * (1 + len(FIELDS))
    found = offered(widgets.known_cards(MODALITY))
    try:
        manifests = downloads.read_manifests(Path(path))
        form = form_of(manifests, found)
    except MedgenError as error:
        raise widgets.toast(error) from error
    shown = dict(zip(pathology_controls.CHANGED, on_choice(form.models, form.labels), strict=True))
    updates = []
    for name in FIELDS:
        updates.append(gr.update(**{**shown.get(name, {}), "value": getattr(form, name)}))
    return [manifests, *updates]


def create(page: gr.Blocks, process: Process = runner.portions, judge: Judge = opinions.judge) -> None:
    """Puts the tab into `page`; `process` runs its tasks and `judge` looks at the pictures."""
    shortcut = gr.HTML(elem_id="shortcut", padding=False)
    finished = gr.State(Finished(), time_to_live=3600)
    with gr.Tabs():
        with gr.Tab("Compare", id="pathology-grid"):
            ended = _create_grid(page, process, judge, finished)
        with gr.Tab("Change a region", id="pathology-region"):
            region.create(page, finished, ended, process, judge)
        with gr.Tab("Export a set", id="pathology-export"):
            export_set.create(page, process, judge)
    page.load(_shortcut, None, shortcut, show_progress="hidden", api_visibility="private")


def _create_grid(page: gr.Blocks, process: Process, judge: Judge, finished: gr.State) -> list[Any]:
    """The form, the grid and its downloads; returns what comes after a run, as `running.wire` does."""
    fields, go, halt = pathology_controls.create(page)
    status = running.status_line(IDLE, "pathology-status")
    grid = gr.HTML(elem_id="pathology-grid-table", padding=False)
    with gr.Row(elem_classes="downloads"):
        format = gr.Radio(FORMATS, value="png", label="Download as", min_width=200)
        archive = gr.DownloadButton("Download ZIP", interactive=False, elem_id="pathology-zip", min_width=180)
        upload = gr.UploadButton("Load a manifest or ZIP", min_width=180, elem_id="pathology-manifest", type="filepath")
    verdict = gr.Markdown(elem_id="pathology-verdict")
    expected = gr.State({})

    def on_generate(session: str, *values: Any) -> Iterator[list[Any]]:
        *own, known = values
        yield from generate(replay.recorded(process, known or {}), judge, session, *own)

    buttons, check = running.Buttons(go, halt, status), replay.beside(validator)
    ended = running.wire(page, buttons, on_generate, [*fields, expected], [status, finished, grid], check, KEY)
    for trigger in (*ended, format.change):
        trigger(_on_pack, [finished, format, expected], [archive, verdict], show_progress="hidden",
                api_visibility="private")  # fmt: skip
    upload.upload(fill, upload, [expected, *fields], show_progress="hidden", api_visibility="private")
    return ended


def _on_pack(request: gr.Request, finished: Finished, format: str, expected: dict[str, Any]) -> list[Any]:
    return pack(lane.session(request, KEY), finished, format, expected)


def _shortcut() -> str:
    try:
        return f"<p class='shortcut' role='note'>{opinions.warning()}</p>"
    except MedgenError as error:
        raise widgets.toast(error) from error


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
