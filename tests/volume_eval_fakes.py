"""Volumes whose every number is known, a judge that cannot err on them, and models with one fault each."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from medgen import volume_sets
from medgen.card import ModelCard
from medgen.image import ImageSet
from medgen.segmenter import volumes_mm3

DATA = "hippo_48"
ENTRY = volume_sets.VOLUMES[DATA]
SHAPE = ENTRY.shape[1:]
COUNTS = {"train": 16, "val": 4, "test": 8}
FIRST = {"train": 0, "val": 100, "test": 200}
GREY = np.array([30, 200, 120], np.float32)
"""Of background, anterior and posterior: a judge needs no network."""
QUANTITY = {"name": "hippocampal volume", "unit": "mm3", "low": 1000.0, "high": 3000.0, "step": 50.0}
_GRID = np.stack(np.meshgrid(*[np.arange(side) for side in SHAPE], indexing="ij"), axis=-1).astype(np.float32)


def blob(seed, mm3=None):
    """`(X, Y, Z)` float32: a longish body of about `mm3` in a noisy background; another one for each seed."""
    random = np.random.default_rng(seed)
    spread = 0.1 if seed < 1000 else 0.05  # generated ones stay well within the range of the real ones
    axes = np.array([5.0, 13.0, 6.0]) * random.uniform(1 - spread, 1 + spread, 3)
    if mm3 is not None:
        axes *= (mm3 / (4 / 3 * np.pi * axes.prod())) ** (1 / 3)
    middle = np.array(SHAPE) / 2 - 0.5 + random.uniform(-1.5, 1.5, 3)
    inside = (((_GRID - middle) / axes) ** 2).sum(axis=-1) < 1
    volume = np.where(inside, np.where(_GRID[..., 1] > middle[1], GREY[1], GREY[2]), GREY[0])
    waves = random.uniform(0.1, 0.4, 3)
    return (volume + 12 * np.sin((_GRID * waves).sum(axis=-1) + random.uniform(0, 6))).astype(np.float32)


def images(volumes, subjects=None):
    """An `ImageSet` of the data set's kind."""
    pixels = np.stack(volumes)[:, None].astype(np.float32)
    return ImageSet(pixels, ENTRY.modality, ENTRY.unit, ENTRY.window, ENTRY.affine, subjects=subjects)


def volumes(name, split):
    """In place of `volume_sets.volumes`."""
    ids = range(FIRST[split], FIRST[split] + COUNTS[split])
    return images([blob(i) for i in ids], tuple(f"s{i}" for i in ids))


def classes_of(some):
    """What is there to see: the grey level that is nearest."""
    return np.abs(some.pixels[:, 0, ..., None] - GREY).argmin(axis=-1).astype(np.uint8)


def structures(name, split):
    """In place of `volume_sets.structures`."""
    return classes_of(volumes(name, split))


class Judge:
    """In place of a `Segmenter`."""

    card = SimpleNamespace(
        name="judge", weights={"model.safetensors": "a" * 64}, classes=ENTRY.classes, spacing_mm=ENTRY.spacing_mm,
        dice={}, volume_error={},
    )  # fmt: skip

    def classes(self, some):
        return classes_of(some)

    def volumes_mm3(self, some):
        return volumes_mm3(classes_of(some), len(ENTRY.classes), ENTRY.spacing_mm)


def card(name, makes="good", data=DATA, trained=None):
    """A card of a model with the fault `makes`; "good" has none."""
    asks = {"controls": ("quantity",), "quantity": QUANTITY} if makes in ("good", "deaf") else {}
    net = {"method": name.split("-")[0], "makes": makes}
    facts = {"parameters": 9, "images_seen": 10} | (trained or {})
    return ModelCard(
        name=name, family="volume", title=name, modality="MR", unit="au", window=(0.0, 255.0), shape=ENTRY.shape,
        spacing_mm=ENTRY.spacing_mm, licence="CC BY-SA 4.0", limits="None.", net=net, data=data, trained=facts,
        weights={"model.safetensors": makes}, **asks,
    )  # fmt: skip


class Model:
    """Makes what its card says."""

    def __init__(self, own):
        self.card = own

    def sample(self, request, on_step=None):
        request = request.checked(self.card)
        return images([self._one(seed, request.quantity) for seed in request.seeds])

    def reconstruct(self, some):
        return replace(some, pixels=some.pixels + np.float32(10))

    def _one(self, seed, quantity):
        makes = self.card.net["makes"]
        if makes == "collapsed":
            return blob(1000)
        if makes == "copies":
            return np.roll(blob(seed % COUNTS["train"]), 2, axis=1)
        volume = blob(1000 + seed, quantity if makes == "good" else None)
        if makes == "holes" and seed % 2:
            middle = tuple(side // 2 for side in SHAPE)
            volume[tuple(slice(one - 2, one + 1) for one in middle)] = GREY[0]
        if makes == "pieces":
            volume[1:5, 1:5, 1:5] = GREY[1]
        if makes == "nan":
            volume[0, 0, 0] = np.nan
        return volume


def load(own):
    """What the registry calls."""
    return Model(own)
