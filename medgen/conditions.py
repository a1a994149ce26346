"""What a conditional network is told about a picture: labels, cohort, age, sex, view and a quantity as one row.

Zero always means "nobody said", so a row of zeros is the unconditional model. A column is named

| column | value |
|---|---|
| `label=WORD` | 1 where the picture shows it |
| `cohort=NAME` | 1 where it belongs to this data set of the catalogue |
| `age`, `age known` | (years - 50) / 25, and 1 to tell 50 years from nobody said |
| `sex=F`, `sex=M` | 1 or 0 |
| `view=AP`, `view=PA` | 1 or 0 |
| `quantity known` | 1 where the number that `card.quantity` names was told |
| `quantity sin L`, `quantity cos L` | sine and cosine of 2 pi number / L, both in its unit (arXiv:2006.10739) |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from medgen import waves
from medgen.catalogue import DATASETS
from medgen.errors import MedgenError

HEALTHY = ("normal", "No Finding")
"""A cohort's word for no disease."""
CHOICES = {"sex": ("F", "M"), "view": ("AP", "PA")}
"""The words of the conditions that take one of a few."""
MAX_AGE = 120

_KINDS = ("label", "cohort", "age", "sex", "view", "quantity")
_NOTHING: Mapping[str, str | float] = MappingProxyType({})


@dataclass(frozen=True)
class Conditions:
    """What a conditional network is told about a picture, as one row of numbers; all zeros = nothing is known.

    Args:
        columns: K names as in the table above, in the order of the network's inputs; `card.net["conditions"]`.

    Raises:
        MedgenError: a column of another name, one named twice, or `age` without `age known`.

    Example:
        >>> Conditions(("label=normal", "label=viral_pneumonia")).row("viral_pneumonia", severity=0.25)
        array([0.75, 0.25], dtype=float32)
    """

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))  # a card's JSON holds a list
        for column in self.columns:
            if not isinstance(column, str) or not _is_column(column):
                raise MedgenError(
                    f"{column!r} is no condition; write label=WORD, cohort=NAME, age, age known, sex=F, sex=M, "
                    "view=AP, view=PA, quantity known, quantity sin L or quantity cos L."
                )
        if len(set(self.columns)) < len(self.columns):
            raise MedgenError(f"A condition is named twice in {', '.join(self.columns)}; name each once.")
        if ("age" in self.columns) != ("age known" in self.columns):
            raise MedgenError("The conditions age and age known go together; name both.")
        if any(waves.length(column) > 0 for column in self.columns) != ("quantity known" in self.columns):
            raise MedgenError("The conditions quantity known and quantity sin L or cos L go together; name both.")

    @property
    def labels(self) -> tuple[str, ...]:
        """The words of the `label=` columns."""
        return self._words("label")

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The data sets of the `cohort=` columns."""
        return self._words("cohort")

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the columns that are hidden together while training: labels, cohort, age, sex, view, quantity.

        Groups without a column are left out.
        """
        found = (tuple(i for i, c in enumerate(self.columns) if _kind(c) == kind) for kind in _KINDS)
        return tuple(group for group in found if group)

    def row(
        self,
        label: str | None = None,
        attributes: Mapping[str, str | float] = _NOTHING,
        severity: float | None = None,
        *,
        strict: bool = False,
    ) -> np.ndarray:
        """The inputs of the network for one picture.

        A label implies its cohort where only one of the cohort columns knows it.

        Args:
            label: one word, or several of one cohort joined by "|"; None = nobody said.
            attributes: "age" (years, a number or its text), "sex", "view", "cohort", "quantity" (a number); missing or
                "" = nobody said.
            severity: 0 to 1, how far from the cohort's healthy word (0) to `label` (1); None = `label` itself.
            strict: refuse what has no column or no sense, as for a user's question. Without it, as for pictures to
                train on, a word without a column, an unreadable value and an unknown attribute count as "nobody said".

        Returns:
            `(K,)` float32.

        Raises:
            MedgenError: the words belong to several cohorts, or to another than `attributes` says; a severity out of
                range or of a label that has no healthy counterpart here; with `strict`, anything not understood.
        """
        told = self._told(label, attributes, strict)
        if severity is None:
            return told
        if not is_number(severity) or not 0.0 <= severity <= 1.0:
            raise MedgenError(f"Severity must be a number from 0 (healthy) to 1 (the label), not {severity}.")
        healthy = self._told(self.healthy(label), attributes, strict)
        return np.float32(1.0 - severity) * healthy + np.float32(severity) * told

    def healthy(self, label: str | None) -> str:
        """The healthy word of the cohort of `label`: where a severity of 0 lies.

        Raises:
            MedgenError: no label, itself healthy, or its cohort has no healthy word among the columns.
        """
        words = () if label is None else tuple(label.split("|"))
        if not words or set(words) & set(HEALTHY):
            raise MedgenError(f"Severity needs a disease to grade, not {label or 'no label'}; choose one as the label.")
        for word in HEALTHY:
            if word in self.labels and all(cohorts_of(word) & cohorts_of(other) for other in words):
                return word
        raise MedgenError(f"There is no healthy counterpart of {label} here; leave out the severity.")

    def _told(self, label: str | None, attributes: Mapping[str, str | float], strict: bool) -> np.ndarray:
        words = () if label is None else tuple(label.split("|"))
        if strict:
            _refuse_odd_words(words)
        told = {f"label={word}": 1.0 for word in words}
        for name, value in attributes.items():
            try:
                told |= self._waves(value) if name == "quantity" else _attribute(name, value)
            except MedgenError:
                if strict:
                    raise
        if strict and (unknown := [column for column in told if column not in self.columns]):
            known = ", ".join(self.columns) or "nothing"
            raise MedgenError(f"The model cannot be told {unknown[0]}; it is told {known}.")
        if cohort := self._cohort(words, attributes.get("cohort")):
            told[f"cohort={cohort}"] = 1.0
        return np.array([told.get(column, 0.0) for column in self.columns], np.float32)

    def _waves(self, value: str | float) -> dict[str, float]:
        """The columns that a quantity fills: its place on waves of several lengths, of which each is smooth."""
        if not is_number(value):
            raise MedgenError(f"The quantity must be a number, not {value!r}.")
        return {"quantity known": 1.0, **{c: waves.at(c, float(value)) for c in self.columns if waves.length(c) > 0}}

    def _cohort(self, words: tuple[str, ...], said: str | float | None) -> str | None:
        """The cohort that the words imply, unless `attributes` names one that has a column."""
        known = [cohorts for word in words if (cohorts := cohorts_of(word))]
        shared = frozenset.intersection(*known) if known else frozenset()
        if known and not shared:
            raise MedgenError(f"{' and '.join(words)} belong to different data sets; ask for labels of one of them.")
        if shared and said in DATASETS and said not in shared:
            raise MedgenError(f"{' and '.join(words)} is no label of {said}; choose {' or '.join(sorted(shared))}.")
        fitting = [cohort for cohort in self.cohorts if cohort in shared]
        return fitting[0] if len(fitting) == 1 and said not in self.cohorts else None

    def _words(self, kind: str) -> tuple[str, ...]:
        return tuple(column.partition("=")[2] for column in self.columns if _kind(column) == kind)


