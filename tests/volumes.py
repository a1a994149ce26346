"""What the tests of volumes share: a small head-like volume that knows left from right, a card, places of real data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from medgen import ModelCard, Request
from medgen.volume import Volume

REQUEST = Request(seeds=(3,))
DATA = Path(os.environ.get("MEDGEN_DATA", "none"))
# left and right hippocampus, brain stem and left cerebellum, of the whole-head label maps and of the IXI brain labels
FREESURFER = {"left": 17, "right": 53, "stem": 16, "cerebellum": 8}
MUSE = {"left": 48, "right": 47, "stem": 35, "cerebellum": 39}


def card(modality: str = "MR") -> ModelCard:
    return ModelCard(
        name="noise-head-9",
        family="noise",
        title="Noise",
        modality=modality,
        unit="HU" if modality == "CT" else "au",
        window=(0.0, 1.0),
        shape=(1, 8, 8),
        licence="MIT",
        limits="Noise.",
    )


def oblique() -> np.ndarray:
    """An affine with three different spacings, turned by 12 degrees around x, axes to the left, back and head."""
    c, s = np.cos(np.radians(12)), np.sin(np.radians(12))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, -0.9, 2.5])
    affine[:3, 3] = (11.25, 20.5, -31.0)
    return affine


def volume(shape=(9, 7, 5), affine=None, modality="MR", seed=0) -> Volume:
    """Every voxel differs from its neighbours, so that any flip or exchange of axes shows."""
    values = np.random.default_rng(seed).integers(-1000 if modality == "CT" else 0, 3000, shape).astype(np.float32)
    return Volume(values, oblique() if affine is None else affine, modality, "HU" if modality == "CT" else "au")


def shipped(name: str) -> Path:
    """A file of pydicom or pydicom-data, never downloaded."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed")
    return Path(path)


def on_this_disk(*parts: str) -> Path:
    """A file of the shared data."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{parts[-1]} is not here")
    return path


def centre_mm(labels: Volume, code: int) -> np.ndarray:
    """Where the middle of a labelled region lies, `(3,)` millimetres, RAS+."""
    return labels.world(np.argwhere(labels.array == code).mean(axis=0))
