"""The translators on the Board tab: one direction and set of patients at a time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from demos import board_section, tables
from eval import translation_board as board

EMPTY = "There is no translator yet: train one or put its folder into checkpoints/, then press Refresh."
HEAD = """
## Translation: slice against slice

The true slice of the same head is known here, so every pixel can be compared. Measured by
`python -m eval.run NAME --protocol t1-flair-128`.
"""
_SORTS = {
    **{name: metric.title for name, metric in board.METRICS.items()},
    "seconds_per_image": "Seconds an image",
    "cpu_seconds_per_image": "CPU seconds an image",
    "params": "Parameters",
    "model": "Name",
    "family": "Method",
}


def caption(table: pd.DataFrame, group: board.Group | None) -> str:
    """What the rows were compared with, and which models are not measured yet."""
    if group is None:
        return "No translator has been measured yet: run python -m eval.run NAME --protocol t1-flair-128."
    rest = board_section.not_measured(table, "n")
    few = " So few patients make a demonstration, not a benchmark." if group.n_subjects < 10 else ""
    return (
        f"{group.n} slices of {group.n_subjects} patients of the {group.split} split of {group.data}, "
        f"{group.direction.replace('-', ' to ')}; MAE in {group.unit}. {tables.TRANSLATION}{few}{rest}"
    )


SECTION = board_section.Section(
    name="translation",
    head=HEAD,
    empty=EMPTY,
    group="Direction and patients",
    sorts={name: _SORTS[name] for name in board.sort_choices()},
    sort_by="ssim",
    board=board,
    read=board.translations,
    short=lambda g: f"{g.direction.replace('-', ' to ')} {g.split}, n {g.n} of {g.n_subjects}",
    parts={part: tables.TRANSLATION_PARTS[part] for part in board.PARTS},
    tables=board.tables,
    no_model=board.BASELINE,
    html=tables.translated,
    caption=caption,
)


def draw(session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """See `board_section.draw`."""
    return board_section.draw(SECTION, session, label, sort_by, search)


def create(triggers: list[Any]) -> None:
    """See `board_section.create`."""
    board_section.create(SECTION, triggers)
