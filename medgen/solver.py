"""From noise to a result: the frame that denoising networks predict in, guidance, and the steps of the solver.

The frame is that of EDM (Karras 2022, arXiv:2206.00364); the steps are those of DPM-Solver++ 2M (arXiv:2211.01095) on
Karras' noise levels. All of it is a few numbers a step, so that the same lines serve NumPy arrays, with which the app
samples without torch, and torch tensors, with which training does. Noise levels are plain floats.

| name here | name in the papers |
|---|---|
| sigma | noise level, in units of what is denoised |
| sigma_data | standard deviation of the data |
| output | F, the raw output of the network |
| denoised | D, or the data prediction x_theta |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from medgen.generator import OnStep
from medgen.image import ImageSet

Array = Any
"""A NumPy array or a torch tensor: what is asked of it here is arithmetic with floats and its like."""
Predict = Callable[[Array, float], Array]
"""The scaled noisy state `(N, C, ...)` and c_noise -> the raw output of the network."""
Mend = Callable[["Levels", Array, Array, float], Array]
"""Noise levels, noisy state, raw output, sigma -> the output to go on with."""

RHO = 7.0
"""How much denser noise levels lie where there is little noise (table 1 of the paper)."""


@dataclass(frozen=True)
class Levels:
    """The noise levels a network knows.

    Args:
        sigma_data: standard deviation of what is denoised.
        sigma_min: the last noise level.
        sigma_max: the first.
    """

    sigma_data: float
    sigma_min: float
    sigma_max: float

    def of(self, net: Mapping[str, Any]) -> Levels:
        """These levels, with what `net` of a card says instead."""
        return replace(self, **{f.name: float(net[f.name]) for f in fields(self) if f.name in net})

    def sigmas(self, steps: int) -> list[float]:
        """`steps` levels from the first to the last, and zero (equation 5 of the paper)."""
        first, last = self.sigma_max ** (1.0 / RHO), self.sigma_min ** (1.0 / RHO)
        ramp = [index / max(steps - 1, 1) for index in range(steps)]
        return [*((first + part * (last - first)) ** RHO for part in ramp), 0.0]


PICTURES = Levels(sigma_data=0.5, sigma_min=0.01, sigma_max=80.0)
"""Of a network of pictures whose card says nothing else."""
VOLUMES = Levels(sigma_data=1.0, sigma_min=0.03, sigma_max=40.0)
"""Of one of latents of volumes."""


def c_in(sigma: Any, sigma_data: float) -> Any:
    """What a noisy state is multiplied by before a network sees it: its standard deviation is then one.

    Here and below, sigma is a float, or a tensor of a shape that goes with the state.
    """
    return 1.0 / (sigma**2 + sigma_data**2) ** 0.5


def c_noise(sigma: float) -> float:
    """How a network is told the noise level."""
    return 0.25 * math.log(sigma)


def c_skip(sigma: Any, sigma_data: float) -> Any:
    """How much of the noisy state goes past the network."""
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def c_out(sigma: Any, sigma_data: float) -> Any:
    """What the raw output is multiplied by."""
    return sigma * sigma_data * c_in(sigma, sigma_data)


def denoised(noisy: Array, output: Array, sigma: Any, sigma_data: float) -> Array:
    """What a network takes for the clean data, `(N, C, ...)`, given its raw output."""
    return c_skip(sigma, sigma_data) * noisy + c_out(sigma, sigma_data) * output


def raw_output(noisy: Array, clean: Array, sigma: Any, sigma_data: float) -> Array:
    """The inverse of `denoised`: the raw output with which a network says `clean`."""
    return (clean - c_skip(sigma, sigma_data) * noisy) / c_out(sigma, sigma_data)


def solve(
    levels: Levels, normal: Array, steps: int, predict: Predict, *,
    mend: Mend | None = None, on_step: OnStep | None = None, shown: Callable[[Array], ImageSet] | None = None,
) -> Array:  # fmt: skip
    """Denoises all states in lockstep.

    Args:
        levels: of the network.
        normal: `(N, C, ...)` standard normal.
        steps: of the solver.
        predict: the raw network.
        mend: changes its output, as inpainting does for what it holds fast.
        on_step: told after each step, with a preview of what the network now takes for the result.
        shown: makes the images of that preview; needed with `on_step`.

    Returns:
        The result, of the shape of `normal`.
    """
    sigmas, data = levels.sigmas(steps), levels.sigma_data
    state = normal * (levels.sigma_max**2 + 1.0) ** 0.5
    before = None
    for index in range(steps):
        sigma = sigmas[index]
        output = predict(state * c_in(sigma, data), c_noise(sigma))
        if mend is not None:
            output = mend(levels, state, output, sigma)
        clean = denoised(state, output, sigma, data)
        state = _advanced(state, clean, before, sigmas, index)
        before = clean
        if on_step is not None:
            assert shown is not None

            def preview(clean: Array = clean) -> ImageSet:
                return shown(clean)

            on_step(index + 1, steps, preview)
    return state


def _advanced(state: Array, clean: Array, before: Array | None, sigmas: list[float], index: int) -> Array:
    """One step of DPM-Solver++ 2M: of second order between the first step and the last, which ends at no noise."""
    here, there = sigmas[index], sigmas[index + 1]
    if there == 0.0:
        return clean
    kept = there / here
    if before is None:
        return kept * state + (1.0 - kept) * clean
    # half the slope from the estimate before, for steps that are even in ln sigma
    slope = 0.5 * math.log(here / there) / math.log(sigmas[index - 1] / here)
    return kept * state + (1.0 - kept) * (clean + slope * (clean - before))


def guided(run: Callable[..., Array], scaled: Array, levels: Array, told: Array, guidance: float | None) -> Array:
    """Network output with classifier-free guidance (Ho 2022, arXiv:2207.12598): null + g (told - null).

    Args:
        run: the raw network, called with state, noise levels and what is told.
        scaled: `(N, C, ...)` noisy state times c_in.
        levels: `(N,)` c_noise.
        told: `(N, K)`; a row of zeros says nothing.
        guidance: g; None or 1 = none.
    """
    output = run(scaled, levels, told)
    if guidance in (None, 1.0) or not told.any():
        return output
    unguided = run(scaled, levels, 0.0 * told)
    return unguided + guidance * (output - unguided)
