"""A slice of any size and spacing on the picture grid of a model, and what the model made of it back on the slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medgen.errors import MedgenError
from medgen.pair_slices import head, resampled
from medgen.volume import Volume

_SAME = 0.01
"""Pixels whose sizes differ by less are taken one for one, so that nothing is interpolated."""
_MOST = 64.0
"""Times that a pixel of the picture may be larger, or smaller, than one of the slice."""
_LOOKED_AT = 2**22
"""Voxels that are enough to see where the head is."""


@dataclass(frozen=True)
class SliceGrid:
    """Where the square picture of a model lies on a slice. Made by `around`.

    Args:
        shape: `(H, W)` of the slice.
        spacing_mm: of the slice, `(between rows, between columns)`.
        side: pixels along an edge of the picture.
        pixel_mm: what a pixel of the picture measures on the slice, `(between rows, between columns)`.
        first: row and column of the slice, not rounded, under the first pixel of the picture.
    """

    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    side: int
    pixel_mm: tuple[float, float]
    first: tuple[float, float]

    @classmethod
    def around(
        cls,
        shape: tuple[int, int],
        spacing_mm: tuple[float, float],
        side: int,
        pixel_mm: float,
        middle: tuple[float, float] | None = None,
    ) -> SliceGrid:
        """The picture whose middle is the middle of the slice; where it cannot hold all, what `middle` asks for.

        Args:
            shape: `(H, W)` of the slice.
            spacing_mm: of the slice, `(between rows, between columns)`.
            side: pixels along an edge of the picture.
            pixel_mm: edge of a pixel of the picture.
            middle: row and column of the slice to have in the middle, as far as the picture stays on the slice.

        Raises:
            MedgenError: the pixels of the slice are too fine or too coarse for any head.
        """
        if not all(1 / _MOST < pixel_mm / spacing < _MOST for spacing in spacing_mm):
            said = " x ".join(f"{spacing:.3g}" for spacing in spacing_mm)
            raise MedgenError(f"Pixels of {said} mm show no head; correct the spacing in the header of the file.")
        steps, first = [], []
        for axis in (0, 1):
            step = pixel_mm / spacing_mm[axis]
            step = 1.0 if abs(step - 1.0) < _SAME else step
            reach, last = step * (side - 1) / 2, shape[axis] - 1.0
            centre = last / 2
            if middle is not None and 2 * reach < last:
                centre = min(max(middle[axis], reach), last - reach)
            start = centre - reach
            # where the slice is no finer its pixels lie on pixels of the picture, so that the way back loses less
            first.append(round(start / step) * step if step <= 1.0 else start)
            steps.append(step * spacing_mm[axis])
        return cls(shape, spacing_mm, side, (steps[0], steps[1]), (first[0], first[1]))

    def picture(self, pixels: np.ndarray, background: float) -> np.ndarray:
        """The slice as the model wants it: linear, smoothed first where pixels get coarser.

        Args:
            pixels: `(H, W)` float32.
            background: what lies outside the slice.

        Returns:
            `(side, side)` float32.
        """
        affine = np.diag([*self.pixel_mm, 1.0, 1.0])
        affine[:2, 3] = np.multiply(self.first, self.spacing_mm)
        flat = np.ascontiguousarray(pixels, np.float32)[:, :, None]  # rows, columns, one slice
        whole = Volume(flat, np.diag([*self.spacing_mm, 1.0, 1.0]), "OT", "au")
        values, reach = resampled(whole, affine, (self.side, self.side, 1))
        return np.where(reach, values, np.float32(background))[:, :, 0]

    def slice(self, picture: np.ndarray, background: float) -> np.ndarray:
        """The way back: linear, never smoothed, as where the slice is coarser the picture was interpolated from it.

        Args:
            picture: `(side, side)` float32.
            background: what lies on the slice outside the picture.

        Returns:
            `(H, W)` float32.
        """
        start, steps = self._way_back()
        values = ndimage.affine_transform(
            picture, steps, offset=start, output_shape=self.shape, order=1, mode="nearest", prefilter=False
        )
        return np.where(self.covered(), values, np.float32(background))

    def covered(self) -> np.ndarray:
        """`(H, W)` bool: the pixels of the slice that the picture holds."""
        start, steps = self._way_back()
        places = [at + step * np.arange(n) for at, step, n in zip(start, steps, self.shape, strict=True)]
        rows, columns = ((place >= -0.5) & (place < self.side - 0.5) for place in places)
        return rows[:, None] & columns[None, :]

    def _way_back(self) -> tuple[list[float], list[float]]:
        """Where the first pixel of the slice lies on the picture, and how far the next one, by rows and columns."""
        steps = [spacing / pixel for spacing, pixel in zip(self.spacing_mm, self.pixel_mm, strict=True)]
        return [-first * step for first, step in zip(self.first, steps, strict=True)], steps


def middle(volume: Volume, plane: str) -> tuple[float, float]:
    """Row and column of the middle of the head in the slices of `plane`: what a picture too small for all shows."""
    stack = volume.sections(plane)  # (N, H, W), a view
    step = max(1, round((stack.size / _LOOKED_AT) ** (1 / 3)))
    shows = head(stack[::step, ::step, ::step], volume.unit)
    found = []
    for axis, others in ((1, (0, 2)), (2, (0, 1))):
        where = np.flatnonzero(shows.any(axis=others))
        found.append(float(step * (where[0] + where[-1]) / 2) if len(where) else (stack.shape[axis] - 1) / 2)
    return found[0], found[1]
