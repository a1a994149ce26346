"""The networks of the translators: `medgen.translator` samples them, the scripts of `train/` train them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import EDMDPMSolverMultistepScheduler
from torch import Tensor, nn

from medgen.diffusion_networks import FoldedUNet
from medgen.solver import Levels


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with group normalisation around a shortcut.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(outputs // 16, outputs) for _ in range(2))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` -> `(N, outputs, H, W)`."""
        y = F.silu(self.norms[0](self.first(x)))
        return F.silu(self.norms[1](self.second(y)) + self.shortcut(x))


class TranslationUNet(nn.Module):
    """A U-Net (Ronneberger 2015, arXiv:1505.04597) from one picture to another.

    Args:
        fold: pixels folded into channels at both ends; 2 makes 64x64x4 of 128x128.
        channels: of the levels, multiples of 16; each level has half the size of the one before.
        inputs: channels of what it sees.
    """

    def __init__(self, fold: int = 2, channels: tuple[int, ...] = (48, 96, 160, 224), inputs: int = 1) -> None:
        super().__init__()
        self.fold = fold
        # enough zeros around for every halving
        self.multiple = fold * 2 ** (len(channels) - 1)
        self.entrance = nn.Conv2d(inputs * fold * fold, channels[0], 3, padding=1)
        self.down = nn.ModuleList([ConvBlock(channels[0], channels[0])])
        self.down.extend(ConvBlock(a, b) for a, b in pairwise(channels))
        self.up = nn.ModuleList(ConvBlock(b + a, a) for a, b in reversed(list(pairwise(channels))))
        self.exit = nn.Conv2d(channels[0], fold * fold, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """`(N, inputs, H, W)` in [-1, 1] -> `(N, 1, H, W)`, about [-1, 1]; H and W are multiples of `multiple`."""
        x = self.entrance(F.pixel_unshuffle(picture, self.fold))
        kept = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else F.avg_pool2d(x, 2))
            kept.append(x)
        kept.pop()
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), kept.pop()], dim=1))
        return F.pixel_shuffle(self.exit(x), self.fold)


class ResidualGenerator(nn.Module):
    """CycleGAN's generator: down, residual blocks, up; instance normalisation (arXiv:1703.10593, appendix 7.2).

    Args:
        fold: pixels folded into channels at both ends.
        width: channels at the entrance; doubled when the size is halved.
        blocks: residual blocks at half the folded size.
        skip: whether the network adds to its input, which untrained it gives back, instead of drawing anew.
    """

    def __init__(self, fold: int = 2, width: int = 48, blocks: int = 6, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        self.fold, self.multiple = fold, 2 * fold

        def conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
            made = nn.Conv2d(inputs, outputs, 3, stride, 1)
            return [made, nn.InstanceNorm2d(outputs, affine=True)]

        inside = 2 * width
        self.entrance = nn.Sequential(
            *conv(fold * fold, width), nn.ReLU(True), *conv(width, inside, stride=2), nn.ReLU(True)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*conv(inside, inside), nn.ReLU(True), *conv(inside, inside)) for _ in range(blocks)
        )
        self.rise = nn.Sequential(*conv(inside, width), nn.ReLU(True))
        self.exit = nn.Conv2d(2 * width, fold * fold, 3, padding=1)
        self.thin = nn.Sequential(*conv(fold * fold, width), nn.ReLU(True))
        if skip:
            for parameter in self.exit.parameters():
                nn.init.zeros_(parameter)

    def forward(self, picture: Tensor) -> Tensor:
        """`(N, 1, H, W)` in [-1, 1] -> `(N, 1, H, W)`, about [-1, 1]; H and W are multiples of `multiple`."""
        folded = F.pixel_unshuffle(picture, self.fold)
        x = self.entrance(folded)
        for block in self.blocks:
            x = x + block(x)
        x = self.rise(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        # fine detail past the blocks, which work at a quarter of the size
        out = self.exit(torch.cat([x, self.thin(folded)], dim=1))
        out = F.pixel_shuffle(out, self.fold)
        return picture + out if self.skip else torch.tanh(out)


class ResidualDiffusion(nn.Module):
    """A U-Net's answer, how sure it is of each pixel, and a diffusion model of what it leaves out (arXiv:2309.15214).

    What is denoised is the residual in units of its expected size at that pixel. Without these units the background,
    where nothing is left out, and the scalp, where much is, would get the same noise.

    Args:
        regression: keyword arguments of the `TranslationUNet` that answers; frozen.
        uncertainty: the same of a small one that sees source and answer and says ln of the residual's expected size.
        denoiser: keyword arguments of the `FoldedUNet`; its context is source and answer.
    """

    gain: Tensor
    DATA = 0.5
    """Standard deviation of what is denoised."""
    RANGE = (-3.0, 1.0)
    """Of ln of the expected size. A twentieth at least: below lies the noise of the air around the head, which would
    otherwise be half of all that is denoised, and give the rest its white spectrum."""

    def __init__(self, regression: dict[str, Any], uncertainty: dict[str, Any], denoiser: dict[str, Any]) -> None:
        super().__init__()
        self.regression = TranslationUNet(**regression)
        self.uncertainty = TranslationUNet(**uncertainty, inputs=2)
        self.denoiser = FoldedUNet(**denoiser, sigma_data=self.DATA, context=2)
        # units of patients of the train split, and how much larger the residual of others is
        self.register_buffer("gain", torch.ones(2))

    @property
    def levels(self) -> Levels:
        """The noise levels of what is denoised."""
        return self.denoiser.levels

    def scheduler(self) -> EDMDPMSolverMultistepScheduler:
        """diffusers' solver for these noise levels, for training."""
        return self.denoiser.scheduler()

    def answer(self, picture: Tensor) -> Tensor:
        """The U-Net's one-pass translation, `(N, 1, H, W)` -> the same."""
        return self.regression(picture)

    def unit(self, picture: Tensor, answer: Tensor) -> Tensor:
        """Expected size of the residual at each pixel, `(N, 1, H, W)`, pictures in [-1, 1]."""
        said = self.uncertainty(torch.cat([picture, answer], dim=1)).float()
        return said.clamp(*self.RANGE).exp() * (self.gain[0] / self.DATA)

    def expected(self, picture: Tensor, answer: Tensor) -> Tensor:
        """`unit` for people the network has not seen."""
        return self.unit(picture, answer) * self.gain[1]

    def forward(self, scaled: Tensor, noise_level: Tensor, picture: Tensor, answer: Tensor) -> Tensor:
        """The raw network of EDM, F(c_in x; c_noise), which sees the source and the answer.

        Args:
            scaled: `(N, 1, H, W)` noisy residual, in its units, times c_in.
            noise_level: `(N,)` c_noise, that is ln(sigma) / 4.
            picture: `(N, 1, H, W)` the source in [-1, 1].
            answer: `(N, 1, H, W)` of `answer(picture)`.
        """
        return self.denoiser(scaled, noise_level, context=2.0 * torch.cat([picture, answer], dim=1))
