"""The models of volumes on the Board tab: one protocol at a time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from demos import board_section, tables
from eval import volumes as board

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
    "cpu_seconds_per_image": "CPU seconds a volume",
    "params": "Parameters",
    "model": "Name",
    "family": "Method",
}


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
    rest = board_section.not_measured(table, "n")
    few = " So few subjects make a demonstration, not a benchmark." if group.n_real < 10 else ""
    return (
        f"{group.n} generated volumes of each model against {group.n_real} real ones of the {group.split} split of "
        f"{group.data}. KID and FID see the middle sagittal, coronal and axial plane of each volume. [low, high]: 95 % "
        f"interval. Real volumes stand on top.{few}{rest}"
    )


SECTION = board_section.Section(
    name="volumes",
    head=HEAD,
    empty=EMPTY,
    group="Protocol",
    sorts={name: _SORTS[name] for name in board.sort_choices()},
    sort_by="kid",
    board=board,
    read=board.volumes,
    short=lambda g: f"{g.protocol} {g.split}, n {g.n}",
    parts={part: PARTS[part] for part in board.PARTS},
    tables=lambda found, group, _: board.tables(found, group),
    no_model=board.FLOOR,
    html=lambda table, said: tables.plain(named(table), said),
    caption=caption,
)


def draw(session: str, label: str | None, sort_by: str, search: str) -> list[Any]:
    """See `board_section.draw`."""
    return board_section.draw(SECTION, session, label, sort_by, search)


def create(triggers: list[Any]) -> None:
    """See `board_section.create`."""
    board_section.create(SECTION, triggers)
