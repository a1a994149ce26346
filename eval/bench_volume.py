"""A volume of 64 x 64 x 64 by latent diffusion: MONAI's inferer with 50 DDIM steps against our sampler, one network."""

from __future__ import annotations

import torch
from monai.inferers import LatentDiffusionInferer
from monai.networks.schedulers import DDIMScheduler
from torch import Tensor, nn

import medgen
from medgen import Request, runtime
from medgen.turns import Contest, Way
from medgen.volume_models import build

NAME = "ldm-brain-64"
STEPS = 50
MANY = 10
"""More than the card's own: what those save and cost stands in docs/volume_models.md."""


class Told(nn.Module):
    """Our U-Net as MONAI's inferer calls one: its further input channels (the linear guess, what is told) are zero."""

    def __init__(self, unet: nn.Module, extra: int) -> None:
        super().__init__()
        self.unet, self.extra = unet, extra

    def forward(self, x: Tensor, timesteps: Tensor, context: None = None) -> Tensor:
        """`(N, C, x, y, z)` -> the same."""
        return self.unet(torch.cat([x, x.new_zeros(len(x), self.extra, *x.shape[2:])], dim=1), timesteps)


class Decoder(nn.Module):
    """Our autoencoder as MONAI's inferer calls one."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def decode_stage_2_outputs(self, latent: Tensor) -> Tensor:
        """`(N, C, x, y, z)` -> `(N, 1, 4x, 4y, 4z)`."""
        return self.autoencoder.decode(latent)


def volume_64() -> Contest:
    """In the runtime that is ours."""
    return _contest("volume_64")


def volume_64_torch() -> Contest:
    """What fewer steps alone save."""
    return _contest("volume_64_torch")


def volume_64_openvino() -> Contest:
    """In float32."""
    return _contest("volume_64_openvino")


def _contest(key: str) -> Contest:
    """The stock way first. Its pictures mean nothing (our network was not trained for its schedule); its time does."""
    model = medgen.load(NAME)
    network = runtime.trained(model.card, build)
    channels = network.latent[0]
    unet = Told(network.unet, network.unet.conv_in.conv.in_channels - channels)
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(STEPS)
    inferer = LatentDiffusionInferer(scheduler)

    def stock(seed: int) -> object:
        noise = torch.randn(1, *network.latent, generator=torch.Generator("cpu").manual_seed(seed))
        with torch.inference_mode():
            return inferer.sample(noise, Decoder(network.autoencoder), unet, scheduler, verbose=False)

    def ours(steps: int) -> Way:
        return lambda seed: model.sample(Request(seeds=(seed,), steps=steps))

    name = "medgen, {} DPM-Solver++ steps"
    return Contest(
        {
            f"MONAI inferer, {STEPS} DDIM steps": stock,
            **{name.format(steps): ours(steps) for steps in (model.card.steps, MANY)},
        },
        ratios={key: name.format(model.card.steps)},
    )
