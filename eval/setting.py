"""What all models of one run share: the protocol, the real images and their features in every space."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval import copying, measure
from eval.features import EXTRACTORS, Extractor, content_hash
from eval.inception import QUICK
from eval.protocols import Protocol, Sides, protocol, sides
from eval.reduction import Look, Reduced, kept_rows, reduce, source_of
from eval.shards import Shards
from medgen.errors import MedgenError

ALL = "all"
"""In place of the name of an extractor: every space that is installed."""
MAIN = "inception-v3-2048"
ALWAYS = "pixels-32"


@dataclass(frozen=True, eq=False)
class Space:
    """The real images in one feature space.

    Args:
        extractor: the space.
        real: held-out real images, with how near they come to the training images.
        train: the training images.
        floor: what other real images score.
    """

    extractor: Extractor
    real: measure.Measured
    train: copying.Train
    floor: measure.Floor


@dataclass(frozen=True, eq=False)
class Setting:
    """What all models of one run share.

    Args:
        asked: the protocol.
        split: of the held-out real images.
        sides: the real images.
        extractors: the feature spaces asked for.
        spaces: the real images in each; none in a process that is not the main one.
        repeats: halves for an interval.
        shards: the processes that share the work.
        real_sha256: of the held-out real images.
        train_sha256: of the training images.
    """

    asked: Protocol
    split: str
    sides: Sides
    extractors: tuple[Extractor, ...]
    spaces: tuple[Space, ...]
    repeats: int
    shards: Shards
    real_sha256: str
    train_sha256: str


def extractors(name: str | None) -> tuple[Extractor, ...]:
    """The feature spaces that `--extractor` names.

    Args:
        name: of one; `ALL` = every one that is installed, and says which are not; None = Inception, or grey values
            where its weights are missing.

    Raises:
        MedgenError: the one that was asked for is missing.
    """
    if name not in (None, ALL):
        return (EXTRACTORS[name](),)
    found = []
    # the quick Inception is the same space once more
    for known in [one for one in EXTRACTORS if one != QUICK] if name == ALL else (MAIN,):
        try:
            found.append(EXTRACTORS[known]())
        except MedgenError as error:
            print(f"{known} is skipped: {error}", file=sys.stderr)
    if not found:
        print(f"Until then: {ALWAYS} features, which know no FID.", file=sys.stderr)
        found.append(EXTRACTORS[ALWAYS]())
    return tuple(found)


def fitting(spaces: Sequence[Extractor], modality: str) -> tuple[Extractor, ...]:
    """Those of `spaces` that are for pictures of `modality`; an encoder of chest films has nothing to say of brains.

    Raises:
        MedgenError: none is.
    """
    found = tuple(space for space in spaces if space.modality in (None, modality))
    if not found:
        names = ", ".join(space.name for space in spaces)
        raise MedgenError(f"{names} is not for {modality} pictures: choose another --extractor.")
    return found


def prepare(
    name: str,
    split: str,
    spaces: Sequence[Extractor],
    shards: Shards,
    *,
    n_fake: int | None = None,
    limit: int | None = None,
    repeats: int = 200,
    progress: bool = False,
) -> Setting:
    """Reads the real images and their features, once for all models.

    Args:
        name: of the protocol.
        split: "test" or "val".
        spaces: the feature spaces.
        shards: the processes that share the work.
        n_fake: generated images to come, hence of the floor; None = as many as real ones.
        limit: at most so many real images.
        repeats: halves for an interval.
        progress: bars on stderr.

    Raises:
        MedgenError: unknown protocol, data not here, or no space is for such pictures.
    """
    asked = protocol(name)
    found = sides(asked, split, n_fake=n_fake, limit=limit)
    spaces = fitting(spaces, found.real.modality)
    real = reduce(source_of(found.real), spaces, shards, f"{split} images", progress=progress)
    train = reduce(source_of(found.train), spaces, shards, "train images", progress=progress)
    # the other processes only make features
    known = tuple(_space(one, asked.k, found, real, train) for one in spaces) if shards.main else ()
    hashes = [content_hash(images) if shards.main else "" for images in (found.real, found.train)]
    return Setting(asked, split, found, tuple(spaces), known, repeats, shards, *hashes)


def _space(extractor: Extractor, k: int, found: Sides, real: Reduced, train: Reduced) -> Space:
    own, learned = (side.features[extractor.name] for side in (real, train))
    held_out = measure.Measured(own, real.look, found.real.subjects, found.real.labels)
    known = copying.trained_on(learned, len(own))
    held_out = replace(held_out, near=copying.near(own, known))
    return Space(extractor, held_out, known, _floor(extractor, k, found, held_out, train, known))


def _floor(
    extractor: Extractor, k: int, found: Sides, real: measure.Measured, train: Reduced, known: copying.Train
) -> measure.Floor:
    """Training images in place of generated ones, compared with the training images of all other patients."""
    rows, features = found.floor_rows, known.features
    kept = kept_rows(len(rows))
    pixels = found.floor.take(kept).uint8()
    look = Look(train.look.histograms[rows], train.look.spectra[rows], kept, pixels)
    others = measure.Measured(features[rows], look, found.floor.subjects, found.floor.labels)
    subjects = np.asarray(found.train.subjects or range(len(features)))
    left = np.flatnonzero(~np.isin(subjects, subjects[rows]))
    if len(left) < 2:
        return measure.floor_of(real=real, others=others, extractor=extractor, k=k)
    rest = copying.trained_on(features[left], len(real), known.centres)
    others = replace(others, near=copying.near(others.features, rest))
    near = copying.near(real.features, rest)
    return measure.floor_of(real=real, others=others, extractor=extractor, k=k, rest=near)
