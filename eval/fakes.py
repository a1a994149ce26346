"""The generated images of an evaluation: sampled from a model, or read from a folder."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from eval import variants
from eval.protocols import labels_for
from eval.quantities import quantities_for
from eval.reduction import Source
from medgen import registry
from medgen.backend import using
from medgen.errors import MedgenError
from medgen.generator import Generator, Request
from medgen.image import ImageSet, concatenate

PLAIN = Request(seeds=())
"""Nothing but the card's defaults."""
_BATCH = 32


@dataclass(frozen=True)
class Fakes:
    """The generated images, made when they are asked for, and where they come from (keys of the report).

    Args:
        source: of the images.
        origin: keys of the report.
        sampled: whether a model makes them, so that the time it takes means something.
    """

    source: Source
    origin: dict[str, Any]
    sampled: bool = False

    @property
    def images(self) -> ImageSet:
        """All of them at once."""
        return self.source.part(range(self.source.n))


def batches(
    model: Generator,
    seeds: Sequence[int],
    labels: Sequence[str | None],
    like: Request = PLAIN,
    *,
    quantities: Sequence[float | None] | None = None,
    sources: ImageSet | None = None,
    progress: bool = False,
) -> Iterator[tuple[list[int], ImageSet]]:
    """One image a seed, a batch at a time, so that nobody has to hold them all.

    Args:
        model: any generator.
        seeds: N seeds.
        labels: N labels; None = the model takes none.
        like: what else to ask, as steps, guidance and severity; its seeds, label and source do not count.
        quantities: N numbers of what `card.quantity` names; None = what `like` asks.
        sources: N pictures, one a seed, for a model that changes pictures.
        progress: a bar on stderr.

    Yields:
        Places in `seeds`, and their images in that order.
    """
    asked = list(zip(labels, quantities or [like.quantity] * len(labels), strict=True))
    with tqdm(total=len(seeds), desc=model.card.name, unit="img", disable=not progress, leave=False) as bar:
        # a request has one label and one number, so images are made one pair of them after the other
        for label, quantity in sorted(set(asked), key=str):
            rows = [i for i, own in enumerate(asked) if own == (label, quantity)]
            one = replace(like, label=label, quantity=quantity)
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                source = None if sources is None else sources.take(batch)
                made = model.sample(replace(one, seeds=tuple(seeds[i] for i in batch), source=source))
                yield batch, replace(made, labels=None if label is None else (label,) * len(batch))
                bar.update(len(batch))


def sample(
    model: Generator,
    seeds: Sequence[int],
    labels: Sequence[str | None],
    like: Request = PLAIN,
    *,
    quantities: Sequence[float | None] | None = None,
    sources: ImageSet | None = None,
    progress: bool = False,
) -> ImageSet:
    """One image a seed, in the order of `seeds`, each with its label; arguments as for `batches`."""
    made = batches(model, seeds, labels, like, quantities=quantities, sources=sources, progress=progress)
    places, parts = zip(*made, strict=True)
    return concatenate(parts).take(np.argsort([place for rows in places for place in rows]))


def fakes_of(
    name: str,
    n: int,
    proportions: dict[str, float],
    like: Request = PLAIN,
    *,
    quantities: Sequence[float] = (),
    runtime: str = "torch",
    progress: bool = False,
) -> Fakes:
    """Images of the model called `name` with the seeds 0 to n - 1.

    Args:
        name: of a model.
        n: how many.
        proportions: share of each label.
        like: what else to ask: steps and guidance, where not the card's.
        quantities: the numbers of the train split, for a model that may be asked for one.
        runtime: what computes the images, one of `variants.RUNTIMES`.
        progress: a bar on stderr whenever some are made.

    Raises:
        MedgenError: no such model, it is broken, or it takes no such control.
    """
    model = registry.load(name)
    labels = labels_for(model.card, tuple(range(n)), proportions)

    numbers = quantities_for(model.card, range(n), quantities)

    def part(rows: range) -> ImageSet:
        own = [numbers[i] for i in rows]
        with using(runtime):
            return sample(model, rows, [labels[i] for i in rows], like, quantities=own, progress=progress)

    counts = {str(label): labels.count(label) for label in sorted(set(labels), key=str)}
    origin = {
        "model": name,
        "seeds": {"first": 0, "last": n - 1},
        "labels": None if set(labels) == {None} else counts,
        **({} if None in numbers else {"quantity": {**model.card.quantity, "asked": "as in the train split"}}),
        "steps": model.card.steps if like.steps is None else like.steps,
        "guidance": model.card.guidance if like.guidance is None else like.guidance,
        "sampled_by": runtime,
        "weights": model.card.weights,
    }
    if said := variants.words(model.card, origin["steps"], origin["guidance"], runtime):
        origin["variant"] = said
    words = None if None in labels else [str(label) for label in labels]
    return Fakes(Source(n, part, labels=words), origin, sampled=True)


def png_files(folder: Path) -> list[Path]:
    """What `--images` measures, sorted by name."""
    return sorted(folder.glob("*.png"))


def fakes_from_folder(folder: Path, n: int | None, like: ImageSet) -> Fakes:
    """The first `n` PNG files of `folder`, sorted by name; None = all.

    Raises:
        MedgenError: no such folder, no PNGs or too few; asked for a part, a broken or coloured one, or one of another
            size.
    """
    paths = png_files(folder)[:n]
    if not paths or (n is not None and len(paths) < n):
        raise MedgenError(f"{folder} holds {len(paths)} PNG files, fewer than the {n or 1} asked for.")

    def part(rows: range) -> ImageSet:
        stack = np.stack([_read(paths[i], like) for i in rows])[:, None]
        return ImageSet(stack, like.modality, like.unit, like.window)

    origin: dict[str, Any] = {"model": folder.resolve().name, "seeds": None, "labels": None, "weights": {}}
    return Fakes(Source(len(paths), part), origin)


def _read(path: Path, like: ImageSet) -> np.ndarray:
    """One grey PNG as `(H, W)` float32 in the unit of `like`."""
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
    low, high = like.window
    return np.asarray(pixels / np.iinfo(pixels.dtype).max * (high - low) + low, np.float32)
