"""The part of the Volume tab that opens a file or an example, for the viewer."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from demos import volume_source, widgets
from demos.slice_source import MODALITIES, series_of
from demos.volume_controls import QUIET
from demos.volume_form import groups
from demos.volume_source import Opened
from medgen import MedgenError
from medgen.volume_sets import VOLUMES

NOTHING = "<p class='caption'>No file is open.</p>"
READING = {"concurrency_id": "volume-reading", "concurrency_limit": 1}
"""A large file takes a GiB while it is read: one at a time."""


def said(opened: Opened | None) -> str:
    """What was opened, and what to be careful about, as HTML."""
    if opened is None:
        return NOTHING
    first, *careful = (escape(sentence) for sentence in opened.said)
    return f"<p class='caption'>{first}</p>" + "".join(f"<p class='caption warning'>{one}</p>" for one in careful)


def on_load() -> Any:
    """The examples that are here."""
    found = [name for _, name in groups(widgets.known_cards()) if name in VOLUMES]
    return gr.update(choices=volume_source.examples(found or list(VOLUMES)), value=None)


def on_upload(path: str | None, says: str) -> list[Any]:
    """A file was given: `[opened, said, path, series, example]`.

    Raises:
        gr.Error: it cannot be read, or is no volume.
    """
    if path is None:
        return [gr.skip()] * 5
    series = series_of(path)
    chosen = series[0][1] if series else None
    opened = _toasted(lambda: volume_source.open_file(path, says, chosen))
    several = gr.update(choices=series, value=chosen, visible=len(series) > 1)
    return [opened, said(opened), path, several, None]


def on_again(path: str | None, says: str, series: str | None) -> list[Any]:
    """The file shows something else, or another series of it is wanted: `[opened, said]`."""
    if not path:
        return [gr.skip()] * 2
    opened = _toasted(lambda: volume_source.open_file(path, says, series))
    return [opened, said(opened)]


def on_example(key: str | None) -> list[Any]:
    """An example was chosen: `[opened, said, path, series]`."""
    if key is None:
        return [gr.skip()] * 4
    opened = _toasted(lambda: volume_source.open_example(key))
    return [opened, said(opened), None, gr.update(choices=[], value=None, visible=False)]


def _toasted(work: Callable[[], Opened]) -> Opened:
    try:
        return work()
    except MedgenError as error:
        raise widgets.toast(error) from error


def create(page: gr.Blocks) -> gr.State:
    """Creates the fields; returns the state that holds what was opened."""
    opened, path = gr.State(None, time_to_live=3600), gr.State(None, time_to_live=3600)
    with gr.Row(elem_classes="downloads"):
        upload = gr.UploadButton("Open a file", type="filepath", elem_id="volume-upload", min_width=180)
        example = gr.Dropdown([], label="Or an example", elem_id="volume-example", min_width=280)
        says = gr.Radio(MODALITIES, value="MR", label="NIfTI shows", info="DICOM says so itself", min_width=180,
                        elem_id="volume-says")  # fmt: skip
        series = gr.Dropdown([], label="Series of the file", visible=False, elem_id="volume-series", min_width=240)
    gr.Markdown(
        "NIfTI, a DICOM series as a ZIP, or an enhanced DICOM file. It stays on this machine and is dropped after a "
        "day.",
        elem_classes="quiet",
    )
    about = gr.HTML(NOTHING, elem_id="volume-about", padding=False)
    page.load(on_load, None, example, **QUIET)
    loud: Any = {"show_progress": "minimal", "api_visibility": "private", **READING}
    upload.upload(on_upload, [upload, says], [opened, about, path, series, example], **loud)
    gr.on([says.input, series.input], on_again, [path, says, series], [opened, about], **loud)
    example.input(on_example, example, [opened, about, path, series], **loud)
    return opened
