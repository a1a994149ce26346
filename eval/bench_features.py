"""Inception features: the TorchScript network as it comes, in torch, against ours. FID itself: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from eval import inception
from medgen.turns import Contest, Gap, Way

_IMAGES, _SIDE = 16, 128
_STOCK, _SAME, _QUICK = "TorchScript in torch, float32", "OpenVINO, float32", "OpenVINO, bfloat16"
_ALLOWED = {_SAME: 1e-5, _QUICK: 0.04}
"""Of the length of a feature vector. What it does to FID is another question, see docs/metrics.md."""


def features() -> Contest:
    """16 grey pictures of 128 x 128 by each, the resize among the work."""
    exact, quick = inception.inception(), inception.inception_bf16()
    pixels = pictures(_IMAGES, _SIDE)
    ways: dict[str, Way] = {_STOCK: _stock(pixels)}
    ways |= {_QUICK: lambda seed: quick.run(pixels), _SAME: lambda seed: exact.run(pixels)}
    return Contest(ways, {"features": _QUICK, "features_float32": _SAME}, gaps=gaps)


def pictures(n: int, side: int) -> np.ndarray:
    """`(n, 1, side, side)` uint8: clouds with some noise on them, as smooth as films are."""
    rng = np.random.default_rng(0)
    clouds = gaussian_filter(rng.normal(size=(n, 1, side, side)), (0, 0, side / 16, side / 16))
    seen = 128.0 + 50.0 * clouds / clouds.std() + 4.0 * rng.normal(size=clouds.shape)
    found: np.ndarray = np.clip(seen, 0, 255).astype(np.uint8)
    return found


def gaps(made: Mapping[str, np.ndarray]) -> list[Gap]:
    """How long the difference of two feature vectors is, mean over the pictures."""
    stock = made[_STOCK]
    return [
        Gap(
            name, "a feature vector, of its length",
            float((np.linalg.norm(made[name] - stock, axis=1) / np.linalg.norm(stock, axis=1)).mean()), allowed,
        )
        for name, allowed in _ALLOWED.items()
    ]  # fmt: skip


def _stock(pixels: np.ndarray) -> Way:
    network = inception.network(inception.file(), "cpu")

    def run(seed: int) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = network(inception.prepared(pixels, "cpu")).numpy()
        return found

    return run
