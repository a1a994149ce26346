"""Pictures in one to four steps: sampling of consistency models (Song 2023, arXiv:2303.01469, algorithm 1).

A consistency model answers a noisy state at once with the end of its path to a clean one. One answer to pure noise is a
picture; each further step adds less noise to it and answers again, which sharpens. `train/distill.py` makes such models
of diffusion models, in the frame of `medgen/solver.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medgen.generator import OnStep
from medgen.image import ImageSet
from medgen.solver import Array, Levels, Predict, c_in, c_noise, denoised

NAME = "consistency"
"""What `card.net["sampler"]` calls it."""


def sigmas(steps: int, sigma_max: float, middle: Sequence[float]) -> list[float]:
    """Noise levels of the steps: `sigma_max`, then as many as are wanted of a geometric row through `middle`.

    Args:
        steps: of the sampler.
        sigma_max: the level of pure noise.
        middle: highest and lowest level after that; two steps take the lowest.
    """
    high, low = middle
    further = steps - 1
    if further < 2:
        return [sigma_max, *[low] * further]
    return [sigma_max, *(high * (low / high) ** (index / (further - 1)) for index in range(further))]


def answer(
    levels: Levels, normal: Array, sigmas: Sequence[float], predict: Predict, *,
    on_step: OnStep | None = None, shown: Callable[[Array], ImageSet] | None = None,
) -> Array:  # fmt: skip
    """Answers all states in lockstep.

    Args:
        levels: of the network.
        normal: `(N, S, C, ...)` standard normal: that of step s is added before it.
        sigmas: S noise levels, falling.
        predict: the raw network.
        on_step: told after each step, with a preview of its answer.
        shown: makes the images of that preview; needed with `on_step`.

    Returns:
        `(N, C, ...)`.
    """
    data = levels.sigma_data
    clean = 0.0 * normal[:, 0]
    for index, sigma in enumerate(sigmas):
        noisy = clean + sigma * normal[:, index]
        clean = denoised(noisy, predict(noisy * c_in(sigma, data), c_noise(sigma)), sigma, data)
        if on_step is not None:
            assert shown is not None

            def preview(clean: Array = clean) -> ImageSet:
                return shown(clean)

            on_step(index + 1, len(sigmas), preview)
    return clean
