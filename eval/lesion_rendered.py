"""Lesions in rendered heads: laid over the tissues before blur, coarse pixels and noise, so both contrasts are exact.

By definition, written down before any number: what is darker on a T1-weighted MR by the share c has `FLUID_HU` * c
fewer HU than what it lies in, towards fluid; what is brighter by c has `BLOOD_HU` * c more, as fresh blood. These are
contrasts that a head CT shows; a translator that has only seen healthy tissue has no reason to know them, which is
what is measured.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from tqdm import tqdm

from eval.features import content_hash
from eval.lesion_plan import Planned, spacing_of
from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.image import ImageSet
from medgen.paired import PairedSet

FLUID_HU, BLOOD_HU = 50.0, 100.0
_KINDS = {"mr": "uint8", "hu": "int16"}


def with_lesions(pairs: PairedSet, planned: Sequence[Planned], split: str) -> PairedSet:
    """The pair of each lesion with the lesion in both contrasts, in the order of `planned`.

    Rendering takes minutes and all models get the same lesions, so the pictures are kept in the cache.

    Args:
        pairs: the rendered ones, in either direction.
        planned: N lesions in them.
        split: of `pairs`.
    """
    own = pairs.take([one.index for one in planned])
    place = cache_dir() / "rendered" / f"lesions-{split}-{_key(pairs, planned)}.npz"
    shape = (len(planned), *own.source.pixels.shape[-2:])
    found = read_arrays(place, _KINDS)
    if found is None or any(array.shape != shape for array in found.values()):
        found = {name: np.empty(shape, kind) for name, kind in _KINDS.items()}
        # head by head: preparing one takes longer than rendering a slice of it
        order = sorted(range(len(planned)), key=lambda i: planned[i].index)
        for i in tqdm(order, "rendering lesions", disable=not sys.stderr.isatty()):
            found["mr"][i], found["hu"][i] = _rendered(own.take([i]), planned[i], split)
        write_arrays(place, found)

    def side(like: ImageSet) -> ImageSet:
        pixels = found["hu" if like.unit == "HU" else "mr"][:, None].astype(np.float32)
        return ImageSet(pixels, like.modality, like.unit, like.window, subjects=like.subjects)

    return PairedSet(side(own.source), side(own.target), own.facts, own.regions)


def _rendered(one: PairedSet, planned: Planned, split: str) -> tuple[np.ndarray, np.ndarray]:
    """MR and CT `(H, W)` of the pair `one` with the lesion: whole grey levels and whole HU."""
    from medgen import render  # needs SciPy's image functions, and label maps on this disk

    lesion, spacing = planned.lesion, spacing_of(one)
    ct = (one.source if one.source.unit == "HU" else one.target).pixels[0, 0]
    mask = lesion.mask((ct.shape[0], ct.shape[1]), spacing)
    step = BLOOD_HU if lesion.contrast > 0 else FLUID_HU
    laid = render.Lesion(
        lesion.share((ct.shape[0], ct.shape[1]), spacing),
        hu=float(ct[mask].mean()) + step * lesion.contrast,
        mr=1.0 + lesion.contrast,
    )
    made = render.rendered_slice(split, planned.index, [laid])
    return made.mr, made.hu


def _key(pairs: PairedSet, planned: Sequence[Planned]) -> str:
    """What the cached pictures depend on; the pairs stand for the way they are rendered."""
    images = sorted(content_hash(side) for side in (pairs.source, pairs.target))
    lesions = [[one.index, asdict(one.lesion)] for one in planned]
    return hashlib.sha256(json.dumps([images, lesions, FLUID_HU, BLOOD_HU]).encode()).hexdigest()[:24]
