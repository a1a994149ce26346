"""The Board tab: what was measured, one comparable group at a time.

python -m demos.board
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd

from demos import (
    board_control,
    board_exports,
    board_model,
    board_section,
    board_strips,
    board_studies,
    board_translation,
    board_volumes,
    hallucination,
    lane,
    scratch,
    tables,
    widgets,
)
from demos.board_control import PLOT_PX
from demos.board_control import draw as draw_control
from demos.board_model import files_of as files_of
from eval import board, cost_plot
from eval.plots import recall_precision
from medgen import MedgenError
from medgen.registry import checkpoints_dir

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Board"
EMPTY = "There is no model yet: train one or put its folder into checkpoints/, then press Refresh."
_SORTS = {
    **{name: metric.title for name, metric in board.METRICS.items()},
    "seconds_per_image": "Seconds an image",
    "cpu_seconds_per_image": "CPU seconds an image",
    "params": "Parameters",
    "images_seen": "Images seen",
    "model": "Name",
    "family": "Family",
}
PNG = (
    "Crosses are references: point at one for its name. A picture of a plot: point at it and press the camera in its "
    "corner; the browser draws the PNG."
)
FAMILIES = [("All", ""), ("GAN", "gan"), ("Diffusion", "diffusion"), ("References", board.REFERENCE)]
HELP = """
- **FID**, **KID**: how far the generated images are, as a set, from real ones. Lower is better. Real images do not
  reach 0 either: the floor says what they reach.
- **Precision**: share of generated images that look like real ones. **Recall**: share of real images that the model
  could have made. High precision with low recall: the model repeats itself.
- **Density**, **coverage**: the same two questions, less sensitive to single odd images.
- **MS-SSIM** of random pairs, **Vendi score** (how many different images a set amounts to): variety, best as of real
  images. **Histogram** and **spectrum distance**: grey levels and fine texture.
- **MiFID**: FID, made worse where images lie too near to training images. **Authenticity**, **C_T**: best as of real
  images; far below them means copies.
- **References** show the scale: sets whose fault is known.
- **[low, high]**, and the bars in the plot: 95 % interval. Where two models' intervals overlap, the
  number does not rank them.

