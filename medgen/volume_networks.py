"""The three networks that make volumes: an autoencoder, a U-Net in its latents, and a generator (GAN).

All work on voxels folded 2 x 2 x 2 into channels, so that no convolution runs at full size: on a CPU this is what makes
a volume cheap. What they are told of a volume is `(N, 2)`: a quantity in standard deviations from its mean, and 1, or
two zeros where nobody said.

`train/volume_vae.py`, `train/volume_ldm.py` and `train/volume_gan.py` train them; `medgen/volume_models.py` samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import Tensor, nn

from medgen.denoiser import Denoiser, dct_matrix
from medgen.solver import VOLUMES, Levels

FOLD = 2
FACTOR = 2 * FOLD
"""Voxels along a side of one latent element."""
TOLD = 2  # numbers a network is told of a volume


def fold(voxels: Tensor, by: int = FOLD) -> Tensor:
    """`(N, C, X, Y, Z)` -> `(N, C * by^3, X / by, Y / by, Z / by)`: space to depth."""
    count, channels, *sides = voxels.shape
    x, y, z = (side // by for side in sides)
    parts = voxels.reshape(count, channels, x, by, y, by, z, by).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return parts.reshape(count, channels * by**3, x, y, z)


def unfold(folded: Tensor, by: int = FOLD) -> Tensor:
    """The inverse of `fold`: depth to space."""
    count, channels, x, y, z = folded.shape
    parts = folded.reshape(count, channels // by**3, by, by, by, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return parts.reshape(count, channels // by**3, x * by, y * by, z * by)


class VolumeAutoencoder(nn.Module):
    """MONAI's AutoencoderKL on folded voxels, and the scale that brings latents to mean 0 and variance 1.

    Args:
        latent_channels: of the latent; that of an X x Y x Z volume is `(latent_channels, X / 4, Y / 4, Z / 4)`.
        channels: at 1/2 and at 1/4 of the volume's size.
        blocks: residual blocks a level.
        encoder: False for a copy that only decodes, as inside a latent diffusion model.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self, latent_channels: int = 4, channels: Sequence[int] = (48, 64), blocks: int = 1, encoder: bool = True
    ) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.coder = AutoencoderKL(
            spatial_dims=3, in_channels=FOLD**3, out_channels=FOLD**3, latent_channels=latent_channels,
            channels=tuple(channels), num_res_blocks=blocks, attention_levels=(False,) * len(channels),
            norm_num_groups=8, with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
        )  # fmt: skip
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1, 1, 1))
        if not encoder:
            for half in ("encoder", "quant_conv_mu", "quant_conv_log_sigma"):
                setattr(self.coder, half, nn.Identity())

    def gaussian(self, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 1, X, Y, Z)` in [-1, 1] -> mean and logarithm of the variance of the latent, not yet scaled."""
        seen = self.coder.encoder(fold(voxels))
        mean, logvar = self.coder.quant_conv_mu(seen), self.coder.quant_conv_log_sigma(seen)
        return mean.float(), logvar.float().clamp(-30.0, 20.0)

    def decoded(self, latent: Tensor) -> Tensor:
        """A latent that is not scaled -> `(N, 1, X, Y, Z)`, about [-1, 1]."""
        return unfold(self.coder.decode(latent))

    def encode(self, voxels: Tensor) -> Tensor:
        """`(N, 1, X, Y, Z)` in [-1, 1] -> latent, the mean, of about unit variance."""
        return (self.gaussian(voxels)[0] - self.latent_mean) / self.latent_std

    def decode(self, latent: Tensor) -> Tensor:
        """Latent `(N, C, x, y, z)` of about unit variance -> `(N, 1, 4x, 4y, 4z)`, about [-1, 1]."""
        return self.decoded(latent * self.latent_std + self.latent_mean)

    @torch.no_grad()
    def learn_scale(self, latents: Tensor) -> None:
        """Takes mean and standard deviation of each channel from unscaled training latents `(N, C, x, y, z)`."""
        self.latent_mean.copy_(latents.mean(dim=(0, 2, 3, 4))[:, None, None, None])
        self.latent_std.copy_(latents.std(dim=(0, 2, 3, 4))[:, None, None, None] + 1e-6)


class LatentGaussian(nn.Module):
    """The Gaussian of the latents of a training set: what an autoencoder is sampled from (arXiv:1903.12436).

    Fitted after training, to the encoded training volumes: their mean, and the principal directions in which they
    differ. It is the joint Gaussian of these and the quantity, so that one can be asked for.

    Args:
        shape: of one latent, `(C, x, y, z)`.
        directions: principal directions kept.
    """

    center: Tensor
    spread: Tensor
    link: Tensor

    def __init__(self, shape: Sequence[int], directions: int = 32) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(*shape))
        self.register_buffer("spread", torch.zeros(directions, *shape))
        self.register_buffer("link", torch.zeros(directions))
        # runtime.evaluate asks a network where it is by its first parameter
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)

    @torch.no_grad()
    def fit(self, latents: Tensor, told: Tensor | None = None) -> None:
        """Takes mean, directions (each as long as its standard deviation) and their correlation with the quantity.

        Args:
            latents: `(N, C, x, y, z)` of the training set.
            told: `(N, 2)`, or None where no quantity is known.
        """
        self.center.copy_(latents.mean(dim=0))
        flat = (latents - self.center).flatten(1).double()
        left, lengths, right = torch.linalg.svd(flat, full_matrices=False)
        kept, root = min(len(self.spread), len(flat) - 1), (len(flat) - 1) ** 0.5
        # which of two opposite directions a decomposition finds is chance
        sign = torch.sign(right[torch.arange(kept), right[:kept].abs().argmax(dim=1)])
        spread = right[:kept] * (sign * lengths[:kept] / root)[:, None]
        self.spread.zero_()
        self.spread[:kept] = spread.float().reshape(kept, *self.center.shape)
        self.link.zero_()
        if told is not None:
            asked = (told[:, 0] - told[:, 0].mean()).double()
            asked = asked / asked.square().sum().sqrt()
            self.link[:kept] = ((left[:, :kept] * sign).T @ asked).float()

    def forward(self, normal: Tensor, told: Tensor) -> Tensor:
        """Standard normal numbers `(N, directions)` and what is asked, `(N, 2)` -> latents `(N, C, x, y, z)`.

        Given the quantity q, the coordinates a of a joint Gaussian with correlations r are r q + (I - r r')^1/2 z.
        """
        explained = self.link.square().sum().clamp(1e-12, 0.98)
        shrink = (1.0 - (1.0 - explained).sqrt()) / explained
        given = normal - shrink * (normal @ self.link)[:, None] * self.link + told[:, :1] * self.link
        coordinates = torch.where(told[:, 1:] > 0, given, normal)
        return self.center + torch.einsum("nk,kcxyz->ncxyz", coordinates, self.spread)


class VolumeVAE(nn.Module):
    """An autoencoder, and the Gaussian of its latents: volumes from normal numbers.

    Args:
        latent: shape of one latent, `(C, x, y, z)`.
        channels: of the autoencoder.
        blocks: of the autoencoder.
        directions: of the Gaussian.
    """

    def __init__(
        self, latent: Sequence[int], channels: Sequence[int] = (48, 64), blocks: int = 1, directions: int = 32
    ) -> None:
        super().__init__()
        self.autoencoder = VolumeAutoencoder(latent[0], channels, blocks)
        self.density = LatentGaussian(latent, directions)
        self.latent = (directions,)

    def forward(self, normal: Tensor, told: Tensor) -> Tensor:
        """`(N, directions)`, `(N, 2)` -> `(N, 1, X, Y, Z)`, about [-1, 1]."""
        return self.autoencoder.decode(self.density(normal, told))


class LatentUNet(Denoiser):
    """The raw network of EDM (arXiv:2206.00364) on latents: a Wiener filter, and MONAI's U-Net for what it cannot know.

    As `FoldedUNet` of `medgen.diffusion_networks`, in three dimensions: until it has learned anything, it draws from a
    Gaussian with the mean and the DCT spectrum of the training latents. What is told enters as constant channels.

    Args:
        latent: shape of one latent, `(C, x, y, z)`.
        channels: of the U-Net's levels.
        blocks: residual blocks a level.
        attention: which levels attend.
        sigma_data: standard deviation of the latents.
        sigma_min: the last noise level.
        sigma_max: the first.
        autoencoder: arguments of the `VolumeAutoencoder` whose latents they are; its decoder is part of this network.
    """

    def __init__(
        self, latent: Sequence[int], channels: Sequence[int] = (48, 96), blocks: int = 1,
        attention: Sequence[bool] = (False, True), sigma_data: float = VOLUMES.sigma_data,
        sigma_min: float = VOLUMES.sigma_min, sigma_max: float = VOLUMES.sigma_max,
        autoencoder: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(latent, Levels(sigma_data, sigma_min, sigma_max))
        self.latent = tuple(latent)
        self.unet = DiffusionModelUNet(
            spatial_dims=3, in_channels=2 * latent[0] + TOLD, out_channels=latent[0], channels=tuple(channels),
            num_res_blocks=blocks, attention_levels=tuple(attention), num_head_channels=channels[-1] // 2,
            norm_num_groups=16,
        )  # fmt: skip
        self.autoencoder = VolumeAutoencoder(**(autoencoder or {}), encoder=False).requires_grad_(False)
        for axis, side in enumerate(latent[1:]):
            self.register_buffer(f"dct{axis}", dct_matrix(side), persistent=False)

    def dct(self, values: Tensor, inverse: bool = False) -> Tensor:
        """The orthonormal DCT along the three axes of `(N, C, x, y, z)`, or its inverse."""
        x, y, z = (getattr(self, f"dct{axis}").T if inverse else getattr(self, f"dct{axis}") for axis in range(3))
        values = values @ z.T
        values = y @ values
        return (x @ values.flatten(3)).unflatten(3, values.shape[3:])

    @torch.no_grad()
    def learn_prior(self, latents: Tensor) -> None:
        """Takes mean and DCT spectrum from training latents `(N, C, x, y, z)`."""
        self.mean.copy_(latents.mean(dim=0))
        # of few subjects a spectrum is noise: averaged with its neighbours
        spectrum = F.avg_pool3d(self.dct(latents - self.mean).square().mean(dim=0), 3, 1, 1, count_include_pad=False)
        self.spectrum.copy_(spectrum + 1e-6)

    def forward(self, scaled: Tensor, noise_level: Tensor, told: Tensor) -> Tensor:
        """F(c_in x; c_noise): noisy latents times c_in `(N, C, x, y, z)`, ln(sigma) / 4 `(N,)`, told `(N, 2)`."""
        guess, skip = self.linear(scaled, noise_level)
        maps = told[:, :, None, None, None].expand(-1, -1, *scaled.shape[2:])
        # MONAI's sinusoidal embedding was made for timesteps of 0 to 1000
        return self.unet(torch.cat([scaled, guess, maps], dim=1), 1000.0 * noise_level) + skip
