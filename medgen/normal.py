"""Standard normal numbers from a seed: those of `torch.randn` with a CPU generator, without torch.

torch draws 32-bit words from a Mersenne twister, which NumPy has too, and makes normal numbers of them by Box and
Muller's method: sixteen float32 at a time, or, of fewer than sixteen, two float64 at a time. The last digit may differ
from torch's, whose logarithm and cosine differ from NumPy's in it.
"""

from __future__ import annotations

import math

import numpy as np

_BLOCK = 16
"""Of the method in float32: eight radii and eight angles."""


def drawn(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """`torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))`, to about 5e-7, as float32."""
    # torch keeps the lower 32 bits of a seed
    words = np.random.RandomState(seed % 2**32)
    size = math.prod(shape)
    return (_small if size < _BLOCK else _large)(words, size).reshape(shape)


def _words(words: np.random.RandomState, count: int) -> np.ndarray:
    return np.frombuffer(words.bytes(4 * count), "<u4")


def _large(words: np.random.RandomState, size: int) -> np.ndarray:
    uniform = _uniform(words, size)
    normal = np.empty(size, np.float32)
    whole = size // _BLOCK * _BLOCK
    normal[:whole] = _blocks(uniform[:whole])
    if whole < size:
        # as torch does it: the last sixteen are drawn anew, over what is there already
        normal[-_BLOCK:] = _blocks(_uniform(words, _BLOCK))
    return normal


def _uniform(words: np.random.RandomState, count: int) -> np.ndarray:
    """`(count,)` float32 in [0, 1), of 24 bits each."""
    return (_words(words, count) & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2.0**-24)


def _blocks(uniform: np.ndarray) -> np.ndarray:
    pairs = uniform.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - pairs[:, 0]))
    angle = np.float32(2.0 * math.pi) * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def _small(words: np.random.RandomState, size: int) -> np.ndarray:
    pairs = (size + 1) // 2
    high, low = np.moveaxis(_words(words, 4 * pairs).astype(np.uint64).reshape(pairs, 2, 2), 2, 0)
    uniform = ((high << np.uint64(32) | low) & np.uint64(2**53 - 1)) * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log1p(-uniform[:, 1])), 2.0 * math.pi * uniform[:, 0]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()
    return normal[:size].astype(np.float32)


def slerp(start: np.ndarray, end: np.ndarray, mix: float) -> np.ndarray:
    """The point a fraction `mix` along the great circle from `start` to `end`, float32."""
    # in float32 the cosine of two equal vectors is 1 on one CPU and a little less on another
    first, last = start.ravel().astype(np.float64), end.ravel().astype(np.float64)
    cosine = float(first @ last) / float(np.linalg.norm(first) * np.linalg.norm(last))
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    if angle < 1e-4:
        return start + mix * (end - start)
    return (math.sin((1.0 - mix) * angle) * start + math.sin(mix * angle) * end) / math.sin(angle)
