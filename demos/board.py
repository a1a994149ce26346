"""The Board tab: what was measured, one comparable group at a time.

python -m demos.board
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd
from PIL import Image

from demos import board_translation, board_volumes, hallucination, lane, look, scratch, tables, widgets
from eval import board, translation_board, volumes
from eval.plots import guidance_sweep, recall_precision, severity_curves
from medgen import MedgenError
from medgen.atomic import write_bytes
from medgen.registry import checkpoints_dir

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TITLE = "Board"
EXPORTS = {"csv": "CSV", "json": "JSON", "latex": "LaTeX"}
EMPTY = "There is no model yet: train one or put its folder into checkpoints/, then press Refresh."
_SORTS = {
    **{name: metric.title for name, metric in board.METRICS.items()},
    "seconds_per_image": "Seconds an image",
    "params": "Parameters",
    "images_seen": "Images seen",
    "model": "Name",
    "family": "Family",
}
HELP = """
### How to read this

- **FID**, **KID**: how far the generated images are, as a set, from real ones. Lower is better. Real images do not
  reach 0 either: the floor says what they reach.
- **Precision**: share of generated images that look like real ones. **Recall**: share of real images that the model
  could have made. High precision with low recall: the model repeats itself.
- **Density**, **coverage**: the same two questions, less sensitive to single odd images.
- **[low, high]**, and the bars in the plot: 95 % interval. Where two models' intervals overlap, the
  number does not rank them.

None of these numbers says that anatomy or disease is right.
"""

CONTROL = """
## Control: does the label act?

