"""What stands in the viewer: up to three of the volumes that were generated or opened, beside each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from demos import widgets
from demos.runner import Result
from demos.volume_columns import Made, captions
from demos.volume_files import nifti
from demos.volume_source import Opened
from medgen import MedgenError
from medgen.view_volume import film, view
from medgen.volume import Volume

SIDES = 3
"""Volumes beside each other."""
NOTHING, OPENED = "nothing", "opened"
_FILM = "film"


def choices(made: Made | None, opened: Opened | None) -> list[tuple[str, str]]:
    """(shown, key) of all that the viewer can show."""
    results = made.results if made is not None else ()
    titles = widgets.titles([result.card for result in results])
    found = []
    for result in results:
        name = result.card.name
        if made is not None and made.walk:
            found.append((f"{titles[name]}, film of {len(result.images)} frames", f"{name}:{_FILM}"))
        else:
            found += [(f"{titles[name]}, {said}", f"{name}:{i}") for i, said in enumerate(captions(result))]
    if opened is not None:
        found.append((opened.name, OPENED))
    return found


def after_run(made: Made | None, opened: Opened | None) -> list[Any]:
    """What stands where after a run: one volume a model, all of one seed, then what was opened; one update a side."""
    found = choices(made, opened)
    names = [result.card.name for result in (made.results if made is not None else ())]
    first = [next(key for _, key in found if key.startswith(f"{name}:")) for name in names]
    return _updates(found, [*first, *([OPENED] if opened is not None else [])][:SIDES])


def after_opening(made: Made | None, opened: Opened | None, *sides: str | None) -> list[Any]:
    """What stands where after a file was opened: behind the generated ones, in the place of the last if need be."""
    found = choices(made, opened)
    keys = {key for _, key in found}
    kept = [key for key in sides if key in keys and key != OPENED]
    return _updates(found, [*kept[: SIDES - 1], OPENED] if opened is not None else kept)


def _updates(found: list[tuple[str, str]], keys: list[str]) -> list[Any]:
    """One update a side; a side beyond the first two is shown where there is something to put there."""
    all_choices = [("nothing", NOTHING), *found]
    values = [*keys, *[NOTHING] * (SIDES - len(keys))]
    return [gr.update(choices=all_choices, value=value, visible=len(found) > side) for side, value in enumerate(values)]


def shown(made: Made | None, opened: Opened | None, key: str | None) -> dict[str, Any] | None:
    """What the viewer is sent for one side; None for nothing.

    Raises:
        gr.Error: the model has diverged.
    """
    if key == OPENED:
        return opened.view if opened is not None else None
    result, index = _of(made, key)
    if result is None or index is None:
        return None
    title = widgets.titles([one.card for one in made.results])[result.card.name] if made is not None else ""
    try:
        if index == _FILM:
            # whole levels: a film travels at once, and one byte a voxel is half of two
            volumes = [Volume.of(result.images, i, synthetic=True) for i in range(len(result.images))]
            whole = [replace(one, array=np.rint(one.array)) for one in volumes]
            return film(whole, title=title, names=captions(result))
        said = captions(result)[int(index)]
        return view(Volume.of(result.images, int(index), synthetic=True), title=f"{title}, {said}")
    except MedgenError as error:
        raise widgets.toast(error) from error


def file(made: Made | None, key: str | None, place: Path) -> Path | None:
    """The NIfTI file of a generated volume; None where nothing of ours is shown, or a film.

    Raises:
        MedgenError: it could not be written.
    """
    result, index = _of(made, key)
    return None if result is None or index in (None, _FILM) else nifti(result, int(index or 0), place)


def _of(made: Made | None, key: str | None) -> tuple[Result | None, str | None]:
    """The result that a key names, and which volume of it."""
    name, _, index = (key or "").rpartition(":")
    result = next((one for one in (made.results if made is not None else ()) if one.card.name == name), None)
    known = result is not None and (index == _FILM or (index.isdigit() and int(index) < len(result.images)))
    return (result, index) if known else (None, None)
