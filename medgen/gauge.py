"""Gauges: small networks that read a number off a picture, such as the height of a slice in the brain.

A gauge is a folder of `checkpoints/` with a `gauge.json`. It learned from real pictures of a train split only, and is
no generator: the registry does not list it. What it reads off generated pictures says whether a model made what it was
asked for; its error on held-out real pictures says how far to trust that.

    >>> gauge = load_gauge("height-brain-128")
    >>> gauge.read(images)                    # (N,) float32, in gauge.card.quantity["unit"]
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medgen.agreement import STATISTICS
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.instrument import InstrumentCard, are_weights, is_picture, listed, named

_MEASURED = {"n", "n_subjects", *STATISTICS}


@dataclass(frozen=True)
class GaugeCard(InstrumentCard):
    """All there is to know of a gauge without loading it; `checkpoints/NAME/gauge.json`.

    Args:
        name: of its folder.
        title: a few words for a heading.
        data: key of `data.DATASETS`; trained on its train split, the weights chosen on val, measured on test.
        modality: DICOM code of its pictures.
        shape: `(1, H, W)` of a picture.
        quantity: `name` and `unit` of what it reads.
        net: what rebuilds the network, see `gauge_network.build`.
        weights: file name -> sha256 of each safetensors shard.
        trained: how, as the training script wrote it.
        test: `agreement` of what it reads with what is true, on real pictures of the test split, over subjects.
        licence: of the weights.
        limits: what must not be concluded.
        folder: where the file was read from; not part of it.
    """

    KIND: ClassVar[str] = "gauge"
    FILE: ClassVar[str] = "gauge.json"

    name: str
    title: str
    data: str
    modality: str
    shape: tuple[int, ...]
    quantity: dict[str, Any]
    net: dict[str, Any]
    weights: dict[str, str]
    trained: dict[str, Any]
    test: dict[str, Any]
    licence: str
    limits: str
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def wrong_value(cls, values: dict[str, Any]) -> str | None:
        """The first key whose value a gauge cannot have; None where all is well."""
        shape, quantity, test = values["shape"], values["quantity"], values["test"]
        if not is_picture(shape):
            return "shape"
        if set(quantity) != {"name", "unit"} or not all(isinstance(word, str) for word in quantity.values()):
            return "quantity"
        if not are_weights(values["weights"]):
            return "weights"
        if set(test) != _MEASURED or not all(type(test[key]) is int for key in ("n", "n_subjects")):
            return "test"
        return None if all(_is_entry(test[key]) for key in STATISTICS) else "test"

    def as_model(self) -> ModelCard:
        """The part of it that `medgen.weights` and `medgen.runtime` know how to load."""
        return self.model_card(modality=self.modality)


def gauges() -> dict[str, GaugeCard]:
    """Every gauge by name, sorted.

    Raises:
        MedgenError: a gauge.json is broken, or its name is not that of its folder.
    """
    return listed(GaugeCard)


def gauge_for(card: ModelCard) -> str | None:
    """Name of the first gauge that reads, off pictures like those of `card`, what it may be asked for; None without."""
    known, data = gauges(), (card.data or "").split("+")
    asked = {key: card.quantity.get(key) for key in ("name", "unit")}
    return next((n for n, one in known.items() if one.quantity == asked and one.data in data), None)


def load_gauge(name: str) -> Gauge:
    """The gauge called `name`, on `runtime.device()`.

    Raises:
        MedgenError: there is none, or its file or weights are broken.
    """
    return Gauge(named(GaugeCard, name))


class Gauge:
    """A network that reads one number off each picture.

    Raises:
        MedgenError: the weights are missing, changed or of another network.
    """

    def __init__(self, card: GaugeCard) -> None:
        from medgen import runtime
        from medgen.gauge_network import build

        self.card = card
        self._network = runtime.trained(card.as_model(), build)

    def read(self, images: ImageSet) -> np.ndarray:
        """`(N,)` float32 in the unit of `card.quantity`; the number of picture i depends on it alone.

        Raises:
            MedgenError: not grey pictures of `card.shape`, or NaN among the pixels.
        """
        import torch

        from medgen import runtime

        if images.pixels.shape[1:] != self.card.shape:
            wanted, got = ("x".join(map(str, one)) for one in (self.card.shape, images.pixels.shape[1:]))
            raise MedgenError(f"{self.card.name} reads pictures of {wanted}, not {got}; take those of its data set.")
        if not np.isfinite(images.pixels).all():
            raise MedgenError("A picture to read holds NaN pixels: the model that made it has diverged; use another.")
        if not len(images):
            return np.zeros(0, np.float32)
        pixels = torch.from_numpy(2.0 * images.unit_range() - 1.0)
        found: np.ndarray = runtime.evaluate(self._network, pixels).numpy()
        return found


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or set(entry) != {"value", "low", "high"}:
        return False
    return all(type(one) in (int, float) and math.isfinite(one) for one in entry.values())
