"""Pictures of fixed seeds, kept during a training: what `python -m eval.collapse --run` looks at."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from torch import Tensor

from medgen.atomic import write_bytes
from train.run import Run

SEED = 2
"""Of the pictures; another than those of the grids and of the validation."""


def keeping(
    run: Run, sample: Callable[[], Tensor], pictures: Callable[[int, int], Tensor], count: int
) -> Callable[[], Tensor]:
    """`sample`, which a run calls every `--sample-every` images, but it also keeps `count` pictures of fixed seeds.

    Pictures and not weights: 256 of 128 pixels take less room than a generator, and need no network to be read.

    Args:
        run: writes to `snapshots/IMAGES_SEEN.npz` in its folder, `images` `(count, C, H, W)` uint8.
        sample: pictures of a grid.
        pictures: number, seed -> `(N, C, H, W)` in [-1, 1] by the averaged weights.
        count: 0 = keep nothing.
    """
    if count < 1:
        return sample

    def both() -> Tensor:
        made = ((pictures(count, SEED).float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=made)
        write_bytes(run.folder / "snapshots" / f"{run.seen:09d}.npz", buffer.getvalue())
        return sample()

    return both
