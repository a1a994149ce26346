"""Does a repainted region show the label, and does the rest stay? Real held-out pictures, one box over a lung.

Healthy pictures are repainted with each disease and diseased ones with the healthy word. Each kind of picture is also
repainted with the label it has already: what then changes is the repainting, not the label.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from eval import fakes
from eval.bootstrap import mean_entry
from eval.features import content_hash
from eval.judge import Judge, judges, told
from eval.protocols import askable, whole_patients
from eval.task import Task
from medgen import data
from medgen.auc import truth_table
from medgen.conditions import HEALTHY
from medgen.image import ImageSet
from medgen.region import Region

CONTROL = "region"
PLACE = "right lower lung field"
_CHILD, _ADULT = (0.38, 0.72, 0.15, 0.42), (0.28, 0.62, 0.18, 0.43)
BOXES = {"kermany_cxr_128": _CHILD, "kermany_cxr_256": _CHILD, "nih_cxr_128": _ADULT}
"""Data set -> top, bottom, left and right of `PLACE` as fractions of the picture, read off the mean normal picture."""


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    found = judges(task.cohorts())
    return {
        **task.asked(),
        "n": task.region_n,
        "place": PLACE,
        "boxes": {name: list(BOXES[name]) for name in found if name in BOXES},
        "classifiers": told(found),
        "real_sha256": {name: content_hash(data.real(name, task.split)) for name in found},
    }


def box(shape: tuple[int, int], fractions: tuple[float, float, float, float]) -> Region:
    """The region of `fractions` (top, bottom, left, right) in a picture of `shape` (height, width)."""
    height, width = shape
    top, bottom, left, right = fractions
    mask = np.zeros(shape, bool)
    mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    return Region.from_mask(mask)


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """ "what it showed -> what was asked" -> what changed; skips `done`, and data sets without a healthy word."""
    for name, judge in judges(task.cohorts()).items():
        healthy = next((word for word in HEALTHY if word in judge.words), None)
        if healthy is None or name not in BOXES:
            continue
        diseases = [word for word in judge.words if word != healthy]
        ways = [(healthy, healthy), *((healthy, word) for word in diseases)]
        ways += [way for word in diseases for way in ((word, word), (word, healthy))]
        real = data.real(name, task.split)
        for shown, asked in ways:
            rows = np.flatnonzero(truth_table(real.labels or (), [shown])[:, 0])
            if f"{shown} -> {asked}" not in done and len(rows):
                images = whole_patients(real.take(rows), min(task.region_n, len(rows)))
                yield f"{shown} -> {asked}", {"cohort": name, **_repainted(task, judge, images, shown, asked)}


def _repainted(task: Task, judge: Judge, images: ImageSet, shown: str, asked: str) -> dict[str, Any]:
    (cohort,) = {told["cohort"] for told in images.attributes or ()}
    height, width = images.pixels.shape[-2:]
    region = box((height, width), BOXES[cohort])
    after = _painted(task, images, region, None if shown == asked else asked)
    before_scores, after_scores = judge.scores(images), judge.scores(after)
    people = images.subjects

    def pair(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        difference = after.astype(np.float64) - before
        return {
            "before": mean_entry(before, people),
            "after": mean_entry(after, people),
            "change": mean_entry(difference, people),
        }

    return {
        "shown": shown,
        "asked": asked,
        "n": len(images),
        "n_subjects": len(set(people or ())),
        **changes(images, after, region, people),
        "words": {
            word: {
                "classifier": judge.names[word],
                "network": pair(before_scores.network[:, i], after_scores.network[:, i]),
                "border": pair(before_scores.border[:, i], after_scores.border[:, i]),
            }
            for i, word in enumerate(judge.words)
        },
    }


def changes(before: ImageSet, after: ImageSet, region: Region, subjects: tuple[str, ...] | None) -> dict[str, Any]:
    """How much the pictures changed, in grey levels of 255: mean inside and outside the region, largest outside."""
    mask = region.mask()
    # (N, C, H, W) -> (N, H, W) in grey levels
    change = 255.0 * np.abs(after.unit_range().astype(np.float64) - before.unit_range()).mean(axis=1)
    return {
        "inside": mean_entry(change[:, mask].mean(axis=1), subjects),
        "outside": mean_entry(change[:, ~mask].mean(axis=1), subjects),
        "outside_largest": float(change[:, ~mask].max()),
    }


def _painted(task: Task, images: ImageSet, region: Region, asked: str | None) -> ImageSet:
    """Picture i with `region` made anew with seed i, asked for `asked`; None = for what it shows."""
    labels = [asked or askable(label, task.card) for label in images.labels or ()]
    sources = replace(images, labels=None, subjects=None, attributes=None)
    like = replace(task.like(), region=region)
    return fakes.sample(task.model, range(len(images)), labels, like, sources=sources, progress=task.progress)
