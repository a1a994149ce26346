"""A run of the Volume tab: the chosen models on the same seeds, volume by volume, or a walk between two of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from demos import lane, running, scratch, widgets
from demos.runner import Loading, Process, Result, Step
from demos.volume_columns import Columns, Made
from demos.volume_form import WALK, VolumeForm, chosen, tasks
from demos.volume_measure import Measure
from medgen import MedgenError


def run(process: Process, measure: Measure, session: str, *values: Any) -> Iterator[list[Any]]:
    """Runs the form. Yields `[status, columns, made]`, with `gr.skip()` where nothing changed.

    Args:
        process: what runs the tasks: `runner.portions`, or a fake.
        measure: says how large the structures of a volume are.
        session: whose stop signal it listens to.
        values: the fields of `VolumeForm`, in order.

    Raises:
        gr.Error: something is wrong with the form or a model; the sentence says what to do.
    """
    form = VolumeForm(*values)
    stop = lane.signal(session)
    started = time.monotonic()
    columns: Columns | None = None
    try:
        models = chosen(form, widgets.known_cards())
        work = tasks(form, models)
        columns = Columns(form, models, scratch.SHOWN.folder(session))
        yield [widgets.bar("Starting …", 0.0), columns.html(), Made()]
        last_draw, status, done = 0.0, "", 0
        for event in process(work, stop, form.previews and form.mode != WALK):
            status = running.progress(event, status, done, len(work), time.monotonic() - started)
            if isinstance(event, Result):
                done += 1
                columns.show(event)
                columns.measured(event, measure(event.card, event.images))
            elif isinstance(event, Step):
                columns.preview(event)
            if isinstance(event, Loading) or time.monotonic() - last_draw > running.REDRAW_SECONDS:
                last_draw = time.monotonic()
                yield [status, columns.html(), gr.skip()]
        columns.close()
        yield [ended(stop.is_set(), done, time.monotonic() - started), columns.html(), columns.made()]
    except MedgenError as error:
        if columns is not None:  # what the other models have finished is kept
            columns.close()
            yield [gr.skip(), columns.html(), columns.made()]
        raise widgets.toast(error) from error


def ended(stopped: bool, finished: int, seconds: float) -> str:
    """The progress line of a run that is over."""
    return running.ended(stopped, finished, seconds).replace(" picture", " volume")
