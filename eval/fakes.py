"""The generated images of an evaluation: sampled from a model, or read from a folder."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
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

PLAIN = Request(seeds=())
"""Nothing but the card's defaults."""
_BATCH = 32


@dataclass(frozen=True)
class Fakes:
    """The generated images, and where they come from (keys of the report)."""

    images: ImageSet
    seconds: float | None
    origin: dict[str, Any]


def batches(
    model: Generator,
    seeds: Sequence[int],
    labels: Sequence[str | None],
    like: Request = PLAIN,
    *,
    sources: ImageSet | None = None,
    progress: bool = False,
) -> Iterator[tuple[list[int], ImageSet]]:
    """One image a seed, a batch at a time, so that nobody has to hold them all.

    Args:
        model: any generator.
        seeds: N seeds.
        labels: N labels; None = the model takes none.
        like: what else to ask, as steps, guidance and severity; its seeds, label and source do not count.
        sources: N pictures, one a seed, for a model that changes pictures.
        progress: a bar on stderr.

    Yields:
        Places in `seeds`, and their images in that order.
    """
    with tqdm(total=len(seeds), desc=model.card.name, unit="img", disable=not progress, leave=False) as bar:
        # a request has one label, so images are made label by label
        for label in sorted(set(labels), key=str):
            rows = [i for i, own in enumerate(labels) if own == label]
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                source = None if sources is None else sources.take(batch)
                made = model.sample(replace(like, seeds=tuple(seeds[i] for i in batch), label=label, source=source))
                yield batch, replace(made, labels=None if label is None else (label,) * len(batch))
                bar.update(len(batch))


def sample(
    model: Generator,
    seeds: Sequence[int],
    labels: Sequence[str | None],
    like: Request = PLAIN,
    *,
    sources: ImageSet | None = None,
    progress: bool = False,
) -> ImageSet:
    """One image a seed, in the order of `seeds`, each with its label; arguments as for `batches`."""
    places, parts = zip(*batches(model, seeds, labels, like, sources=sources, progress=progress), strict=True)
    return concatenate(parts).take(np.argsort([place for rows in places for place in rows]))


def fakes_of(
    name: str, n: int, proportions: dict[str, float], like: Request = PLAIN, *, progress: bool = False
) -> Fakes:
    """Images of the model called `name` with the seeds 0 to n - 1.

    Args:
        name: of a model.
        n: how many.
        proportions: share of each label.
        like: what else to ask: steps and guidance, where not the card's.
        progress: a bar on stderr.

    Raises:
        MedgenError: no such model, it is broken, or it takes no such control.
    """
    model = registry.load(name)
    seeds = tuple(range(n))
    labels = labels_for(model.card, seeds, proportions)
    start = time.perf_counter()
    images = sample(model, seeds, labels, like, progress=progress)
    seconds = time.perf_counter() - start
    counts = {str(label): labels.count(label) for label in sorted(set(labels), key=str)}
    origin = {
        "model": name,
        "seeds": {"first": 0, "last": n - 1},
        "labels": None if set(labels) == {None} else counts,
        "steps": model.card.steps if like.steps is None else like.steps,
        "guidance": model.card.guidance if like.guidance is None else like.guidance,
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
