"""Numbers of slices -> of patients -> of all patients, with an interval over patients and never over slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.bootstrap import mean_entry
from eval.translation_file import GAINS, METRICS
from eval.translation_slices import Numbers
from medgen.auc import FEWEST_PATIENTS

Entry = dict[str, Any]
Patients = dict[str, dict[str, float | None]]
"""Patient -> "n" slices, and the patient's mean of each metric; None where no slice has it."""


def by_patient(numbers: Numbers, subjects: Sequence[str]) -> Patients:
    """The weighted mean of each metric over a patient's slices.

    A patient with many slices counts as much as one with few, because neighbouring slices say the same thing twice.
    """
    names = np.asarray(subjects)
    found: Patients = {}
    for patient in dict.fromkeys(subjects):
        rows = names == patient
        own: dict[str, float | None] = {"n": int(rows.sum())}
        for name, (values, weights) in numbers.items():
            total = float(weights[rows].sum())
            known = np.where(weights[rows] > 0, values[rows], 0.0)
            own[name] = float(known @ weights[rows]) / total if total else None
        found[patient] = own
    return found


def summarise(numbers: Numbers, subjects: Sequence[str]) -> tuple[dict[str, Entry], Patients]:
    """The entry of each metric over patients, and the patients."""
    patients = by_patient(numbers, subjects)
    slices = {name: int((weights > 0).sum()) for name, (_, weights) in numbers.items()}
    return {name: over_patients(patients, name, slices[name]) for name in numbers}, patients


def over_patients(patients: Patients, name: str, n: int) -> Entry:
    """Mean over patients with its interval, or with the range alone where there are fewer than `FEWEST_PATIENTS`.

    Args:
        patients: from `by_patient`.
        name: of the metric.
        n: slices that have it.
    """
    values = np.array([own[name] for own in patients.values() if own.get(name) is not None], np.float64)
    return {**entry(values), "n": n}


def entry(values: np.ndarray) -> Entry:
    """`value`, `low`, `high`, `least`, `most`, `n` and `n_subjects` of one number a patient."""
    if not len(values):
        return missing("no slice has it")
    found: Entry = dict(mean_entry(values))
    if len(values) < FEWEST_PATIENTS:
        found |= {
            "low": None,
            "high": None,
            "reason": f"fewer than {FEWEST_PATIENTS} patients: no interval, their range instead",
        }
    counts = {"n": len(values), "n_subjects": len(values)}
    return {**found, "least": float(values.min()), "most": float(values.max()), **counts}


def missing(reason: str) -> Entry:
    """The entry of a number that is not there."""
    empty = dict.fromkeys(("value", "low", "high", "least", "most"))
    return {**empty, "n": 0, "n_subjects": 0, "reason": reason}


def gains(patients: Patients, baseline: Patients) -> dict[str, Entry]:
    """How much better than a baseline, patient by patient: mean difference with its interval, and `better` patients.

    Both are measured on the same slices, so this tells them apart where their own intervals overlap. Above zero is
    better for every metric.
    """
    found = {}
    for name in GAINS:
        sign = -1.0 if METRICS[name].lower_is_better else 1.0
        pairs = [(own.get(name), baseline[patient].get(name)) for patient, own in patients.items()]
        gaps = np.array([sign * (a - b) for a, b in pairs if a is not None and b is not None], np.float64)
        found[name] = {**entry(gaps), "better": int((gaps > 0).sum())}
    return found


MOST = 200
"""Slices at most, spread over all patients, for what costs more than one translation: features, samples, ways back."""


def spread(n: int, most: int | None) -> np.ndarray:
    """At most `most` of `n` places, evenly spread, so that every patient keeps a share; None = all."""
    if most is None or most >= n:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))
