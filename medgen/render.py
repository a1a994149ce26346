"""MR and CT of one head, rendered from label maps: the one place where the Hounsfield units of every pixel are known.

    >>> from medgen.render import rendered_arrays
    >>> pairs = rendered_arrays("test")             # pairs.mr 0..255, pairs.hu in HU, pairs.regions labels

The truth is `hu`: the parts of the tissues in each pixel (`medgen.render_cut.Cut`) times their HU, which vary slowly
within each tissue, blurred as a scanner does and rounded to whole HU, without noise. More than 5 mm inside a region it
is the HU of that tissue alone. `noisy_ct` adds the noise of a scanner. MR is rendered from the very same parts:
brightness by tissue (`medgen.render_tissues.Contrast`), bias field, coarser pixels, Rician noise, gamma, 8 bits. Every
pixel follows from names and numbers by `medgen.render_head.generator`; nothing depends on the order of calls.

A lesion is laid over the slice before the blur, the coarser pixels and the noise, so truth and MR stay exact:

    >>> lesion = Lesion(mask, hu=60.0, mr=1.3)      # mask (256, 256) in [0, 1], 1.3 times as bright as what was there
    >>> without, with_it = rendered_slice("test", 17), rendered_slice("test", 17, [lesion])

`rendered_slice(split, i)` is pixel for pixel slice i of `rendered_arrays(split)`; the noise is the same with a lesion.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.data import data_dir
from medgen.errors import MedgenError
from medgen.read_volume import read_volume
from medgen.record import SPLITS
from medgen.render_cut import SIDE, cut, draw_warp, no_warp
from medgen.render_head import VERSION, Head, generator, prepare
from medgen.render_scan import Lesion, RenderedSlice, noisy_ct, render_slice
from medgen.render_tissues import CONTRASTS, draw_contrast, draw_hu

__all__ = ["Lesion", "Rendered", "RenderedSlice", "noisy_ct", "render_slice", "rendered_arrays", "rendered_slice"]

FOLDER = "head_label_maps_2mm"
HELD_OUT = {
    "val": ("training_seg_03", "training_seg_08"),
    "test": ("training_seg_05", "training_seg_10", "training_seg_15", "training_seg_20"),
}
"""Of the sorted names every fifth is test, the third and the eighth are val, all others train; by name, so that a
missing file moves nobody to another side."""
RENDERINGS = {"train": CONTRASTS, "val": ("t1",), "test": ("t1",)}
"""Contrasts of each head; train heads are also bent and turned, differently in each."""
SLICES = {"train": 26, "val": 40, "test": 40}
"""Of each rendering, evenly from the skull base to the vertex; those of train renderings lie between each other."""
_KINDS = {"mr": "uint8", "hu": "int16", "regions": "int16"}


@dataclass(frozen=True, eq=False)
class Rendered:
    """All pairs of one split.

    Args:
        mr: `(N, H, W)` float32, whole numbers 0 to 255.
        hu: `(N, H, W)` float32, the truth, whole HU in [-1024, 1976].
        regions: `(N, H, W)` int16 labels (`medgen.render_tissues`), 0 outside the body.
        subjects: whose head each is, N names.
        facts: of each: "slice" (towards the head), "rendering", "contrast" and "licence".
    """

    mr: np.ndarray
    hu: np.ndarray
    regions: np.ndarray
    subjects: tuple[str, ...]
    facts: tuple[Mapping[str, str], ...]


def rendered_arrays(split: str, contrast: str | None = None) -> Rendered:
    """All pairs of one split, from the cache where they have been rendered before (some minutes for train).

    Args:
        split: "train", "val" or "test"; by head.
        contrast: "t1", "t2" or "random" for all pairs, to see what a model does with it; None = `RENDERINGS`.

    Raises:
        MedgenError: unknown split or contrast, no label maps on this disk, or something wrong with one.
    """
    kinds = _kinds(split, contrast)
    paths = _paths(split)
    plan = [(path, number, n) for path in paths for number in range(len(kinds)) for n in range(SLICES[split])]
    place = cache_dir() / "rendered" / f"{split}-{_key(paths, kinds, split)}.npz"
    shapes = {(len(plan), SIDE, SIDE)}
    found = read_arrays(place, _KINDS)
    if found is None or {array.shape for array in found.values()} != shapes:
        found = {name: np.empty((len(plan), SIDE, SIDE), kind) for name, kind in _KINDS.items()}
        # a terminal gets a bar, a log file does not
        for i, (path, number, n) in enumerate(tqdm(plan, f"rendering {split}", disable=not sys.stderr.isatty())):
            one = _slice(path, split, number, kinds[number], n, ())
            found["mr"][i], found["hu"][i], found["regions"][i] = one.mr, one.hu, one.regions
        _head.cache_clear()
        write_arrays(place, found)
    facts = tuple(
        {"slice": str(n), "rendering": str(number), "contrast": kinds[number], "licence": "Apache-2.0"}
        for _, number, n in plan
    )
    subjects = tuple(_name(path) for path, _, _ in plan)
    return Rendered(found["mr"].astype(np.float32), found["hu"].astype(np.float32), found["regions"], subjects, facts)


def rendered_slice(
    split: str, index: int, lesions: Sequence[Lesion] = (), contrast: str | None = None
) -> RenderedSlice:
    """Slice `index` of `rendered_arrays(split, contrast)` again, with lesions in it.

    Args:
        split: as there.
        index: place in its arrays.
        lesions: later ones lie over earlier ones.
        contrast: as there.

    Raises:
        MedgenError: as there, or no such slice.
    """
    kinds = _kinds(split, contrast)
    paths = _paths(split)
    per_head = len(kinds) * SLICES[split]
    if not 0 <= index < per_head * len(paths):
        raise MedgenError(f"There is no {split} slice {index}; choose from 0 to {per_head * len(paths) - 1}.")
    number, n = divmod(index % per_head, SLICES[split])
    return _slice(paths[index // per_head], split, number, kinds[number], n, lesions)


def _slice(path: Path, split: str, number: int, kind: str, n: int, lesions: Sequence[Lesion]) -> RenderedSlice:
    """Slice `n` of rendering `number` of a head."""
    head = _head(path)
    words = (head.name, split, number)
    train = split == "train"
    warp = draw_warp(generator(*words, "warp")) if train else no_warp()
    low, high = head.levels_mm
    part = (n + (number + 0.5) / len(RENDERINGS[split]) if train else n + 0.5) / SLICES[split]
    hu, contrast = draw_hu(generator(*words, "hu")), draw_contrast(generator(*words, kind), kind)
    at = cut(head, low + part * (high - low), warp)
    return render_slice(at, hu, contrast, generator(*words, kind, n), lesions)


@lru_cache(maxsize=2)
def _head(path: Path) -> Head:
    return prepare(read_volume(path), _name(path))


def _name(path: Path) -> str:
    return path.name.removesuffix(".nii.gz")


def _kinds(split: str, contrast: str | None) -> tuple[str, ...]:
    if split not in SPLITS:
        raise MedgenError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    if contrast is not None and contrast not in CONTRASTS:
        raise MedgenError(f"There is no contrast {contrast!r}; choose from {', '.join(CONTRASTS)}.")
    return RENDERINGS[split] if contrast is None else (contrast,) * len(RENDERINGS[split])


def _paths(split: str) -> list[Path]:
    """The label maps of a split, sorted by name."""
    root = data_dir()
    if root is None or not (root / FOLDER).is_dir():
        raise MedgenError(f"There is nothing to render: set MEDGEN_DATA to the folder that holds {FOLDER}.")
    held_out = {name: side for side, names in HELD_OUT.items() for name in names}
    found = [path for path in sorted((root / FOLDER).glob("*.nii.gz")) if held_out.get(_name(path), "train") == split]
    if not found:
        raise MedgenError(f"{FOLDER} holds no {split} heads; copy all of its files.")
    return found


def _key(paths: Sequence[Path], kinds: Sequence[str], split: str) -> str:
    """What the cached pictures of a split depend on."""
    files = [(path.name, path.stat().st_size) for path in paths]
    return hashlib.sha256(json.dumps([VERSION, SLICES[split], kinds, files]).encode()).hexdigest()[:24]
