"""Images -> what metrics need of them, a chunk at a time: nobody holds all pictures, and processes share the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from eval.diversity import MOST
from eval.features import Extractor, features, histograms
from eval.shards import Shards
from eval.spectrum import radial_spectra
from medgen.image import ImageSet

CHUNK = 64
"""Images of one piece of work. What is made of a piece does not depend on who makes it."""
_TIMES = ("sampling", "features", "sampling_cpu")


@dataclass(frozen=True)
class Source:
    """N images that can be asked for a few at a time.

    Args:
        n: how many.
        part: images i to j - 1, of `range(i, j)`.
        subjects: whose they are; None for generated images.
        labels: what they show; None where nobody said.
    """

    n: int
    part: Callable[[range], ImageSet]
    subjects: Sequence[str] | None = None
    labels: Sequence[str] | None = None


def source_of(images: ImageSet) -> Source:
    """Images that are here already."""
    return Source(len(images), lambda rows: images.take(np.asarray(rows)), images.subjects, images.labels)


@dataclass(frozen=True, eq=False)
class Look:
    """What is common to all feature spaces: N images as metrics of pixels see them.

    Args:
        histograms: `(N, 256)` shares of grey levels.
        spectra: `(N, R)` from `eval.spectrum.radial_spectra`.
        kept: `(K,)` numbers of at most `MOST` images, evenly spread.
        pixels: `(K, C, H, W)` uint8, those images.
    """

    histograms: np.ndarray
    spectra: np.ndarray
    kept: np.ndarray
    pixels: np.ndarray

    def only(self, rows: np.ndarray) -> Look:
        """Of the images `rows`, numbered anew."""
        place = np.full(len(self.histograms), -1)
        place[rows] = np.arange(len(rows))
        chosen = place[self.kept] >= 0
        return Look(self.histograms[rows], self.spectra[rows], place[self.kept[chosen]], self.pixels[chosen])


@dataclass(frozen=True, eq=False)
class Reduced:
    """All that is left of a set of images.

    Args:
        look: of their pixels.
        features: name of a space -> `(N, D)` float32, a file in memory's clothes where they are many.
        seconds: spent on "sampling" and on "features", and "sampling_cpu", what sampling took of the processors; all
            processes together.
    """

    look: Look
    features: dict[str, np.ndarray]
    seconds: dict[str, float]


def kept_rows(n: int) -> np.ndarray:
    """Which of `n` images are compared picture by picture."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST)).round().astype(int))


def reduce(
    source: Source, extractors: Sequence[Extractor], shards: Shards, name: str, *, progress: bool = False
) -> Reduced:
    """Reduces `source`, together with the other processes of `shards`, each of which gets all of the result.

    Args:
        source: the images.
        extractors: the feature spaces.
        shards: the processes, and the folder of the pieces; it holds the result as long as that is used.
        name: of the set in that folder.
        progress: a bar on stderr.

    Raises:
        MedgenError: an image cannot be made, or holds NaN.
    """
    folder = shards.folder / name
    folder.mkdir(exist_ok=True)
    kept = kept_rows(source.n)
    starts = range(0, source.n, CHUNK)
    with tqdm(total=len(shards.mine(len(starts))), desc=name, disable=not progress, leave=False) as bar:
        for number in shards.mine(len(starts)):
            rows = range(starts[number], min(starts[number] + CHUNK, source.n))
            np.savez(folder / f"{number:06}.npz", **_piece(source, rows, extractors, kept))
            bar.update()
    shards.wait()
    if shards.main:
        _join(folder, source.n, len(starts))
    shards.wait()
    whole = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
    look = Look(whole["histograms"], whole["spectra"], kept, whole["pixels"])
    seconds = dict(zip(_TIMES, whole["seconds"].sum(axis=0).tolist(), strict=True))
    return Reduced(look, {one.name: whole[f"features-{one.name}"] for one in extractors}, seconds)


def _piece(source: Source, rows: range, extractors: Sequence[Extractor], kept: np.ndarray) -> dict[str, Any]:
    """The arrays of the images `rows`."""
    start, used = time.perf_counter(), time.process_time()
    images = source.part(rows)
    made, cpu = time.perf_counter(), time.process_time() - used
    found = {f"features-{one.name}": features(images, one) for one in extractors}
    pixels = images.uint8()
    own = kept[(kept >= rows.start) & (kept < rows.stop)] - rows.start
    return {
        **found,
        "histograms": histograms(images),
        "spectra": radial_spectra(pixels),
        "pixels": pixels[own],
        "seconds": np.array([[made - start, time.perf_counter() - made, cpu]]),
    }


def _join(folder: Path, n: int, pieces: int) -> None:
    """Pieces -> one file an array; a piece is gone once it stands in its place."""
    whole: dict[str, np.ndarray] = {}
    filled: dict[str, int] = {}
    for number in range(pieces):
        path = folder / f"{number:06}.npz"
        with np.load(path, allow_pickle=False) as piece:
            for name in piece.files:
                part = piece[name]
                if name not in whole:
                    rows = {"pixels": len(kept_rows(n)), "seconds": pieces}.get(name, n)
                    target = folder / f"{name}.npy"
                    whole[name] = np.lib.format.open_memmap(target, "w+", part.dtype, (rows, *part.shape[1:]))
                    filled[name] = 0
                whole[name][filled[name] : filled[name] + len(part)] = part
                filled[name] += len(part)
        path.unlink()
