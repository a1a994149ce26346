"""The translators on the Board tab: one direction and set of patients at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from demos import lane, scratch, tables, widgets
from eval import translation_board as board
from medgen import MedgenError
from medgen.atomic import write_bytes

EXPORTS = {"csv": "CSV", "json": "JSON", "latex": "LaTeX"}
EMPTY = "There is no translator yet: train one or put its folder into checkpoints/, then press Refresh."
HEAD = """
## Translation: slice against slice

The true slice of the same head is known here, so every pixel can be compared. Measured by
`python -m eval.run NAME --protocol t1-flair-128`.
"""
_SORTS = {
    **{name: metric.title for name, metric in board.METRICS.items()},
    "seconds_per_image": "Seconds an image",
    "params": "Parameters",
    "model": "Name",
    "family": "Method",
}


def choices(found: list[board.Group]) -> list[tuple[str, str]]:
    """(shown, label) of each group: short where that is enough to tell them apart."""
    short = [f"{g.direction.replace('-', ' to ')} {g.split}, n {g.n} of {g.n_subjects}" for g in found]
    return [
        (words if short.count(words) == 1 else group.label, group.label)
        for words, group in zip(short, found, strict=True)
    ]


def draw(session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """`[group, results, origins, patients, gains, samples, cycle, heads, notes, csv, json, latex]`.

    Raises:
        gr.Error: an export could not be written.
    """
    found = board.translations()
    groups = board.groups(found)
    if found.frame.empty:
        return [gr.update(choices=[]), EMPTY, *[""] * (len(board.PARTS) + 2), *_no_files()]
    group = next((one for one in groups if one.label == label), groups[0] if groups else None)
    try:
        table = board.table(found, group, sort_by, search or "")
        files = _export(table, scratch.DOWNLOADS.folder(f"{session}-board-translation"))
    except MedgenError as error:
        raise widgets.toast(error) from error
    parts = {} if group is None else board.tables(found, group, sort_by)
    models = table[table["family"] != board.BASELINE].drop_duplicates("model")
    return [
        gr.update(choices=choices(groups), value=None if group is None else group.label),
        tables.translated(table, caption(table, group)),
        tables.origins(models, "Cost and origin"),
        *(tables.plain(parts[one], tables.TRANSLATION_PARTS[one]) if parts else "" for one in board.PARTS),
        "\n\n".join(found.problems),
        *files,
    ]


def caption(table: Any, group: board.Group | None) -> str:
    """What the rows were compared with, and which models are not measured yet."""
    if group is None:
        return "No translator has been measured yet: run python -m eval.run NAME --protocol t1-flair-128."
    waiting = sorted(table.loc[table["n"].isna(), "model"])
    rest = f" Not measured: {', '.join(waiting)}." if waiting else ""
    few = " So few patients make a demonstration, not a benchmark." if group.n_subjects < 10 else ""
    return (
        f"{group.n} slices of {group.n_subjects} patients of the {group.split} split of {group.data}, "
        f"{group.direction.replace('-', ' to ')}; MAE in {group.unit}. {tables.TRANSLATION}{few}{rest}"
    )


def _export(table: Any, place: Path) -> list[Any]:
    made = []
    for kind in EXPORTS:
        path = place / f"translation.{'tex' if kind == 'latex' else kind}"
        write_bytes(path, board.export(table, kind).encode())
        made.append(gr.update(value=str(path), interactive=True))
    return made


def _no_files() -> list[Any]:
    return [gr.update(value=None, interactive=False) for _ in EXPORTS]


def create(page: gr.Blocks, refresh: gr.Button) -> None:
    """Puts the section into `page`.

    Args:
        page: of the tab.
        refresh: the button that reads the disk again.
    """
    gr.Markdown(HEAD)
    with gr.Row():
        group = gr.Dropdown([], label="Direction and patients", scale=3, min_width=300, elem_id="translation-group")
        sorts = [(_SORTS[name], name) for name in board.sort_choices()]
        sort_by = gr.Dropdown(sorts, value="ssim", label="Sort by", min_width=160, elem_id="translation-sort-by")
        search = gr.Textbox("", label="Search", placeholder="model or method", min_width=180)
    results = gr.HTML(elem_id="translation-results", padding=False)
    with gr.Row():
        exports = [
            gr.DownloadButton(
                f"Export {word}", interactive=False, size="md", min_width=140, elem_id=f"translation-export-{kind}"
            )
            for kind, word in EXPORTS.items()
        ]
    origins = gr.HTML(elem_id="translation-origins", padding=False)
    parts = [gr.HTML(elem_id=f"translation-{part}", padding=False) for part in board.PARTS]
    notes = gr.Markdown()

    def on_draw(request: gr.Request, label: str | None, sort_by: str, search: str) -> list[Any]:
        return draw(lane.session(request), label, sort_by, search)

    drawn = [group, results, origins, *parts, notes, *exports]
    for trigger in (page.load, group.input, sort_by.input, search.submit, search.blur, refresh.click):
        trigger(on_draw, [group, sort_by, search], drawn, show_progress="hidden", api_visibility="private")
