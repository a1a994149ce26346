"""A whole head translated slice by slice by one model, onto the grid of the source, as NIfTI and as a DICOM series."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from demos import lane, running, scratch, widgets
from demos.runner import BATCH, Loading, Process, Result, Task
from demos.slice_source import Opened, opened, refuse_modality
from demos.translate_form import FIELDS, TranslateForm, chosen, grid_of, image_set, picture, problems
from demos.translate_form import request as slice_request
from medgen import ImageSet, MedgenError, ModelCard, Request
from medgen.paired import FIELD_OF_VIEW_MM
from medgen.slice_grid import SliceGrid
from medgen.volume import Volume
from medgen.write_volume import save_dicom, save_nifti

MAX_VOXELS = 2**27
"""Largest head translated as a whole, such as 512 x 512 x 512: half a GiB as float32, as much again for the result."""
MAX_SLICES = 2048
_PART = 8 * BATCH
"""Slices prepared at a time: what they need in memory does not grow with the head."""


@dataclass(frozen=True)
class Made:
    """What a run leaves behind: files.

    Args:
        said: what they hold, in a sentence.
        nifti: the head.
        manifest: beside it.
        dicom: the same as a ZIP of slices, where the source was DICOM.
    """

    said: str
    nifti: Path
    manifest: Path
    dicom: Path | None


def validator(*values: Any) -> list[dict[str, Any]]:
    """One `gr.validate` an input: the model, then the fields of `TranslateForm`."""
    model, *rest = values
    found = problems(_alone(model, rest))
    chosen_one = gr.validate(bool(model), "Choose a model.")
    return [chosen_one, *(gr.validate(name not in found, found.get(name, "")) for name in FIELDS)]


def _alone(model: str | None, values: list[Any]) -> TranslateForm:
    """The form with this model alone, and one sample a slice."""
    form = dict(zip(FIELDS, values, strict=True))
    return TranslateForm(**{**form, "models": [model or ""], "samples": 1})


def run(process: Process, session: str, model: str | None, *values: Any) -> Iterator[list[Any]]:
    """Translates all slices of the plane. Yields `[status, made]`, with `gr.skip()` where nothing changed.

    Args:
        process: what runs the tasks: `runner.portions`, or a fake.
        session: whose stop signal it listens to.
        model: name of a card.
        values: the fields of `TranslateForm`, in order; of them the models, the slice and the samples do not count.

    Raises:
        gr.Error: something is wrong with the form, the file or the model; the sentence says what to do.
    """
    form = _alone(model, list(values))
    stop = lane.signal(session)
    started = time.monotonic()
    try:
        found = opened(form.source)
        (card,) = chosen(form, widgets.known_cards())
        refuse_modality(found, form.source.name if form.source else "", card.translates)
        _refuse_size(found, form.plane)
        job = _Job(form, found, card, stop)
        yield [widgets.bar("Starting …", 0.0), None]
        last_draw = 0.0
        for name in job.work(process):
            if time.monotonic() - last_draw > running.REDRAW_SECONDS:
                last_draw = time.monotonic()
                text = f"{name}: slice {job.done} of {job.total} · {time.monotonic() - started:.0f} s"
                yield [widgets.bar(text, job.done / job.total), gr.skip()]
        if stop.is_set():
            line = f"Stopped after {job.done} of {job.total} slices. A head with slices missing is not kept."
            yield [widgets.bar(line), gr.skip()]
            return
        yield [widgets.bar("Writing the files …", 1.0), gr.skip()]
        made = job.save(scratch.DOWNLOADS.folder(session))
        line = f"Done: {job.total} slices in {time.monotonic() - started:.1f} s, loading and writing included."
        yield [widgets.bar(line), made]
    except MedgenError as error:
        raise widgets.toast(error) from error
    except MemoryError as error:
        full = MedgenError("The memory is full: translate a coarser or a cropped head.")
        raise widgets.toast(full) from error


def _refuse_size(found: Opened, plane: str) -> None:
    count = found.volume.count(plane)
    if found.volume.array.size > MAX_VOXELS or count > MAX_SLICES:
        shape = " x ".join(map(str, found.volume.array.shape))
        raise MedgenError(
            f"{shape} voxels are too many to translate at once: crop the head, or coarsen it, to at most "
            f"{MAX_VOXELS:,} voxels and {MAX_SLICES:,} slices."
        )


class _Job:
    """The slices of one head on their way through a model."""

    def __init__(self, form: TranslateForm, found: Opened, card: ModelCard, stop: threading.Event) -> None:
        self._form, self._found, self._card, self._stop = form, found, card, stop
        self._grid: SliceGrid = grid_of(card, found, found.section(form.plane, 0))
        self.total, self.done = found.volume.count(form.plane), 0
        self._made = np.full(found.volume.sections(form.plane).shape, card.window[0], np.float32)
        self._seconds, self._peak_mb, self._empty = 0.0, 0.0, 0

    def work(self, process: Process) -> Iterator[str]:
        """Does it; yields what it is busy with."""
        for start in range(0, self.total, _PART):
            places, tasks = self._tasks(range(start, min(start + _PART, self.total)))
            finished = 0
            for event in process(tasks, self._stop, False):
                if isinstance(event, Result):
                    self._keep(event, places[finished])
                    finished += 1
                loading = isinstance(event, Loading) and start == 0
                yield f"Loading {event.name}" if loading else self._card.name
            if self._stop.is_set():
                return
            self.done = min(start + _PART, self.total)  # with the slices that show nothing

    def _tasks(self, indices: range) -> tuple[list[list[int]], list[Task]]:
        """The slices that show something, in calls of a few, and which they are."""
        black = self._card.translates["window"][0] if self._found.volume.unit == "HU" else 0.0
        shown: list[tuple[int, np.ndarray]] = []
        for index in indices:
            made = picture(self._card, self._found, self._found.section(self._form.plane, index), self._grid)
            if (made > black).any():  # out of black a model could only invent
                shown.append((index, made))
            else:
                self._empty += 1
        groups = [shown[i : i + BATCH] for i in range(0, len(shown), BATCH)]
        tasks = [Task(self._card, self._request(np.stack([made for _, made in group]))) for group in groups]
        return [[index for index, _ in group] for group in groups], tasks

    def _request(self, pictures: np.ndarray) -> Request:
        asked = slice_request(self._form, self._card, image_set(self._card, pictures), self._found.volume.synthetic)
        return replace(asked, seeds=asked.seeds * len(pictures))  # the same noise in all slices: less flicker between

    def _keep(self, result: Result, places: list[int]) -> None:
        result.images.uint8()  # refuses NaN
        for index, one in zip(places, result.images.pixels[:, 0], strict=True):
            self._made[index] = self._grid.slice(one, background=self._card.window[0])
        self.done = places[-1] + 1
        self._seconds += result.seconds
        self._peak_mb = max(self._peak_mb, result.peak_mb)

    def save(self, place: Path) -> Made:
        """Writes the files into `place`."""
        card, source = self._card, self._found.volume
        stack = np.rint(self._made, out=self._made) if card.unit == "HU" else self._made
        made: Volume = source.with_sections(
            self._form.plane, stack, modality=card.modality, unit=card.unit, window=card.window
        )
        # the whole head as the source: which slices and pixels of it were seen follows from the card
        whole = ImageSet(source.array[None, None], source.modality, source.unit, self._found.window)
        asked = slice_request(self._form, card, whole, source.synthetic)
        cost = {"seconds": self._seconds, "peak_mb": self._peak_mb}
        stem = f"{card.name}-seed{asked.seeds[0]}"
        nifti = place / f"{stem}.nii.gz"
        manifest = save_nifti(made, nifti, card, asked, **cost)
        said, dicom = [self._said(made)], None
        if self._found.dicom:
            try:
                dicom = save_dicom(made, place / f"{stem}-dicom.zip", card, asked, **cost, plane=self._form.plane)
            except MedgenError as error:  # a tilted gantry has no rows and columns in other planes
                said.append(f"There is no DICOM of it: {error}")
        return Made(" ".join(said), nifti, manifest, dicom)

    def _said(self, made: Volume) -> str:
        shape = " x ".join(map(str, made.array.shape))
        black = f"{self._card.window[0]:g} {'HU' if self._card.unit == 'HU' else 'levels'}"
        said = f"{shape} voxels on the grid of {self._form.source.name if self._form.source else 'the source'}."
        if outside := 1.0 - float(self._grid.covered().mean()):
            said += (
                f" {outside:.0%} of each slice lies outside the {FIELD_OF_VIEW_MM:g} mm that the model sees: {black}."
            )
        if self._empty:
            said += f" {self._empty} slices show nothing and stayed {black}."
        return said
