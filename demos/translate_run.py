"""One slice translated by several models: the run, what was made on the grid of the slice, and the download."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np

from demos import lane, running, widgets
from demos.runner import Loading, Process, Result
from demos.slice_source import LEVELS, Given, Opened, opened, refuse_truth
from demos.translate_form import TranslateForm, chosen, tasks
from medgen import MedgenError, ModelCard
from medgen.pair_metrics import Agreement, compared, inside_head
from medgen.slice_grid import SliceGrid
from medgen.volume import Section


@dataclass(frozen=True, eq=False)
class Answer:
    """What one model made of the slice.

    Args:
        result: its pictures on its own grid.
        samples: `(K, H, W)` float32 on the grid of the slice, in the unit of the card.
        covered: `(H, W)` bool, the pixels that the field of view of the model holds.
        agreement: of the first sample with the truth; None where there is none.
        mean_agreement: likewise of the mean of several samples.
    """

    result: Result
    samples: np.ndarray
    covered: np.ndarray
    agreement: Agreement | None = None
    mean_agreement: Agreement | None = None

    @property
    def card(self) -> ModelCard:
        """The model."""
        return self.result.card


@dataclass(frozen=True, eq=False)
class Translated:
    """What a run leaves behind.

    Args:
        given: the head.
        section: the slice; its pixels are HU, or levels of 255.
        affine: `(4, 4)` from its columns, its rows and 0 to RAS+ millimetres.
        oriented: whether left and right are known.
        unit: of the source, "HU" or "au".
        mark: the word burned into pictures of the source.
        truth: `(H, W)` in the unit of the results; None where nobody knows.
        answers: one a model, in the order of the columns.
    """

    given: Given
    section: Section
    affine: np.ndarray
    oriented: bool
    unit: str
    mark: str
    truth: np.ndarray | None
    answers: tuple[Answer, ...] = ()


def run(process: Process, session: str, *values: Any) -> Iterator[list[Any]]:
    """Runs the form. Yields `[status, translated]`, with `gr.skip()` where nothing changed.

    Args:
        process: what runs the tasks: `runner.portions`, or a fake.
        session: whose stop signal it listens to.
        values: the fields of `TranslateForm`, in order.

    Raises:
        gr.Error: something is wrong with the form, a file or a model; the sentence says what to do.
    """
    form = TranslateForm(*values)
    stop = lane.signal(session)
    started = time.monotonic()
    try:
        found = opened(form.source)
        columns = chosen(form, widgets.known_cards())
        work = tasks(form, columns, found)
        done = _begin(form, found, columns[0])
        yield [widgets.bar("Starting …", 0.0), gr.skip()]
        status, last_draw = "", 0.0
        for event in process([task for task, _ in work], stop, False):
            status = running.progress(event, status, len(done.answers), len(work), time.monotonic() - started)
            if isinstance(event, Result):  # shown at once, and kept whatever comes
                answer = _answer(event, work[len(done.answers)][1], done)
                done = replace(done, answers=(*done.answers, answer))
                yield [status, done]
            elif isinstance(event, Loading) or time.monotonic() - last_draw > running.REDRAW_SECONDS:
                last_draw = time.monotonic()
                yield [status, gr.skip()]
        count = sum(len(answer.samples) for answer in done.answers)
        yield [running.ended(stop.is_set(), count, time.monotonic() - started), gr.skip()]
    except MedgenError as error:
        raise widgets.toast(error) from error


def _begin(form: TranslateForm, found: Opened, card: ModelCard) -> Translated:
    """The slice and its truth, before any model has answered.

    Raises:
        MedgenError: the truth does not fit.
    """
    assert form.source is not None
    section = found.section(form.plane, int(form.index or 0))
    truth = None
    if form.truth is not None:
        true = opened(form.truth)
        refuse_truth(found, true, form.truth.name, card.modality, card.translates["target"])
        truth = true.levels(true.section(form.plane, section.index).pixels)
    section = replace(section, pixels=found.levels(section.pixels))
    affine = found.affine_of(section)
    return Translated(form.source, section, affine, found.volume.oriented, found.volume.unit, found.mark, truth)


def _answer(result: Result, grid: SliceGrid, done: Translated) -> Answer:
    """The pictures of a model on the grid of the slice, and how well they agree with the truth."""
    black, white = result.card.window
    result.images.uint8()  # refuses NaN
    samples = np.stack([grid.slice(one, background=black) for one in result.images.pixels[:, 0]])
    covered = grid.covered()
    if done.truth is None:
        return Answer(result, samples, covered)
    truth = np.clip(done.truth, black, white)
    source = done.section.pixels if done.unit == "HU" else done.section.pixels / LEVELS[1]
    true = truth if result.card.unit == "HU" else (truth - black) / (white - black)
    inside = covered & inside_head([(source, done.unit), (true, result.card.unit)], done.section.spacing_mm)
    if not inside.any():  # a slice above the head: nothing to compare
        return Answer(result, samples, covered)

    def agreement(fake: np.ndarray) -> Agreement:
        return compared(real=truth, fake=fake, inside=inside, data_range=white - black)

    mean = agreement(samples.mean(axis=0)) if len(samples) > 1 else None
    return Answer(result, samples, covered, agreement(samples[0]), mean)
