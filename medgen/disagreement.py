"""Where several samples of one question differ: a map that may warn of an error, as far as it was measured to do so."""

from __future__ import annotations

import numpy as np

from medgen.errors import MedgenError
from medgen.image import ImageSet


def disagreement(samples: ImageSet | np.ndarray) -> np.ndarray:
    """The standard deviation over k samples, pixel by pixel, with k - 1 degrees of freedom.

    Where it is small the samples agree, which does not make them right: `eval.disagreement` measures how well it
    predicts error, and a method that always gives the same picture has none anywhere.

    Args:
        samples: `(k, 1, H, W)` images of one source with k seeds, or their pixels `(k, ..., H, W)`.

    Returns:
        `(H, W)` float32 in the unit of the samples.

    Raises:
        MedgenError: fewer than 2 samples, or more than one channel.
    """
    pixels = samples.pixels if isinstance(samples, ImageSet) else samples
    if len(pixels) < 2:
        raise MedgenError(f"Disagreement needs at least 2 samples of one slice, not {len(pixels)}.")
    # (k, 1, H, W) -> (k, H, W)
    stack = np.asarray(pixels, np.float64).reshape(len(pixels), -1, *pixels.shape[-2:])
    if stack.shape[1] != 1:
        raise MedgenError(f"Disagreement is shown of pictures with one channel, not {stack.shape[1]}.")
    return stack[:, 0].std(axis=0, ddof=1).astype(np.float32)
