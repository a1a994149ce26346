"""What the two networks of a GAN want: the logistic loss, or the Wasserstein distance with a gradient penalty."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[..., Tensor]


def logistic_judge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss from its logits `(N,)` (arXiv:1406.2661)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def logistic_maker(fake: Tensor) -> Tensor:
    """The generator's, which does not saturate."""
    return F.softplus(-fake).mean()


def wasserstein_judge(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's: minus its estimate of the distance between real and generated pictures (arXiv:1701.07875)."""
    return fake.mean() - real.mean()


def wasserstein_maker(fake: Tensor) -> Tensor:
    """The generator's."""
    return -fake.mean()


LOSSES: dict[str, tuple[Loss, Loss]] = {
    "logistic": (logistic_judge, logistic_maker),
    "wasserstein": (wasserstein_judge, wasserstein_maker),
}


def share_of(rest: Tensor, theirs: Tensor, last: Tensor, share: float) -> Tensor:
    """A loss scaled until its gradient is `share` times that of the other terms.

    Both gradients are taken at the weights of the last layer (VQGAN, arXiv:2012.09841, equation 7). Taken at the
    pixels, the scale let a coherent push on the brightness through: an autoencoder was lost within 500 images.

    Args:
        rest: sum of the other terms.
        theirs: what is scaled, as the adversarial loss.
        last: weights that both depend on.
        share: of the gradient.
    """
    (ours,) = torch.autograd.grad(rest, last, retain_graph=True)
    (found,) = torch.autograd.grad(theirs, last, retain_graph=True)
    return share * (ours.norm() / (found.norm() + 1e-6)).clamp(0.0, 1e4) * theirs


def gradient_penalty(discriminator: nn.Module, pixels: Tensor, told: Tensor) -> Tensor:
    """R1: squared gradient of the real logits by their pixels (Mescheder 2018, arXiv:1801.04406), in float32."""
    return _slopes_squared(discriminator, pixels, told).mean()


def lipschitz_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, told: Tensor, mix: Tensor) -> Tensor:
    """How far the slope of the critic is from 1 between real and generated pictures (WGAN-GP, Gulrajani 2017,
    arXiv:1704.00028, algorithm 1), in float32.

    Args:
        discriminator: the critic.
        real: `(N, C, H, W)`.
        fake: `(N, C, H, W)`, told the same as `real`.
        told: `(N, K)`.
        mix: `(N,)` in [0, 1): where between the two, epsilon in the paper.
    """
    between = torch.lerp(fake.detach().float(), real.float(), mix[:, None, None, None])
    slopes = (_slopes_squared(discriminator, between, told) + 1e-12).sqrt()
    return (slopes - 1.0).square().mean()


def _slopes_squared(discriminator: nn.Module, pixels: Tensor, told: Tensor) -> Tensor:
    """`(N,)` squared norm of the gradient of each logit by its pixels, itself differentiable."""
    pixels = pixels.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(pixels, told).sum(), pixels, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))
