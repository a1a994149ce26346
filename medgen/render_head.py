"""A head of a label map, made ready to be cut: cavities, diploe and fat told apart, steps of voxels made smooth."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medgen.errors import MedgenError
from medgen.render_tissues import (
    BRAIN_STEM,
    CANCELLOUS,
    CAVITY,
    CORTICAL,
    CSF,
    FAT,
    ORBIT,
    OTHER_TISSUE,
    ROOM,
    SKIN,
    TISSUE_OF,
)
from medgen.volume import Volume

VERSION = 3
"""Part of every seed and of the key of the cache: count it up when pictures change."""
_MARGIN = 3
_BRAIN = (2, 3, 7, 8, 41, 42, 46, 47)


def generator(*words: str | int) -> np.random.Generator:
    """A random generator of its own for whatever `words` name; the same on every machine."""
    return np.random.default_rng([VERSION, *(zlib.crc32(str(word).encode()) for word in words)])


@dataclass(frozen=True, eq=False)
class Head:
    """A head ready to be cut.

    Args:
        name: of its file.
        labels: `(X, Y, Z)` int16, axes to the right, front and head; with fat and cavities.
        shares: `(X, Y, Z, K + 1)` float32, how much of each tissue is around a voxel, then a texture of mean 0 and
            variance 1. What is missing to 1 is room.
        near: `(X, Y, Z)` bool, where there is anything but room.
        affine: `(4, 4)` voxel to millimetres, RAS+.
        centre_mm: `(3,)`, what lies in the middle of a picture; third, the middle of `levels_mm`.
        levels_mm: lowest and highest axial slice that shows enough.
    """

    name: str
    labels: np.ndarray
    shares: np.ndarray
    near: np.ndarray
    affine: np.ndarray
    centre_mm: np.ndarray
    levels_mm: tuple[float, float]


def prepare(labels: Volume, name: str) -> Head:
    """A head from its label map; `name` decides where fat and muscle lie.

    Raises:
        MedgenError: a label is not a whole number, is unknown, or there is no head.
    """
    seen = labels.canonical()
    if not seen.oriented:
        raise MedgenError(f"{name} does not say where left and right are; take label maps with an orientation.")
    whole = np.rint(seen.array)
    known = np.clip(whole, 0, len(TISSUE_OF) - 1).astype(np.int16)
    strange = (whole != seen.array) | (whole < 0) | (TISSUE_OF[known] < 0)
    if strange.any():
        raise MedgenError(
            f"{name} holds the label {seen.array[strange][0]:g}, which is no tissue; give FreeSurfer labels."
        )
    pieces, n = ndimage.label(known > 0)
    if not n:
        raise MedgenError(f"{name} is empty; take another copy of it.")
    # the largest piece is the head; the maps have crumbs around it
    known[pieces != 1 + np.argmax(np.bincount(pieces.ravel())[1:])] = 0
    box = tuple(slice(ends.min(), ends.max() + 1) for ends in np.nonzero(known))
    affine = seen.affine.copy()
    affine[:3, 3] = seen.world(np.array([one.start - _MARGIN for one in box]))
    refined = _refined(np.pad(known[box], _MARGIN), np.asarray(seen.spacing_mm), generator(name, "tissue"))
    levels, middle = _extent(refined, affine)
    near = ndimage.binary_dilation(refined > 0, iterations=_MARGIN - 1)
    return Head(name, refined, _shares(refined, generator(name, "texture")), near, affine, middle, levels)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Noise of mean 0 and variance 1, smooth over `sigma` voxels, float32."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def _refined(labels: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels with cavities, with diploe in the vault, with fat below the skin, in the orbits and between muscles."""
    closed = ndimage.binary_closing(labels > 0, iterations=2)
    body = np.stack([ndimage.binary_fill_holes(closed[:, :, k]) for k in range(closed.shape[2])], axis=2)
    refined = np.where(body & (labels == 0), CAVITY, labels).astype(np.int16)
    refined[_holes_in_the_brain(refined)] = CSF
    soft = labels == OTHER_TISSUE
    voxel = float(spacing.mean())

    def distance_to(where: np.ndarray) -> np.ndarray:
        far = np.full(where.shape, np.inf)
        return np.asarray(ndimage.distance_transform_edt(~where, sampling=spacing)) if where.any() else far

    thickness = rng.uniform(4.0, 8.0) * np.exp(0.3 * smooth_noise(rng, labels.shape, 20.0 / voxel))
    below_skin = distance_to(labels == SKIN) < thickness
    orbit = distance_to(np.isin(labels, ORBIT)) < 8.0
    # the zeros of a smooth random field are thin sheets, such as lie between muscles
    sheets = np.abs(smooth_noise(rng, labels.shape, 9.0 / voxel)) < rng.uniform(0.10, 0.22)
    refined[soft & (below_skin | orbit | sheets)] = FAT
    # the maps call most of the vault cortical; more than one voxel below its surfaces it is spongy, here and there not
    bone = np.isin(labels, (CORTICAL, CANCELLOUS))
    stem = np.flatnonzero((labels == BRAIN_STEM).any(axis=(0, 1)))
    vault = np.arange(labels.shape[2]) > (stem[-1] if len(stem) else -1)
    patches = smooth_noise(rng, labels.shape, 12.0 / voxel) > -1.0
    refined[bone & vault & patches & (distance_to(~bone) > 1.5 * voxel)] = CANCELLOUS
    return refined


