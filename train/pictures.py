"""Sample grids, and the film of a training run."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from medgen.atomic import write_bytes


def grid(images: Tensor, columns: int = 0) -> bytes:
    """A PNG of all `images` `(N, 1, H, W)` in [-1, 1] in rows of `columns` (default: as square as it gets)."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    pixels = ((images.float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    count, _, height, width = pixels.shape
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * height, columns * width), np.uint8)
    for i, picture in enumerate(pixels[:, 0]):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height, left : left + width] = picture
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def pixels(png: bytes) -> np.ndarray:
    """The `(H, W)` uint8 pixels of a grid."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def film(folder: Path, path: Path, seconds: float = 8.0, width: int = 384, most: int = 8) -> None:
    """An animated GIF, `width` pixels wide, of the grids in `folder`, in order; nothing if there are fewer than two.

    Of more than `most` grids it shows so many, from the first to the last.
    """
    frames = []
    files = sorted(folder.glob("*.png"))
    for place in np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)):
        file = files[place]
        with Image.open(file) as picture:
            grey = picture.convert("L")
            grey.thumbnail((width, width))
            frames.append(grey)
    if len(frames) < 2:
        return
    buffer = io.BytesIO()
    duration = max(40, int(1000 * seconds / len(frames)))
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0)
    write_bytes(path, buffer.getvalue())
