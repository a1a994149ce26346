"""The head to translate and its truth as the page takes them: uploaded or chosen, read, and one slice shown at once."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from demos import scratch, slice_examples, widgets
from demos.pathology_grid import figure
from demos.slice_source import Given, Opened, opened, refuse_modality, refuse_truth, series_of, warnings
from demos.translate_form import offered
from demos.translate_view import RESULT, View, slice_picture, windowed
from medgen import MedgenError

NO_SOURCE = "<p class='caption'>No head is chosen yet.</p>"
NO_TRUTH = "<p class='caption'>No truth is given: nothing will be measured.</p>"
WITH_EXAMPLE = "<p class='caption'>The truth comes with the example.</p>"


def take(given: Given, series: list[tuple[str, str]]) -> list[Any]:
    """A head that was chosen, read: `[source, about, series, plane, slice]`.

    Raises:
        gr.Error: it cannot be read or shows nothing.
    """
    try:
        found = opened(given)
        planes = found.planes()
    except MedgenError as error:
        raise widgets.toast(error) from error
    several = gr.update(choices=series, value=given.series, visible=len(series) > 1)
    plane = gr.update(choices=planes, value=planes[0])
    return [given, f"<p class='caption'>{escape(found.said)}</p>", several, plane, slices(found, planes[0])]


def slices(found: Opened, plane: str) -> Any:
    """The slice chooser for a plane of a head, in its middle; one slice leaves no choice."""
    count = found.volume.count(plane)
    return gr.update(minimum=0, maximum=max(count - 1, 1), value=count // 2, interactive=count > 1)


def on_upload(path: str | None, says: str) -> list[Any]:
    """A head was uploaded: `take`, then `[example, truth, truth said]`."""
    if path is None:
        return [gr.skip()] * 8
    series = series_of(path)
    given = Given(Path(path).name, path, says=says, series=series[0][1] if series else None)
    return [*take(given, series), None, None, NO_TRUTH]


def on_says(source: Given | None, says: str) -> list[Any]:
    """The file shows something else: `take`, then `[truth, truth said]`; nothing where the file itself says it."""
    try:
        if source is None or not source.path or not opened(source).silent:
            return [gr.skip()] * 7
    except MedgenError as error:
        raise widgets.toast(error) from error
    return [*take(replace(source, says=says), []), None, NO_TRUTH]


def on_series(source: Given | None, series: str | None) -> list[Any]:
    """Another series of the upload: `take`, then `[truth, truth said]`."""
    if source is None or not source.path or series is None:
        return [gr.skip()] * 7
    return [*take(replace(source, series=series), series_of(source.path)), None, NO_TRUTH]


def on_plane(source: Given | None, plane: str) -> Any:
    """The slice chooser for another plane."""
    if source is None:
        return gr.skip()
    try:
        return slices(opened(source), plane)
    except MedgenError as error:
        raise widgets.toast(error) from error


def on_example(key: str | None, direction: str | None) -> list[Any]:
    """An example was chosen, with its truth where there is one: `take`, then `[truth, truth said]`."""
    known = {key: (shown, truth) for shown, key, truth in slice_examples.offered(direction or "")} if direction else {}
    if key not in known:
        return [gr.skip()] * 7
    shown, truth = known[key]
    name = shown.split(":")[0]
    true = None if truth is None else Given(f"{name}, truth", example=truth)
    return [*take(Given(name, example=key), []), true, WITH_EXAMPLE if true else NO_TRUTH]


def on_truth(path: str | None, source: Given | None, direction: str | None) -> list[Any]:
    """A truth was uploaded: `[truth, truth said]`.

    Raises:
        gr.Error: it cannot be read, or does not lie on the grid of the source.
    """
    card = next(iter(offered(widgets.known_cards(), direction).values()), None)
    if path is None or card is None:
        return [gr.skip()] * 2
    name = Path(path).name
    try:
        given = Given(name, path, says=card.modality)
        true, found = opened(given), opened(source)
        refuse_truth(found, true, name, card.modality, card.translates["target"])
    except MedgenError as error:
        raise widgets.toast(error) from error
    doubt = "" if true.volume.oriented else " Nobody can tell whether it shows the same slice: neither file says where."
    said = f"Truth: {name}, on the grid of the source.{doubt}"
    return [given, f"<p class='caption'>{escape(said)}</p>"]


def preview(
    session: str, source: Given | None, direction: str | None, plane: str, index: float | None, ct: str, mr: str
) -> str:
    """The chosen slice, its letters, and what makes its translation unsure, as HTML.

    Raises:
        gr.Error: the file is gone.
    """
    if source is None:
        return NO_SOURCE
    try:
        found = opened(source)
        section = found.section(plane, min(max(int(index or 0), 0), found.volume.count(plane) - 1))
    except MedgenError as error:
        raise widgets.toast(error) from error
    said = warnings(found, plane)
    card = next(iter(offered(widgets.known_cards(), direction).values()), None)
    if card is not None:
        try:
            refuse_modality(found, source.name, card.translates)
        except MedgenError as error:
            said.insert(0, str(error))
    grey = windowed(found.levels(section.pixels), found.volume.unit, View(RESULT, ct, mr))
    picture = slice_picture(grey, section, found.mark)
    alt = f"{plane} slice {section.index} of {source.name}"
    letters = " ".join(section.edges).strip()
    lines = (alt + (f", letters {letters} at the left, right, top and bottom" if letters else ""), *said)
    address = scratch.address(picture, scratch.SHOWN.lasting(session))
    return f"<div class='figures one'>{figure(address, alt, lines)}</div>"