None of these numbers says that anatomy or disease is right.
"""


def group_choices(found: list[board.Group]) -> list[tuple[str, str]]:
    """(shown, label) of each group: short where that is enough to tell them apart."""
    short = [
        "" if g == board.NOT_MEASURED else f"{g.protocol} {g.split}, {g.extractor.split('-')[0]}, n {g.n_fake}"
        for g in found
    ]
    return board_exports.choices(short, [group.label for group in found])


def draw(session: str, label: str | None, sort_by: str, search: str, family: str = "") -> list[Any]:
    """`[group, results, plot, strips, origins, model, csv, json, latex]` for the chosen group.

    Raises:
        gr.Error: an export could not be written.
    """
    frame = board.rows()
    found = board.groups(frame)
    if not found:
        return [
            gr.update(choices=[]),
            EMPTY,
            None,
            [],
            "",
            gr.update(choices=[], value=None),
            *board_exports.no_files(),
        ]
    group = _chosen(found, label)
    try:
        table = board.table(frame, group, sort_by, search or "", family)
        place = scratch.DOWNLOADS.folder(f"{session}-board")
        files = board_exports.write(lambda kind: board.export(table, kind), place, "board")
    except MedgenError as error:
        raise widgets.toast(error) from error
    models = table[~table["family"].isin(board.NO_MODEL)].drop_duplicates("model")
    names = list(models["model"])
    others = sorted(path.parent.name for path in checkpoints_dir().glob("*/card.json"))
    all_names = list(dict.fromkeys([*names, *others]))
    return [
        gr.update(choices=group_choices(found), value=group.label),
        tables.results(table, caption(table, group)),
        plot(table),
        board_strips.strips(table, group),
        tables.origins(models, tables.COSTS),
        gr.update(choices=all_names, value=all_names[0] if all_names else None),
        *files,
    ]


def draw_cost(label: str | None, sort_by: str, search: str, family: str) -> Any:
    """Quality against time in the number that the table is sorted by; hidden where no model has both."""
    frame = board.rows()
    table = board.table(frame, _chosen(board.groups(frame), label), sort_by, search or "", family)
    figure = cost_plot.quality_and_cost(table, sort_by)
    return gr.update(value=figure, visible=figure is not None)


def _chosen(found: list[board.Group], label: str | None) -> board.Group:
    """The group of this label, or the first."""
    return next((one for one in found if one.label == label), found[0] if found else board.NOT_MEASURED)


def plot(table: pd.DataFrame) -> Figure | None:
    """The scatter, where there is something to place."""
    return recall_precision(table) if table["recall"].notna().any() else None


def caption(table: pd.DataFrame, group: board.Group) -> str:
    """What the rows of the table were compared with, and which models are not measured yet."""
    if group == board.NOT_MEASURED:
        return "Nothing has been measured yet: run python -m eval.run NAME --protocol cxr-128."
    scale = (
        " References show the scale: sets whose fault is known." if (table["family"] == board.REFERENCE).any() else ""
    )
    beware = " ".join(dict.fromkeys(filter(None, table["warnings"])))
    notes = (scale.strip(), beware, board_section.not_measured(table, "n_real").strip(), board_strips.absent(group))
    rest = "".join(f" {note}" for note in notes if note)
    return (
        f"{group.n_fake} generated images of each model against {group.n_real} real ones of the {group.split} split of "
        f"{group.data}, seen by {group.extractor}, k = {group.k}. The floor: real train images in place of "
        f"generated ones.{rest}"
    )


def draw_classes(label: str | None) -> str:
    """The table label by label of the chosen group; "" where there is none."""
    frame = board.rows()
    return tables.classes(board.classes(frame, _chosen(board.groups(frame), label)), tables.CLASSES)


def create(page: gr.Blocks) -> None:
    """Puts the tab into `page`; what stands behind the first of its tabs is read when it is opened."""
    with gr.Tabs(elem_id="board-tabs", overflow_behavior="wrap"):
        with gr.Tab("Pictures", id="board-pictures"):
            refresh, model = _pictures(page)
        with gr.Tab("Labels", id="board-labels") as tab:
            _when_opened(draw_control, board_control.create(), tab, refresh)
        with gr.Tab("Slices", id="board-slices") as tab:
            board_translation.create([tab.select, refresh.click])
            _when_opened(hallucination.draw, hallucination.create(), tab, refresh)
        with gr.Tab("3D", id="board-3d") as tab:
            board_volumes.create([tab.select, refresh.click])
        with gr.Tab("Studies", id="board-studies"):
            board_studies.create()
        with gr.Tab("One model", id="board-model") as tab:
            board_model.create(model, tab.select)


def _when_opened(fill: Callable[[], list[Any]], filled: list[Any], tab: gr.Tab, refresh: gr.Button) -> None:
    for trigger in (tab.select, refresh.click):
        trigger(fill, None, filled, show_progress="hidden", api_visibility="private")


def _pictures(page: gr.Blocks) -> tuple[gr.Button, gr.Dropdown]:
    """The section of models of pictures; returns its Refresh button, and the choice of one model."""
    sorts = [(_SORTS[name], name) for name in board.sort_choices()]
    with gr.Row():
        group = gr.Dropdown([], label="Comparable group", scale=3, min_width=300, elem_id="group")
        sort_by = gr.Dropdown(sorts, value=sorts[0][1], label="Sort by", min_width=160, elem_id="sort-by")
        family = gr.Dropdown(FAMILIES, value="", label="Family", min_width=140, elem_id="family")
        search = gr.Textbox("", label="Search", placeholder="model or family", min_width=180)
    table = gr.HTML(elem_id="results", padding=False)
    with gr.Row():
        exports = board_exports.buttons("export-")
        refresh = gr.Button("Refresh", size="md", min_width=140)
    with gr.Row():
        scatter = gr.Plot(show_label=False, format="png", min_width=PLOT_PX, elem_id="scatter")
        cost = gr.Plot(show_label=False, format="png", min_width=PLOT_PX, elem_id="cost")
    gr.Markdown(PNG, elem_classes="quiet")
    with gr.Accordion("How to read this", open=True):
        gr.Markdown(HELP)
    strip = gr.Gallery(label="Samples", show_label=False, format="png", fit_columns=False, height="auto",
                       object_fit="contain", buttons=["fullscreen"], interactive=False, elem_id="strips",
                       elem_classes=["results", "strips"])  # fmt: skip
    origins = gr.HTML(elem_id="origins", padding=False)
    by_label = gr.HTML(elem_id="classes", padding=False)
    model = gr.Dropdown([], label="Model", render=False, elem_id="one-model")

    def on_draw(request: gr.Request, label: str | None, sort_by: str, search: str, family: str) -> list[Any]:
        return draw(lane.session(request), label, sort_by, search, family)

    asked = [group, sort_by, search, family]
    drawn = [group, table, scatter, strip, origins, model, *exports]
    for trigger in (page.load, group.input, sort_by.input, family.input, search.submit, search.blur, refresh.click):
        trigger(on_draw, asked, drawn, show_progress="hidden", api_visibility="private")
        trigger(draw_cost, asked, cost, show_progress="hidden", api_visibility="private")
    for trigger in (page.load, group.input, refresh.click):
        trigger(draw_classes, group, by_label, show_progress="hidden", api_visibility="private")
    return refresh, model


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
