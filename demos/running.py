"""One run on a page: its button, Stop, progress line, and what happens at each of the ways it can end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demos import lane, runner, scratch, widgets
from demos.runner import Loading, Result

REDRAW_SECONDS = 0.15
_LIVE = "element.setAttribute('aria-live', 'polite')"
Handler = Callable[..., Iterator[list[Any]]]
"""`handler(session, *values)` yields the outputs of the run; `session` names its stop signal."""


@dataclass(frozen=True)
class Buttons:
    """What starts, stops and describes a run.

    Args:
        go: starts it.
        halt: stops it.
        status: the progress line.
    """

    go: gr.Button
    halt: gr.Button
    status: gr.HTML


def status_line(text: str, elem_id: str) -> gr.HTML:
    """A progress line that screen readers announce."""
    return gr.HTML(widgets.bar(text), elem_id=elem_id, padding=False, js_on_load=_LIVE)


def wire(
    page: gr.Blocks,
    buttons: Buttons,
    handler: Handler,
    inputs: Sequence[gr.blocks.Block],
    outputs: Sequence[gr.blocks.Block],
    validator: Callable[..., Any],
    key: str = "",
) -> list[Callable[..., Any]]:
    """Go: check the form, wait for the machine, run, and give the buttons back.

    Args:
        page: whose closing ends the run.
        buttons: of the run.
        handler: the run; a `gr.Error` of it is shown.
        inputs: what it receives after the session.
        outputs: what it yields.
        validator: one `gr.validate` an input.
        key: tells the runs of one page apart: each has its own Stop.

    Returns:
        What to attach an event to that comes after the run, one for each way it can end.
    """

    def on_go(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        yield from handler(lane.session(request, key), *values)

    def on_arm(request: gr.Request, *_values: Any) -> tuple[Any, Any, str]:
        lane.arm(lane.session(request, key))
        return gr.update(interactive=False), gr.update(interactive=True), widgets.bar("Waiting for the machine …", 0.0)

    def on_halt(request: gr.Request) -> Any:
        lane.stop(lane.session(request, key))
        return gr.update(interactive=False)

    def on_leave(request: gr.Request) -> None:
        lane.leave(lane.session(request, key))
        scratch.discard(lane.session(request))

    quiet: Any = {"show_progress": "hidden", "api_visibility": "private"}
    both = [buttons.go, buttons.halt]
    armed = buttons.go.click(on_arm, inputs, [*both, buttons.status], validator=validator, concurrency_limit=None,
                             **quiet)  # fmt: skip
    ran = armed.success(on_go, inputs, outputs, concurrency_id=lane.LANE, concurrency_limit=1, **quiet)
    buttons.halt.click(on_halt, None, buttons.halt, queue=False, api_visibility="private")
    # not one `then`: gradio leaves it out where the run has a `failure` and fails
    good = ran.success(_release, None, both, **quiet)
    bad = ran.failure(_release_after_error, None, [*both, buttons.status], **quiet)
    page.unload(on_leave)
    return [good.then, bad.then]


def _release() -> tuple[Any, Any]:
    return gr.update(interactive=True), gr.update(interactive=False)


def _release_after_error() -> tuple[Any, Any, str]:
    return *_release(), widgets.bar("The run ended with an error; its message says what to do.")


def progress(event: runner.Event, last: str, done: int, total: int, seconds: float) -> str:
    """The progress line after `event`.

    Args:
        event: what the run said.
        last: the line before it.
        done: tasks that are over.
        total: tasks in all.
        seconds: since the start.
    """
    if isinstance(event, Result):
        return last
    if isinstance(event, Loading):
        return widgets.bar(f"Loading {event.name} …", done / total)
    part = f", part {event.task + 1} of {total}" if total > 1 else ""
    text = f"{event.name}: step {event.done} of {event.total}{part} · {seconds:.0f} s"
    return widgets.bar(text, (event.task + event.done / event.total) / total)


def ended(stopped: bool, finished: int, seconds: float) -> str:
    """The progress line of a run that is over."""
    plural = "" if finished == 1 else "s"
    if stopped:
        kept = "was" if finished == 1 else "were"
        return widgets.bar(f"Stopped after {seconds:.1f} s. {finished} finished picture{plural} {kept} kept.")
    return widgets.bar(f"Done: {finished} picture{plural} in {seconds:.1f} s, loading included.")
