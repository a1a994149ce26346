"""What the first lesions of the experiment look like: a strip of five pictures each, for the eye, not for a number.

Strips show real slices, or such as were rendered from data: `eval.hallucination --pictures DIR` writes them where
the user says, and nothing of them belongs into the repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.lesion_task import Task
from eval.lesions import cases
from medgen.atomic import write_bytes
from medgen.image import ImageSet, concatenate
from medgen.png import png_bytes
from medgen.provenance import PARTLY, PARTLY_NOTICE, PARTLY_SOURCE_TYPE

COLUMNS = ("source", "source with lesion", "output", "output with lesion", "difference")
SHOWN = 6


def strip(
    source: ImageSet,
    source_with: ImageSet,
    output: ImageSet,
    output_with: ImageSet,
    difference_range: float | None = None,
) -> np.ndarray:
    """`COLUMNS` of one lesion side by side.

    Args:
        source: one slice, as are the others.
        source_with: the same with the lesion.
        output: translation of the first.
        output_with: translation of the second, same seed.
        difference_range: what is white in the last picture, and minus that black, in the unit of the output; equal
            is grey. None = a fifth of the window.

    Returns:
        `(H, 5 W)` uint8.
    """
    low, high = output.window
    whole = 0.2 * (high - low) if difference_range is None else difference_range
    change = (output_with.pixels[0, 0] - output.pixels[0, 0]) / whole
    grey = np.rint(127.5 * (np.clip(change, -1.0, 1.0) + 1.0)).astype(np.uint8)
    return np.concatenate([*(one.uint8()[0, 0] for one in (source, source_with, output, output_with)), grey], axis=1)


def strips(task: Task, n: int = SHOWN) -> list[np.ndarray]:
    """The strips of the first `n` lesions, `(H, 5 W)` uint8 each, with the seeds of the experiment."""
    first = cases(task)[:n]
    sources = concatenate([one.pair.source for one in first] + [one.with_it for one in first])
    made = task.images(sources, [*range(len(first)), *range(len(first))])
    found = []
    for i, one in enumerate(first):
        found.append(strip(one.pair.source, one.with_it, made.take([i]), made.take([len(first) + i])))
    return found


def save(task: Task, folder: Path, n: int = SHOWN) -> Path:
    """Writes the strips of a model below each other as `NAME-lesions.png`.

    Raises:
        MedgenError: the folder cannot be written.
    """
    path = folder / f"{task.card.name}-lesions.png"
    words = {
        "Synthetic": PARTLY,
        "Source type": PARTLY_SOURCE_TYPE,
        "Disclaimer": PARTLY_NOTICE,
        "Model": task.card.name,
        "Columns": ", ".join(COLUMNS),
    }
    write_bytes(path, png_bytes(_below(strips(task, n)), words))
    return path


def _below(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(rows, axis=0))
