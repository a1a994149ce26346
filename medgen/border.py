"""The frame at the edge of a picture: what the border baseline sees of it."""

from __future__ import annotations

import numpy as np


def area_mean(pixels: np.ndarray, factor: int) -> np.ndarray:
    """`(N, 1, H, W)` -> `(N, 1, H / factor, W / factor)`: the mean of each square of `factor` pixels."""
    count, channels, height, width = pixels.shape
    return pixels.reshape(count, channels, height // factor, factor, width // factor, factor).mean(axis=(3, 5))


def border_features(pixels: np.ndarray, frame: int, pool: int) -> np.ndarray:
    """What the baseline sees: `(N, 1, H, W)` in [0, 1] -> `(N, F)`, means of squares within `frame` px of an edge.

    Args:
        pixels: H and W multiples of `pool`.
        frame: width of the frame in pixels, a multiple of `pool`: no square reaches further in.
        pool: side of a square in pixels.
    """
    if frame % pool:
        raise ValueError(f"a frame of {frame} pixels is no multiple of squares of {pool}")
    cells, edge = area_mean(pixels, pool)[:, 0], frame // pool
    inside = np.ones(cells.shape[1:], dtype=bool)
    inside[edge:-edge, edge:-edge] = False
    # not cells[:, inside]: its memory order, and with it that of later sums, would depend on the number of pictures
    return np.compress(inside.ravel(), cells.reshape(len(cells), inside.size), axis=1)
