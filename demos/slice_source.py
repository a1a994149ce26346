"""The head to translate and the truth beside it: read once, kept while in use, and refused where they do not fit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demos import slice_examples
from medgen import MedgenError
from medgen.paired import CT_WINDOW, FIELD_OF_VIEW_MM
from medgen.png import percentile_window
from medgen.read_volume import find_series, read_volume
from medgen.volume import PLANES, SEEN, Section, Volume, grid_difference

MODALITIES = ("MR", "CT")
KEPT_BYTES = 2 * 2**30
"""Voxels kept in memory for all pages together; what was not used for longest is read again."""
LEVELS = (0.0, 255.0)
"""What black and white of an MR volume become: the numbers mean nothing by themselves."""
MIN_SIDE = 16
"""Pixels of the shorter side of a slice."""
_LOOKED_AT = 2**23
"""Voxels that percentiles are taken of."""
_AIR_HU = -500.0


@dataclass(frozen=True)
class Given:
    """Which head, and how its file is to be read: all that a page keeps of it.

    Args:
        name: what the page calls it.
        path: of an upload; never sent to a page.
        example: its key, where it is no upload.
        says: the modality of a file that does not say it.
        series: of a DICOM upload the series to read, a `Series.uid`.
    """

    name: str
    path: str = ""
    example: str = ""
    says: str = "MR"
    series: str | None = None


@dataclass(frozen=True, eq=False)
class Opened:
    """A head that has been read.

    Args:
        volume: the head, in its own unit.
        window: what of an MR volume is black and white for a model; of a CT those that models know.
        said: what it is, in a sentence.
        mark: the word burned into its pictures.
        silent: whether the file does not say what it shows, so that somebody else has to.
        dicom: whether it came as DICOM.
        sized: whether the size of a pixel is known.
        stacked: whether nobody knows how far its slices lie apart.
    """

    volume: Volume
    window: tuple[float, float]
    said: str
    mark: str
    silent: bool = False
    dicom: bool = False
    sized: bool = True
    stacked: bool = False

    def planes(self) -> list[str]:
        """The planes whose slices show something, axial first.

        Raises:
            MedgenError: there is none.
        """
        planes = PLANES[:1] if self.stacked else PLANES
        found = [plane for plane in planes if min(self.volume.sections(plane).shape[1:]) >= MIN_SIDE]
        if not found:
            shape = " x ".join(map(str, self.volume.array.shape))
            raise MedgenError(f"{shape} voxels show no head; give slices of at least {MIN_SIDE} x {MIN_SIDE} pixels.")
        return found

    def section(self, plane: str, index: int) -> Section:
        """A slice; where nobody knows the size of a pixel, its longer side counts as a whole field of view.

        Raises:
            MedgenError: no such plane or slice.
        """
        found = self.volume.section(plane, index)
        if self.sized:
            return found
        pixel_mm = FIELD_OF_VIEW_MM / max(found.pixels.shape)
        return replace(found, spacing_mm=(pixel_mm, pixel_mm))

    def affine_of(self, section: Section) -> np.ndarray:
        """`(4, 4)` from columns, rows and 0 of a slice of this head to RAS+ millimetres."""
        affine = self.volume.reoriented(SEEN[section.plane]).affine.copy()
        affine[:3, 3] += section.index * affine[:3, 2]
        return affine

    def levels(self, pixels: np.ndarray) -> np.ndarray:
        """HU of a CT as they are; of MR, levels from 0, black, to 255, white. float32 of the same shape."""
        if self.volume.unit == "HU":
            return pixels
        low, high = self.window
        return (np.clip(pixels, low, high) - np.float32(low)) / np.float32(high - low) * np.float32(LEVELS[1])


_kept: OrderedDict[Given, Opened] = OrderedDict()
_reading = threading.Lock()


def opened(given: Given | None) -> Opened:
    """The head, read on first use.

    Raises:
        MedgenError: there is none, it cannot be read, or it is neither MR nor CT.
    """
    if given is None:
        raise MedgenError("There is no head to translate: upload a scan or choose an example.")
    with _reading:
        found = _kept.pop(given, None) or _read(given)
        _kept[given] = found
        while len(_kept) > 1 and sum(one.volume.array.nbytes for one in _kept.values()) > KEPT_BYTES:
            _kept.popitem(last=False)
        return found


def series_of(path: str) -> list[tuple[str, str]]:
    """(shown, uid) of each series in an upload; none where it is no DICOM, or cannot be read, as `opened` will say."""
    try:
        return [(str(one), one.uid) for one in find_series(path)]
    except MedgenError:
        return []


def _read(given: Given) -> Opened:
    if given.example:
        example = slice_examples.opened(given.example)
        return Opened(example.volume, example.window, example.said, example.mark, stacked=example.stacked)
    dicom = bool(series_of(given.path))
    volume = read_volume(given.path, given.says, only=MODALITIES, series=given.series)
    name = Path(given.path).name
    if volume.modality == "CT" and volume.unit != "HU":
        kind = "a CT whose values are no HU (a localizer or a map)" if dicom else "a picture of grey levels"
        raise MedgenError(f"{name} is {kind}; give a CT as DICOM or NIfTI with Hounsfield units.")
    # a picture of its own that says nothing of millimetres is read with 1 mm
    sized = volume.oriented or volume.array.shape[2] > 1 or not np.allclose(volume.spacing_mm[:2], 1.0)
    window = CT_WINDOW if volume.unit == "HU" else _percentiles(volume.array)
    mark = "SYNTHETIC" if volume.synthetic else "UPLOADED"
    return Opened(volume, window, _said(name, volume, sized), mark, not dicom, dicom, sized)


def _percentiles(array: np.ndarray) -> tuple[float, float]:
    """Percentiles 0.5 and 99.5, of every n-th voxel where there are many; all values where those are one."""
    step = max(1, round((array.size / _LOOKED_AT) ** (1 / 3)))
    some = array[::step, ::step, ::step]
    low, high = percentile_window(some)
    return (low, high) if np.percentile(some, 99.5) > low else (float(array.min()), float(array.max()))


def _said(name: str, volume: Volume, sized: bool) -> str:
    shape = " x ".join(map(str, volume.array.shape))
    spacing = " x ".join(f"{length:.3g}" for length in volume.spacing_mm)
    size = f"{spacing} mm" if sized else "pixel size unknown"
    place = f"axes {volume.axes}" if volume.oriented else "left and right unknown"
    return f"{name}: {volume.modality}, {shape} voxels, {size}, {place}."


def refuse_modality(found: Opened, name: str, wanted: Mapping[str, Any]) -> None:
    """Whether a model can translate this head at all.

    Args:
        found: the head.
        name: what messages call it.
        wanted: `card.translates`.

    Raises:
        MedgenError: it is of another modality; says what to do.
    """
    modality = found.volume.modality
    if modality != wanted["modality"]:
        how = "say above that the file shows" if found.silent else "give"
        raise MedgenError(
            f"{name} is read as {modality}, but {wanted['source']} to {wanted['target']} translates "
            f"{wanted['modality']}: choose another translation, or {how} {wanted['modality']}."
        )


def warnings(found: Opened, plane: str) -> list[str]:
    """What makes a translation of this head less sure, one sentence each."""
    said, volume = [], found.volume
    if plane != "axial":
        said.append(f"The models learned from axial slices; in {plane} ones expect worse.")
    if found.silent and volume.modality == "MR" and float(volume.array.min()) <= _AIR_HU:
        said.append(f"Values down to {float(volume.array.min()):g} look like Hounsfield units: is it a CT?")
    if volume.modality == "CT" and float(volume.array.min()) > _AIR_HU:
        said.append(f"No value is below {float(volume.array.min()):g}, so there is no air: are these Hounsfield units?")
    if not found.sized:
        said.append(f"The size of a pixel is unknown: the longer side counts as {FIELD_OF_VIEW_MM:g} mm.")
    if not volume.oriented:
        said.append("The file does not say where left is.")
    if volume.shear_degrees > 1.0:
        said.append(f"The axes are {volume.shear_degrees:.0f} degrees from right angles (tilted gantry).")
    return said


def refuse_truth(source: Opened, truth: Opened, name: str, modality: str, target: str) -> None:
    """Whether `truth` may be held against translations of `source`.

    Args:
        source: what is translated.
        truth: what is said to show the same.
        name: what messages call the truth.
        modality: of the translations.
        target: their contrast, in words.

    Raises:
        MedgenError: it is of another modality, or not on the same grid; says how they differ.
    """
    if truth.volume.modality != modality:
        raise MedgenError(
            f"{name} is {truth.volume.modality}, but the truth of a translation to {target} is {modality}; "
            "give that, or none."
        )
    one, other = source.volume, truth.volume
    if not (one.oriented or other.oriented):  # pictures: nobody can say more than that they could be one slice
        same = one.array.shape == other.array.shape and np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3)
        shapes = " and ".join("x".join(map(str, volume.array.shape)) for volume in (one, other))
        difference = None if same else f"{shapes} pixels, or pixels of other sizes"
    else:
        difference = grid_difference(one, other)
    if difference is not None:
        raise MedgenError(
            f"{name} does not lie on the grid of the source ({difference}), so no pixel can be compared: register it "
            "first, as python -m medgen.data pairs does, or leave the truth out."
        )
