"""Kept, moved, lost, invented: what the responses of all lesions of a model add up to.

Written down before any number. A response counts where it is

- significant: above the `CHANCE_LEVEL` quantile of the same measure at places without a lesion, all slices of the model
  pooled, so that mere chance passes one time in twenty; and
- not negligible: at least `FLOOR` of what was inserted. Without this a model whose response falls a hundredfold would
  keep every lesion, as long as the rest of its picture stands still. `kept_at` says what other floors give; 0 is
  significance alone.

**Kept**: it counts at the lesion's place, and its middle is within 5 mm of where it should be. **Moved**: it counts
there but its middle is farther away; or it does not, but counts within 20 mm. **Reversed**: it counts there, but goes
the wrong way; only a known truth can tell. **Lost**: none of these. **Invented**: other structures that the lesion made
appear or vanish, a slice; the moved lesion itself is none.

How often chance passes is measured, too: each patient's lesion-free places against the limit from the other patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.lesion_plan import CONTRASTS, RADII_MM
from eval.lesion_response import MOVED_MM
from eval.over_patients import entry, rounded

CHANCE_LEVEL = 0.95
FLOOR = 0.2
FLOORS = (0.0, 0.1, FLOOR, 0.5)
KEPT, MOVED, REVERSED, LOST = "kept", "moved", "reversed", "lost"
JUDGED = ("own", "near", "shift_mm", "recovered")
"""What a verdict rests on, of those that `lesion_response.respond` gives."""
Rows = Sequence[Mapping[str, Any]]


def summary(settings: Mapping[str, Any], items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a file says of a model, from the rows of all its lesions."""
    rows = [dict(zip(item, one, strict=True)) for item in items.values() for one in zip(*item.values(), strict=True)]
    people = [row["subject"] for row in rows]
    limits = chance_limits(rows)
    said = verdicts(rows, limits, FLOOR)
    kept = said == KEPT
    shares = {word: entry(said == word, people, proportion=True) for word in (KEPT, MOVED, LOST)}
    others = [
        row["structures_far"] + max(row["structures_near"] - (word == MOVED), 0)
        for row, word in zip(rows, said, strict=True)
    ]
    # all have a known truth, or none
    recovered = [row["recovered"] for row in rows if row["recovered"] is not None]
    known = people[: len(recovered)]
    return {
        **shares,
        "invented": entry(others, people),
        "slices_with_invention": entry(np.asarray(others) > 0, people, proportion=True),
        "response": entry([row["own"] / row["expected"] for row in rows], people),
        "outside": entry([row["outside"] / row["expected"] for row in rows], people),
        "reversed": entry(said[: len(recovered)] == REVERSED, known, proportion=True),
        "recovered": entry(recovered, known),
        "limits": {name: rounded(value) for name, value in zip(("own", "near"), limits, strict=True)},
        "by_chance": _by_chance(rows),
        "kept_at": {f"{floor:g}": rounded(np.mean(verdicts(rows, limits, floor) == KEPT)) for floor in FLOORS},
        "cells": _cells(rows, kept, people),
        "signs": {
            word: entry(kept[own], _those(people, own), proportion=True)
            for word, own in (("darker", _contrasts(rows) < 0), ("brighter", _contrasts(rows) > 0))
        },
        "samples": _samples(rows, limits),
    }


def chance_limits(rows: Rows) -> tuple[float, float]:
    """What a response must exceed at its place, and near it; 0 where there is no lesion-free place to learn it from."""
    found = []
    for name in ("elsewhere", "elsewhere_near"):
        chance = [value for row in rows for value in row[name]]
        found.append(float(np.quantile(chance, CHANCE_LEVEL)) if chance else 0.0)
    return found[0], found[1]


def verdicts(rows: Rows, limits: tuple[float, float], floor: float) -> np.ndarray:
    """`KEPT`, `MOVED`, `REVERSED` or `LOST` of each row."""
    return np.array([_verdict([row[name] for name in JUDGED], floor * row["expected"], limits) for row in rows])


def _verdict(judged: Sequence[Any], least: float, limits: tuple[float, float]) -> str:
    own, near, shift_mm, recovered = judged
    if own > limits[0] and own >= least:
        if recovered is not None and recovered <= 0:
            return REVERSED
        return KEPT if shift_mm is not None and shift_mm <= MOVED_MM else MOVED
    return MOVED if near > limits[1] and near >= least else LOST


def _by_chance(rows: Rows) -> dict[str, float | None]:
    """Share of lesion-free places that pass: the limit `own` alone, it and the floor, and likewise `near`."""
    people = np.array([row["subject"] for row in rows])
    passed: dict[str, list[bool]] = {name: [] for name in ("own", "own_and_floor", "near", "near_and_floor")}
    for person in np.unique(people):
        # with one patient alone there are no others to take the limits from
        others = [row for row, own in zip(rows, people == person, strict=True) if not own] or rows
        limits = chance_limits(others)
        for row in (row for row, own in zip(rows, people == person, strict=True) if own):
            for name, limit in zip(("own", "near"), limits, strict=True):
                values = np.asarray(row["elsewhere" if name == "own" else "elsewhere_near"])
                passed[name] += list(values > limit)
                passed[f"{name}_and_floor"] += list((values > limit) & (values >= FLOOR * row["expected"]))
    return {name: rounded(np.mean(values)) if values else None for name, values in passed.items()}


def _cells(rows: Rows, kept: np.ndarray, people: Sequence[str]) -> list[dict[str, Any]]:
    """The share that is kept by size and by contrast, whichever its sign."""
    radius, contrast = np.array([row["radius_mm"] for row in rows]), np.abs(_contrasts(rows))
    found = []
    for radii in RADII_MM:
        for contrasts in CONTRASTS:
            own = (radius >= radii[0]) & (radius < radii[1]) & (contrast >= contrasts[0]) & (contrast < contrasts[1])
            share = entry(kept[own], _those(people, own), proportion=True)
            found.append({"radius_mm": list(radii), "contrast": list(contrasts), KEPT: share})
    return found


def _samples(rows: Rows, limits: tuple[float, float]) -> dict[str, Any] | None:
    """Of lesions that were asked k times: the mean share of samples that keep them, and how many all and none keep."""
    asked = [row for row in rows if row["samples"]]
    if not asked:
        return None
    shares = []
    for row in asked:
        least = FLOOR * row["expected"]
        shares.append(np.mean([_verdict(one, least, limits) == KEPT for one in row["samples"]]))
    people, share = [row["subject"] for row in asked], np.array(shares)
    return {
        "k": len(asked[0]["samples"]),
        KEPT: entry(share, people),
        "by_all": entry(share == 1, people, proportion=True),
        "by_none": entry(share == 0, people, proportion=True),
    }


def _contrasts(rows: Rows) -> np.ndarray:
    return np.array([row["contrast"] for row in rows])


def _those(people: Sequence[str], own: np.ndarray) -> list[str]:
    return [person for person, chosen in zip(people, own, strict=True) if chosen]
