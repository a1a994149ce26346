"""What denoising networks here share: the mean and the spectrum of the data, and the linear denoiser they make.

The frame a network predicts in is that of EDM (Karras 2022, arXiv:2206.00364; `medgen/solver.py`). Its skip connection,
c_skip x, is the best linear denoiser of independent pixels. Neighbouring pixels are anything but independent, so here
the skip is the best linear denoiser of a Gaussian with the mean and the DCT spectrum of the training data (a Wiener
filter), and a network learns only what no linear filter can know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import torch
from diffusers import EDMDPMSolverMultistepScheduler
from torch import Tensor, nn

from medgen.solver import Levels


class Denoiser(nn.Module):
    """Mean and spectrum of the training data, and the Wiener filter they make: the base of both denoising networks.

    Args:
        shape: of what is denoised, `(C, ...)`.
        levels: its standard deviation, and the noise levels it is denoised at.
    """

    mean: Tensor
    spectrum: Tensor

    def __init__(self, shape: Sequence[int], levels: Levels) -> None:
        super().__init__()
        self.levels = levels
        # until it is given those of data, independent elements: the filter is then EDM's own c_skip
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("spectrum", torch.full(tuple(shape), levels.sigma_data**2))

    def dct(self, values: Tensor, inverse: bool = False) -> Tensor:
        """The orthonormal DCT along every axis behind the channels, or its inverse."""
        raise NotImplementedError

    def scheduler(self) -> EDMDPMSolverMultistepScheduler:
        """diffusers' solver for this network's noise levels: training frames its loss with it; `solve` needs none."""
        return EDMDPMSolverMultistepScheduler(**asdict(self.levels), sigma_schedule="karras", final_sigmas_type="zero")

    def wiener(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The best linear denoiser: each DCT coefficient of variance S shrunk by S / (S + sigma^2).

        Args:
            noisy: `(N, C, ...)`.
            sigma: `(N, 1, ...)`.
        """
        gain = self.spectrum / (self.spectrum + sigma.square())
        return self.mean + self.dct(gain * self.dct(noisy - self.mean), inverse=True)

    def linear(self, scaled: Tensor, noise_level: Tensor) -> tuple[Tensor, Tensor]:
        """What the Wiener filter makes of a state, in units of the data, and in the frame of the raw network.

        Args:
            scaled: `(N, C, ...)` noisy state times c_in.
            noise_level: `(N,)` c_noise, that is ln(sigma) / 4.
        """
        data = self.levels.sigma_data
        with torch.autocast(scaled.device.type, enabled=False):
            sigma = torch.exp(4.0 * noise_level.float())[(..., *(None,) * (scaled.ndim - 1))]
            total = (sigma.square() + data**2).sqrt()
            noisy = scaled.float() * total
            guess = self.wiener(noisy, sigma)
            # in the frame of F: (D - c_skip x) / c_out
            skip = (guess - (data / total).square() * noisy) * total / (sigma * data)
        return guess / data, skip


def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix: `dct @ x` transforms columns; its transpose is the inverse."""
    k, n = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)[None]
    matrix = torch.cos(math.pi * (n + 0.5) * k / size) * math.sqrt(2.0 / size)
    matrix[0] /= math.sqrt(2.0)
    return matrix.float()
