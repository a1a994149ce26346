"""Training images on the device as one uint8 tensor; every batch is a pure function of the step."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medgen import data, waves
from medgen.autoencoder import Autoencoder
from medgen.conditions import CHOICES, Conditions
from medgen.errors import MedgenError
from medgen.image import ImageSet, concatenate


@dataclass(frozen=True)
class Split:
    """All images of one split, and what is known of each.

    Args:
        images: `(N, C, H, W)` uint8, or float32 latents.
        conditions: `(N, K)` float32, rows of `medgen.conditions.Conditions(columns)`.
        columns: what the K numbers mean.
        counts: word -> images and patients of this split that carry it; rare words too, which have no column.
    """

    images: Tensor
    conditions: Tensor
    columns: tuple[str, ...]
    counts: dict[str, dict[str, int]]

    @classmethod
    def load(
        cls, names: Sequence[str], split: str, columns: tuple[str, ...] | None = None, rarest: int = 1, crop: int = 0
    ) -> Split:
        """The whole `split` of all data sets `names` together, in memory.

        Args:
            names: keys of `medgen.data.DATASETS`.
            split: "train", "val" or "test".
            columns: those of the train split; None where this is the train split.
            rarest: labels of fewer patients get no column.
            crop: cuts larger pictures into squares of this many pixels, the four corners and the middle; 0 = no.

        Raises:
            MedgenError: no such data, or their images are of different size.
        """
        sets = [data.real(name, split) for name in names]
        if crop:
            sets = [squares(images, crop) for images in sets]
        if len({images.pixels.shape[1:] for images in sets}) > 1:
            raise MedgenError(f"{' and '.join(names)} differ in size: name data sets of one size with --data.")
        real = concatenate(sets)
        counts = count_words(real, names)
        if columns is None:
            columns = _columns(real, names, counts, rarest)
        told = Conditions(columns)
        labels = real.labels or (None,) * len(real)
        numbers = [{} if number is None else {"quantity": number} for number in real.quantities or (None,) * len(real)]
        known = zip(labels, real.attributes or (), numbers, strict=True)
        rows = [told.row(label, {**attributes, **number}) for label, attributes, number in known]
        return cls(torch.from_numpy(real.uint8()), torch.from_numpy(np.stack(rows)), columns, counts)

    def to(self, device: torch.device) -> Split:
        """The same on `device`."""
        return replace(self, images=self.images.to(device), conditions=self.conditions.to(device))

    @property
    def attributes(self) -> tuple[tuple[int, ...], ...]:
        """Columns that are hidden together, one group each for cohort, age, sex, view and quantity; no labels."""
        groups = Conditions(self.columns).groups
        return tuple(group for group in groups if not self.columns[group[0]].startswith("label="))

    def pixels(self, index: Tensor) -> Tensor:
        """Images at `index`: uint8 -> `(N, C, H, W)` float32 in [-1, 1]; latents as they are."""
        chosen = self.images[index]
        return chosen if chosen.is_floating_point() else chosen.float() / 127.5 - 1.0

    @torch.no_grad()
    def encoded(self, network: Autoencoder, batch: int = 64) -> Split:
        """The same pictures as latents of `network`, `(N, C, H/8, W/8)` float32."""
        index, device = torch.arange(len(self.images)), next(network.parameters()).device
        latents = [network.encode(self.pixels(part).to(device)).cpu() for part in index.split(batch)]
        return replace(self, images=torch.cat(latents))

    def expect(self, size: int) -> None:
        """Refuses pictures that the network cannot take.

        Raises:
            MedgenError: they are not of one channel and `size` pixels.
        """
        _, height, width = self.images.shape[1:]
        if (height, width) != (size, size):
            raise MedgenError(
                f"The pictures are {height}x{width}, the network is for {size}x{size}: change --data or --size "
                "(of a latent model: an eighth of the pictures' size)."
            )


@dataclass(frozen=True)
class Batch:
    """What one process sees in one pass.

    Args:
        pixels: `(B, C, H, W)` float32 in [-1, 1].
        conditions: `(B, K)` float32, nothing hidden.
        part: where these images stand in the batch of the whole update: slices of random draws are taken with it.
    """

    pixels: Tensor
    conditions: Tensor
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
            yield Batch(split.pixels(chosen), split.conditions[chosen], part)


def squares(images: ImageSet, side: int) -> ImageSet:
    """Pictures larger than `side` cut into five squares each: the corners and the middle. Others as they are."""
    height, width = images.pixels.shape[-2:]
    if height <= side or width <= side:
        return images
    down, right = height - side, width - side
    corners = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    cut = [replace(images, pixels=images.pixels[:, :, top : top + side, left : left + side]) for top, left in corners]
    return concatenate(cut)


def count_words(real: ImageSet, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Word -> `{"images": n, "patients": m}`, in the order of the catalogue; an image with two labels counts for both.

    Data sets with one manifest share their patients.
    """
    images: dict[str, int] = defaultdict(int)
    patients: dict[str, set[tuple[str, str]]] = defaultdict(set)
    labels = real.labels or ("",) * len(real)
    for label, subject, told in zip(labels, real.subjects or (), real.attributes or (), strict=True):
        for word in filter(None, label.split("|")):
            images[word] += 1
            patients[word].add((data.DATASETS[told["cohort"]].manifest, subject))
    order = dict.fromkeys([word for name in names for word in data.DATASETS[name].labels] + sorted(images))
    return {word: {"images": images[word], "patients": len(patients[word])} for word in order if word in images}


