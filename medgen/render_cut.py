"""Axial pictures that cut through a head: how much of which tissue lies in every pixel, as it is or bent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medgen.render_head import Head
from medgen.render_tissues import ROOM, TISSUE_OF

SIDE = 256
"""Pixels along an edge of a picture, 1 mm each."""
_NEIGHBOURS = sorted(
    ((i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)),
    key=lambda step: sum(abs(one) for one in step),
)


@dataclass(frozen=True, eq=False)
class Cut:
    """One axial slice before any scanner has seen it, as `Volume.section("axial")` shows it.

    Args:
        index: `(n,)` the pixels, counted row by row, that show anything but room.
        shares: `(n, K + 1)` float32, parts of the tissues and of the room; rows sum to 1.
        texture: `(n,)` float32, mean 0, variance about 1.
        regions: `(H, W)` int16 labels; 0 is the room, so all else is the body.
        centre: `(3,)` millimetres from the middle of the head to the middle of the picture.
    """

    index: np.ndarray
    shares: np.ndarray
    texture: np.ndarray
    regions: np.ndarray
    centre: np.ndarray

    def picture(self, mean: np.ndarray, texture: np.ndarray) -> np.ndarray:
        """`(H, W)` float32: values of the tissues (and of the room, last) in the parts that each pixel holds.

        Args:
            mean: `(K + 1,)`.
            texture: `(K + 1,)`, standard deviation from place to place.
        """
        seen = np.full(SIDE * SIDE, mean[ROOM], np.float32)
        seen[self.index] = self.shares @ mean.astype(np.float32) + self.texture * (
            self.shares @ texture.astype(np.float32)
        )
        return seen.reshape(SIDE, SIDE)


@dataclass(frozen=True, eq=False)
class Warp:
    """How a rendering bends a head: new poses and shapes from few heads.

    Args:
        matrix: `(3, 3)` turn and scale about the middle of the head.
        waves: `(n, 3)` wave vectors, radians per millimetre.
        phases: `(n,)` radians.
        shifts: `(n, 3)` millimetres.
    """

    matrix: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    shifts: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where the points `(n, 3)` of a picture, millimetres from the middle, lie in the head."""
        bent = np.sin(points @ self.waves.T + self.phases) @ self.shifts
        return np.asarray(points @ self.matrix.T + bent)


def no_warp() -> Warp:
    """The head as it is."""
    return Warp(np.eye(3), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)))


def draw_warp(rng: np.random.Generator) -> Warp:
    """Nods of some 4 degrees, turns and tilts of 3, sizes within some 10 %, and bends of 1 to 2 mm."""
    nod, tilt, turn = np.radians(np.clip(rng.standard_normal(3), -2, 2) * (4.0, 3.0, 3.0))
    matrix = np.diag(rng.uniform(0.94, 1.06) * rng.uniform(0.96, 1.04, 3))
    for axis, angle in enumerate((nod, tilt, turn)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        rotation = np.eye(3)
        rotation[[one, other], [one, other]] = np.cos(angle)
        rotation[one, other], rotation[other, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ rotation
    directions = rng.standard_normal((6, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = directions * (2 * np.pi / rng.uniform(50.0, 150.0, (6, 1)))
    return Warp(matrix, waves, rng.uniform(0, 2 * np.pi, 6), 0.8 * rng.standard_normal((6, 3)))


def cut(head: Head, level_mm: float, warp: Warp | None = None) -> Cut:
    """The axial slice at `level_mm`, seen as radiologists do: the patient's right on the left, the front on top."""
    rows, columns = np.indices((SIDE, SIDE), np.float64).reshape(2, -1)
    half = (SIDE - 1) / 2
    above = level_mm - head.centre_mm[2]
    points = np.stack([half - columns, half - rows, np.full(SIDE * SIDE, above)], axis=1)
    if warp is not None:
        points = warp(points)
    voxels = (points + head.centre_mm - head.affine[:3, 3]) @ np.linalg.inv(head.affine[:3, :3]).T
    nearest = np.rint(voxels).astype(np.int32)
    inside = ((nearest >= 0) & (nearest < head.labels.shape)).all(axis=1)
    inside[inside] = head.near[tuple(nearest[inside].T)]
    index = np.flatnonzero(inside)
    found = _between(head.shares, voxels[index])
    shares, texture = found[:, :ROOM], found[:, ROOM]
    room = np.maximum(1.0 - shares.sum(axis=1, keepdims=True), 0.0)
    # the third power narrows the filter's soft edges back to about a millimetre and leaves 0 and 1 as they are
    parts = np.maximum(np.concatenate([shares, room], axis=1), 0.0) ** 3
    parts /= parts.sum(axis=1, keepdims=True)
    regions = np.zeros(SIDE * SIDE, np.int16)
    regions[index] = _labels_of(head.labels, nearest[index], parts.argmax(axis=1))
    return Cut(index, parts, texture, regions.reshape(SIDE, SIDE), np.array([0.0, 0.0, above]))


def _between(field: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Linear interpolation: `(X, Y, Z, C)` at `(n, 3)` voxels -> `(n, C)` float32."""
    low = np.clip(np.floor(voxels).astype(np.int64), 0, np.array(field.shape[:3]) - 2)
    part = (voxels - low).astype(np.float32)
    flat = field.reshape(-1, field.shape[3])
    strides = (field.shape[1] * field.shape[2], field.shape[2], 1)
    start = low @ np.array(strides)
    found = np.zeros((len(voxels), field.shape[3]), np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod([part[:, a] if corner[a] else 1 - part[:, a] for a in range(3)], axis=0)
        found += weight[:, None] * flat[start + int(np.dot(corner, strides))]
    return found


def _labels_of(labels: np.ndarray, nearest: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """The label nearest to each pixel among those of the tissue that the pixel mostly holds."""
    limits: Any = np.array(labels.shape) - 1
    found = labels[tuple(nearest.T)]
    missing = np.flatnonzero(TISSUE_OF[found] != tissue)
    for step in _NEIGHBOURS:
        there = labels[tuple(np.clip(nearest[missing] + step, 0, limits).T)]
        fits = TISSUE_OF[there] == tissue[missing]
        found[missing[fits]] = there[fits]
        missing = missing[~fits]
    return found
