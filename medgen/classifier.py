"""Independent classifiers: does a generated picture show what it was asked to show?

A classifier is a folder of `checkpoints/` with a `classifier.json`. It was trained on real pictures of a train split
only, never on generated ones, and is no generator: the registry does not list it. Each label is a yes or no of its own.
Beside every score of the network stands that of the border baseline, a linear model that sees only a frame of
pixels at the edge of the picture: what it can tell, the network may have told without looking at the lungs.

    >>> judge = load_classifier("classifier-kermany-128")
    >>> judge.probabilities(images)[:, judge.card.labels.index("normal")]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from medgen.border import area_mean, border_features
from medgen.card import ModelCard
from medgen.catalogue import dataset
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.instrument import InstrumentCard, is_picture, listed, named

if TYPE_CHECKING:
    import torch

_AUC_KEYS = {"value", "low", "high", "n_with", "n_without"}


@dataclass(frozen=True)
class ClassifierCard(InstrumentCard):
    """All there is to know of a classifier without loading it; `checkpoints/NAME/classifier.json`.

    Args:
        name: of its folder.
        title: a few words for a heading.
        data: key of `data.DATASETS`; trained on its train split, the epoch chosen on val, measured on test.
        labels: what it can tell, L words; each is a yes or no of its own.
        shape: `(1, H, W)` of a picture; larger ones are averaged down.
        net: what rebuilds the network, see `build`.
        weights: file name -> sha256 of each safetensors shard.
        trained: how, as the training script wrote it.
        auc: label -> `medgen.auc.auc_entry` on the real test split.
        border_auc: the same of the border baseline.
        licence: of the weights.
        limits: what must not be concluded.
        folder: where the file was read from; not part of it.
    """

    KIND: ClassVar[str] = "classifier"
    FILE: ClassVar[str] = "classifier.json"

    name: str
    title: str
    data: str
    labels: tuple[str, ...]
    shape: tuple[int, ...]
    net: dict[str, Any]
    weights: dict[str, str]
    trained: dict[str, Any]
    auc: dict[str, dict[str, Any]]
    border_auc: dict[str, dict[str, Any]]
    licence: str
    limits: str
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def wrong_value(cls, values: dict[str, Any]) -> str | None:
        """The first key whose value a classifier cannot have; None where all is well."""
        labels, shape = values["labels"], values["shape"]
        if not labels or not all(isinstance(word, str) for word in labels) or len(set(labels)) < len(labels):
            return "labels"
        if not is_picture(shape):
            return "shape"
        if values["net"].get("labels") != len(labels):
            return "net"
        for name in ("auc", "border_auc"):
            if set(values[name]) != set(labels) or not all(_is_entry(entry) for entry in values[name].values()):
                return name
        return None

    def as_model(self) -> ModelCard:
        """The part of it that `medgen.weights` and `medgen.runtime` know how to load."""
        return self.model_card(modality=dataset(self.data).modality, labels=self.labels)


def classifiers() -> dict[str, ClassifierCard]:
    """Every classifier by name, sorted.

    Raises:
        MedgenError: a classifier.json is broken, or its name is not that of its folder.
    """
    return listed(ClassifierCard)


def classifier_for(label: str) -> str | None:
    """Name of the first classifier that can tell `label`; None where none can."""
    return next((name for name, card in classifiers().items() if label in card.labels), None)


def load_classifier(name: str) -> Classifier:
    """The classifier called `name`, on `runtime.device()`.

    Raises:
        MedgenError: there is none, or its file or weights are broken.
    """
    return Classifier(named(ClassifierCard, name))


class Classifier:
    """A network and a border baseline that give each picture one probability a label.

    Trained as if with and without were equally frequent: 0.5 is "cannot tell", not "half of all patients".

    Raises:
        MedgenError: the weights are missing, changed or of another network.
    """

    def __init__(self, card: ClassifierCard) -> None:
        from medgen import runtime

        self.card = card
        self._network = runtime.trained(card.as_model(), build)

    def probabilities(self, images: ImageSet) -> np.ndarray:
        """`(N, L)` float32: how likely each picture shows each of `card.labels`; picture i depends on itself alone.

        Raises:
            MedgenError: not grey pictures of `card.shape` or a whole multiple of it, or NaN among the pixels.
        """
        import torch

        from medgen import runtime

        pixels = 2.0 * self._prepared(images) - 1.0
        if not len(pixels):
            return np.zeros((0, len(self.card.labels)), np.float32)
        return _sigmoid(runtime.evaluate(self._network, torch.from_numpy(pixels)).numpy())

    def border_probabilities(self, images: ImageSet) -> np.ndarray:
        """`(N, L)` float32 as `probabilities`, from a frame of `net["frame"]` pixels alone.

        Raises:
            MedgenError: as `probabilities`.
        """
        features = border_features(self._prepared(images), self.card.net["frame"], self.card.net["pool"])
        weight, bias = (getattr(self._network, f"border_{name}").cpu().numpy() for name in ("weight", "bias"))
        # a sum a picture, not a matrix product: its last bits would depend on the batch
        return _sigmoid((features[:, None, :] * weight).sum(axis=-1) + bias)

    def _prepared(self, images: ImageSet) -> np.ndarray:
        """`(N, 1, H, W)` float32 in [0, 1] of the classifier's size."""
        channels, height, width = self.card.shape
        got = images.pixels.shape[1:]
        factor = got[1] // height
        if len(got) != 3 or factor < 1 or got != (channels, height * factor, width * factor):
            raise MedgenError(
                f"{self.card.name} judges grey pictures of {height}x{width} pixels or a whole multiple, not "
                f"{'x'.join(map(str, got))}; resize them first."
            )
        if not np.isfinite(images.pixels).all():
            raise MedgenError("A picture to judge holds NaN pixels: the model that made it has diverged; use another.")
        return area_mean(images.unit_range(), factor)


def build(net: dict[str, Any]) -> torch.nn.Module:
    """An untrained network: MONAI's DenseNet (Huang 2017, arXiv:1608.06993), with the baseline as two buffers.

    Args:
        net: `size`, `labels` (count), `init_features`, `growth_rate`, `block_config`, `dropout`; for the baseline
            `frame` (pixels) and `pool` (pixels averaged along each side).

    Returns:
        A module from `(N, 1, H, W)` in [-1, 1] to `(N, L)` logits.
    """
    import torch
    from monai.networks.nets import DenseNet

    network: torch.nn.Module = DenseNet(
        2, 1, net["labels"], init_features=net["init_features"], growth_rate=net["growth_rate"],
        block_config=tuple(net["block_config"]), dropout_prob=net["dropout"],
    )  # fmt: skip
    cells = border_features(np.zeros((1, 1, net["size"], net["size"]), np.float32), net["frame"], net["pool"]).shape[1]
    network.register_buffer("border_weight", torch.zeros(net["labels"], cells))
    network.register_buffer("border_bias", torch.zeros(net["labels"]))
    return network


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """float64 inside, so that the float32 result has the same bits in any batch."""
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64)), dtype=np.float32)


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or set(entry) != _AUC_KEYS:
        return False
    if not all(type(entry[name]) is int and entry[name] >= 0 for name in ("n_with", "n_without")):
        return False
    areas = [entry[name] for name in ("value", "low", "high")]
    return all(area is None or (type(area) in (int, float) and 0.0 <= area <= 1.0) for area in areas)
