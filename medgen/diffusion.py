"""Diffusion models: a picture is denoised in a few steps from pure noise.

`train/diffusion.py` trains what this file samples. The network predicts in the frame of EDM (Karras 2022,
arXiv:2206.00364), on pixels folded into channels (pixel-unshuffle), which is what makes a step cheap on a CPU.

EDM's skip connection, c_skip x, is the best linear denoiser of independent pixels. Neighbouring pixels of an X-ray are
anything but independent, so here the skip is the best linear denoiser of a Gaussian with the mean picture and the DCT
spectrum of the training data (a Wiener filter), and the U-Net learns only what no linear filter can know.

| name here | name in the paper |
|---|---|
| sigma | noise level, in units of pixels in [-1, 1] |
| sigma_data | standard deviation of the data |
| precondition_* of the scheduler | c_in, c_noise, c_skip and c_out of table 1 |
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from medgen import autoencoder, runtime
from medgen.autoencoder import Autoencoder
from medgen.card import ModelCard
from medgen.generator import OnStep, Request
from medgen.image import ImageSet
from medgen.inpaint import Held


class FoldedUNet(nn.Module):
    """A Wiener filter, and diffusers' U-Net on pixels folded `fold` x `fold` into channels.

    Args:
        size: height and width of the image in pixels.
        fold: pixel-unshuffle factor; 4 turns 128x128x1 into 32x32x16.
        channels: of the U-Net's levels, first at `size / fold`.
        layers: residual blocks a level.
        attention: which levels attend.
        conditions: columns of `Conditions`, K of them; a row of zeros = nothing is known. None = unconditional.
        sigma_data: standard deviation of the training pixels in [-1, 1].
        sigma_min: the last noise level.
        sigma_max: the first.
        image_channels: C of the picture.
        context: channels of the picture that the network is shown beside the noisy one; 0 = none.
    """

    mean: Tensor
    spectrum: Tensor
    dct: Tensor
    autoencoder: Autoencoder | None

    def __init__(
        self,
        size: int = 128,
        fold: int = 4,
        channels: tuple[int, ...] = (96, 160, 192),
        layers: int = 1,
        attention: tuple[bool, ...] = (False, True, True),
        conditions: tuple[str, ...] = (),
        sigma_data: float = 0.5,
        sigma_min: float = 0.01,
        sigma_max: float = 80.0,
        image_channels: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__()
        self.fold = fold
        self.unet = UNet2DModel(
            sample_size=size // fold,
            in_channels=(2 * image_channels + context) * fold * fold,
            out_channels=image_channels * fold * fold,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            attention_head_dim=64,
            norm_num_groups=16,
            class_embed_type="identity" if conditions else None,
        )
        # diffusers adds this vector to its embedding of the noise level, which has that many channels
        self.condition = nn.Linear(len(conditions), 4 * channels[0]) if conditions else None
        # the untrained network is the filter alone
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)
        # until `learn_prior`, independent pixels: the filter is then EDM's own c_skip
        self.register_buffer("mean", torch.zeros(image_channels, size, size))
        self.register_buffer("spectrum", torch.full((image_channels, size, size), sigma_data**2))
        self.register_buffer("dct", dct_matrix(size), persistent=False)
        self.noise = {"sigma_data": sigma_data, "sigma_min": sigma_min, "sigma_max": sigma_max}

    @torch.no_grad()
    def learn_prior(self, pixels: Tensor) -> None:
        """Takes mean picture and DCT spectrum from training pixels `(N, C, size, size)` in [-1, 1]."""
        self.mean.copy_(pixels.mean(dim=0))
        self.spectrum.copy_((self.dct @ (pixels - self.mean) @ self.dct.T).square().mean(dim=0) + 1e-8)

    def wiener(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """The best linear denoiser: each DCT coefficient of variance S shrunk by S / (S + sigma^2).

        Args:
            noisy: `(N, C, size, size)`.
            sigma: `(N, 1, 1, 1)`.
        """
        gain = self.spectrum / (self.spectrum + sigma.square())
        return self.mean + self.dct.T @ (gain * (self.dct @ (noisy - self.mean) @ self.dct.T)) @ self.dct

    def scheduler(self) -> EDMDPMSolverMultistepScheduler:
        """A fresh second-order multistep solver (DPM-Solver++ 2M) for this network's noise levels."""
        return EDMDPMSolverMultistepScheduler(**self.noise, sigma_schedule="karras", final_sigmas_type="zero")

    def forward(
        self, scaled: Tensor, noise_level: Tensor, condition: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """The raw network of EDM, F(c_in x; c_noise).

        Args:
            scaled: `(N, C, size, size)` noisy pixels times c_in.
            noise_level: `(N,)` c_noise, that is ln(sigma) / 4.
            condition: `(N, K)` float32; None for a network without conditions.
            context: `(N, context, size, size)`, about [-1, 1], shown at every noise level; None for a network without.

        Returns:
            `(N, C, size, size)`: what `scheduler.precondition_outputs` turns into the denoised picture.
        """
        data = self.noise["sigma_data"]
        with torch.autocast(scaled.device.type, enabled=False):
            sigma = torch.exp(4.0 * noise_level.float())[:, None, None, None]
            total = (sigma.square() + data**2).sqrt()
            noisy = scaled.float() * total
            linear = self.wiener(noisy, sigma)
            # in the frame of F: (D - c_skip x) / c_out
            skip = (linear - (data / total).square() * noisy) * total / (sigma * data)
        seen = [scaled, linear / data, *([] if context is None else [context])]
        folded = F.pixel_unshuffle(torch.cat(seen, dim=1), self.fold)
        # the U-Net's sinusoidal embedding was made for timesteps of 0 to 1000
        told = None if self.condition is None else self.condition(condition)
        out = self.unet(folded, 1000.0 * noise_level, class_labels=told).sample
        return F.pixel_shuffle(out, self.fold) + skip


def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix: `dct @ x` transforms columns; its transpose is the inverse."""
    k, n = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)[None]
    matrix = torch.cos(math.pi * (n + 0.5) * k / size) * math.sqrt(2.0 / size)
    matrix[0] /= math.sqrt(2.0)
    return matrix.float()


def build(net: dict[str, Any]) -> FoldedUNet:
    """The untrained network that `card.net` describes; its key `autoencoder` makes it work on latents."""
    options = dict(net)
    inner = options.pop("autoencoder", None)
    network = FoldedUNet(**options)
    autoencoder.attach(network, inner)
    return network


class DiffusionSampler:
    """Draws from a trained diffusion model."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = runtime.trained(card, build)

    def predict(self, scaled: Tensor, noise_level: Tensor, condition: Tensor, guidance: float | None) -> Tensor:
        """Network output with classifier-free guidance (Ho 2022, arXiv:2207.12598): null + g (told - null)."""
        levels = noise_level.expand(len(scaled))
        output = runtime.evaluate(self.network, scaled, levels, condition)
        if guidance in (None, 1.0) or not condition.any():
            return output
        unguided = runtime.evaluate(self.network, scaled, levels, torch.zeros_like(condition))
        return unguided + guidance * (output - unguided)

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Denoises all images of the request in lockstep; `preview()` shows them as the network now sees them."""
        request = request.checked(self.card)
        assert request.steps is not None
        scheduler = self.network.scheduler()
        scheduler.set_timesteps(request.steps)
        held = Held.of(request, self.card, self.network)
        noise = runtime.gaussian(tuple(self.network.mean.shape), request.seeds, request.towards, request.mix)
        state = noise * scheduler.init_noise_sigma
        condition = runtime.conditions(self.card, request)

        def pictures(clean: Tensor) -> ImageSet:
            made = runtime.to_images(autoencoder.to_pixels(self.network, clean), self.card, request)
            return made if held is None else held.join(made)

        for index, noise_level in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(state, noise_level)
            output = self.predict(scaled, noise_level, condition, request.guidance)
            noisy, sigma = state, scheduler.sigmas[index]
            if held is not None:
                output = held.fast(scheduler, noisy, output, sigma)
            state = scheduler.step(output, noise_level, state).prev_sample
            if on_step is not None:

                def preview(noisy: Tensor = noisy, output: Tensor = output, sigma: Tensor = sigma) -> ImageSet:
                    return pictures(scheduler.precondition_outputs(noisy, output, sigma))

                on_step(index + 1, request.steps, preview)
        return pictures(state)


def load(card: ModelCard) -> DiffusionSampler:
    """The trained diffusion model of `card`."""
    return DiffusionSampler(card)
