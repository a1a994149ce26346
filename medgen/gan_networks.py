"""The generators of the GAN family; the style-based one is in `medgen/stylegan.py`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medgen.autoencoder import Autoencoder
from medgen.stylegan import StyleGenerator


class DCGenerator(nn.Module):
    """DCGAN generator: transposed convolutions from 1x1 to `size`, batch normalisation, ReLU, tanh.

    Args:
        size: height and width of the image in pixels, a power of two.
        width: channels at half the image size; doubled at each lower size (ngf in the paper's code).
        latent: length of the latent vector.
        conditions: columns of `Conditions`, K of them, put beside the latent vector (arXiv:1411.1784); none =
            unconditional.
    """

    autoencoder: Autoencoder | None

    def __init__(self, size: int = 128, width: int = 48, latent: int = 128, conditions: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.latent = latent
        self.told = len(conditions)
        levels = size.bit_length() - 3  # doublings from 4x4 to size
        channels = [width * 2**level for level in reversed(range(levels))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent + self.told, channels[0], 4, 1, 0, bias=False)]
        for here, there in zip(channels, [*channels[1:], None], strict=True):
            layers += [nn.BatchNorm2d(here), nn.ReLU(inplace=True)]
            out = 1 if there is None else there
            layers += [nn.ConvTranspose2d(here, out, 4, 2, 1, bias=there is None)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """`(N, latent)`, `(N, K)` -> `(N, 1, size, size)` in [-1, 1]; None = zeros. Unconditional, it ignores them."""
        if self.told:
            told = latent.new_zeros(len(latent), self.told) if condition is None else condition
            latent = torch.cat([latent, told], dim=1)
        return self.layers(latent[:, :, None, None])


ARCHITECTURES: dict[str, type[DCGenerator] | type[StyleGenerator]] = {"dcgan": DCGenerator, "stylegan2": StyleGenerator}
