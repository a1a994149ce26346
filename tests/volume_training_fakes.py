"""Made-up volumes to train on. As a program, one run of train.volume_vae on them: what several processes start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medgen import ImageSet, volume_sets
from train import volume_vae, volumes

SHAPE = (32, 24, 32)
COUNTS = {"train": 12, "val": 3, "test": 3}


def amounts(split: str) -> np.ndarray:
    return np.linspace(2400.0, 4400.0, COUNTS[split]).astype(np.float32)


def made_up(name: str, split: str) -> ImageSet:
    """Bright ellipsoids, the larger the more is in them; of "train" first."""
    known = volume_sets.VOLUMES[name]
    axes = np.meshgrid(*(np.linspace(-1.0, 1.0, side) for side in SHAPE), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    rng = np.random.default_rng(list(COUNTS).index(split))
    pixels = [230.0 * (radius < amount / 5000.0) + rng.uniform(0.0, 20.0) for amount in amounts(split)]
    return ImageSet(np.stack(pixels)[:, None].astype(np.float32), "MR", "au", (0.0, 255.0), known.affine)


def install(into: Callable[[object, str, object], None]) -> None:
    """Puts them in the place of both data sets.

    Args:
        into: sets an item of a dictionary or an attribute of a module.
    """
    for name in ("hippo_48", "ixi_brain_64"):
        entry = replace(volume_sets.VOLUMES[name], shape=(1, *SHAPE), spacing_mm=(1.0, 1.0, 1.0))
        into(volume_sets.VOLUMES, name, entry)
    into(volumes, "volumes", made_up)
    into(volumes, "quantities", lambda name, split: amounts(split))


if __name__ == "__main__":
    install(
        lambda where, name, value: (
            where.update({name: value}) if isinstance(where, dict) else setattr(where, name, value)
        )
    )
    volume_vae.main(sys.argv[1:])
