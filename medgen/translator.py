"""Translators: a slice in one contrast becomes the same slice in another.

`train/unet.py`, `train/pix2pix.py`, `train/cyclegan.py` and `train/residual.py` train what this file samples.

| method | network | trained by |
|---|---|---|
| unet | U-Net, one pass | L1 alone: the baseline, and often the best PSNR |
| pix2pix | the same U-Net | L1 and a patch discriminator (Isola 2017, arXiv:1611.07004) |
| cyclegan | residual network, one pass | unpaired: two discriminators, the way back (Zhu 2017, arXiv:1703.10593) |
| diffusion | the U-Net, and a diffusion model of what it leaves out | denoising (CorrDiff, arXiv:2309.15214) |

All are convolutional on pixels folded into channels (pixel-unshuffle), which is what makes them cheap on a CPU.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from medgen import runtime
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import OnStep, Request
from medgen.image import ImageSet

METHODS = ("unet", "pix2pix", "cyclegan", "diffusion")


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
    """

    def __init__(self, fold: int = 2, channels: tuple[int, ...] = (48, 96, 160, 224)) -> None:
        super().__init__()
        self.fold = fold
        # enough zeros around for every halving
        self.multiple = fold * 2 ** (len(channels) - 1)
        self.entrance = nn.Conv2d(fold * fold, channels[0], 3, padding=1)
        self.down = nn.ModuleList([ConvBlock(channels[0], channels[0])])
        self.down.extend(ConvBlock(a, b) for a, b in pairwise(channels))
        self.up = nn.ModuleList(ConvBlock(b + a, a) for a, b in reversed(list(pairwise(channels))))
        self.exit = nn.Conv2d(channels[0], fold * fold, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """`(N, 1, H, W)` in [-1, 1] -> `(N, 1, H, W)`, about [-1, 1]; H and W are multiples of `multiple`."""
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
            nn.init.zeros_(self.exit.weight)
            nn.init.zeros_(self.exit.bias)

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
    """A U-Net's answer, and a diffusion model of what that answer leaves out, in the frame of EDM (arXiv:2206.00364).

    Args:
        regression: keyword arguments of the `TranslationUNet`.
        size: height and width of the picture in pixels.
        fold: pixel-unshuffle factor of the diffusion model.
        channels: of the levels of its U-Net.
        layers: residual blocks a level.
        attention: which levels attend.
        residual: standard deviation of target minus answer, pictures in [-1, 1]; what is denoised has 0.5.
        sigma_min: the last noise level.
        sigma_max: the first.
    """

    DATA = 0.5

    def __init__(
        self,
        regression: dict[str, Any],
        size: int = 128,
        fold: int = 4,
        channels: tuple[int, ...] = (96, 160, 192),
        layers: int = 1,
        attention: tuple[bool, ...] = (False, False, True),
        residual: float = 0.1,
        sigma_min: float = 0.02,
        sigma_max: float = 20.0,
    ) -> None:
        super().__init__()
        self.regression = TranslationUNet(**regression)
        self.size, self.fold, self.residual = size, fold, residual
        self.multiple = fold * 2 ** (len(channels) - 1)
        self.unet = UNet2DModel(
            sample_size=size // fold,
            in_channels=3 * fold * fold,  # what is noisy, the source, the answer
            out_channels=fold * fold,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
            attention_head_dim=64,
            norm_num_groups=16,
        )
        # untrained, the skip connection of EDM alone
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)
        self.noise = {"sigma_data": self.DATA, "sigma_min": sigma_min, "sigma_max": sigma_max}

    def scheduler(self) -> EDMDPMSolverMultistepScheduler:
        """A fresh second-order multistep solver (DPM-Solver++ 2M) for this network's noise levels."""
        return EDMDPMSolverMultistepScheduler(**self.noise, sigma_schedule="karras", final_sigmas_type="zero")

    def answer(self, picture: Tensor) -> Tensor:
        """The U-Net's one-pass translation, `(N, 1, H, W)` -> the same."""
        return self.regression(picture)

    def scaled(self, target: Tensor, answer: Tensor) -> Tensor:
        """What is denoised: the residual in units in which its standard deviation is 0.5."""
        return (target - answer) * (self.DATA / self.residual)

    def joined(self, answer: Tensor, scaled: Tensor) -> Tensor:
        """The inverse of `scaled`: the translated picture."""
        return answer + scaled * (self.residual / self.DATA)

    def forward(self, scaled: Tensor, noise_level: Tensor, picture: Tensor, answer: Tensor) -> Tensor:
        """The raw network of EDM, F(c_in x; c_noise), which sees the source and the answer.

        Args:
            scaled: `(N, 1, H, W)` noisy residual times c_in.
            noise_level: `(N,)` c_noise, that is ln(sigma) / 4.
            picture: `(N, 1, H, W)` the source in [-1, 1].
            answer: `(N, 1, H, W)` of `answer(picture)`.
        """
        seen = torch.cat([scaled, 2.0 * picture, 2.0 * answer], dim=1)
        out = self.unet(F.pixel_unshuffle(seen, self.fold), 1000.0 * noise_level).sample
        return F.pixel_shuffle(out, self.fold)


