"""The loss of the diffusion models, in the frame of EDM (Karras 2022, arXiv:2206.00364)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
    # precondition_outputs is denoised = c_skip noisy + c_out output; its inverse at the clean picture is the target
    zero, one = torch.zeros((), device=run.device), torch.ones((), device=run.device)
    skipped = scheduler.precondition_outputs(noisy, zero, sigma)
    c_out = scheduler.precondition_outputs(torch.zeros_like(noisy), one, sigma)
    return (output.float() - (clean - skipped) / c_out).square().mean()
