"""The Board tab: what was measured, one comparable group at a time.

python -m demos.board
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd
from PIL import Image

from demos import downloads, lane, look, widgets
from eval import board
from eval.plots import recall_precision
from eval.report import METRICS
from medgen import MedgenError
from medgen.atomic import write_bytes
from medgen.registry import checkpoints_dir

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Board"
MISSING = "-"
EXPORTS = {"csv": "csv", "json": "json", "latex": "tex"}
EMPTY = "There is no model yet: train one or put its folder into checkpoints/, then press Refresh."
_HEADINGS = {
    "model": "Model",
    "family": "Family",
    "n_fake": "n",
    **{name + end: f"{metric.title}{words}" for name, metric in METRICS.items()
       for end, words in (("", ""), ("_low", " low"), ("_high", " high"))},
    "seconds_per_image": "Seconds an image",
    "params": "Parameters",
    "images_seen": "Images seen",
    "commit": "Commit",
    "created": "Measured",
    "problem": "Problem",
}  # fmt: skip
_WHOLE = {"n_fake", "params", "images_seen"}


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """`table` under readable headings; numbers stay numbers, a missing one is "-"."""

    def cell(name: str, value: object) -> object:
        if isinstance(value, float):
            return MISSING if math.isnan(value) else int(value) if name in _WHOLE else value
        return value or MISSING

    # object columns: pandas would turn "-" beside floats into NaN or the floats into text
    return pd.DataFrame(
        {head: pd.Series([cell(name, v) for v in table[name]], dtype=object) for name, head in _HEADINGS.items()}
    )


def chosen_group(frame: pd.DataFrame, label: str | None) -> board.Group | None:
    """The group with this label; the first where the label is gone; None on an empty board."""
    found = board.groups(frame)
    return next((group for group in found if group.label == label), found[0] if found else None)


def draw(session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """`[group, message, table, plot, model, strips, csv, json, latex]` for the chosen group.

    Raises:
        gr.Error: an export could not be written.
    """
    frame = board.rows()
    group = chosen_group(frame, label)
    if group is None:
        return [gr.update(choices=[]), EMPTY, shown(frame), None, gr.update(choices=[], value=None), [], *_no_files()]
    try:
        table = board.table(frame, group, sort_by, search or "")
        files = _export(table, downloads.folder(f"{session}-board"))
    except MedgenError as error:
        raise widgets.toast(error) from error
    names = list(dict.fromkeys(table.sort_values("family", key=lambda f: f == board.FLOOR, kind="stable")["model"]))
    return [
        gr.update(choices=[one.label for one in board.groups(frame)], value=group.label),
        _message(table, group),
        shown(table),
        plot(table),
        gr.update(choices=names, value=names[0] if names else None),
        strips(names),
        *files,
    ]


def plot(table: pd.DataFrame) -> Figure | None:
    """The scatter, where there is something to place."""
    return recall_precision(table) if table["recall"].notna().any() else None


def _message(table: pd.DataFrame, group: board.Group) -> str:
    if group == board.NOT_MEASURED:
        return "Nothing has been measured yet: run `python -m eval.run NAME --protocol cxr-128`."
    waiting = sorted(table.loc[table["n_real"].isna(), "model"])
    rest = f" Not measured: {', '.join(waiting)}." if waiting else ""
    return (
        f"{len(table)} rows. Only rows of one group may be compared: same data, split, extractor and n. "
        "Intervals are 95 % bootstrap intervals; the row “real” is the floor, real train images against real "
        f"{group.split} images.{rest}"
    )


def _export(table: pd.DataFrame, place: Path) -> list[Any]:
    made = []
    for kind, suffix in EXPORTS.items():
        path = place / f"board.{suffix}"
        write_bytes(path, board.export(table, kind).encode())
        made.append(gr.update(value=str(path), interactive=True))
    return made


def _no_files() -> list[Any]:
    return [gr.update(value=None, interactive=False) for _ in EXPORTS]


def strips(names: list[str]) -> list[tuple[Image.Image, str]]:
    """`samples.png` of each model that has one, marked, with its caption."""
    found = []
    for name in names:
        path = checkpoints_dir() / name / "samples.png"
        if Path(name).name == name and path.is_file():
            try:
                with Image.open(path) as picture:
                    found.append((look.burn_in(picture.convert("L"), "SYNTHETIC"), f"{name}, synthetic samples"))
            except (OSError, Image.DecompressionBombError) as error:
                gr.Warning(f"samples.png of {name} cannot be read ({error}): make it again.", duration=9)
    return found


def provenance(name: str | None) -> dict[str, Any]:
    """Card and reports of one model as they stand on the disk."""
    folder = checkpoints_dir() / str(name)
    if name is None or Path(name).name != name or not folder.is_dir():
        return {} if name is None else {name: "This row is the floor: real images, no model."}
    found: dict[str, Any] = {}
    for path in [folder / "card.json", *sorted(folder.glob("report*.json"))]:
        try:
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            found[path.name] = MISSING
        except (OSError, ValueError) as error:
            found[path.name] = f"cannot be read: {error}"
    return found


def on_select(table: pd.DataFrame, event: gr.SelectData) -> str:
    """The model of the row that was clicked."""
    return str(table.iloc[event.index[0], 0])


def create(page: gr.Blocks) -> None:
    """Puts the tab into `page`."""
    sorts = [(_HEADINGS[name], name) for name in board.sort_choices()]
    with gr.Row():
        group = gr.Dropdown([], label="Comparable group", scale=3, min_width=300, elem_id="group")
        sort_by = gr.Dropdown(sorts, value=sorts[0][1], label="Sort by", min_width=160, elem_id="sort-by")
        search = gr.Textbox("", label="Search", placeholder="model or family", min_width=160)
        refresh = gr.Button("Refresh", min_width=120)
    message = gr.Markdown()
    table = gr.Dataframe(interactive=False, label="Results", pinned_columns=1, buttons=["fullscreen"], datatype="auto",
                         elem_id="board-table", max_height=420)  # fmt: skip
    with gr.Row():
        exports = [gr.DownloadButton(f"{kind.upper()}", interactive=False, min_width=110, elem_id=f"export-{kind}")
                   for kind in EXPORTS]  # fmt: skip
    scatter = gr.Plot(label="Recall and precision", format="png", elem_id="scatter")
    strip = gr.Gallery(label="Samples", format="png", columns=3, fit_columns=False, height="auto", object_fit="contain",
                       buttons=["fullscreen"], interactive=False, elem_classes="results")  # fmt: skip
    with gr.Accordion("Provenance of one row", open=False):
        model = gr.Dropdown([], label="Model", info="or click its row in the table")
        details = gr.JSON(label="Card and reports")

    def on_draw(request: gr.Request, label: str | None, sort_by: str, search: str) -> list[Any]:
        return draw(lane.session(request), label, sort_by, search)

    asked = [group, sort_by, search]
    drawn = [group, message, table, scatter, model, strip, *exports]
    for trigger in (page.load, group.input, sort_by.input, search.submit, search.blur, refresh.click):
        trigger(on_draw, asked, drawn, show_progress="hidden", api_visibility="private")
    table.select(on_select, table, model, show_progress="hidden", api_visibility="private")
    model.change(provenance, model, details, show_progress="hidden", api_visibility="private")


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