An independent classifier, trained on real images only, looks at generated ones. What the border alone tells stands
beside it: where that is as good, the classifier may have seen how the film was taken rather than the disease. Measured
by `python -m eval.pathology NAME`.
"""


def group_choices(found: list[board.Group]) -> list[tuple[str, str]]:
    """(shown, label) of each group: short where that is enough to tell them apart."""
    short = [f"{g.protocol} {g.split}, {g.extractor.split('-')[0]}, n {g.n_fake}" for g in found]
    return [
        (words if short.count(words) == 1 and group != board.NOT_MEASURED else group.label, group.label)
        for words, group in zip(short, found, strict=True)
    ]


def draw(session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """`[group, results, plot, strips, origins, model, csv, json, latex]` for the chosen group.

    Raises:
        gr.Error: an export could not be written.
    """
    frame = board.rows()
    found = board.groups(frame)
    if not found:
        return [gr.update(choices=[]), EMPTY, None, [], "", gr.update(choices=[], value=None), *_no_files()]
    group = next((one for one in found if one.label == label), found[0])
    try:
        table = board.table(frame, group, sort_by, search or "")
        files = _export(table, scratch.DOWNLOADS.folder(f"{session}-board"))
    except MedgenError as error:
        raise widgets.toast(error) from error
    models = table[table["family"] != board.FLOOR].drop_duplicates("model")
    names = list(models["model"])
    others = [*translation_board.translations().models(), *volumes.volumes().models()]
    all_names = list(dict.fromkeys([*names, *others]))
    return [
        gr.update(choices=group_choices(found), value=group.label),
        tables.results(table, caption(table, group)),
        plot(table),
        strips(dict(zip(names, models["title"], strict=True))),
        tables.origins(models, "Cost and origin"),
        gr.update(choices=all_names, value=all_names[0] if all_names else None),
        *files,
    ]


def plot(table: pd.DataFrame) -> Figure | None:
    """The scatter, where there is something to place."""
    return recall_precision(table) if table["recall"].notna().any() else None


def caption(table: pd.DataFrame, group: board.Group) -> str:
    """What the rows of the table were compared with, and which models are not measured yet."""
    if group == board.NOT_MEASURED:
        return "Nothing has been measured yet: run python -m eval.run NAME --protocol cxr-128."
    waiting = sorted(table.loc[table["n_real"].isna(), "model"])
    rest = f" Not measured: {', '.join(waiting)}." if waiting else ""
    return (
        f"{group.n_fake} generated images of each model against {group.n_real} real ones of the {group.split} split of "
        f"{group.data}, seen by {group.extractor}, k = {group.k}. The floor: real train images in place of "
        f"generated ones.{rest}"
    )


def _export(table: pd.DataFrame, place: Path) -> list[Any]:
    made = []
    for kind in EXPORTS:
        path = place / f"board.{'tex' if kind == 'latex' else kind}"
        write_bytes(path, board.export(table, kind).encode())
        made.append(gr.update(value=str(path), interactive=True))
    return made


def _no_files() -> list[Any]:
    return [gr.update(value=None, interactive=False) for _ in EXPORTS]


def strips(titles: dict[str, str]) -> list[tuple[Image.Image, str]]:
    """`samples.png` of each model that has one, with its title and the mark under it.

    Args:
        titles: model name -> title.
    """
    found = []
    for name, title in titles.items():
        path = checkpoints_dir() / name / "samples.png"
        if path.is_file():
            try:
                with Image.open(path) as picture:
                    marked = look.signed(picture.convert("L"), f"{title or name} · SYNTHETIC")
                found.append((marked, f"{name}, synthetic samples"))
            except (OSError, Image.DecompressionBombError) as error:
                gr.Warning(f"samples.png of {name} cannot be read ({error}): make it again.", duration=9)
    return found


def files_of(name: str | None) -> dict[str, Any]:
    """Card, reports and measured controls of one model as they stand on the disk."""
    folder = checkpoints_dir() / str(name)
    if name is None or Path(name).name != name or not folder.is_dir():
        return {}
    found: dict[str, Any] = {}
    kinds = ("report", "translation", "volumes", "hallucination", "pathology")
    measured = [path for kind in kinds for path in sorted(folder.glob(f"{kind}*.json"))]
    for path in [folder / "card.json", *measured]:
        try:
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found[path.name] = f"cannot be read: {error}"
    return found


def draw_classes(label: str | None) -> str:
    """The table label by label of the chosen group; "" where there is none."""
    frame = board.rows()
    found = board.groups(frame)
    group = next((one for one in found if one.label == label), found[0] if found else board.NOT_MEASURED)
    return tables.classes(board.classes(frame, group), tables.CLASSES)


def draw_control() -> list[Any]:
    """`[adherence, sweep, curves, severity, region, notes]`: what is not measured is not drawn; the tables say so."""
    found = board.control()
    words = board.tables(found._asdict())
    waiting = found.missing("guidance")
    notes = [f"Guidance sweep not measured: {', '.join(waiting)}."] if waiting else []
    notes += [] if len(found.adherence) else ["No model here takes a label."]
    figures = [guidance_sweep(found.guidance), severity_curves(found.severity)]
    return [
        tables.plain(words["adherence"], tables.ADHERENCE),
        *(gr.update(value=figure, visible=figure is not None) for figure in figures),
        tables.plain(words["severity"], tables.SEVERITY),
        tables.plain(words["region"], tables.REGION),
        "\n\n".join([*notes, *found.problems]),
    ]


def create(page: gr.Blocks) -> None:
    """Puts the tab into `page`."""
    sorts = [(_SORTS[name], name) for name in board.sort_choices()]
    with gr.Row():
        group = gr.Dropdown([], label="Comparable group", scale=3, min_width=300, elem_id="group")
        sort_by = gr.Dropdown(sorts, value=sorts[0][1], label="Sort by", min_width=160, elem_id="sort-by")
        search = gr.Textbox("", label="Search", placeholder="model or family", min_width=180)
    table = gr.HTML(elem_id="results", padding=False)
    with gr.Row():
        exports = [
            gr.DownloadButton(f"Export {word}", interactive=False, size="md", min_width=140, elem_id=f"export-{kind}")
            for kind, word in EXPORTS.items()
        ]
        refresh = gr.Button("Refresh", size="md", min_width=140)
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            scatter = gr.Plot(show_label=False, format="png", elem_id="scatter")
        with gr.Column(scale=2, min_width=320):
            gr.Markdown(HELP)
    strip = gr.Gallery(label="Samples", show_label=False, format="png", fit_columns=False, height="auto",
                       object_fit="contain", buttons=["fullscreen"], interactive=False, elem_id="strips",
                       elem_classes=["results", "strips"])  # fmt: skip
    origins = gr.HTML(elem_id="origins", padding=False)
    by_label = gr.HTML(elem_id="classes", padding=False)
    gr.Markdown(CONTROL)
    adherence = gr.HTML(elem_id="adherence", padding=False)
    with gr.Row():
        sweep = gr.Plot(show_label=False, format="png", elem_id="sweep")
        curves = gr.Plot(show_label=False, format="png", elem_id="curves")
    severity = gr.HTML(elem_id="severity", padding=False)
    region = gr.HTML(elem_id="region", padding=False)
    notes = gr.Markdown()
    board_translation.create(page, refresh)
    lesions = hallucination.create()
    board_volumes.create(page, refresh)
    with gr.Accordion("Card and reports of one model", open=False):
        model = gr.Dropdown([], label="Model")
        details = gr.JSON(label="As they stand on the disk")

    def on_draw(request: gr.Request, label: str | None, sort_by: str, search: str) -> list[Any]:
        return draw(lane.session(request), label, sort_by, search)

    asked = [group, sort_by, search]
    drawn = [group, table, scatter, strip, origins, model, *exports]
    for trigger in (page.load, group.input, sort_by.input, search.submit, search.blur, refresh.click):
        trigger(on_draw, asked, drawn, show_progress="hidden", api_visibility="private")
    for trigger in (page.load, group.input, refresh.click):
        trigger(draw_classes, group, by_label, show_progress="hidden", api_visibility="private")
    control = [adherence, sweep, curves, severity, region, notes]
    for trigger in (page.load, refresh.click):
        trigger(draw_control, None, control, show_progress="hidden", api_visibility="private")
        trigger(hallucination.draw, None, lesions, show_progress="hidden", api_visibility="private")
    model.change(files_of, model, details, show_progress="hidden", api_visibility="private")


if __name__ == "__main__":
    raise SystemExit(widgets.launch(widgets.page(TITLE, create)))
