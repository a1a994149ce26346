"""What guidance buys and costs: the metrics of the model's main protocol at several strengths."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

from eval import fakes
from eval import measure as compared
from eval.features import EXTRACTORS, content_hash
from eval.protocols import Protocol, labels_for, protocols_of, sides
from eval.report import SWEPT
from eval.task import Task
from medgen import data
from medgen.errors import MedgenError

CONTROL = "guidance"
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 5.0)


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    asked = _protocol(task)
    real = data.real(asked.data, task.split)
    extractor = EXTRACTORS[task.extractor]()
    return {
        "split": task.split,
        "steps": task.asked()["steps"],
        "protocol": asked.name,
        "data": asked.data,
        "extractor": {"name": extractor.name, "sha256": extractor.sha256},
        "k": asked.k,
        "n_real": len(real),
        "n_fake": task.sweep_n or len(real),
        "real_sha256": content_hash(real),
        "repeats": task.repeats,
    }


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Guidance -> the metrics of a report; skips `done`. The same seeds and labels at each."""
    left = [guidance for guidance in GUIDANCES if f"{guidance:g}" not in done]
    if not left:
        return
    asked, extractor = _protocol(task), EXTRACTORS[task.extractor]()
    found = sides(asked, task.split, n_fake=task.sweep_n)
    real, others = (compared.reduced(one, extractor, progress=task.progress) for one in (found.real, found.floor))
    floor = compared.floor_of(real=real, others=others, extractor=extractor, k=asked.k)
    seeds = tuple(range(task.sweep_n or len(found.real)))
    labels = labels_for(task.card, seeds, found.proportions)
    for guidance in left:
        like = replace(task.like(), guidance=guidance)
        images = fakes.sample(task.model, seeds, labels, like, progress=task.progress)
        fake = compared.reduced(images, extractor, progress=task.progress)
        metrics = compared.compare(
            real=real, fake=fake, floor=floor, extractor=extractor, k=asked.k, repeats=task.repeats
        )
        yield f"{guidance:g}", {"guidance": guidance, "metrics": {name: metrics[name] for name in SWEPT}}


def _protocol(task: Task) -> Protocol:
    """The main protocol of the model.

    Raises:
        MedgenError: its data have none.
    """
    known = protocols_of(task.card)
    if not known:
        raise MedgenError(f"There is no protocol for {task.card.data}, so its guidance cannot be swept; add one.")
    return known[0]
