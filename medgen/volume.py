"""One 3D image in physical units, and its slices as a radiologist expects to see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.png import percentile_window

PLANES = ("axial", "coronal", "sagittal")
SEEN = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIR"}
"""Where the columns, the rows and the slices of a plane run to: seen from the feet, from the front, from the left."""
MAX_VOXELS = 2**28
"""Largest volume read or made: 1 GiB as float32, a CT of 1024 slices of 512 x 512."""
_OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))


@dataclass(frozen=True, eq=False)
class Section:
    """One slice of a volume, ready to be shown.

    Args:
        pixels: `(H, W)` float32 in the unit of the volume; row 0 is on top.
        plane: one of `PLANES`.
        index: its number; axial slices count towards the head, coronal towards the face, sagittal towards the right.
        spacing_mm: `(between rows, between columns)`.
        edges: the letters at the left, right, top and bottom edge, of R L A P S I; empty where nobody knows.
    """

    pixels: np.ndarray
    plane: str
    index: int
    spacing_mm: tuple[float, float]
    edges: tuple[str, str, str, str]


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D image of one modality, in physical units, with its place in space.

    Args:
        array: `(X, Y, Z)` float32; the axes follow NIfTI i, j, k.
        affine: `(4, 4)` voxel index to world, RAS+ (x to the right, y to the front, z to the head), millimetres.
        modality: DICOM modality code (CT, MR, ...).
        unit: what one unit of a voxel means: "HU", "au".
        window: `(low, high)` in `unit` that the file asks to be shown with; None where it does not say.
        oriented: False where nobody knows left from right (a PNG, a NIfTI file without orientation); `affine` then
            only tells the spacing, in which an unknown one counts as 1 mm.
        synthetic: whether the file says that a model made all of it.

    Raises:
        MedgenError: an array has the wrong shape or type, is empty or too large, or the affine has no inverse.

    Example:
        >>> Volume(np.zeros((4, 5, 6), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]), "MR", "au")
        Volume(4x5x6, MR, au, 1 x 1 x 2 mm, RAS)
    """

    array: np.ndarray
    affine: np.ndarray
    modality: str
    unit: str
    window: tuple[float, float] | None = None
    oriented: bool = True
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.dtype != np.float32 or not 0 < self.array.size <= MAX_VOXELS:
            raise MedgenError(
                f"A volume must be (X, Y, Z) float32 of at most {MAX_VOXELS:,} voxels, not {self.array.shape} "
                f"{self.array.dtype}."
            )
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise MedgenError(f"The affine must be (4, 4) finite numbers, not {self.affine.tolist()}.")
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        # 1 for axes at right angles, 0 for axes in one plane
        if not lengths.all() or abs(np.linalg.det(self.affine[:3, :3] / lengths)) < 0.1:
            raise MedgenError("The axes of the volume lie in one plane; its header is damaged.")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise MedgenError(f"The window {self.window} is empty: give (low, high) with low < high.")

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.array.shape))
        spacing = " x ".join(f"{length:.3g}" for length in self.spacing_mm)
        return f"Volume({shape}, {self.modality}, {self.unit}, {spacing} mm, {self.axes or 'orientation unknown'})"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each axis, millimetres."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def axes(self) -> str:
        """Where the three axes run to, such as "RAS" or "PSR", to the nearest letter; "" where nobody knows."""
        return "".join(aff2axcodes(self.affine)) if self.oriented else ""

    @property
    def shear_degrees(self) -> float:
        """How far the axes are from right angles; a CT with a tilted gantry has its tilt here, other volumes 0."""
        cosines = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        products = np.abs((cosines.T @ cosines)[np.triu_indices(3, 1)])
        return float(np.degrees(np.arcsin(min(1.0, products.max()))))

    def world(self, ijk: np.ndarray) -> np.ndarray:
        """Voxel indices `(..., 3)` to millimetres `(..., 3)`, RAS+."""
        return np.asarray(ijk) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxel(self, xyz_mm: np.ndarray) -> np.ndarray:
        """Millimetres `(..., 3)`, RAS+, to voxel indices `(..., 3)`, not rounded."""
        return (np.asarray(xyz_mm) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def reoriented(self, axes: str) -> Volume:
        """The same voxels at the same places with axes that run to `axes`, such as "RAS"; only flips and permutes.

        Raises:
            MedgenError: not three letters, one of each pair R L, A P and S I.
        """
        if len(axes) != 3 or {min(letter, _OPPOSITE.get(letter, "?")) for letter in axes} != {"L", "A", "I"}:
            raise MedgenError(f"Axes must be three letters, one of each pair RL, AP, SI, such as RAS; not {axes!r}.")
        change = ornt_transform(io_orientation(self.affine), axcodes2ornt(axes))
        affine = self.affine @ inv_ornt_aff(change, self.array.shape)
        return replace(self, array=apply_orientation(self.array, change), affine=affine)

    def canonical(self) -> Volume:
        """The volume with axes to the right, to the front and to the head: RAS+."""
        return self.reoriented("RAS")

    def count(self, plane: str) -> int:
        """How many slices of `plane` there are."""
        return self._seen(plane).array.shape[2]

    def section(self, plane: str, index: int) -> Section:
        """Slice `index` of `plane`, turned as radiologists show it: the patient's right on the left, the front on top
        of axial slices and the head on top of the others, sagittal slices facing left.

        Raises:
            MedgenError: no such plane or slice.
        """
        seen = self._seen(plane)
        n = seen.array.shape[2]
        if not 0 <= index < n:
            raise MedgenError(f"There is no {plane} slice {index}; choose from 0 to {n - 1}.")
        right, bottom = SEEN[plane][0], SEEN[plane][1]
        edges = (_OPPOSITE[right], right, _OPPOSITE[bottom], bottom) if self.oriented else ("", "", "", "")
        between_columns, between_rows, _ = seen.spacing_mm
        pixels = np.ascontiguousarray(seen.array[:, :, index].T)  # (X, Y) -> (rows, columns)
        return Section(pixels, plane, index, (between_rows, between_columns), edges)

    def sections(self, plane: str) -> np.ndarray:
        """All slices of `plane` as `section` shows them, `(N, H, W)` float32, a view."""
        return self._seen(plane).array.transpose(2, 1, 0)

    def with_sections(
        self, plane: str, stack: np.ndarray, *, modality: str, unit: str, window: tuple[float, float] | None = None
    ) -> Volume:
        """A volume on the grid of this one, made by a model of its `sections`: the way back.

        Args:
            plane: as given to `sections`.
            stack: `(N, H, W)` float32, of the shape of `sections(plane)`.
            modality: DICOM modality code of the new volume.
            unit: of its voxels.
            window: to show it with.

        Raises:
            MedgenError: `stack` has another shape or type.
        """
        seen = self._seen(plane)
        if stack.shape != seen.array.shape[::-1] or stack.dtype != np.float32:
            raise MedgenError(f"{plane} slices must be {seen.array.shape[::-1]} float32, not {stack.shape}.")
        made = replace(
            seen, array=stack.transpose(2, 1, 0), modality=modality, unit=unit, window=window, synthetic=True
        )
        return made.reoriented("".join(aff2axcodes(self.affine)))

    def shown(self) -> tuple[float, float]:
        """The window of the file, or percentiles 0.5 to 99.5 of the voxels where it names none."""
        return self.window or percentile_window(self.array)

    def refuse_nan(self) -> None:
        """Raises:
        MedgenError: a voxel is NaN or infinite; black would hide that a model failed.
        """
        if not np.isfinite(self.array).all():
            raise MedgenError("The volume holds NaN or infinite voxels: the model has diverged; use another one.")

    def images(self) -> ImageSet:
        """The volume as a set of one, `(1, 1, X, Y, Z)`."""
        affine = self.affine if self.oriented else None
        return ImageSet(self.array[None, None], self.modality, self.unit, self.shown(), affine)

    @classmethod
    def of(cls, images: ImageSet, index: int, *, synthetic: bool | None = None) -> Volume:
        """Volume `index` of a set of `(N, 1, X, Y, Z)`: the inverse of `images`.

        Args:
            images: the set.
            index: which of it.
            synthetic: whether a model made it; None = if it is nobody's, as `images.subjects` tells.

        Raises:
            MedgenError: not one grey volume an image.
        """
        if images.pixels.ndim != 5 or images.pixels.shape[1] != 1:
            raise MedgenError(f"{images!r} are no grey volumes; give (N, 1, X, Y, Z).")
        made = images.subjects is None if synthetic is None else synthetic
        affine = np.eye(4) if images.affine is None else images.affine
        known = images.affine is not None
        return cls(images.pixels[index, 0], affine, images.modality, images.unit, images.window, known, made)

    def _seen(self, plane: str) -> Volume:
        if plane not in SEEN:
            raise MedgenError(f"There is no plane {plane!r}; choose from {', '.join(PLANES)}.")
        return self.reoriented(SEEN[plane])


def centred_affine(shape: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """`(4, 4)` voxel to world of a grid whose axes run to the right, front and head, and whose middle is at 0 mm.

    Args:
        shape: number of voxels along x, y and z.
        spacing_mm: between them.
    """
    affine = np.diag([*spacing_mm, 1.0]).astype(np.float64)
    affine[:3, 3] = [-step * (n - 1) / 2 for n, step in zip(shape, spacing_mm, strict=True)]
    return affine


def grid_difference(first: Volume, second: Volume, tolerance: float = 0.1) -> str | None:
    """Why two volumes do not lie on one grid, in a few words; None where they do, in whatever order of axes.

    Args:
        first: a volume.
        second: the volume to compare with it.
        tolerance: how far corresponding corners may lie apart, in parts of the smallest voxel side.
    """
    if not (first.oriented and second.oriented):
        return "the orientation of one is unknown"
    one, other = first.canonical(), second.canonical()
    if one.array.shape != other.array.shape:
        return " and ".join("x".join(map(str, v.array.shape)) for v in (one, other)) + " voxels"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in one.array.shape])).reshape(3, -1).T
    apart = float(np.linalg.norm(one.world(corners) - other.world(corners), axis=1).max())
    if apart > tolerance * min(one.spacing_mm):
        return f"corners {apart:.2f} mm apart"
    return None