def _columns(real: ImageSet, names: Sequence[str], counts: dict[str, dict[str, int]], rarest: int) -> tuple[str, ...]:
    """What a model trained on `real` is told: labels that are not rare, and attributes that anyone has."""
    said = {(name, word) for told in real.attributes or () for name, word in told.items()}
    return (
        *(f"label={word}" for word, number in counts.items() if number["patients"] >= rarest),
        *(f"cohort={name}" for name in names if len(names) > 1),
        *(("age", "age known") if any(name == "age" for name, _ in said) else ()),
        *(f"{name}={word}" for name, words in CHOICES.items() for word in words if (name, word) in said),
        *(() if real.quantities is None else waves.columns(**_range(names))),
    )


def _range(names: Sequence[str]) -> dict[str, float]:
    """Lowest and highest number that the pictures of these data sets may be asked for.

    Raises:
        MedgenError: the numbers of two of them mean different things.
    """
    first, *others = (data.DATASETS[name].quantity for name in names)
    if any(other != first for other in others):
        raise MedgenError(f"{' and '.join(names)} count different things: train on them one by one.")
    return {key: float(first[key]) for key in ("low", "high")}


def hidden(
    conditions: Tensor, groups: tuple[tuple[int, ...], ...], u: Tensor, label_dropout: float, attribute_dropout: float
) -> Tensor:
    """Conditions as training shows them: some rows all zero, for guidance, and some attributes, to be optional.

    Args:
        conditions: `(N, K)`.
        groups: columns that are hidden together, each group independently of the others; `Split.attributes`.
        u: `(N, 1 + len(groups))` uniform in [0, 1).
        label_dropout: probability of a row of zeros.
        attribute_dropout: probability that a group is zero in any other row.

    Returns:
        `(N, K)`.
    """
    member = torch.zeros(len(groups), conditions.shape[1])
    for row, group in zip(member, groups, strict=True):
        row[list(group)] = 1.0
    gone = (u[:, 1:] < attribute_dropout).float() @ member.to(u.device)
    return conditions * ((gone == 0) & (u[:, :1] >= label_dropout))


def generator(device: torch.device | str, seed: int, step: int, stream: str) -> torch.Generator:
    """Random numbers for one purpose (`stream`) of one step: a function of these three alone."""
    mixed = hash_int(f"{seed}/{step}/{stream}")
    return torch.Generator(device).manual_seed(mixed)


def hash_int(text: str) -> int:
    """63 bits of the sha256 of `text`; Python's own hash() differs from process to process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
