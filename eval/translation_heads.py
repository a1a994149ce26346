"""CTs made from real MR heads against a real CT head that no training saw: other people, so tissues alone compare."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy import ndimage

from eval.fakes import sample
from eval.translation_file import TISSUES
from eval.translation_masks import heads
from eval.translation_patients import entry
from medgen.errors import MedgenError
from medgen.generator import Generator, Request
from medgen.heads import TEST_SCANS, TRAIN_SCANS, ct_slices, mr_slices
from medgen.image import ImageSet
from medgen.paired import CT_WINDOW

TISSUES_HU = dict(zip(TISSUES, ((-1024.0, -500.0), (-200.0, -30.0), (-30.0, 150.0), (300.0, 1976.0)), strict=True))
"""Where the peak of each is looked for."""
_UPPER = 35
"""MR slices of each head from the vertex down, 4 mm apart: as far as the CT head goes."""
_QUANTILES = 2000
_BIN_HU, _SMOOTH_BINS = 10.0, 2.0
_LEAST = 1e-3
"""Share of the head below which a tissue has no peak."""


def real_heads(
    model: Generator, direction: str, split: str, like: Request, *, progress: bool = False
) -> dict[str, Any]:
    """The `heads` of a report: how far the HU of made heads are from those of a real one, head by head.

    Args:
        model: a translator.
        direction: of it; only "mr-ct" has real heads on both sides.
        split: only the test split may look at the held-out head.
        like: what else to ask.
        progress: a bar on stderr.
    """
    if direction != "mr-ct" or split != "test":
        return {"reason": "for translations from MR to CT on the test split only"}
    try:
        mr, (wanted, floor) = mr_slices("test"), _reference()
    except MedgenError as error:  # the pairs can be measured without them
        return {"reason": str(error)}
    mr = mr.take(_upper(mr.subjects or ()))
    made = sample(model, tuple(range(len(mr))), [None] * len(mr), like, sources=mr, progress=progress)
    inside, people = heads(mr), np.asarray(mr.subjects)
    own = {one: made.pixels[people == one, 0][inside[people == one]] for one in dict.fromkeys(people.tolist())}
    distances = np.array([distance(real=wanted, fake=hu) for hu in own.values()])
    return {
        "patients": len(own),
        "scan": ", ".join(TEST_SCANS),
        "distance": {**entry(distances), "n": len(mr)},
        "floor": floor,
        "modes": {"made": modes(np.concatenate(list(own.values()))), "real": modes(wanted)},
    }


@lru_cache(maxsize=1)
def _reference() -> tuple[np.ndarray, float]:
    """The HU of the held-out head, and how far the other real heads are from them on average."""
    wanted, *others = (within(one, heads(one)) for one in map(ct_slices, (TEST_SCANS, *([one] for one in TRAIN_SCANS))))
    return wanted, float(np.mean([distance(real=wanted, fake=other) for other in others]))


def _upper(subjects: tuple[str, ...]) -> np.ndarray:
    """Places of the last slices of each head: they go from the skull base up."""
    names = np.asarray(subjects)
    return np.concatenate([np.flatnonzero(names == one)[-_UPPER:] for one in dict.fromkeys(subjects)])


def within(images: ImageSet, inside: np.ndarray) -> np.ndarray:
    """All HU inside the heads, clipped to the window."""
    return np.clip(images.pixels[:, 0], *images.window)[inside]


def distance(*, real: np.ndarray, fake: np.ndarray) -> float:
    """1-Wasserstein distance of two sets of HU: how far, on average, values have to move, in HU; 0 = same histogram."""
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return float(np.abs(np.quantile(real, places) - np.quantile(fake, places)).mean())


def modes(hu: np.ndarray) -> dict[str, float | None]:
    """Where the histogram peaks among each of `TISSUES_HU`; None where it has no peak there, or hardly anything."""
    low, high = CT_WINDOW
    counts, edges = np.histogram(hu, bins=round((high - low) / _BIN_HU), range=CT_WINDOW)
    # air and metal lie on the ends of the window, so the ends may be peaks too
    smooth = np.pad(ndimage.gaussian_filter1d(counts.astype(np.float64), _SMOOTH_BINS, mode="constant"), 1)
    is_peak = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])
    middle = (edges[:-1] + edges[1:]) / 2
    found: dict[str, float | None] = {}
    for tissue, (least, most) in TISSUES_HU.items():
        here = (middle >= least) & (middle < most)
        peaks = np.flatnonzero(here & is_peak)
        enough = counts[here].sum() >= _LEAST * len(hu)
        found[tissue] = float(middle[peaks[smooth[1:-1][peaks].argmax()]]) if enough and len(peaks) else None
    return found
