"""The loss of the diffusion models, in the frame of EDM (Karras 2022, arXiv:2206.00364)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from medgen.solver import raw_output
from train.run import Run


def denoising_error(
    run: Run, scheduler: Any, predict: Callable[[Tensor, Tensor], Tensor], clean: Tensor, sigma: Tensor, noise: Tensor
) -> Tensor:
    """Mean squared error of the raw network output: EDM's weighting of the denoising error, equation 8.

    Args:
        run: the run, for its precision and device.
        scheduler: of the network's noise levels.
        predict: the raw network, of the scaled noisy picture and c_noise.
        clean: `(N, C, H, W)` what is to be found again.
        sigma: `(N, 1, 1, 1)` noise levels.
        noise: standard normal, of the shape of `clean`.
    """
    noisy = clean + sigma * noise
    with run.accelerator.autocast():
        scaled = scheduler.precondition_inputs(noisy, sigma)
        output = predict(scaled, scheduler.precondition_noise(sigma.flatten()))
    # the raw output at the clean picture is the target
    return (output.float() - raw_output(noisy, clean, sigma, scheduler.config.sigma_data)).square().mean()
