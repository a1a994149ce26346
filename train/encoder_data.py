"""What encoders learn from: all pictures of one split of several data sets, paired ones included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medgen import data, paired
from medgen.border import area_mean
from medgen.errors import MedgenError
from medgen.image import ImageSet
from train.data import Split


@dataclass(frozen=True)
class Pictures:
    """The pictures of one split, and where they come from.

    Args:
        split: images `(N, 1, size, size)` uint8; no conditions.
        modality: DICOM code of all.
        licences: of the data sets, each once.
        citations: to print wherever they are used.
    """

    split: Split
    modality: str
    licences: tuple[str, ...]
    citations: tuple[str, ...]


def pictures(names: Sequence[str], split: str, size: int) -> Pictures:
    """All pictures of `split`; of pairs, both sides.

    Args:
        names: keys of `medgen.data.DATASETS` or `medgen.paired.PAIRED`.
        split: "train" or "val".
        size: height and width; larger pictures are averaged down.

    Raises:
        MedgenError: no such data, they are not here, or cannot be averaged down to `size`.
    """
    stacks, modalities, sources, counts = [], set(), [], {}
    for name in names:
        sides = _sides(name, split)
        sources.append(data.DATASETS.get(name) or paired.entry(name))
        stacks += [_at(side, size, name) for side in sides]
        modalities |= {side.modality for side in sides}
        patients = len({subject for side in sides for subject in side.subjects or ()})
        counts[name] = {"images": sum(len(side) for side in sides), "patients": patients}
    if len(modalities) > 1:
        raise MedgenError(f"{' and '.join(names)} are of several modalities: train an encoder for each.")
    images = torch.from_numpy(np.concatenate(stacks))
    return Pictures(
        Split(images, torch.zeros(len(images), 0), (), counts),
        modalities.pop(),
        tuple(dict.fromkeys(source.licence for source in sources)),
        tuple(dict.fromkeys(source.citation for source in sources)),
    )


def _sides(name: str, split: str) -> list[ImageSet]:
    if name in data.DATASETS:
        return [data.real(name, split)]
    if name not in paired.PAIRED:
        known = ", ".join((*data.DATASETS, *paired.PAIRED))
        raise MedgenError(f"There is no data set {name!r}; choose from {known}.")
    pairs = paired.paired(name, split)
    return [pairs.source, pairs.target]


def _at(images: ImageSet, size: int, name: str) -> np.ndarray:
    """`(N, 1, size, size)` uint8."""
    height, width = images.pixels.shape[2:]
    factor = height // size
    if factor < 1 or (height, width) != (size * factor, size * factor):
        raise MedgenError(f"{name} has pictures of {height}x{width}, no whole multiple of {size}: change --size.")
    return np.rint(255.0 * area_mean(images.unit_range(), factor)).astype(np.uint8)
