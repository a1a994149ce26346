"""The generated images of an evaluation: sampled from a model, or read from a folder."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from eval.protocols import labels_for
from medgen import registry
from medgen.errors import MedgenError
from medgen.generator import Generator, Request
from medgen.image import ImageSet, concatenate

_BATCH = 32


@dataclass(frozen=True)
class Fakes:
    """The generated images, and where they come from (keys of the report)."""

    images: ImageSet
    seconds: float | None
    origin: dict[str, Any]


def sample(model: Generator, seeds: Sequence[int], labels: Sequence[str | None], *, progress: bool = False) -> ImageSet:
    """One image a seed, in the order of `seeds`, each with its label.

    Args:
        model: any generator.
        seeds: N seeds.
        labels: N labels; None = the model takes none.
        progress: a bar on stderr.
    """
    parts, places = [], []
    with tqdm(total=len(seeds), desc=model.card.name, unit="img", disable=not progress, leave=False) as bar:
        # a request has one label, so images are made label by label and put back in the order of their seeds
        for label in sorted(set(labels), key=str):
            rows = [i for i, own in enumerate(labels) if own == label]
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                made = model.sample(Request(seeds=tuple(seeds[i] for i in batch), label=label))
                parts.append(replace(made, labels=None if label is None else (label,) * len(batch)))
                places += batch
                bar.update(len(batch))
    return concatenate(parts).take(np.argsort(places))


def fakes_of(name: str, n: int, proportions: dict[str, float], *, progress: bool = False) -> Fakes:
    """Images of the model called `name` with the seeds 0 to n - 1.

    Raises:
        MedgenError: no such model, or it is broken.
    """
    model = registry.load(name)
    seeds = tuple(range(n))
    labels = labels_for(model.card, seeds, proportions)
    start = time.perf_counter()
    images = sample(model, seeds, labels, progress=progress)
    seconds = time.perf_counter() - start
    counts = {str(label): labels.count(label) for label in sorted(set(labels), key=str)}
    origin = {
        "model": name,
        "seeds": {"first": 0, "last": n - 1},
        "labels": None if set(labels) == {None} else counts,
        "steps": model.card.steps,
        "guidance": model.card.guidance,
        "weights": model.card.weights,
    }
    return Fakes(images, seconds, origin)


def png_files(folder: Path) -> list[Path]:
    """What `--images` measures, sorted by name."""
    return sorted(folder.glob("*.png"))


def fakes_from_folder(folder: Path, n: int | None, like: ImageSet) -> Fakes:
    """The first `n` PNG files of `folder`, sorted by name; None = all.

    Raises:
        MedgenError: no such folder, no PNGs, too few, a broken or coloured one, or one of another size.
    """
    paths = png_files(folder)[:n]
    if not paths or (n is not None and len(paths) < n):
        raise MedgenError(f"{folder} holds {len(paths)} PNG files, fewer than the {n or 1} asked for.")
    stack = np.empty((len(paths), *like.pixels.shape[1:]), np.float32)
    low, high = like.window
    for i, path in enumerate(paths):
        try:
            with Image.open(path) as file:
                pixels = np.asarray(file)
        except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
            raise MedgenError(f"{path.name} cannot be read as an image; remove or restore it.") from error
        if pixels.ndim == 3 and (pixels[..., :1] == pixels[..., :3]).all():
            pixels = pixels[..., 0]  # grey saved as colour
        if pixels.shape != like.pixels.shape[2:] or pixels.dtype not in (np.uint8, np.uint16):
            side = "x".join(map(str, like.pixels.shape[2:]))
            raise MedgenError(f"{path.name} is not a grey 8 or 16-bit image of {side} pixels; convert it first.")
        stack[i] = pixels / np.iinfo(pixels.dtype).max * (high - low) + low
    images = ImageSet(stack, like.modality, like.unit, like.window)
    origin: dict[str, Any] = {"model": folder.resolve().name, "seeds": None, "labels": None, "weights": {}}
    return Fakes(images, None, origin)
