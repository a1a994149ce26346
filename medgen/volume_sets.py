"""Real volumes on one grid, split by subject: what 3D models learn from and are measured on.

    >>> from medgen.volume_sets import volumes, structures, quantities
    >>> brains = volumes("ixi_brain_64", "test")            # (6, 1, 64, 64, 64), RAS+
    >>> classes = structures("ixi_brain_64", "test")        # (6, 64, 64, 64), see VOLUMES["ixi_brain_64"].classes
    >>> asked = quantities("hippo_48", "train")             # (163,) mm3

Folders are looked for in `$MEDGEN_DATA`; what was prepared from them is kept in `$MEDGEN_CACHE`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from medgen import data, volume_preparation
from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.read_volume import read_volume
from medgen.record import SPLITS
from medgen.volume import centred_affine
from medgen.volume_catalogue import VOLUMES, VolumeData, entry
from medgen.volume_preparation import Prepared

__all__ = ["VOLUMES", "VolumeData", "available", "centred_affine", "entry", "quantities", "structures", "volumes"]

_VERSION = 2
"""Change it with anything that changes a voxel: what was cached before is then made anew."""


def available(name: str) -> bool:
    """Whether `volumes(name, ...)` has something to read; looks only at names, never raises."""
    root = data.data_dir()
    try:
        return root is not None and name in VOLUMES and (root / VOLUMES[name].folder).is_dir()
    except OSError:
        return False


def volumes(name: str, split: str) -> ImageSet:
    """All volumes of one split.

    Args:
        name: a key of `VOLUMES`.
        split: "train", "val" or "test"; by subject.

    Returns:
        Pixels `(N, 1, X, Y, Z)` float32, whole numbers 0..255, in "au", RAS+; `subjects` says whose each is.

    Raises:
        MedgenError: unknown name or split, nothing on this disk, or something broken.
    """
    known = entry(name)
    made, index, subjects = _of_split(known, split)
    pixels = made["voxels"][index, None].astype(np.float32)
    return ImageSet(pixels, known.modality, known.unit, known.window, known.affine, subjects=subjects)


def structures(name: str, split: str) -> np.ndarray:
    """`(N, X, Y, Z)` uint8 class of each voxel of `volumes(name, split)`, see `VolumeData.classes`.

    Raises:
        MedgenError: as `volumes`.
    """
    made, index, _ = _of_split(entry(name), split)
    classes: np.ndarray = made["classes"][index]
    return classes


def quantities(name: str, split: str) -> np.ndarray:
    """`(N,)` float32 of each of `volumes(name, split)`: what `VolumeData.quantity` names, in its unit.

    Raises:
        MedgenError: as `volumes`, or the set has no such number.
    """
    known = entry(name)
    if known.quantity is None:
        having = ", ".join(one.name for one in VOLUMES.values() if one.quantity)
        raise MedgenError(f"Nothing is measured of the volumes of {name}; choose from {having}.")
    return structure_mm3(structures(name, split), known.spacing_mm)


def structure_mm3(classes: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Volume of all that is not background: `(N, X, Y, Z)` classes -> `(N,)` float32 cubic millimetres."""
    voxel_mm3 = float(np.prod(spacing_mm))
    return (np.count_nonzero(classes, axis=(1, 2, 3)) * voxel_mm3).astype(np.float32)


def splits(name: str) -> dict[str, str]:
    """Subject -> split, as published in `medgen/manifests`: ordered by the hash of the subject, then cut."""
    return data.published_splits(f"{name}.csv")


def _of_split(known: VolumeData, split: str) -> tuple[dict[str, np.ndarray], np.ndarray, tuple[str, ...]]:
    """The arrays of the whole set, which of their rows are of `split`, and whose those are."""
    if split not in SPLITS:
        raise MedgenError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    sides = splits(known.name)
    subjects = sorted(sides)
    index = np.array([i for i, subject in enumerate(subjects) if sides[subject] == split])
    return _arrays(known), index, tuple(subjects[i] for i in index)


def files(known: VolumeData) -> dict[str, tuple[Path, Path]]:
    """Subject -> its volume and its segmentation; subjects that are in no split are left alone.

    Raises:
        MedgenError: the folder or a file of it is not there.
    """
    root = data.data_dir()
    if root is None or not available(known.name):
        where = "Set MEDGEN_DATA to" if root is None else f"MEDGEN_DATA={root} is not"
        raise MedgenError(
            f"{known.name} is not here. {where} the folder that holds {known.folder}; to get it: {known.steps} "
            f"({known.url}, {known.licence})."
        )
    found: dict[str, tuple[Path, Path]] = {}
    for subject in sorted(splits(known.name)):
        pairs = [sorted((root / known.folder).glob(way.format(subject))) for way in (known.images, known.labels)]
        if not all(len(paths) == 1 for paths in pairs):
            raise MedgenError(
                f"{known.folder} should hold one {known.images.format(subject)} and one "
                f"{known.labels.format(subject)}, not {len(pairs[0])} and {len(pairs[1])}; copy the folder again."
            )
        found[subject] = (pairs[0][0], pairs[1][0])
    return found


def prepared(known: VolumeData, image: Path, labels: Path) -> Prepared:
    """One subject on the grid of its set.

    Raises:
        MedgenError: a file is damaged, or the two do not lie on one grid.
    """
    make = {"ixi_brain_64": volume_preparation.brain, "hippo_48": volume_preparation.hippocampus}[known.name]
    return make(read_volume(image), read_volume(labels), known.shape[1:], known.spacing_mm[0])


def _arrays(known: VolumeData) -> dict[str, np.ndarray]:
    """`voxels` and `classes` of all subjects, sorted, `(N, X, Y, Z)` uint8, from the cache if nothing changed."""
    found = files(known)
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for pair in found.values() for path in pair]
    key = hashlib.sha256(repr((_VERSION, known.shape, known.spacing_mm, stats)).encode()).hexdigest()[:16]
    path = cache_dir() / "volumes" / f"{known.name}-{key}.npz"
    cached = read_arrays(path, {"voxels": "uint8", "classes": "uint8"})
    shape = (len(found), *known.shape[1:])
    if cached is not None and all(array.shape == shape for array in cached.values()):
        return cached
    made = [prepared(known, image, labels) for image, labels in found.values()]
    arrays = {"voxels": np.stack([one.voxels for one in made]), "classes": np.stack([one.classes for one in made])}
    write_arrays(path, arrays)
    return arrays