Network = TranslationUNet | ResidualGenerator | ResidualDiffusion
_CLASSES: dict[str, type[Network]] = {
    "unet": TranslationUNet,
    "pix2pix": TranslationUNet,
    "cyclegan": ResidualGenerator,
    "diffusion": ResidualDiffusion,
}


def build(net: dict[str, Any]) -> Network:
    """The untrained network that `card.net` describes; its key `method` names the class."""
    options = dict(net)
    method = options.pop("method", None)
    if method not in _CLASSES:
        raise MedgenError(f"Unknown method of translation {method!r}; known: {', '.join(_CLASSES)}.")
    return _CLASSES[method](**options)


class Translator:
    """Draws translations of the pictures in `request.source`."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.network = runtime.trained(card, build)

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Translation i is of source i, or of the only source, and depends on nothing else but `request.seeds[i]`.

        Raises:
            MedgenError: no source, or one of another modality, shape or number.
        """
        request = request.checked(self.card)
        pictures = entrance(request, self.card)
        subjects = request.source.subjects if request.source and len(request.source) == len(request.seeds) else None

        def images(made: Tensor) -> ImageSet:
            return from_network(made, self.card, subjects)

        if isinstance(self.network, ResidualDiffusion):
            return images(self._denoised(self.network, pictures, request, on_step, images))
        total, group = len(pictures), runtime.group_size()
        made = torch.zeros_like(pictures) - 1.0
        for start in range(0, total, group):
            part = slice(start, start + group)
            made[part] = runtime.evaluate(self.network, pictures[part])
            if on_step is not None:
                on_step(min(start + group, total), total, lambda: images(made))
        return images(made)

    def _denoised(
        self, network: ResidualDiffusion, pictures: Tensor, request: Request, on_step: OnStep | None, images: Any
    ) -> Tensor:
        assert request.steps is not None
        scheduler = network.scheduler()
        scheduler.set_timesteps(request.steps)
        answer = runtime.evaluate(network.answer, pictures)
        state = runtime.gaussian(tuple(pictures.shape[1:]), request.seeds) * scheduler.init_noise_sigma
        for index, level in enumerate(scheduler.timesteps):
            scaled = scheduler.scale_model_input(state, level)
            output = runtime.evaluate(network, scaled, level.expand(len(state)), pictures, answer)
            noisy, sigma = state, scheduler.sigmas[index]
            state = scheduler.step(output, level, state).prev_sample
            if on_step is not None:

                def preview(noisy: Tensor = noisy, output: Tensor = output, sigma: Tensor = sigma) -> ImageSet:
                    return images(network.joined(answer, scheduler.precondition_outputs(noisy, output, sigma)))

                on_step(index + 1, request.steps, preview)
        return network.joined(answer, state)


def entrance(request: Request, card: ModelCard) -> Tensor:
    """The source of a request as the network takes it: one picture a seed, `(N, 1, H, W)` in [-1, 1].

    HU go through the window that the model knows; MR, whose numbers mean nothing by themselves, through their own.

    Raises:
        MedgenError: no source, or one of another modality, shape or number.
    """
    source, wanted = request.source, card.translates
    if source is None:
        raise MedgenError(f"{card.name} needs a {wanted['source']} picture to translate; give the request a source.")
    if source.modality != wanted["modality"] or (source.unit == "HU") != (wanted["unit"] == "HU"):
        raise MedgenError(
            f"{card.name} translates {wanted['source']} ({wanted['modality']}, {wanted['unit']}), not "
            f"{source.modality} in {source.unit}; choose another model or another picture."
        )
    if source.pixels.shape[1:] != card.shape:
        raise MedgenError(
            f"{card.name} takes pictures of {' x '.join(map(str, card.shape))}, not "
            f"{' x '.join(map(str, source.pixels.shape[1:]))}; bring them to its grid first."
        )
    if len(source) not in (1, len(request.seeds)):
        raise MedgenError(
            f"Give one seed a picture, or one picture: {len(request.seeds)} seeds, {len(source)} pictures."
        )
    if not np.isfinite(source.pixels).all():
        raise MedgenError("The picture to translate holds NaN or infinite pixels; replace them by the background.")
    if wanted["unit"] == "HU":
        low, high = wanted["window"]
        pixels = (np.clip(source.pixels, low, high) - low) / (high - low)
    else:
        pixels = source.unit_range()
    # (N, 1, H, W) [0, 1] -> [-1, 1]
    return torch.from_numpy(np.asarray(2.0 * pixels - 1.0, np.float32)).expand(len(request.seeds), -1, -1, -1).clone()


def from_network(made: Tensor, card: ModelCard, subjects: tuple[str, ...] | None) -> ImageSet:
    """`(N, 1, H, W)` in [-1, 1] -> images in the unit of the card, clipped to its window."""
    low, high = card.window
    scaled = (made.clamp(-1.0, 1.0) + 1.0) * (0.5 * (high - low)) + low
    return ImageSet(scaled.numpy().astype("float32"), card.modality, card.unit, card.window, subjects=subjects)


def load(card: ModelCard) -> Translator:
    """The trained translator of `card`."""
    return Translator(card)
