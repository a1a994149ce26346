"""What `medgen.pair_metrics` does not say of a made slice: how unlike it looks, and whether bone and air lie right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BATCH = 16

Perceptual = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two `(N, 1, H, W)` float32 in [0, 1] -> `(N,)` distances."""


def dice(*, real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Overlap of two masks: 2 |A and B| / (|A| + |B|), and the |A| + |B| that it rests on.

    The mean over a patient's slices weighted by the second number is the Dice of all of them as one volume: a slice
    with three pixels of air does not count as much as the one through the sinuses. NaN where both masks are empty.
    """
    size = float(real.sum()) + float(fake.sum())
    return (2.0 * float((real & fake).sum()) / size if size else float("nan")), size


def lpips() -> Perceptual:
    """The function that gives LPIPS distances (arXiv:1801.03924).

    Raises:
        MedgenError: its weights are not installed; says how to install them.
    """
    import torch

    from medgen.perceptual import Perceptual as Network

    network = Network()

    def run(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(real), _BATCH):
            # [0, 1] -> [-1, 1]
            left, right = (
                torch.from_numpy(np.ascontiguousarray(side[start : start + _BATCH], np.float32)) * 2.0 - 1.0
                for side in (real, fake)
            )
            with torch.inference_mode():
                parts.append(network(left, right).numpy())
        return np.concatenate(parts)

    return run
