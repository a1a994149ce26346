"""A section of the Board tab whose groups, table, parts and exports are one evaluation's: translators, volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import pandas as pd

from demos import board_exports, lane, scratch, tables, widgets
from medgen import MedgenError


@dataclass(frozen=True)
class Section:
    """What differs between two such sections.

    Args:
        name: of the section, in ids and file names.
        head: Markdown above it.
        empty: said where there is no model.
        group: heading of the drop-down of groups.
        sorts: column to sort by -> its name.
        sort_by: the first of them.
        board: the module that reads the reports: `groups(found)`, `table(found, group, sort_by, search)`,
            `export(table, kind)`.
        read: reads the reports.
        short: a group's short name.
        parts: table below the main one -> what must be known to read it.
        tables: the texts of the parts, from what was read, the group and the sorting.
        no_model: family of the rows that are no model.
        html: the main table, from the rows and their caption.
        caption: what the rows were compared with.
    """

    name: str
    head: str
    empty: str
    group: str
    sorts: dict[str, str]
    sort_by: str
    board: Any
    read: Callable[[], Any]
    short: Callable[[Any], str]
    parts: dict[str, str]
    tables: Callable[[Any, Any, str], dict[str, pd.DataFrame]]
    no_model: str
    html: Callable[[pd.DataFrame, str], str]
    caption: Callable[[pd.DataFrame, Any], str]


def not_measured(table: pd.DataFrame, count: str) -> str:
    """The sentence that names the models without a number in the column `count`; "" where there is none."""
    waiting = sorted(table.loc[table[count].isna(), "model"])
    return f" Not measured: {', '.join(waiting)}." if waiting else ""


def draw(section: Section, session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """`[group, results, origins, one table a part, notes, csv, json, latex]`.

    Raises:
        gr.Error: an export could not be written.
    """
    board = section.board
    found = section.read()
    groups = board.groups(found)
    if found.frame.empty:
        return [gr.update(choices=[]), section.empty, *[""] * (len(section.parts) + 2), *board_exports.no_files()]
    group = next((one for one in groups if one.label == label), groups[0] if groups else None)
    try:
        table = board.table(found, group, sort_by, search or "")
        place = scratch.DOWNLOADS.folder(f"{session}-board-{section.name}")
        files = board_exports.write(lambda kind: board.export(table, kind), place, section.name)
    except MedgenError as error:
        raise widgets.toast(error) from error
    parts = {} if group is None else section.tables(found, group, sort_by)
    models = table[table["family"] != section.no_model].drop_duplicates("model")
    shown = board_exports.choices([section.short(one) for one in groups], [one.label for one in groups])
    return [
        gr.update(choices=shown, value=None if group is None else group.label),
        section.html(table, section.caption(table, group)),
        tables.origins(models, tables.COSTS),
        *(tables.plain(parts[one], said) if parts else "" for one, said in section.parts.items()),
        "\n\n".join(found.problems),
        *files,
    ]


def create(section: Section, triggers: list[Any]) -> None:
    """Puts the section where it is called.

    Args:
        section: which.
        triggers: events that draw it, besides its own.
    """
    name = section.name
    gr.Markdown(section.head)
    with gr.Row():
        group = gr.Dropdown([], label=section.group, scale=3, min_width=300, elem_id=f"{name}-group")
        sorts = [(words, column) for column, words in section.sorts.items()]
        sort_by = gr.Dropdown(sorts, value=section.sort_by, label="Sort by", min_width=160, elem_id=f"{name}-sort-by")
        search = gr.Textbox("", label="Search", placeholder="model or method", min_width=180)
    results = gr.HTML(elem_id=f"{name}-results", padding=False)
    with gr.Row():
        exports = board_exports.buttons(f"{name}-export-")
    origins = gr.HTML(elem_id=f"{name}-origins", padding=False)
    parts = [gr.HTML(elem_id=f"{name}-{part}", padding=False) for part in section.parts]
    notes = gr.Markdown()

    def on_draw(request: gr.Request, label: str | None, sort_by: str, search: str) -> list[Any]:
        return draw(section, lane.session(request), label, sort_by, search)

    drawn = [group, results, origins, *parts, notes, *exports]
    for trigger in (*triggers, group.input, sort_by.input, search.submit, search.blur):
        trigger(on_draw, [group, sort_by, search], drawn, show_progress="hidden", api_visibility="private")
