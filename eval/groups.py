"""What the boards of pictures, translators and volumes share: comparable groups, and the rows of a table in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pandas as pd

from eval.report import Metric, number
from medgen.errors import MedgenError


class Comparable(Protocol):
    """A named tuple of what rows of one table must have in common."""

    @property
    def protocol(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def extractor(self) -> str: ...
    @property
    def label(self) -> str: ...
    def _asdict(self) -> dict[str, Any]: ...


G = TypeVar("G", bound=Comparable)
LIMITS = {"": "value", "_low": "low", "_high": "high"}
"""End of a column's name -> key of an entry."""
SECONDS = {"seconds_per_image": 4, "cpu_seconds_per_image": 4}
"""Columns of the time an image takes, by the clock and of the processors -> decimals."""


def frame_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], numeric: Collection[str]) -> pd.DataFrame:
    """Rows as a frame: `numeric` columns are float64, NaN where missing, the others text, "" where missing."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    numbers, text = ([name for name in columns if (name in numeric) == kind] for kind in (True, False))
    frame[numbers] = frame[numbers].astype("float64")
    frame[text] = frame[text].astype(object).where(frame[text].notna(), "").astype(str)
    return frame


def numbers(entries: Mapping[str, Any], names: Iterable[str], ends: Mapping[str, str]) -> dict[str, float]:
    """The columns of a report's entries; NaN where a report has none.

    Args:
        entries: metric -> its entry.
        names: of the metrics wanted.
        ends: end of a column's name -> key of the entry.
    """
    return {name + end: number(entries.get(name, {}).get(key)) for name in names for end, key in ends.items()}


def origin(values: Mapping[str, Any]) -> dict[str, str]:
    """What a report says of where it comes from, as columns."""
    versions, weights = values.get("versions"), values.get("weights") or {}
    return {
        "created": str(values.get("created") or ""),
        "commit": str(values.get("commit") or ""),
        "weights": " ".join(f"{file}:{str(sha)[:12]}" for file, sha in sorted(weights.items())),
        "versions": json.dumps(versions, sort_keys=True) if isinstance(versions, dict) else "",
    }


def extractor(values: Mapping[str, Any]) -> str:
    """The feature space of a report, with the first digits of its weights."""
    return f"{values['extractor']['name']} ({values['extractor']['sha256'][:8]})"


def in_group(frame: pd.DataFrame, group: Comparable) -> pd.Series:
    """Which rows are of `group`."""
    keep = pd.Series(True, index=frame.index)
    for name, value in group._asdict().items():
        keep &= frame[name] == value
    return keep


def newest(frame: pd.DataFrame, group: Comparable) -> pd.Series:
    """The row of `group` that was measured last; it tells what all of them were compared with."""
    own = frame[in_group(frame, group)]
    return own.loc[own["created"].astype(str).idxmax()]


def comparable(frame: pd.DataFrame, kind: Callable[..., G], fields: Sequence[str], count: str) -> set[G]:
    """Every group that has a measured row.

    Args:
        frame: of rows.
        kind: the named tuple of a group.
        fields: its fields, which are columns.
        count: the column that every measured row has.
    """
    measured = frame.loc[frame[count].notna(), list(fields)]
    rows = measured.itertuples(index=False, name=None)
    return {kind(*(int(value) if isinstance(value, float) else value for value in row)) for row in rows}


def ranked(found: Iterable[G], protocols: Iterable[str], size: Callable[[G], tuple[int, ...]]) -> list[G]:
    """Groups by protocol; in each the test split first, then Inception, then the most images.

    Args:
        found: the groups.
        protocols: in their order; any others come last.
        size: of a group.
    """
    order = list(protocols)

    def place(group: G) -> tuple[Any, ...]:
        at = order.index(group.protocol) if group.protocol in order else len(order)
        return at, group.split != "test", "inception" not in group.extractor, tuple(-n for n in size(group)), group

    return sorted(found, key=place)


def must_sort_by(name: str, choices: Collection[str]) -> None:
    """Raises:
    MedgenError: no such column to sort by.
    """
    if name not in choices:
        raise MedgenError(f"There is no column {name!r} to sort by; choose from {', '.join(choices)}.")


def waiting(frame: pd.DataFrame, count: str) -> pd.Series:
    """Which rows are broken, or of models that no report measures: they are part of the answer."""
    measured = set(frame.loc[frame[count].notna(), "model"])
    return frame[count].isna() & ((frame["problem"] != "") | ~frame["model"].isin(measured))


def of_data(frame: pd.DataFrame, data: str) -> pd.Series:
    """Which rows are of this data set: a model of several, "a+b", of each of them; one of unknown data of all."""
    return frame["data"].map(lambda names: names == "" or data in names.split("+")).astype(bool)


def best_first(
    shown: pd.DataFrame, by: pd.Series, *, up: bool, search: str, top: Collection[str], digits: Mapping[str, int]
) -> pd.DataFrame:
    """Rows of the families `top` as they stand, then the others, best first, missing numbers last; rounded.

    Args:
        shown: the rows of one table.
        by: what they are sorted by, on the same index.
        up: whether low is good.
        search: keeps the others whose name, title or family contains this.
        top: families of rows that are no model.
        digits: column -> decimals.
    """
    words = shown["model"] + " " + shown["title"] + " " + shown["family"]
    is_top = shown["family"].isin(list(top))
    own = shown[~is_top & words.str.contains(search.strip(), case=False, regex=False)].sort_values("model")
    order = by[own.index].sort_values(ascending=up, kind="stable", na_position="last").index
    return pd.concat([shown[is_top], own.loc[order]]).reset_index(drop=True).round(dict(digits))


def low_is_best(name: str, metrics: Mapping[str, Metric], others: Collection[str]) -> bool:
    """Whether a table sorted by this column begins with its lowest value."""
    known = metrics.get(name)
    return name in others or (known is not None and (known.lower_is_better or known.like_real))


def badness(values: pd.Series, floor: pd.Series | float, metric: Metric) -> pd.Series:
    """The values of a metric so that lower is better: those best where real images are, by their distance to the floor.

    Args:
        values: of the metric.
        floor: what real images score.
        metric: which.
    """
    if metric.like_real:
        return (values - floor).abs()
    return values if metric.lower_is_better else -values


def listing(groups: Sequence[Comparable], none: str | None, kind: str, text: Callable[[Any], str]) -> list[str]:
    """Every group as text, under its label where a person reads it.

    Args:
        groups: in order.
        none: the label of what waits to be measured, where there is no group; None where nothing waits.
        kind: of `eval.export.KINDS`.
        text: makes the text of a group, or of None.
    """
    shown: list[Comparable | None] = [*groups] or [None] * (none is not None)
    texts = []
    for group in shown:
        label = none if group is None else group.label
        texts.append(f"{label}\n\n{text(group)}" if kind == "markdown" else text(group))
    return texts
