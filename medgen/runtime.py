"""One way to evaluate a torch network on a batch, such that no image depends on its neighbours.

Convolution and matrix kernels choose their order of summation from the shape of the batch and from the number of
threads, so the same image gets other last bits in another batch. On a CPU every image therefore has its own call on
one thread, and the images, not the kernels, are spread over the cores: exact in any batch, order and number of threads.
On a GPU every call has the same padded batch shape and full float32: meant to be exact in any order on one device. No
GPU has checked that yet, nor how far it is from the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from medgen import compiled, weights
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet

GPU_BATCH = 16
Network = TypeVar("Network", bound=nn.Module)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU. `MEDGEN_DEVICE` overrides.

    Raises:
        MedgenError: `MEDGEN_DEVICE` names no device.
    """
    if name := os.environ.get("MEDGEN_DEVICE"):
        try:
            return torch.device(name)
        except RuntimeError as error:
            raise MedgenError(f"MEDGEN_DEVICE={name} is no device; use cpu, cuda or mps.") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _cores() -> int:
    """CPU cores to use; `MEDGEN_THREADS` overrides."""
    asked = os.environ.get("MEDGEN_THREADS", "")
    if asked and not (asked.isdigit() and int(asked) > 0):
        raise MedgenError(f"MEDGEN_THREADS={asked} must be a whole number of at least 1.")
    return int(asked or os.cpu_count() or 1)


def trained(card: ModelCard, build: Callable[[dict[str, Any]], Network]) -> Network:
    """The network of `card`, built by `build(card.net)`, with its weights, on `device()`.

    Raises:
        MedgenError: the card's `net` does not fit `build`, or the weights are missing, changed or of another network.
    """
    try:
        network = build(card.net)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise MedgenError(
            f"The card of {card.name} does not describe a network ({error}); restore card.json."
        ) from error
    weights.load_into(network, card)
    # TF32 would keep 10 bits of each product
    torch.backends.cudnn.allow_tf32 = False
    return network.to(device())


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    # the intra-op thread count is a property of the calling thread: one for each worker, whatever the main thread has
    return ThreadPoolExecutor(_cores(), "medgen", initializer=torch.set_num_threads, initargs=(1,))


def evaluate(network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`network(*inputs)` without gradients, for inputs that share their first axis, the images.

    Args:
        network: on `device()`, in evaluation mode; or a method of such a one.
        inputs: `(N, ...)` each, on the CPU.

    Returns:
        `(N, ...)` float32 on the CPU.
    """
    owner: Any = getattr(network, "__self__", network)
    where = next(owner.parameters()).device
    count = len(inputs[0])
    size = 1 if where.type == "cpu" else GPU_BATCH
    fast = where.type == "cpu" and compiled.wanted()

    def call(start: int) -> Tensor:
        if fast:
            return compiled.call(network, [tensor[start : start + 1] for tensor in inputs], _cores())
        chunk = [tensor[start : start + size] for tensor in inputs]
        kept = len(chunk[0])
        padded = [
            torch.cat([part, part[:1].expand(size - kept, *part.shape[1:])]) if kept < size else part for part in chunk
        ]
        with torch.inference_mode():
            return network(*(part.to(where) for part in padded))[:kept].float().cpu()

    starts = range(0, count, size)
    parts = list(_pool().map(call, starts)) if where.type == "cpu" else [call(start) for start in starts]
    return torch.cat(parts)


def gaussian(
    shape: tuple[int, ...], seeds: tuple[int, ...], towards: int | None = None, mix: float | None = None
) -> Tensor:
    """Standard normal latents, one a seed; with `towards`, spherically interpolated to that seed's latent.

    The spherical path keeps the norm, so every point on it is as likely as its ends (White 2016, arXiv:1609.04468).

    Args:
        shape: of one latent.
        seeds: N seeds.
        towards: seed of the far end.
        mix: fraction of the way, 0 to 1.

    Returns:
        `(N, *shape)` float32 on the CPU.
    """

    def draw(seed: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))

    latents = [draw(seed) for seed in seeds]
    if towards is not None and mix is not None:
        end = draw(towards)
        latents = [slerp(start, end, mix) for start in latents]
    return torch.stack(latents)


def slerp(start: Tensor, end: Tensor, mix: float) -> Tensor:
    """The point a fraction `mix` along the great circle from `start` to `end`."""
    cosine = torch.dot(start.flatten(), end.flatten()) / (start.norm() * end.norm())
    angle = torch.acos(cosine.clamp(-1.0, 1.0))
    if angle < 1e-4:
        return torch.lerp(start, end, mix)
    return (torch.sin((1.0 - mix) * angle) * start + torch.sin(mix * angle) * end) / torch.sin(angle)


def group_size() -> int:
    """How many images are made at once: the cores of a CPU, the batch of a GPU."""
    return _cores() if device().type == "cpu" else GPU_BATCH


def conditions(card: ModelCard, request: Request) -> Tensor:
    """`(N, K)` float32: what the network of `card` is told of each of the N images, `Conditions.row` N times."""
    row = torch.from_numpy(request.condition(card.net.get("conditions", ())))
    return row.expand(len(request.seeds), -1)


def to_images(pixels: Tensor, card: ModelCard, request: Request) -> ImageSet:
    """Network output `(N, C, H, W)` in [-1, 1] -> images in the card's unit, clipped to its window."""
    low, high = card.window
    scaled = (pixels.clamp(-1.0, 1.0) + 1.0) * (0.5 * (high - low)) + low
    label = request.shows(card).get("label")
    labels = None if label is None else (label,) * len(pixels)
    return ImageSet(scaled.numpy().astype("float32"), card.modality, card.unit, card.window, labels=labels)
