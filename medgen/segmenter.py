"""Segmenters: small 3D networks that say which voxel of a volume is which structure, so that volumes can be measured.

A segmenter is a folder of `checkpoints/` with a `segmenter.json`. It was trained on real volumes of a train split only,
never on generated ones, and is no generator: the registry does not list it. What it gets wrong on real volumes is part
of its card: read every number that rests on it beside `volume_error`.

    >>> judge = load_segmenter(segmenter_for("hippo_48"))
    >>> judge.volumes_mm3(images)[:, 1:].sum(axis=1)         # mm3 of all structures of each volume
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.instrument import InstrumentCard, listed, named

_ENTRY = {"value", "low", "high", "n"}


@dataclass(frozen=True)
class SegmenterCard(InstrumentCard):
    """All there is to know of a segmenter without loading it; `checkpoints/NAME/segmenter.json`.

    Args:
        name: of its folder.
        title: a few words for a heading.
        data: key of `volume_sets.VOLUMES`; trained on its train split, the epoch chosen on val, measured on test.
        classes: what it can tell, background first.
        shape: `(1, X, Y, Z)` of a volume.
        spacing_mm: of its voxels.
        window: `(low, high)` of the pixels it was trained on.
        net: what rebuilds the network, see `segmenter_network.build`.
        weights: file name -> sha256 of each safetensors shard.
        trained: how, as the training script wrote it.
        dice: class -> mean overlap with the truth on the real test split: `value`, 95 % interval over subjects, `n`.
        volume_error: class, or "all" structures together -> `mae_mm3`, `bias_mm3`, `mean_mm3` (true), `r`, `n`.
        licence: of the weights.
        limits: what must not be concluded.
        folder: where the file was read from; not part of it.
    """

    KIND: ClassVar[str] = "segmenter"
    FILE: ClassVar[str] = "segmenter.json"

    name: str
    title: str
    data: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    window: tuple[float, float]
    net: dict[str, Any]
    weights: dict[str, str]
    trained: dict[str, Any]
    dice: dict[str, dict[str, Any]]
    volume_error: dict[str, dict[str, Any]]
    licence: str
    limits: str
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def wrong_value(cls, values: dict[str, Any]) -> str | None:
        """The first key whose value a segmenter cannot have; None where all is well."""
        classes = values["classes"]
        if len(classes) < 2 or not all(isinstance(word, str) for word in classes) or len(set(classes)) < len(classes):
            return "classes"
        if len(values["shape"]) != 4 or not all(type(side) is int and side > 0 for side in values["shape"]):
            return "shape"
        if len(values["spacing_mm"]) != 3 or not all(_is_number(side) and side > 0 for side in values["spacing_mm"]):
            return "spacing_mm"
        if len(values["window"]) != 2 or not all(_is_number(side) for side in values["window"]):
            return "window"
        if values["net"].get("classes") != len(classes):
            return "net"
        if set(values["dice"]) != set(classes[1:]) or not all(_is_entry(entry) for entry in values["dice"].values()):
            return "dice"
        errors = values["volume_error"]
        if not {"all", *classes[1:]} <= set(errors) or not all(isinstance(one, dict) for one in errors.values()):
            return "volume_error"
        return None

    def as_model(self) -> ModelCard:
        """The part of it that `medgen.weights` and `medgen.runtime` know how to load."""
        return self.model_card(modality="MR", window=self.window)


def segmenters() -> dict[str, SegmenterCard]:
    """Every segmenter by name, sorted.

    Raises:
        MedgenError: a segmenter.json is broken, or its name is not that of its folder.
    """
    return listed(SegmenterCard)


def segmenter_for(data: str) -> str | None:
    """Name of the first segmenter of the data set `data`; None where there is none."""
    return next((name for name, card in segmenters().items() if card.data == data), None)


def load_segmenter(name: str) -> Segmenter:
    """The segmenter called `name`, on `runtime.device()`.

    Raises:
        MedgenError: there is none, or its file or weights are broken.
    """
    return Segmenter(named(SegmenterCard, name))


class Segmenter:
    """A network that names the structure of every voxel.

    Raises:
        MedgenError: the weights are missing, changed or of another network.
    """

    def __init__(self, card: SegmenterCard) -> None:
        from medgen import runtime
        from medgen.segmenter_network import build

        self.card = card
        self._network = runtime.trained(card.as_model(), build)

    def classes(self, images: ImageSet) -> np.ndarray:
        """`(N, X, Y, Z)` uint8, the index in `card.classes` of each voxel; volume i depends on itself alone.

        Raises:
            MedgenError: volumes of another shape, or NaN among the voxels.
        """
        import torch

        from medgen import runtime

        if images.pixels.shape[1:] != self.card.shape:
            wanted, got = ("x".join(map(str, shape)) for shape in (self.card.shape, images.pixels.shape[1:]))
            raise MedgenError(f"{self.card.name} takes volumes of {wanted} voxels, not {got}; resample them first.")
        if not np.isfinite(images.pixels).all():
            raise MedgenError("A volume to segment holds NaN: the model that made it has diverged; use another.")
        found = np.empty((len(images), *self.card.shape[1:]), np.uint8)
        for i in range(len(images)):  # one at a time: the logits of many volumes would not fit
            pixels = torch.from_numpy(2.0 * images.take([i]).unit_range() - 1.0)
            found[i] = runtime.evaluate(self._network, pixels)[0].argmax(dim=0).numpy()
        return found

    def volumes_mm3(self, images: ImageSet) -> np.ndarray:
        """`(N, K)` float64: mm3 of each of `card.classes` in each volume."""
        return volumes_mm3(self.classes(images), len(self.card.classes), self.card.spacing_mm)


def volumes_mm3(classes: np.ndarray, count: int, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """mm3 of each class: `(N, X, Y, Z)` uint8 -> `(N, count)` float64."""
    counted = np.stack([np.bincount(one.ravel(), minlength=count)[:count] for one in classes.reshape(len(classes), -1)])
    return counted * float(np.prod(spacing_mm))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or set(entry) != _ENTRY or type(entry["n"]) is not int:
        return False
    return all(entry[name] is None or (_is_number(entry[name]) and 0 <= entry[name] <= 1) for name in _ENTRY - {"n"})
