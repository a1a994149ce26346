"""The Volume tab: volumes of several models on the same seeds, films between two seeds, files, and a linked viewer.

python -m demos.volume
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from demos import (
    lane,
    replay,
    runner,
    running,
    scratch,
    viewer,
    volume_controls,
    volume_files,
    volume_form,
    volume_measure,
    volume_open,
    volume_run,
    volume_shelf,
    widgets,
)
from demos.downloads import Manifest
from demos.runner import Process
from demos.volume_columns import NOTHING, Made
from demos.volume_controls import QUIET
from demos.volume_measure import Measure
from demos.volume_source import Opened
from medgen import MedgenError

TITLE = "Volume"
IDLE = "Choose models and press Generate volumes, or open a file below."
KEY = "volume"


def create(page: gr.Blocks, process: Process = runner.portions, measure: Measure = volume_measure.measure) -> None:
    """Puts the tab into `page`; `process` runs its tasks, `measure` says how large structures are."""
    form = volume_controls.create(page)
    made, expected = gr.State(None, time_to_live=3600), gr.State({})
    status = running.status_line(IDLE, "volume-status")
    columns = gr.HTML(NOTHING, elem_id="volume-columns", padding=False)
    with gr.Row(elem_classes="downloads"):
        archive = gr.DownloadButton("Download ZIP of NIfTI", interactive=False, elem_id="volume-zip", min_width=180)
        load = gr.UploadButton("Load a manifest or ZIP", type="filepath", elem_id="volume-manifest", min_width=180)
    verdict = gr.Markdown(elem_id="volume-verdict")
    gr.HTML("<h2>Viewer</h2>", padding=False)
    opened = volume_open.create(page)
    sides = _create_viewer(made, opened)
    with gr.Accordion("About the chosen models", open=False):
        models = form.fields[0]
        models.change(volume_controls.about, models, gr.Markdown(), **QUIET)

    def on_go(session: str, *values: Any) -> Iterator[list[Any]]:
        *fields, known = values
        yield from volume_run.run(replay.recorded(process, known or {}), measure, session, *fields)

    def validator(*values: Any) -> list[dict[str, Any]]:
        return volume_form.validated(values, widgets.known_cards())

    buttons, check = running.Buttons(form.go, form.halt, status), replay.beside(validator)
    ended = running.wire(page, buttons, on_go, [*form.fields, expected], [status, columns, made], check, KEY)
    for trigger in ended:
        trigger(volume_shelf.after_run, [made, opened], sides, **QUIET)
        trigger(_on_pack, [made, expected], [archive, verdict], **QUIET)
    opened.change(volume_shelf.after_opening, [made, opened, *sides], sides, **QUIET)
    load.upload(volume_controls.on_manifest, load, [expected, form.data, *form.fields], **QUIET)


def _create_viewer(made: gr.State, opened: gr.State) -> list[gr.Dropdown]:
    """The viewer, and what stands beside each other in it."""
    sides, files = [], []
    with gr.Row():
        for word in ("First", "Second", "Third")[: volume_shelf.SIDES]:
            with gr.Column(min_width=240):
                side = gr.Dropdown([], label=f"{word} in the viewer", visible=False, elem_id=f"volume-{word.lower()}")
                sides.append(side)
                files.append(gr.DownloadButton("Download as NIfTI", visible=False, size="sm",
                                               elem_id=f"volume-nifti-{word.lower()}"))  # fmt: skip
    shown = viewer.viewer(label="Volumes in three planes", elem_id="volume-viewer")
    # a new run may have the same words at its sides, and other voxels behind them
    changes = [made.change, opened.change, *(side.change for side in sides)]
    gr.on(changes, show, [made, opened, *sides], shown, trigger_mode="always_last", **QUIET)
    for number, (side, file) in enumerate(zip(sides, files, strict=True)):
        gr.on([made.change, side.change], _saver(number), [made, side], file, trigger_mode="always_last", **QUIET)
    return sides


def show(made: Made | None, opened: Opened | None, *sides: str | None) -> Any:
    """The value of the viewer."""
    return viewer.shown(*(volume_shelf.shown(made, opened, key) for key in sides))


def save(session: str, made: Made | None, key: str | None) -> Any:
    """The download of one side; hidden where no single volume of ours stands there."""
    try:
        path = volume_shelf.file(made, key, scratch.DOWNLOADS.folder(session))
    except MedgenError as error:
        raise widgets.toast(error) from error
    return gr.update(value=None if path is None else str(path), visible=path is not None)


def _saver(side: int) -> Callable[[gr.Request, Made | None, str | None], Any]:
    def on_side(request: gr.Request, made: Made | None, key: str | None) -> Any:
        return save(lane.session(request, f"{KEY}-{side}"), made, key)

    return on_side


def _on_pack(request: gr.Request, made: Made | None, expected: dict[str, Manifest]) -> list[Any]:
    return volume_files.pack(lane.session(request, KEY), made, expected)


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
