"""The network of the diffusion models of pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from medgen.autoencoder import Autoencoder
from medgen.denoiser import Denoiser, dct_matrix
from medgen.solver import PICTURES, Levels


class FoldedUNet(Denoiser):
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

    cosines: Tensor
    autoencoder: Autoencoder | None

    def __init__(
        self,
        size: int = 128,
        fold: int = 4,
        channels: tuple[int, ...] = (96, 160, 192),
        layers: int = 1,
        attention: tuple[bool, ...] = (False, True, True),
        conditions: tuple[str, ...] = (),
        sigma_data: float = PICTURES.sigma_data,
        sigma_min: float = PICTURES.sigma_min,
        sigma_max: float = PICTURES.sigma_max,
        image_channels: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__((image_channels, size, size), Levels(sigma_data, sigma_min, sigma_max))
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
        self.register_buffer("cosines", dct_matrix(size), persistent=False)

    def dct(self, values: Tensor, inverse: bool = False) -> Tensor:
        """The orthonormal DCT of `(N, C, size, size)`, or its inverse."""
        cosines = self.cosines.T if inverse else self.cosines
        return cosines @ values @ cosines.T

    @torch.no_grad()
    def learn_prior(self, pixels: Tensor) -> None:
        """Takes mean picture and DCT spectrum from training pixels `(N, C, size, size)` in [-1, 1]."""
        self.mean.copy_(pixels.mean(dim=0))
        self.spectrum.copy_(self.dct(pixels - self.mean).square().mean(dim=0) + 1e-8)

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
            `(N, C, size, size)`: what `solver.denoised` turns into the denoised picture.
        """
        guess, skip = self.linear(scaled, noise_level)
        seen = [scaled, guess, *([] if context is None else [context])]
        folded = F.pixel_unshuffle(torch.cat(seen, dim=1), self.fold)
        # the U-Net's sinusoidal embedding was made for timesteps of 0 to 1000
        told = None if self.condition is None else self.condition(condition)
        out = self.unet(folded, 1000.0 * noise_level, class_labels=told).sample
        return F.pixel_shuffle(out, self.fold) + skip
