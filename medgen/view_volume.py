"""What a volume viewer is sent: whole levels that fit into one message, and how to read them in mm and units."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from medgen.errors import MedgenError
from medgen.volume import PLANES, SEEN, Volume, centred_affine

MAX_BYTES = 18_000_000
"""Most bytes of voxels of one view, before they are packed: a head of 9 million voxels in 16 bits."""
LEVELS, FEW_LEVELS, MANY_VOXELS = 65536, 4096, 2_000_000
"""Whole numbers that span less than the first keep their values exactly; others get that many levels, or the second
number where there are more voxels than the third, because noise does not pack."""
CT_PRESETS = {"brain 80/40": (0.0, 80.0), "bone 2000/500": (-500.0, 1500.0), "lung 1500/-600": (-1350.0, 150.0)}
"""Shown -> black and white in HU; the words are width/level."""
MARK = "SYNTHETIC"
_OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))


def view(
    volume: Volume,
    *,
    title: str,
    window: tuple[float, float] | None = None,
    presets: dict[str, tuple[float, float]] | None = None,
    mark: str | None = None,
) -> dict[str, Any]:
    """A volume as a viewer shows it, turned to the right, the front and the head (RAS+), in JSON types.

    A volume of more than `MAX_BYTES` is sent as means over blocks of its voxels; the view says so, and its spacing.

    Args:
        volume: any volume; where its orientation is unknown the letters are "?".
        title: what the viewer calls it.
        window: `(low, high)` in its unit to start with; None = the window of the volume, else percentiles 1 to 99.
        presets: shown -> `(low, high)`; None = CT windows for HU, percentiles 1 to 99 for others, and all values.
        mark: a word burned into the picture; None = `MARK` for a volume that a model made, else nothing.

    Returns:
        `data` holds the levels, see `levels`; a level times `step` plus `offset` is a value in `unit`. `affine` takes
        voxels of the view to mm (RAS+; from the middle where the orientation is unknown), `to_file` to voxels of
        `volume`.

    Raises:
        MedgenError: a voxel is NaN or infinite; the window or a preset is empty.
    """
    return film([volume], title=title, window=window, presets=presets, mark=mark)


def film(
    volumes: Sequence[Volume],
    *,
    title: str,
    names: Sequence[str] = (),
    window: tuple[float, float] | None = None,
    presets: dict[str, tuple[float, float]] | None = None,
    mark: str | None = None,
) -> dict[str, Any]:
    """As `view`, of several volumes of one grid and unit: frames, which a slider of the viewer goes through.

    Args:
        volumes: the frames; they share window and levels.
        names: what each frame is called; empty = numbered.

    Raises:
        MedgenError: as `view`; no frame, frames of different grids, not one name a frame.
    """
    if not volumes or (names and len(names) != len(volumes)):
        raise MedgenError(f"A film needs volumes and a name for each, not {len(volumes)} and {len(names)} names.")
    first = volumes[0]
    if any(v.array.shape != first.array.shape or not np.allclose(v.affine, first.affine) for v in volumes):
        raise MedgenError("The frames of a film must share one grid; resample them or show them one by one.")
    blocks = blocks_of([volume.canonical() for volume in volumes])
    means = np.stack([block_means(volume.canonical().array, blocks) for volume in volumes])  # (frames, X, Y, Z)
    if not np.isfinite(means).all():
        raise MedgenError(f"{title} holds NaN or infinite voxels, which cannot be shown; make or take another volume.")
    packed, offset, step = _quantised(means)
    grid = first.canonical().affine @ _block_affine(blocks)
    place = grid if first.oriented else centred_affine(means.shape[1:], np.linalg.norm(grid[:3, :3], axis=0).tolist())
    offered = _presets(first, means) if presets is None else presets
    start = window or first.window or next(iter(offered.values()))
    if first.window is not None and presets is None:
        offered = {"as stored": first.window, **offered}
    for name, (low, high) in {"window": start, **offered}.items():
        if not low < high:
            raise MedgenError(f"The window {name} from {low:g} to {high:g} is empty: give (low, high) with low < high.")
    return {
        "title": title,
        "said": _said(first, blocks),
        "shape": list(means.shape[1:]),
        "frames": list(names) or [str(i + 1) for i in range(len(volumes))],
        "bytes": packed.dtype.itemsize,
        "levels": int(packed.max()) + 1,
        "data": _packed(packed),
        "offset": offset,
        "step": step,
        "digits": _digits(means, step),
        "unit": first.unit,
        "affine": place.tolist(),
        "to_file": (np.linalg.inv(first.affine) @ grid).tolist(),
        "view_spacing_mm": np.linalg.norm(grid[:3, :3], axis=0).tolist(),
        "spacing_mm": list(first.spacing_mm),
        "blocks": list(blocks),
        "oriented": first.oriented,
        "edges": {plane: _edges(plane, first.oriented) for plane in PLANES},
        "window": [float(start[0]), float(start[1])],
        "presets": [{"name": name, "low": float(low), "high": float(high)} for name, (low, high) in offered.items()],
        "mark": (MARK if any(v.synthetic for v in volumes) else "") if mark is None else mark,
    }


def levels(sent: dict[str, Any]) -> np.ndarray:
    """The voxels of a view as the browser unpacks them: `(frames, X, Y, Z)`, uint8 or uint16."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(sent["data"])), np.uint8)
    planes = raw.reshape(sent["bytes"], -1).astype(np.uint16 if sent["bytes"] == 2 else np.uint8)
    whole = planes[0] if sent["bytes"] == 1 else planes[0] | planes[1] << 8
    x, y, z = sent["shape"]
    return whole.reshape(-1, z, y, x).transpose(0, 3, 2, 1)


