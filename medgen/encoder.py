"""Encoders: small networks that turn a picture into a vector, so that sets of pictures can be compared.

An encoder is a folder of `checkpoints/` with an `encoder.json`. It learned from real pictures of train splits only,
without labels, and is no generator: the registry does not list it. `eval.features` offers each as a feature space.

    >>> space = load_encoder("encoder-cxr-128")
    >>> space.features(images.unit_range())                    # (N, 256) float32
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medgen.border import area_mean
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.instrument import InstrumentCard, are_weights, is_picture, listed, named

_MEASURED = {"n", "nt_xent", "top1", "top1_pixels"}


@dataclass(frozen=True)
class EncoderCard(InstrumentCard):
    """All there is to know of an encoder without loading it; `checkpoints/NAME/encoder.json`.

    Args:
        name: of its folder.
        title: a few words for a heading.
        data: keys of `data.DATASETS` or `paired.PAIRED`, joined by "+"; trained on their train splits.
        modality: DICOM code of their pictures.
        shape: `(1, H, W)` of a picture; larger ones are averaged down.
        net: what rebuilds the network, see `encoder_network.build`; its `dim` is the length of a feature vector.
        weights: file name -> sha256 of each safetensors shard.
        trained: how, as the training script wrote it.
        validation: on real pictures of the val splits: `n`; `nt_xent`, the loss of the exported weights; `top1`, the
            share of pictures whose other view is the nearest of all other views, and `top1_pixels`, the same share
            for 32x32 grey values in place of features.
        licence: of the weights.
        limits: what must not be concluded.
        folder: where the file was read from; not part of it.
    """

    KIND: ClassVar[str] = "encoder"
    FILE: ClassVar[str] = "encoder.json"

    name: str
    title: str
    data: str
    modality: str
    shape: tuple[int, ...]
    net: dict[str, Any]
    weights: dict[str, str]
    trained: dict[str, Any]
    validation: dict[str, Any]
    licence: str
    limits: str
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def wrong_value(cls, values: dict[str, Any]) -> str | None:
        """The first key whose value an encoder cannot have; None where all is well."""
        shape, dim = values["shape"], values["net"].get("dim")
        if not is_picture(shape):
            return "shape"
        if type(dim) is not int or dim < 1:
            return "net"
        if not are_weights(values["weights"]):
            return "weights"
        numbers = [values["validation"].get(name) for name in _MEASURED]
        if not all(type(one) in (int, float) and math.isfinite(one) and one >= 0 for one in numbers):
            return "validation"
        return None

    def as_model(self) -> ModelCard:
        """The part of it that `medgen.weights` and `medgen.runtime` know how to load."""
        return self.model_card(modality=self.modality)


def encoders() -> dict[str, EncoderCard]:
    """Every encoder by name, sorted.

    Raises:
        MedgenError: an encoder.json is broken, or its name is not that of its folder.
    """
    return listed(EncoderCard)


def load_encoder(name: str) -> Encoder:
    """The encoder called `name`, on `runtime.device()`.

    Raises:
        MedgenError: there is none, or its file or weights are broken.
    """
    return Encoder(named(EncoderCard, name))


class Encoder:
    """A network that turns a grey picture into a vector.

    Raises:
        MedgenError: the weights are missing, changed or of another network.
    """

    def __init__(self, card: EncoderCard) -> None:
        from medgen import runtime
        from medgen.encoder_network import build

        self.card = card
        self._network = runtime.trained(card.as_model(), build)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """`(N, C, H, W)` in [0, 1] -> `(N, D)` float32; picture i depends on itself alone.

        Args:
            pixels: of several channels, their mean counts.

        Raises:
            MedgenError: pictures that are not of `card.shape` or a whole multiple of it, or NaN among the pixels.
        """
        import torch

        from medgen import runtime

        _, height, width = self.card.shape
        factor = pixels.shape[2] // height
        if factor < 1 or pixels.shape[2:] != (height * factor, width * factor):
            raise MedgenError(
                f"{self.card.name} takes pictures of {height}x{width} pixels or a whole multiple, not "
                f"{'x'.join(map(str, pixels.shape[2:]))}; resize them first."
            )
        if not np.isfinite(pixels).all():
            raise MedgenError("A picture to encode holds NaN pixels: the model that made it has diverged; use another.")
        if not len(pixels):
            return np.zeros((0, self.card.net["dim"]), np.float32)
        grey = area_mean(pixels.mean(axis=1, keepdims=True, dtype=np.float32), factor)
        found: np.ndarray = runtime.evaluate(self._network, torch.from_numpy(2.0 * grey - 1.0)).numpy()
        return found
