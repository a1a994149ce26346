"""Diffusion models: a picture is denoised in a few steps from pure noise.

`train/diffusion.py` trains what this file samples. The network predicts in the frame of EDM (Karras 2022,
arXiv:2206.00364), on pixels folded into channels (pixel-unshuffle), which is what makes a step cheap on a CPU.

| name here | name in the paper |
|---|---|
| sigma | noise level, in units of pixels in [-1, 1] |
| sigma_data | standard deviation of the data |
| precondition_* of the scheduler | c_in, c_noise, c_skip and c_out of table 1 |
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from medgen import runtime
from medgen.card import ModelCard
from medgen.generator import OnStep, Request
from medgen.image import ImageSet


class FoldedUNet(nn.Module):
    """diffusers' U-Net on pixels folded `fold` x `fold` into channels.

    Args:
        size: height and width of the image in pixels.
        fold: pixel-unshuffle factor; 4 turns 128x128x1 into 32x32x16.
        channels: of the U-Net's levels, first at `size / fold`.
        layers: residual blocks a level.
        attention: which levels attend.
        labels: number of labels; one more index stands for "no label".
        sigma_data: standard deviation of the training pixels in [-1, 1].
        sigma_min: the last noise level.
        sigma_max: the first.
    """

    def __init__(
        self,
        size: int = 128,
        fold: int = 4,
        channels: tuple[int, ...] = (96, 160, 192),
        layers: int = 1,
        attention: tuple[bool, ...] = (False, True, True),
        labels: int = 0,
        sigma_data: float = 0.5,
        sigma_min: float = 0.01,
        sigma_max: float = 80.0,
    ) -> None:
        super().__init__()
        self.fold = fold
        self.unet = UNet2DModel(
            sample_size=size // fold,
            in_channels=fold * fold,
            out_channels=fold * fold,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            attention_head_dim=64,
            norm_num_groups=16,
            num_class_embeds=labels + 1,
        )
        self.noise = {"sigma_data": sigma_data, "sigma_min": sigma_min, "sigma_max": sigma_max}

    def scheduler(self) -> EDMDPMSolverMultistepScheduler:
        """A fresh second-order multistep solver (DPM-Solver++ 2M) for this network's noise levels."""
        return EDMDPMSolverMultistepScheduler(**self.noise, sigma_schedule="karras", final_sigmas_type="zero")

    def forward(self, scaled: Tensor, noise_level: Tensor, label: Tensor) -> Tensor:
        """The raw network of EDM, F(c_in x; c_noise).

        Args:
            scaled: `(N, 1, size, size)` noisy pixels times c_in.
            noise_level: `(N,)` c_noise, that is ln(sigma) / 4.
            label: `(N,)` int64.

        Returns:
            `(N, 1, size, size)`: what `scheduler.precondition_outputs` turns into the denoised picture.
        """
        folded = F.pixel_unshuffle(scaled, self.fold)
        # the U-Net's sinusoidal embedding was made for timesteps of 0 to 1000
        out = self.unet(folded, 1000.0 * noise_level, class_labels=label).sample
        return F.pixel_shuffle(out, self.fold)


def build(net: dict[str, Any]) -> FoldedUNet:
    """The untrained network that `card.net` describes."""
    return FoldedUNet(**net)


class DiffusionSampler:
    """Draws from a trained diffusion model."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = runtime.trained(card, build)

    def predict(self, scaled: Tensor, noise_level: Tensor, request: Request) -> Tensor:
        """Network output with classifier-free guidance (Ho 2022, arXiv:2207.12598): null + g (label - null)."""
        count = len(scaled)
        levels = noise_level.expand(count)
        labels = runtime.label_indices(request.label, self.card.labels, count)
        output = runtime.evaluate(self.network, scaled, levels, labels)
        if request.label is None or request.guidance in (None, 1.0):
            return output
        null = runtime.label_indices(None, self.card.labels, count)
        unguided = runtime.evaluate(self.network, scaled, levels, null)
        return unguided + request.guidance * (output - unguided)

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Denoises all images of the request in lockstep; `preview()` shows them as the network now sees them."""
        request = request.checked(self.card)
        assert request.steps is not None
        scheduler = self.network.scheduler()
        scheduler.set_timesteps(request.steps)
        noise = runtime.gaussian(self.card.shape, request.seeds, request.towards, request.mix)
        pixels = noise * scheduler.init_noise_sigma
        for index, noise_level in enumerate(scheduler.timesteps):
            output = self.predict(scheduler.scale_model_input(pixels, noise_level), noise_level, request)
            noisy, sigma = pixels, scheduler.sigmas[index]
            pixels = scheduler.step(output, noise_level, pixels).prev_sample
            if on_step is not None:

                def preview(noisy: Tensor = noisy, output: Tensor = output, sigma: Tensor = sigma) -> ImageSet:
                    denoised = scheduler.precondition_outputs(noisy, output, sigma)
                    return runtime.to_images(denoised, self.card, request)

                on_step(index + 1, request.steps, preview)
        return runtime.to_images(pixels, self.card, request)


def load(card: ModelCard) -> DiffusionSampler:
    """The trained diffusion model of `card`."""
    return DiffusionSampler(card)
