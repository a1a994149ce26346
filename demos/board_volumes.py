"""The models of volumes on the Board tab: one protocol at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from demos import lane, scratch, tables, widgets
from eval import volumes as board
from medgen import MedgenError
from medgen.atomic import write_bytes

EXPORTS = {"csv": "CSV", "json": "JSON", "latex": "LaTeX"}
EMPTY = "There is no model of volumes yet: train one or put its folder into checkpoints/, then press Refresh."
HEAD = """
## Volumes

No volume made from nothing has a truth of its own, so sets are compared: how near they are to held-out subjects, how
varied, whether anatomy is whole, and whether a volume is a training subject again. Measured by
`python -m eval.run NAME --protocol hippo-48`.
"""
PARTS = {
    "diversity": (
        "Diversity: mean 3D MS-SSIM of all pairs of two volumes of a set (three scales, 7 voxels, whole grid). Higher "
        "than of real volumes: the model repeats itself; lower: its volumes differ in ways that people do not."
    ),
    "structures": (
        "Structures, as the segmenter measures them in generated and in held-out real volumes alike: mean ± standard "
        "deviation, Wasserstein distance between the two, its floor (real train volumes against the held-out ones), "
        "and Kolmogorov and Smirnov's p: small = they differ."
    ),
    "plausibility": (
        "Plausibility: volumes that fail any check, and the checks that any volume fails. Limits come from real train "
        "volumes, with a quarter of their range to spare; the same checks of held-out real volumes stand beside."
    ),
    "memorisation": (
        "Nearest training subject: how many volumes are nearer to one than the nearest 5 % of held-out real volumes "
        "are. About 5 % is right; far more is copying. Distance = 1 - correlation, in voxels at half resolution or in "
        "features."
    ),
    "control": (
        "Control: volumes asked for five sizes with 12 seeds each, and what the segmenter measures on the output; "
        "below each model the same segmenter on real volumes, whose true size is known."
    ),
    "autoencoder": (
        "Held-out volumes there and back through the autoencoder, which no model behind it can surpass; the mean train "
        "volume stands beside."
    ),
}
_SORTS = {
    **{name: board.heading(name) for name in board.METRICS},
    "seconds_per_image": "Seconds a volume",
    "params": "Parameters",
    "model": "Name",
    "family": "Method",
}


def choices(found: list[board.Group]) -> list[tuple[str, str]]:
    """(shown, label) of each group: short where that is enough to tell them apart."""
    short = [f"{g.protocol} {g.split}, n {g.n}" for g in found]
    return [
        (words if short.count(words) == 1 else group.label, group.label)
        for words, group in zip(short, found, strict=True)
    ]


def draw(session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """`[group, results, origins, one table a part of PARTS, notes, csv, json, latex]`.

    Raises:
        gr.Error: an export could not be written.
    """
    found = board.volumes()
    groups = board.groups(found)
    if found.frame.empty:
        return [gr.update(choices=[]), EMPTY, *[""] * (len(board.PARTS) + 2), *_no_files()]
    group = next((one for one in groups if one.label == label), groups[0] if groups else None)
    try:
        table = board.table(found, group, sort_by, search or "")
        files = _export(table, scratch.DOWNLOADS.folder(f"{session}-board-volumes"))
    except MedgenError as error:
        raise widgets.toast(error) from error
    parts = {} if group is None else board.tables(found, group)
    models = table[table["family"] != board.FLOOR].drop_duplicates("model")
    return [
        gr.update(choices=choices(groups), value=None if group is None else group.label),
        tables.plain(named(table), caption(table, group)),
        tables.origins(models, "Cost and origin"),
        *(tables.plain(parts[one], PARTS[one]) if parts else "" for one in board.PARTS),
        "\n\n".join(found.problems),
        *files,
    ]


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text, each metric with the direction that is good."""
    shown = board.people(table)
    signs = {name: "↓" if metric.lower_is_better else "↑" for name, metric in board.METRICS.items()}
    signs |= dict.fromkeys(board.AS_REAL, "→ real")
    return shown.rename(columns={board.heading(name): f"{board.heading(name)} {sign}" for name, sign in signs.items()})


def caption(table: pd.DataFrame, group: board.Group | None) -> str:
    """What the rows were compared with, and which models are not measured yet."""
    if group is None:
        return "No model of volumes has been measured yet: run python -m eval.run NAME --protocol hippo-48."
    waiting = sorted(table.loc[table["n"].isna(), "model"])
    rest = f" Not measured: {', '.join(waiting)}." if waiting else ""
    few = " So few subjects make a demonstration, not a benchmark." if group.n_real < 10 else ""
    return (
        f"{group.n} generated volumes of each model against {group.n_real} real ones of the {group.split} split of "
        f"{group.data}. KID and FID see the middle sagittal, coronal and axial plane of each volume. [low, high]: 95 % "
        f"interval. Real volumes stand on top.{few}{rest}"
    )


def _export(table: pd.DataFrame, place: Path) -> list[Any]:
    made = []
    for kind in EXPORTS:
        path = place / f"volumes.{'tex' if kind == 'latex' else kind}"
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
        group = gr.Dropdown([], label="Protocol", scale=3, min_width=300, elem_id="volumes-group")
        sorts = [(_SORTS[name], name) for name in board.sort_choices()]
        sort_by = gr.Dropdown(sorts, value="kid", label="Sort by", min_width=160, elem_id="volumes-sort-by")
        search = gr.Textbox("", label="Search", placeholder="model or method", min_width=180)
    shown = gr.HTML(elem_id="volumes-results", padding=False)
    with gr.Row():
        exports = [
            gr.DownloadButton(
                f"Export {word}", interactive=False, size="md", min_width=140, elem_id=f"volumes-export-{kind}"
            )
            for kind, word in EXPORTS.items()
        ]
    origins = gr.HTML(elem_id="volumes-origins", padding=False)
    parts = [gr.HTML(elem_id=f"volumes-{part}", padding=False) for part in board.PARTS]
    notes = gr.Markdown()

    def on_draw(request: gr.Request, label: str | None, sort_by: str, search: str) -> list[Any]:
        return draw(lane.session(request), label, sort_by, search)

    drawn = [group, shown, origins, *parts, notes, *exports]
    for trigger in (page.load, group.input, sort_by.input, search.submit, search.blur, refresh.click):
        trigger(on_draw, [group, sort_by, search], drawn, show_progress="hidden", api_visibility="private")
