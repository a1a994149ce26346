"""Images in physical units, with their place in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from medgen.errors import MedgenError

Item = TypeVar("Item")
_FACTS = ("labels", "subjects", "attributes", "quantities")  # one an image, or None


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images of one modality, in physical units, with their place in space.

    Args:
        pixels: `(N, C, H, W)` or `(N, C, X, Y, Z)` float32; 3D axes follow NIfTI i, j, k, so `affine` applies as it is.
        modality: DICOM modality code (CR, CT, MR, ...).
        unit: what one pixel unit means: "HU", "au". Never "normalised".
        window: `(low, high)` in `unit`, mapped to black and white.
        affine: `(4, 4)` voxel to world, RAS+, millimetres; None where the place in space is unknown.
        labels: what each image shows, N words; None where nobody said.
        subjects: whose image each is, N patient ids: intervals resample these; None for generated images.
        attributes: what else is known of each image, N mappings with some of the keys "age" (whole years), "sex" (F
            or M), "view" (AP or PA) and "cohort" (its data set); None where nobody said.
        quantities: one number an image, of what the data set or `card.quantity` names, in its unit; None where nobody
            said.

    Raises:
        MedgenError: an array has the wrong shape or type, or the window is empty.

    Example:
        >>> ImageSet(np.zeros((2, 1, 8, 8), np.float32), "CR", "au", (0.0, 255.0))
        ImageSet(2 x 1x8x8, CR, au, window 0..255)
    """

    pixels: np.ndarray
    modality: str
    unit: str
    window: tuple[float, float]
    affine: np.ndarray | None = None
    labels: tuple[str, ...] | None = None
    subjects: tuple[str, ...] | None = None
    attributes: tuple[Mapping[str, str], ...] | None = None
    quantities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim not in (4, 5) or self.pixels.dtype != np.float32:
            raise MedgenError(
                f"Pixels must be (N, C, H, W) or (N, C, X, Y, Z) float32, not {self.pixels.shape} {self.pixels.dtype}."
            )
        if not self.window[0] < self.window[1]:
            raise MedgenError(f"The window {self.window} is empty: give (low, high) with low < high.")
        if self.affine is not None and self.affine.shape != (4, 4):
            raise MedgenError(f"The affine must be (4, 4), not {self.affine.shape}.")
        for name in _FACTS:
            facts = getattr(self, name)
            if facts is not None and len(facts) != len(self.pixels):
                raise MedgenError(f"{len(self.pixels)} images but {len(facts)} {name}.")

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.pixels.shape[1:]))
        low, high = self.window
        return f"ImageSet({len(self)} x {shape}, {self.modality}, {self.unit}, window {low:g}..{high:g})"

    def take(self, indices: Sequence[int] | np.ndarray) -> ImageSet:
        """The images at `indices`, in that order."""
        index = np.asarray(indices, dtype=np.int64)

        def pick(facts: tuple[Item, ...] | None) -> tuple[Item, ...] | None:
            return None if facts is None else tuple(facts[i] for i in index)

        return replace(
            self,
            pixels=self.pixels[index],
            labels=pick(self.labels),
            subjects=pick(self.subjects),
            attributes=pick(self.attributes),
            quantities=pick(self.quantities),
        )

    def unit_range(self) -> np.ndarray:
        """Pixels clipped to `window` and scaled to [0, 1]: the one input of metrics and viewers."""
        low, high = self.window
        return (np.clip(self.pixels, low, high) - np.float32(low)) / np.float32(high - low)

    def uint8(self) -> np.ndarray:
        """`unit_range()` rounded to 0..255: what a screen and an 8-bit PNG show. NaN is refused.

        Raises:
            MedgenError: a pixel is NaN; black would hide that the model failed.
        """
        scaled = self.unit_range()
        if np.isnan(scaled).any():
            raise MedgenError(
                "The image holds NaN pixels: the model that made it has diverged; use another checkpoint."
            )
        # (N, C, ...) float32 in [0, 1] -> (N, C, ...) uint8
        return np.rint(scaled * 255.0).astype(np.uint8)


def concatenate(sets: Sequence[ImageSet]) -> ImageSet:
    """One set of all the images of `sets`, which must share modality, unit, window, affine and image shape."""
    first = sets[0]
    for other in sets[1:]:
        if first.affine is None or other.affine is None:
            same_place = first.affine is other.affine
        else:
            same_place = np.allclose(first.affine, other.affine)
        same_kind = (first.modality, first.unit, first.window) == (other.modality, other.unit, other.window)
        if not (same_place and same_kind and first.pixels.shape[1:] == other.pixels.shape[1:]):
            raise MedgenError(f"{first!r} and {other!r} cannot stand in one set: they differ in kind, shape or place.")

    def joined(parts: Sequence[tuple[Item, ...] | None]) -> tuple[Item, ...] | None:
        return None if None in parts else tuple(item for part in parts if part is not None for item in part)

    return replace(
        first,
        pixels=np.concatenate([one.pixels for one in sets]),
        labels=joined([one.labels for one in sets]),
        subjects=joined([one.subjects for one in sets]),
        attributes=joined([one.attributes for one in sets]),
        quantities=joined([one.quantities for one in sets]),
    )
