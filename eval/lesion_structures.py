"""Structures that should not be there, and such as are missing, in held-out slices as they are: nothing is inserted.

A structure is a connected part of a slice that is brighter, or darker, than the truth by `DIFFERENCE` or more, is at
least `THICK_MM` thick everywhere and covers `LEAST_MM2` or more: an edge that lies a pixel beside its place is none.
Grey levels of MR are arbitrary and drift across a head, so of them only what stands out counts: the error less its mean
over the surroundings (Gaussian, `SURROUNDINGS_MM`). HU count as they are. Written down before any number: 25 grey
levels are a tenth of the window of MR, 100 HU lie between any soft tissue and bone, and 50 mm2 are a disc of 8 mm.

Two real scans of one head differ by more than contrast (registration, motion, noise), so on real pairs this is a
proxy: it compares models with each other, and with what leaving the source as it is would score. On rendered pairs
the truth is exact. "Brighter" may be invented and "darker" left out, or the other way round: it depends on what is
bright in the target.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from eval.lesion_task import Task, spread_over_patients
from eval.over_patients import entry, rounded
from eval.translation_masks import heads
from eval.translation_slices import levels

DIFFERENCE = {"au": 25.0, "HU": 100.0}
LEAST_MM2 = 50.0
THICK_MM = 4.0
SURROUNDINGS_MM = 30.0
SIGNS = {"brighter": 1.0, "darker": -1.0}


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    asked = task.asked()
    constants = {"difference": DIFFERENCE[asked["unit"]], "least_mm2": LEAST_MM2, "thick_mm": THICK_MM}
    if asked["unit"] != "HU":
        constants["surroundings_mm"] = SURROUNDINGS_MM
    return {**asked, "slices": task.slices, **constants}


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Patient -> structures of each slice; skips `done`."""
    pairs = task.pairs()
    chosen = spread_over_patients(pairs.subjects, task.slices)
    for subject in dict.fromkeys(pairs.subjects):
        if subject in done:
            continue
        rows = [i for i in chosen if pairs.subjects[i] == subject]
        own = pairs.take(rows)
        inside, truth = heads(own.source, own.target), levels(own.target)[0]
        made = task.translated(own.source, [int(i) for i in rows])
        errors = _local(made - truth, inside, task)
        item: dict[str, Any] = {"head_mm2": [rounded(one.sum() * np.prod(task.spacing_mm)) for one in inside]}
        item |= _counted(errors, inside, task)
        # a CT is no candidate for an MR: only pictures of one kind can be left as they are
        if own.source.unit == own.target.unit:
            item["as_it_was"] = _counted(_local(levels(own.source)[0] - truth, inside, task), inside, task)
        yield subject, item


def _local(errors: np.ndarray, inside: np.ndarray, task: Task) -> np.ndarray:
    """Errors of MR less their mean in the surroundings, inside the head; HU as they are."""
    if task.card.unit == "HU":
        return errors
    sigma = [0.0, *(SURROUNDINGS_MM / mm for mm in task.spacing_mm)]
    total, weight = (ndimage.gaussian_filter(one.astype(np.float64), sigma) for one in (errors * inside, inside))
    return np.where(inside, errors - total / np.maximum(weight, 1e-9), 0.0)


def _counted(errors: np.ndarray, inside: np.ndarray, task: Task) -> dict[str, Any]:
    """Of each slice the number of structures and their area in mm2, by sign."""
    found: dict[str, Any] = {}
    for name, sign in SIGNS.items():
        parts = [
            structures(np.where(mask, sign * one, 0.0), DIFFERENCE[task.card.unit], task.spacing_mm)
            for one, mask in zip(errors, inside, strict=True)
        ]
        found[name] = [int(one.max()) for one in parts]
        found[f"{name}_mm2"] = [rounded((one > 0).sum() * np.prod(task.spacing_mm)) for one in parts]
    return found


def structures(difference: np.ndarray, least: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """The structures of one slice whose difference is `least` or more.

    Args:
        difference: `(H, W)`, of one sign.
        least: in its unit.
        spacing_mm: of a pixel.

    Returns:
        `(H, W)` int: 0, or the number of the structure, from 1.
    """
    disc = _disc(THICK_MM / 2, spacing_mm)
    parts, n = ndimage.label(ndimage.binary_opening(difference >= least, disc), np.ones((3, 3)))
    area = np.bincount(parts.ravel(), minlength=n + 1) * np.prod(spacing_mm)
    keep = area >= LEAST_MM2
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0)[parts]


def _disc(radius_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    steps = [np.arange(-int(radius_mm / mm), int(radius_mm / mm) + 1) * mm for mm in spacing_mm]
    return np.hypot(*np.meshgrid(*steps, indexing="ij")) <= radius_mm


def summary(settings: Mapping[str, Any], items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Structures a slice and their share of the head, of the model and of the source left as it is."""
    found: dict[str, Any] = {"model": _means(items, items), "as_it_was": None}
    if all("as_it_was" in item for item in items.values()):
        found["as_it_was"] = _means(items, {subject: item["as_it_was"] for subject, item in items.items()})
    return found


def _means(items: Mapping[str, Any], counted: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    people = [subject for subject, item in items.items() for _ in item["head_mm2"]]
    found: dict[str, Any] = {}
    for name in SIGNS:
        found[name] = entry([n for item in counted.values() for n in item[name]], people)
        areas = [
            100.0 * area / max(head, 1.0)
            for subject, item in items.items()
            for area, head in zip(counted[subject][f"{name}_mm2"], item["head_mm2"], strict=True)
        ]
        found[f"{name}_percent"] = entry(areas, people)
    return found
