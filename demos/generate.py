"""The Generate tab: any models of one modality side by side, on the same seeds.

python -m demos.generate
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demos import controls, downloads, lane, preview, replay, runner, running, scratch, widgets
from demos.columns import Columns
from demos.form import FIELDS, IMAGES, Form, tasks, validator
from demos.runner import Loading, Process, Result
from medgen import MedgenError
from medgen.files import formats

TITLE = "Generate"
FORMATS = {"png": "PNG", "dcm": "DICOM", "nii": "NIfTI"}
IDLE = "Choose models and press Generate."


def generate(process: Process, session: str, *values: Any) -> Iterator[list[Any]]:
    """Runs the form. Yields `[status, results, *columns]`, with `gr.skip()` where nothing changed.

    Args:
        process: what runs the tasks: `runner.run`, or a fake.
        session: whose stop signal it listens to.
        values: the fields of `Form`, in order.

    Raises:
        gr.Error: something is wrong with the form, a model or the data; the sentence says what to do.
    """
    form = Form(*values)
    stop = lane.signal(session)
    results: dict[str, Result] = {}
    started = time.monotonic()
    columns: Columns | None = None
    try:
        work = tasks(form, widgets.known_cards())
        columns = Columns(form, list({task.card.name: task.card for task in work}.values()))
        yield [widgets.bar("Starting …", 0.0), [], *columns.changes()]
        last_draw = 0.0
        status = ""
        for event in process(work, stop, form.denoising and form.mode == IMAGES):
            if isinstance(event, Result):
                results[event.card.name] = event
            columns.take(event)
            done = sum(len(result.requests) for result in results.values())
            status = running.progress(event, status, done, len(work), time.monotonic() - started)
            if isinstance(event, Loading) or time.monotonic() - last_draw > running.REDRAW_SECONDS:
                last_draw = time.monotonic()
                yield [status, list(results.values()), *columns.changes()]
        columns.close()
        finished = sum(len(result.images) for result in results.values())
        line = running.ended(stop.is_set(), finished, time.monotonic() - started)
        yield [line, list(results.values()), *columns.changes()]
    except MedgenError as error:
        if columns is not None:  # what the other models have finished is kept
            columns.close()
            yield [gr.skip(), list(results.values()), *columns.changes()]
        raise widgets.toast(error) from error


def pack(session: str, results: list[Result], format: str, expected: dict[str, Any]) -> list[Any]:
    """The downloads of a run: `[zip button, box, single files in the box, verdict]`."""
    if not results:
        return [gr.update(value=None, interactive=False), gr.update(visible=False), None, ""]
    place = scratch.DOWNLOADS.folder(session)
    try:
        path, manifests = downloads.pack(results, place, format)
        moving = downloads.animation(results, place)
        files = [*downloads.manifest_files(manifests, place), *([moving] if moving else [])]
    except MedgenError as error:
        raise widgets.toast(error) from error
    verdict = downloads.verdict(manifests, expected or {})
    button = gr.update(value=str(path), interactive=True)
    return [button, gr.update(visible=True), [str(file) for file in files], verdict]


def fill(path: str | None) -> list[Any]:
    """The form from an uploaded manifest or ZIP: `[expected, modality, *fields]`."""
    if path is None:
        return [gr.skip()] * (2 + len(FIELDS))
    found = widgets.known_cards()
    try:
        manifests = downloads.read_manifests(Path(path))
        form = downloads.form_of(manifests, found)
    except MedgenError as error:
        raise widgets.toast(error) from error
    modality = found[form.models[0]].modality
    same = {name: card for name, card in found.items() if card.modality == modality}
    models = gr.update(choices=widgets.model_choices(same), value=form.models)
    label = gr.update(choices=controls.labels_of(form.models), value=form.label)
    slider, _ = controls.number([found[name] for name in form.models], form.quantity)
    values = {name: getattr(form, name) for name in FIELDS}
    values |= {"models": models, "label": label, "quantity": slider}
    return [manifests, modality, *values.values()]


def choices(models: list[str]) -> list[tuple[str, str]]:
    """(shown, format) of the formats that the pictures of all of these models can be saved as."""
    found = widgets.known_cards()
    can = [formats(found[name]) for name in models if name in found] or [("png", "dcm")]
    return [(word, format) for format, word in FORMATS.items() if all(format in one for one in can)]


def on_models(models: list[str], format: str) -> Any:
    """The formats of the chosen models; the one chosen before stays where it can."""
    offered = choices(models)
    return gr.update(choices=offered, value=format if format in dict(offered).values() else offered[0][1])


def create(page: gr.Blocks, process: Process = runner.run) -> None:
    """Puts the tab into `page`; `process` runs its tasks."""
    form = controls.create(page)
    preview.create(form.models, form.mode, form.fields)
    status = running.status_line(IDLE, "status")
    columns = Columns.components()
    with gr.Row(elem_classes="downloads"):
        format = gr.Radio(choices([]), value="png", label="Download as", min_width=200)
        archive = gr.DownloadButton("Download ZIP", interactive=False, elem_id="zip", min_width=180)
        upload = gr.UploadButton("Load a manifest or ZIP", min_width=180, elem_id="manifest", type="filepath")
    verdict = gr.Markdown(elem_id="verdict")
    with gr.Accordion("Single files", open=False, visible=False) as box:
        files = gr.File(label="Manifests, and the animation of a walk", file_count="multiple", interactive=False)
    with gr.Accordion("About the chosen models", open=False):
        form.models.change(on_models, [form.models, format], format, show_progress="hidden", api_visibility="private")
        form.models.change(controls.about, form.models, gr.Markdown(), show_progress="hidden", api_visibility="private")
    results, expected = gr.State([], time_to_live=3600), gr.State({})
    shown, packing = [status, results, *columns], [results, format, expected]

    def on_generate(session: str, *values: Any) -> Iterator[list[Any]]:
        *fields, known = values
        yield from generate(replay.recorded(process, known or {}), session, *fields)

    buttons = running.Buttons(form.go, form.halt, status)
    ended = running.wire(page, buttons, on_generate, [*form.fields, expected], shown, replay.beside(validator))
    for trigger in (*ended, format.change):
        trigger(_on_pack, packing, [archive, box, files, verdict], show_progress="hidden",
                api_visibility="private")  # fmt: skip
    upload.upload(fill, upload, [expected, form.modality, *form.fields], api_visibility="private")


def _on_pack(request: gr.Request, results: list[Result], format: str, expected: dict[str, Any]) -> list[Any]:
    return pack(lane.session(request), results, format, expected)


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
