"""The classifier of the study: a small ResNet of MONAI, trained for a fixed number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.nets import ResNet
from torch import Tensor, nn

from eval.downstream.plan import Settings
from medgen import runtime
from medgen.border import area_mean
from medgen.errors import MedgenError

Labelled = tuple[Tensor, Tensor]
"""`(N, 1, side, side)` float32 in [-1, 1] and `(N,)` int64."""
_WARM = 0.1


def prepared(images: np.ndarray, truth: np.ndarray, side: int) -> Labelled:
    """`(N, 1, H, W)` uint8 and N classes -> what the network sees.

    Raises:
        MedgenError: H and W are no whole multiple of `side`.
    """
    height, width = images.shape[2:]
    if height != width or height % side:
        raise MedgenError(f"The classifier takes squares of a multiple of {side} pixels, not {height}x{width}.")
    small = area_mean(images.astype(np.float32), height // side) / 127.5 - 1.0
    return torch.from_numpy(small.astype(np.float32)), torch.from_numpy(truth)


def network(settings: Settings, classes: int, seed: int) -> nn.Module:
    """An untrained ResNet (He 2016, arXiv:1512.03385) of one block a stage; equal seeds start from equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: nn.Module = ResNet(
            "basic", [1, 1, 1, 1], list(settings.channels), spatial_dims=2, n_input_channels=1, num_classes=classes,
            conv1_t_size=5, conv1_t_stride=2,
        )  # fmt: skip
    made.to(runtime.device())
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fit(
    net: nn.Module, data: Labelled, steps: int, settings: Settings, random: torch.Generator, augmented: bool = False
) -> None:
    """Trains `net` in place with cross-entropy; every image is seen before one is seen again.

    Raises:
        MedgenError: the loss is not finite.
    """
    device = runtime.device()
    pictures, truth = data[0].to(device), data[1].to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate(steps))
    net.train()
    loss = torch.zeros(())
    for index in _batches(len(truth), steps, settings.batch, random):
        shown = pictures[index.to(device)]
        if augmented:
            shown = augment(shown, torch.rand(len(index), 6, generator=random).to(device))
        loss = F.cross_entropy(net(shown.contiguous(memory_format=torch.channels_last)), truth[index.to(device)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    if not torch.isfinite(loss):
        raise MedgenError("The classifier has diverged: lower the rate in eval.downstream.plan.")


def augment(pictures: Tensor, u: Tensor) -> Tensor:
    """Classical augmentation: tilt of 10 degrees, zoom of 10 %, shift of 6 %, contrast and brightness, at most.

    No flips: a mirrored chest has its heart on the wrong side.

    Args:
        pictures: `(N, 1, H, W)` in [-1, 1].
        u: `(N, 6)` uniform in [0, 1).
    """
    signed = 2.0 * u - 1.0
    angle, zoom = signed[:, 0] * math.pi / 18, 1.0 + 0.1 * signed[:, 1]
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    right, down = 0.12 * signed[:, 2], 0.12 * signed[:, 3]
    theta = torch.stack([torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)], dim=1)
    where = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, where, padding_mode="border", align_corners=False)
    contrast, brightness = 1.0 + 0.2 * signed[:, 4], 0.2 * signed[:, 5]
    return moved * contrast[:, None, None, None] + brightness[:, None, None, None]


@torch.no_grad()
def probabilities(net: nn.Module, pictures: Tensor) -> np.ndarray:
    """`(N, C)` float64, rows sum to 1."""
    net.eval()
    logits = torch.cat([net(part.to(runtime.device())).cpu() for part in pictures.split(64)])
    found: np.ndarray = logits.double().softmax(dim=1).numpy()
    return found


def _batches(count: int, steps: int, batch: int, random: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of indices from permutations of all images, one behind the other."""
    left = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(left) < batch:
            left = torch.cat([left, torch.randperm(count, generator=random)])
        yield left[:batch]
        left = left[batch:]


def _rate(steps: int) -> Callable[[int], float]:
    warm = max(1, round(_WARM * steps))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return share