def _holes_in_the_brain(labels: np.ndarray) -> np.ndarray:
    """Where cavities have mostly brain or CSF around them: holes in the map, not air."""
    cavities, n = ndimage.label(labels == CAVITY)
    inner, solid = (
        ndimage.uniform_filter(where.astype(np.float32), 3)
        for where in ((labels > 0) & (labels < 500), (labels > 0) & (labels != CAVITY))
    )
    pieces = np.arange(n + 1)
    brain, walls = (np.bincount(cavities.ravel(), one.ravel(), n + 1) for one in (inner, solid))
    return np.asarray(np.isin(cavities, pieces[(brain > 0.5 * walls) & (pieces > 0)]))


def _shares(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`Head.shares`: 2 mm steps become smooth surfaces by a narrow filter of every tissue."""
    tissues = TISSUE_OF[labels]
    shares = np.empty((*labels.shape, ROOM + 1), np.float32)
    for k in range(ROOM):
        shares[..., k] = ndimage.gaussian_filter((tissues == k).astype(np.float32), 0.6, truncate=3.0)
    shares[..., ROOM] = (smooth_noise(rng, labels.shape, 0.8) + smooth_noise(rng, labels.shape, 4.0)) / np.sqrt(2.0)
    return shares


def _extent(labels: np.ndarray, affine: np.ndarray) -> tuple[tuple[float, float], np.ndarray]:
    """`Head.levels_mm` and `Head.centre_mm`.

    From 20 mm below the brain, where a CT of the head begins, to where the head gets small; at least 16 mm above
    the end of the map, so that a head that nods does not leave it.
    """
    area = (labels > 0).sum(axis=(0, 1))
    brain = np.flatnonzero(np.isin(labels, _BRAIN).sum(axis=(0, 1)) >= 0.02 * area.max())
    enough = np.flatnonzero(area >= 0.2 * area.max())
    filled = np.flatnonzero(area)
    step = float(affine[2, 2])
    low = max(filled[0] + 16.0 / step, (brain[0] if len(brain) else filled[0]) - 20.0 / step)
    high = enough[-1]
    if high <= low:
        raise MedgenError("A label map holds too little of a head; take one that reaches from the skull base upwards.")
    shown = np.argwhere(labels[:, :, int(np.ceil(low)) : int(high) + 1] > 0)
    middle = np.array([*((shown.min(axis=0) + shown.max(axis=0)) / 2)[:2], (low + high) / 2])
    levels = [float((affine @ (0, 0, level, 1))[2]) for level in (low, high)]
    return (levels[0], levels[1]), affine[:3, :3] @ middle + affine[:3, 3]
