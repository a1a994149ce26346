"""Sample strips on the Board tab: real images where the data are present, then each model of the table, best first."""

from __future__ import annotations

from functools import lru_cache

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image

from demos import look
from eval import board
from medgen import ImageSet, MedgenError
from medgen.data import available, real
from medgen.registry import checkpoints_dir

COLUMNS = ROWS = 6
"""Of a sheet: as `samples.png` of a model has them."""
Strip = tuple[Image.Image, str]


def strips(table: pd.DataFrame, group: board.Group) -> list[Strip]:
    """A sheet a row of the table: picture, with its name on it, and caption.

    Args:
        table: from `board.table`; its models have a row each.
        group: whose real images stand first.
    """
    models = table[~table["family"].isin(board.NO_MODEL)].drop_duplicates("model")
    made = [_of_model(name, title or name) for name, title in zip(models["model"], models["title"], strict=True)]
    return [*_of_real(group), *filter(None, made)]


def _of_real(group: board.Group) -> list[Strip]:
    """Real images of the split that the models are compared with; none where the data are not on this disk."""
    if not available(group.data):
        return []
    try:
        sheet = _real_sheet(group.data, group.split, min(COLUMNS * ROWS, group.n_real))
    except MedgenError as error:
        gr.Warning(str(error), duration=9)
        return []
    return [(look.signed(sheet, f"Real images, {group.split} split · REAL"), f"real {group.split} images")]


@lru_cache(maxsize=4)
def _real_sheet(data: str, split: str, n: int) -> Image.Image:
    """Images drawn by seed 0, not chosen. Only ever in memory: no real image is written anywhere.

    Raises:
        MedgenError: the data are broken, or too few.
    """
    return _sheet(real(data, split, n))


def _sheet(images: ImageSet) -> Image.Image:
    """Grey images in rows of `COLUMNS`, without gaps; black where the last row ends early."""
    pixels = images.uint8()[:, 0]
    n, height, width = pixels.shape
    rows = -(-n // COLUMNS)
    full = np.zeros((rows * COLUMNS, height, width), np.uint8)
    full[:n] = pixels
    # (rows * COLUMNS, H, W) -> (rows * H, COLUMNS * W)
    joined = full.reshape(rows, COLUMNS, height, width).swapaxes(1, 2).reshape(rows * height, COLUMNS * width)
    return Image.fromarray(joined)


def _of_model(name: str, title: str) -> Strip | None:
    """`samples.png` of a model, where it has one that can be read."""
    path = checkpoints_dir() / name / "samples.png"
    if not path.is_file():
        return None
    try:
        with Image.open(path) as picture:
            return look.signed(picture.convert("L"), f"{title} · SYNTHETIC"), f"{name}, synthetic samples"
    except (OSError, Image.DecompressionBombError) as error:
        gr.Warning(f"samples.png of {name} cannot be read ({error}): make it again.", duration=9)
        return None


def absent(group: board.Group) -> str:
    """What to say where real images are not shown; "" where they are, or where there is no group."""
    if not group.data or available(group.data):
        return ""
    return f"Real images stand first where $MEDGEN_DATA holds {group.data}; they are never part of the project."