def blocks_of(volumes: Sequence[Volume]) -> tuple[int, int, int]:
    """How many voxels along each axis become one in a view; the axis of the finest voxels grows first.

    Args:
        volumes: the frames, of one grid.

    Raises:
        MedgenError: too many frames.
    """
    first, size = volumes[0], sum(volume.array.size for volume in volumes)
    if size <= MAX_BYTES < size * 2 and _span(volumes) < 256:
        return 1, 1, 1  # a byte each
    blocks, shape, spacing = np.ones(3, int), np.array(first.array.shape), np.array(first.spacing_mm)
    while np.prod(-(-shape // blocks)) * len(volumes) * 2 > MAX_BYTES:
        sides = np.where(blocks < shape, spacing * blocks, np.inf)
        if not np.isfinite(sides).any():
            raise MedgenError(f"{len(volumes)} frames are too many for one viewer; take fewer.")
        blocks[int(np.argmin(sides))] += 1
    x, y, z = (int(n) for n in blocks)
    return x, y, z


def block_means(array: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    """Means over blocks of voxels, one slab of the file at a time; the last block may hold fewer.

    Args:
        array: `(X, Y, Z)` float32, in any memory order.
        blocks: voxels along each axis.

    Returns:
        `(ceil(X / blocks[0]), ...)` float32; `array` itself for blocks of one.
    """
    if blocks == (1, 1, 1):
        return array
    slow = int(np.argmax(np.abs(array.strides)))
    moved = np.moveaxis(array, slow, 0)
    sides = [blocks[slow], *(n for axis, n in enumerate(blocks) if axis != slow)]
    slabs = []
    for start in range(0, moved.shape[0], sides[0]):
        slab = moved[start : start + sides[0]].mean(axis=0)
        for axis, side in enumerate(sides[1:]):
            edges = np.arange(0, slab.shape[axis], side)
            counts = np.diff(np.append(edges, slab.shape[axis])).astype(np.float32)
            slab = np.add.reduceat(slab, edges, axis=axis) / np.expand_dims(counts, 1 - axis)
        slabs.append(slab)
    return np.moveaxis(np.stack(slabs), 0, slow)


def _block_affine(blocks: tuple[int, int, int]) -> np.ndarray:
    """Blocks to voxels: the middle of block 0 lies in the middle of its voxels."""
    change = np.diag([*map(float, blocks), 1.0])
    change[:3, 3] = (np.array(blocks) - 1) / 2
    return change


def _span(volumes: Sequence[Volume]) -> float:
    """From the least to the largest voxel; infinite unless all are whole numbers."""
    low, high = np.inf, -np.inf
    for volume in volumes:
        for plane in volume.array:
            if not (plane == np.rint(plane)).all():
                return np.inf
            low, high = min(low, float(plane.min())), max(high, float(plane.max()))
    return high - low


def _quantised(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values as whole levels, with the value of level 0 and the step between two."""
    low, high = float(values.min()), float(values.max())
    whole = high - low < LEVELS and low == round(low) and bool((values == np.rint(values)).all())
    count = LEVELS if values.size <= MANY_VOXELS else FEW_LEVELS
    step = 1.0 if whole or low == high else (high - low) / (count - 1)
    kind = np.uint8 if whole and high - low < 256 else np.uint16
    found = np.empty(values.shape, kind)
    for frame, one in zip(found, values, strict=True):  # a float64 copy of all would be 8 times as large
        for x, plane in enumerate(one):
            frame[x] = np.rint((plane.astype(np.float64) - low) / step)
    return found, low, step


def _packed(found: np.ndarray) -> str:
    """`(frames, X, Y, Z)` levels as base64 of zlib: x runs fastest, all low bytes before all high ones."""
    flat = np.ascontiguousarray(found.transpose(0, 3, 2, 1)).reshape(-1)
    planes = [flat] if flat.dtype == np.uint8 else [(flat & 255).astype(np.uint8), (flat >> 8).astype(np.uint8)]
    packer = zlib.compressobj(1)
    packed = b"".join([*(packer.compress(plane.tobytes()) for plane in planes), packer.flush()])
    return base64.b64encode(packed).decode("ascii")


def _digits(values: np.ndarray, step: float) -> int:
    """Decimals that are worth reading: at most four figures of the range, and none below two levels."""
    span = float(values.max()) - float(values.min())
    if step == 1.0 or span == 0:
        return 0
    return min(9, max(0, min(3 - math.floor(math.log10(span)), math.floor(-math.log10(2 * step)))))


def _presets(volume: Volume, values: np.ndarray) -> dict[str, tuple[float, float]]:
    """Windows to choose from, the one to start with first."""
    low, high = float(values.min()), float(values.max())
    everything = (low, high) if low < high else (low - 0.5, low + 0.5)
    if volume.unit == "HU":
        return {**CT_PRESETS, "all values": everything}
    first, last = (float(p) for p in np.percentile(values, (1, 99)))
    return {"1 to 99 %": (first, last) if first < last else everything, "all values": everything}


def _edges(plane: str, oriented: bool) -> list[str]:
    """The letters at the left, right, top and bottom edge."""
    right, bottom = SEEN[plane][0], SEEN[plane][1]
    return [_OPPOSITE[right], right, _OPPOSITE[bottom], bottom] if oriented else ["?"] * 4


def _said(volume: Volume, blocks: tuple[int, int, int]) -> str:
    """The grid in words."""
    shape = " x ".join(map(str, volume.array.shape))
    spacing = " x ".join(f"{mm:.3g}" for mm in volume.spacing_mm)
    said = f"{shape} voxels of {spacing} mm, axes {volume.axes or 'unknown: nobody knows left from right'}"
    if blocks != (1, 1, 1):
        sides = " x ".join(f"{n * mm:.3g}" for n, mm in zip(blocks, volume.canonical().spacing_mm, strict=True))
        said += f"; shown as means over {sides} mm"
    return said
