"""Every slice against its truth: one number a slice and metric, inside the head and over the whole picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from eval.pairwise import Perceptual, dice
from eval.report import number
from eval.translation_masks import BONE_HU, heads, tumours
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.pair_metrics import AIR_HU, compared
from medgen.paired import PairedSet

Numbers = dict[str, tuple[np.ndarray, np.ndarray]]
"""Metric -> its value at each of N slices, NaN where it has none, and what each slice weighs among its patient's."""


@dataclass(frozen=True, eq=False)
class Ground:
    """The pairs of one direction, and where in them is measured.

    Args:
        pairs: source and truth.
        inside: `(N, H, W)` bool, the head.
        tumours: `(N, H, W)` bool; None where the truth is no FLAIR or nothing is known of tumours.
    """

    pairs: PairedSet
    inside: np.ndarray
    tumours: np.ndarray | None

    @classmethod
    def of(cls, pairs: PairedSet, target: str) -> Ground:
        """Finds the places in the pairs themselves.

        Args:
            pairs: of one direction.
            target: word of `medgen.paired.CONTRASTS`.
        """
        inside = heads(pairs.source, pairs.target)
        known = target == "flair" and all("tumor_px" in own for own in pairs.facts)
        return cls(pairs, inside, tumours(pairs, inside) if known else None)

    def take(self, indices: np.ndarray) -> Ground:
        """The pairs at `indices`."""
        found = None if self.tumours is None else self.tumours[indices]
        return Ground(self.pairs.take(indices), self.inside[indices], found)


def levels(images: ImageSet) -> tuple[np.ndarray, float]:
    """`(N, H, W)` in the unit that errors are told in, clipped to the window, and its range from black to white.

    CT in HU; MR, which has no unit, in grey levels of 255.
    """
    low, high = images.window if images.unit == "HU" else (0.0, 255.0)
    return images.unit_range()[:, 0].astype(np.float64) * (high - low) + low, float(high - low)


def like_truth(made: ImageSet, truth: ImageSet) -> ImageSet:
    """What a model made, seen through the window of the truth.

    Raises:
        MedgenError: another shape, modality or unit, or pixels that are not finite.
    """
    same_kind = (made.modality, made.unit) == (truth.modality, truth.unit)
    if made.pixels.shape != truth.pixels.shape or not same_kind:
        raise MedgenError(f"The model makes {made!r}, the truth is {truth!r}: choose the protocol of its pairs.")
    if not np.isfinite(made.pixels).all():
        raise MedgenError("The model makes NaN or infinite pixels: it has diverged; use another checkpoint.")
    low, high = made.window
    if made.unit == "HU":
        return replace(made, window=truth.window)
    # grey levels mean nothing but their place in the window
    pixels = made.unit_range() * np.float32(truth.window[1] - truth.window[0]) + np.float32(truth.window[0])
    return made if (low, high) == truth.window else replace(made, pixels=pixels, window=truth.window)


def compare(ground: Ground, made: ImageSet, lpips: Perceptual | None = None) -> Numbers:
    """Every metric at every slice.

    Args:
        ground: N pairs.
        made: N translations of their sources.
        lpips: from `pairwise.lpips`; None = leave it out.

    Raises:
        MedgenError: see `like_truth`.
    """
    made = like_truth(made, ground.pairs.target)
    (real, data_range), (fake, _) = levels(ground.pairs.target), levels(made)
    rows = [_slice(a, b, inside, data_range) for a, b, inside in zip(real, fake, ground.inside, strict=True)]
    found = {name: _even(np.array([row[name] for row in rows])) for name in rows[0]}
    if lpips is not None:
        found["lpips"] = _even(lpips(ground.pairs.target.unit_range(), made.unit_range()))
    if made.unit == "HU":
        found |= _tissues(real, fake, ground.inside)
    if ground.tumours is not None:
        found |= _tumours(real, fake, ground.tumours)
    return found


def _slice(real: np.ndarray, fake: np.ndarray, inside: np.ndarray, data_range: float) -> dict[str, float]:
    own = compared(real=real, fake=fake, inside=inside, data_range=data_range)
    whole = compared(real=real, fake=fake, inside=np.ones_like(inside), data_range=data_range)
    return {
        "ssim": number(own.ssim),
        "psnr": own.psnr_db,
        "mae": own.mae,
        "ssim_whole": number(whole.ssim),
        "psnr_whole": whole.psnr_db,
    }


def _tissues(real: np.ndarray, fake: np.ndarray, inside: np.ndarray) -> Numbers:
    masks = {
        "bone_dice": (inside & (real > BONE_HU), inside & (fake > BONE_HU)),
        "air_dice": (inside & (real < AIR_HU), inside & (fake < AIR_HU)),
    }
    found = {}
    for name, (left, right) in masks.items():
        pairs = np.array([dice(real=a, fake=b) for a, b in zip(left, right, strict=True)])
        found[name] = (pairs[:, 0], pairs[:, 1])
    return found


def _tumours(real: np.ndarray, fake: np.ndarray, where: np.ndarray) -> Numbers:
    """Absolute and signed error: below zero, the tumour is darker than it should be, or gone."""
    gaps = [b[own] - a[own] if own.any() else np.array([np.nan]) for a, b, own in zip(real, fake, where, strict=True)]
    return {
        "tumour_mae": _even(np.array([np.abs(gap).mean() for gap in gaps])),
        "tumour_error": _even(np.array([gap.mean() for gap in gaps])),
    }


def _even(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every slice that has a value weighs the same."""
    values = np.asarray(values, np.float64)
    return values, np.isfinite(values).astype(np.float64)
