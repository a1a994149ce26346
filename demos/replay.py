"""A run from a manifest: what it asks is made as it was made then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr

from demos.runner import Event, Process, Task
from medgen.provenance import explicit, requests_of, runtime_of


def recorded(process: Process, manifests: dict[str, dict[str, Any]]) -> Process:
    """`process`, but what one of `manifests` asked is made in the runtime that it names: another rounds differently.

    Args:
        process: what runs the tasks.
        manifests: model name -> manifest.
    """
    known = {name: [replace(one, seeds=()) for one in requests_of(manifest)] for name, manifest in manifests.items()}

    def run_recorded(tasks: list[Task], stop: threading.Event, previews: bool) -> Iterator[Event]:
        def as_it_was(task: Task) -> Task:
            name = task.card.name
            asked = replace(explicit(task.card, task.request), seeds=())
            return replace(task, runtime=runtime_of(manifests[name])) if asked in known.get(name, ()) else task

        yield from process([as_it_was(task) for task in tasks], stop, previews)

    return run_recorded


def beside(validator: Callable[..., list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """`validator` of a form behind whose fields stand the manifests, which are never wrong."""

    def check(*values: Any) -> list[dict[str, Any]]:
        return [*validator(*values[:-1]), gr.validate(True, "")]

    return check
