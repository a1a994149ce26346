"""The sets of a self-test: the real side, and the base with every kind and strength of damage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval import diversity
from eval.features import histograms
from eval.protocols import Protocol, protocol, whole_patient_rows
from eval.reduction import Look, kept_rows
from eval.selftest_damage import DAMAGES, Base, Damaged
from eval.spectrum import radial_spectra
from medgen import data
from medgen.errors import MedgenError
from medgen.image import ImageSet

FEWEST = 20
"""Images a side."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A set of images, and what is the same of it in every space.

    Args:
        n: images.
        images: the set; None where its features are known.
        rows: where its features are among those of test and train images; None = they are to be computed.
        subjects: whose the images are.
        look: of its pixels.
        pairs: of its pictures.
    """

    n: int
    images: ImageSet | None
    rows: np.ndarray | None
    subjects: tuple[str, ...] | None
    look: Look
    pairs: diversity.Alike


@dataclass(frozen=True, eq=False)
class Bench:
    """The real side, the test images `real_rows`, and every damaged set: damage -> one a strength."""

    asked: Protocol
    base: Base
    real_rows: np.ndarray
    real: Seen
    damaged: dict[str, list[Seen]]


def prepare(name: str, n: int | None = None) -> Bench:
    """Reads the images, halves the patients and does the damage.

    Args:
        name: of a protocol.
        n: at most so many images a side; None = all.

    Raises:
        MedgenError: no such protocol, or the data are not here or too few.
    """
    asked = protocol(name)
    test, train = data.real(asked.data, "test"), data.real(asked.data, "train")
    real, base = halves(test, n)
    made = Base(test, base, train)
    damaged = {kind: [seen(one.of(made, strength)) for strength in one.strengths] for kind, one in DAMAGES.items()}
    return Bench(asked, made, real, seen(Damaged(test.take(real), real)), damaged)


def halves(test: ImageSet, n: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the real side and of the base: equally many images, no patient on both sides.

    Raises:
        MedgenError: fewer than `FEWEST` images a side.
    """
    real = whole_patient_rows(test, len(test) // 2)
    subjects = np.asarray(test.subjects if test.subjects is not None else np.arange(len(test)))
    base = np.flatnonzero(~np.isin(subjects, subjects[real]))
    count = min(len(real), len(base), n or len(test))
    if count < FEWEST:
        raise MedgenError(f"A self-test needs at least {FEWEST} images a side, not {count}: use more.")
    chosen = whole_patient_rows(test.take(base), count)
    return real[:count], base[chosen]


def seen(damaged: Damaged) -> Seen:
    """Looks at the pixels of a set."""
    images = damaged.images
    pixels, kept = images.uint8(), kept_rows(len(images))
    look = Look(histograms(images), radial_spectra(pixels), kept, pixels[kept])
    left = images if damaged.rows is None else None
    return Seen(len(images), left, damaged.rows, images.subjects, look, diversity.alike(look.pixels))
