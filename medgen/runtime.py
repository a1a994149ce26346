"""How networks are evaluated and what goes in and comes out, such that no image depends on its neighbours.

Convolution and matrix kernels choose their order of summation from the shape of the batch and from the number of
threads, so the same image gets other last bits in another batch. On a CPU every image therefore has its own call on
one thread, and the images, not the kernels, are spread over the cores: exact in any batch, order and number of threads.
On a GPU every call has the same padded batch shape and full float32: meant to be exact in any order on one device. No
GPU has checked that yet, nor how far it is from the CPU.

Which runtime computes is `name()`; `using(...)` chooses one for a block. docs/runtime.md
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen import compiled, normal, weights
from medgen.backend import RUNTIMES, cores, device, device_type, measuring, name, using
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RUNTIMES", "device", "measuring", "name", "using"]
GPU_BATCH = 16


def trained(card: ModelCard, build: Callable[[dict[str, Any]], Any]) -> Any:
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
    import torch

    # TF32 would keep 10 bits of each product
    torch.backends.cudnn.allow_tf32 = False
    return network.to(device())


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    import torch

    # the intra-op thread count is a property of the calling thread: one for each worker, whatever the main thread has
    return ThreadPoolExecutor(cores(), "medgen", initializer=torch.set_num_threads, initargs=(1,))


def evaluate(network: Callable[..., Tensor], *inputs: Tensor, numbers: str = "f32") -> Tensor:
    """`network(*inputs)` without gradients, for inputs that share their first axis, the images.

    Args:
        network: on `device()`, in evaluation mode; or a method of such a one.
        inputs: `(N, ...)` each, on the CPU.
        numbers: "bf16" where rougher numbers will do and the network is compiled.

    Returns:
        `(N, ...)` float32 on the CPU.
    """
    import torch

    owner: Any = getattr(network, "__self__", network)
    where = next(owner.parameters()).device
    count = len(inputs[0])
    size = 1 if where.type == "cpu" else GPU_BATCH
    fast = where.type == "cpu" and compiled.wanted()

    def call(start: int) -> Tensor:
        if fast:
            return compiled.call(network, [tensor[start : start + 1] for tensor in inputs], cores(), numbers)
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
) -> np.ndarray:
    """Standard normal latents, one a seed; with `towards`, spherically interpolated to that seed's latent.

    The spherical path keeps the norm, so every point on it is as likely as its ends (White 2016, arXiv:1609.04468).

    Args:
        shape: of one latent.
        seeds: N seeds.
        towards: seed of the far end.
        mix: fraction of the way, 0 to 1.

    Returns:
        `(N, *shape)` float32.
    """
    latents = [_draw(shape, seed) for seed in seeds]
    if towards is not None and mix is not None:
        end = _draw(shape, towards)
        latents = [normal.slerp(start, end, mix) for start in latents]
    return np.stack(latents)


def _draw(shape: tuple[int, ...], seed: int) -> np.ndarray:
    if name() != "torch":
        return normal.drawn(shape, seed)
    import torch  # the same numbers but for the last digit, which a manifest made in torch holds fast

    drawn: np.ndarray = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).numpy()
    return drawn


def group_size() -> int:
    """How many images are made at once: the cores of a CPU, the batch of a GPU."""
    return cores() if device_type() == "cpu" else GPU_BATCH


def conditions(card: ModelCard, request: Request) -> np.ndarray:
    """`(N, K)` float32: what the network of `card` is told of each of the N images, `Conditions.row` N times."""
    row = request.condition(card.net.get("conditions", ()))
    return np.repeat(row[None], len(request.seeds), axis=0)


def scaled(pixels: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Network output in [-1, 1] -> values in the unit of `window`, clipped to it, float32."""
    low, high = window
    return (np.clip(pixels, -1.0, 1.0) + 1.0) * (0.5 * (high - low)) + low


def to_images(pixels: np.ndarray, card: ModelCard, request: Request) -> ImageSet:
    """Network output `(N, C, H, W)` in [-1, 1] -> images in the card's unit, clipped to its window."""
    label = request.shows(card).get("label")
    labels = None if label is None else (label,) * len(pixels)
    return ImageSet(scaled(pixels, card.window), card.modality, card.unit, card.window, labels=labels)