def cohorts_of(word: str) -> frozenset[str]:
    """The data sets of the catalogue that know this label; empty where none does."""
    return frozenset(name for name, entry in DATASETS.items() if word in entry.labels)


def _kind(column: str) -> str:
    if column.startswith("quantity "):
        return "quantity"
    return "age" if column == "age known" else column.partition("=")[0]


def _is_column(column: str) -> bool:
    kind, equals, word = column.partition("=")
    if not equals:
        return column in ("age", "age known", "quantity known") or waves.length(column) > 0
    if kind == "label":
        return bool(word) and "|" not in word
    return word in (DATASETS if kind == "cohort" else CHOICES.get(kind, ()))


def _attribute(name: str, value: str | float | None) -> dict[str, float]:
    """The columns that one attribute fills; none where nobody said.

    Raises:
        MedgenError: an unknown name or a value without sense.
    """
    if value is None or value == "":
        return {}
    if name == "age":
        years = _years(value)
        return {"age": (years - 50.0) / 25.0, "age known": 1.0}
    if name in CHOICES and value not in CHOICES[name]:
        raise MedgenError(f"The {name} must be {' or '.join(CHOICES[name])}, not {value!r}.")
    if name not in CHOICES and name != "cohort":
        raise MedgenError(f"{name!r} is nothing a model is told; use age, sex, view or cohort, or quantity.")
    return {f"{name}={value}": 1.0}


def _years(value: str | float) -> float:
    try:
        years = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        years = math.nan
    if not 0.0 <= years <= MAX_AGE:
        raise MedgenError(f"Age must be a number of years from 0 to {MAX_AGE}, not {value!r}.")
    return years


def _refuse_odd_words(words: tuple[str, ...]) -> None:
    if len(set(words)) < len(words) or "" in words:
        raise MedgenError(f"Write several labels as A|B, each once, not {'|'.join(words)!r}.")
    if len(words) > 1 and (healthy := set(words) & set(HEALTHY)):
        raise MedgenError(f"{min(healthy)} means no disease; ask for it alone.")


def is_number(value: object) -> bool:
    """Whether `value` is a finite int or float; a bool is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits, which JSON may hold
        return False
