"""Does severity act, and steadily? The classifier's probability of a disease from healthy (0) to the disease (1).

The same seeds at every severity, so that each picture is compared with itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from eval import fakes
from eval.bootstrap import mean_entry
from eval.judge import Judge, Scores, judges, told
from eval.task import Task
from medgen.conditions import HEALTHY

CONTROL = "severity"
SEVERITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    asked = {key: value for key, value in task.asked().items() if key != "split"}  # no real image is looked at
    return {**asked, "seeds": task.seeds, "severities": list(SEVERITIES), "classifiers": told(judges(task.cohorts()))}


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Disease -> its curve; skips `done`, and data sets without a healthy word that a classifier can tell."""
    for name, judge in judges(task.cohorts()).items():
        healthy = next((word for word in HEALTHY if word in judge.words), None)
        if healthy is None:
            continue
        for word in judge.words:
            if word != healthy and word not in done:
                places = judge.words.index(word), judge.words.index(healthy)
                seen = _scores(task, word, judge)
                yield (
                    word,
                    {
                        "cohort": name,
                        "classifier": judge.names[word],
                        "healthy": healthy,
                        **curve(np.stack([one.network[:, places[0]] for one in seen], axis=1)),
                        "border": _means(np.stack([one.border[:, places[0]] for one in seen], axis=1)),
                        "healthy_word": _means(np.stack([one.network[:, places[1]] for one in seen], axis=1)),
                    },
                )


def curve(probabilities: np.ndarray) -> dict[str, Any]:
    """What the probabilities `(seeds, severities)` of one disease say, with 95 % intervals over the seeds.

    Returns:
        `n` (seeds), `severities`, `label` (the mean at each), `rise` (last less first), `steps` (each less the one
        before), `rising_seeds` (share of seeds that rise at every step) and `monotone` (whether the mean does,
        each interval of a step being above zero). Standing still is no rise: a control that does nothing is not
        monotone.
    """
    steps = np.diff(probabilities.astype(np.float64), axis=1)
    means = _means(probabilities)
    entries = [mean_entry(step) for step in steps.T]
    return {
        "n": len(probabilities),
        "severities": list(SEVERITIES),
        "label": means,
        "rise": mean_entry(probabilities[:, -1].astype(np.float64) - probabilities[:, 0]),
        "steps": entries,
        "rising_seeds": float((steps > 0).all(axis=1).mean()),
        "monotone": all((one["value"] if one["low"] is None else one["low"]) > 0 for one in entries),
    }


def _means(probabilities: np.ndarray) -> list[dict[str, float | None]]:
    return [mean_entry(column) for column in probabilities.T]


def _scores(task: Task, word: str, judge: Judge) -> list[Scores]:
    """The judgement of the same seeds at each severity of `word`."""
    found = []
    for severity in SEVERITIES:
        like = replace(task.like(), severity=severity)
        seeds = range(task.seeds)
        images = fakes.sample(task.model, seeds, [word] * task.seeds, like, progress=task.progress)
        found.append(judge.scores(images))
    return found
