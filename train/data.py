"""Training images on the device as one uint8 tensor; every batch is a pure function of the step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from medgen import data
from medgen.errors import MedgenError


@dataclass(frozen=True)
class Split:
    """All images of one split, on the device.

    Args:
        images: `(N, C, H, W)` uint8.
        labels: `(N,)` int64 index into `names`.
        names: the labels, in the order of the catalogue.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]

    @classmethod
    def load(cls, name: str, split: str, device: torch.device, names: tuple[str, ...] = ()) -> Split:
        """The whole `split` of data set `name`, labels numbered as in `names` (those of another split) if given.

        Raises:
            MedgenError: no such data, or a label that is not in `names`.
        """
        real = data.real(name, split)
        words = real.labels or ("",) * len(real)
        names = names or tuple(label for label in data.DATASETS[name].labels if label in set(words))
        names = names or tuple(sorted(set(words)))
        if strange := sorted(set(words) - set(names)):
            raise MedgenError(f"The {split} split of {name} has the label {strange[0]!r}, which the others lack.")
        index = {label: i for i, label in enumerate(names)}
        labels = torch.tensor([index[word] for word in words])
        return cls(torch.from_numpy(real.uint8()).to(device), labels.to(device), names)

    def pixels(self, index: Tensor) -> Tensor:
        """Images at `index`: uint8 -> `(N, C, H, W)` float32 in [-1, 1]."""
        return self.images[index].float() / 127.5 - 1.0

    def expect(self, size: int) -> None:
        """Refuses pictures that the network cannot take.

        Raises:
            MedgenError: they are not of one channel and `size` pixels.
        """
        channels, height, width = self.images.shape[1:]
        if (channels, height, width) != (1, size, size):
            raise MedgenError(
                f"The pictures are {channels}x{height}x{width}, the network is for 1x{size}x{size}: "
                "change --data or --size."
            )


@dataclass(frozen=True)
class Batch:
    """What one process sees in one pass.

    Args:
        pixels: `(B, C, H, W)` float32 in [-1, 1].
        labels: `(B,)` int64.
        part: where these images stand in the batch of the whole update: slices of random draws are taken with it.
    """

    pixels: Tensor
    labels: Tensor
    part: slice


@dataclass(frozen=True)
class Order:
    """Which images each update sees: a fresh permutation an epoch, computed from the seed alone.

    Nothing to save, so a resumed run cannot lose its place, and any split of an update over processes and
    passes sees the same images.
    """

    count: int
    batch: int
    accumulate: int
    processes: int
    seed: int

    @property
    def update(self) -> int:
        """Images an update."""
        return self.batch * self.accumulate * self.processes

    def indices(self, step: int) -> Tensor:
        """`(update,)` int64: the images of update `step`."""
        first = step * self.update
        positions = torch.arange(first, first + self.update)
        epochs = positions // self.count
        out = torch.empty_like(positions)
        for epoch in epochs.unique().tolist():
            permutation = torch.randperm(self.count, generator=generator("cpu", self.seed, epoch, "order"))
            inside = epochs == epoch
            out[inside] = permutation[positions[inside] % self.count]
        return out

    def batches(self, split: Split, step: int, process: int) -> Iterator[Batch]:
        """The passes of update `step` for one process."""
        indices = self.indices(step).to(split.images.device)
        for one in range(self.accumulate):
            first = (one * self.processes + process) * self.batch
            part = slice(first, first + self.batch)
            chosen = indices[part]
            yield Batch(split.pixels(chosen), split.labels[chosen], part)


def generator(device: torch.device | str, seed: int, step: int, stream: str) -> torch.Generator:
    """Random numbers for one purpose (`stream`) of one step: a function of these three alone."""
    mixed = hash_int(f"{seed}/{step}/{stream}")
    return torch.Generator(device).manual_seed(mixed)


def hash_int(text: str) -> int:
    """63 bits of the sha256 of `text`; Python's own hash() differs from process to process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
