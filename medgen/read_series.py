"""DICOM slices to one volume: a file, the files of a series, or the frames of an enhanced multi-frame file.

First the headers are read, then the geometry is judged, and only then is one slice after the other decoded, so that
memory is bounded by the volume that will be returned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_modality_lut, get_decoder, iter_pixels
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medgen.dicom import UNREADABLE, file_window
from medgen.errors import MedgenError
from medgen.png import MAX_PIXELS
from medgen.slice_geometry import Place, place_slices
from medgen.volume import MAX_VOXELS, Volume

AIR_HU = -1024.0
_GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Member:
    """A file on disk or in a ZIP: what messages call it, its bytes, the first 4096, and how to open it, repeatedly."""

    name: str
    size: int
    head: bytes
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Series:
    """One DICOM series: a key to choose it by, and what its first file says about it."""

    uid: str
    modality: str
    description: str
    headers: tuple[tuple[Member, Dataset], ...]

    def __str__(self) -> str:
        n = sum(int(ds.get("NumberOfFrames") or 1) for _, ds in self.headers)
        title = f"{self.modality} {self.description!r}" if self.description else self.modality
        return f"{title}, {n} image{'s' if n > 1 else ''}"


def series_of(members: Sequence[Member]) -> list[Series]:
    """The series that DICOM files belong to, the one with most images first; files without a picture are left out.

    Raises:
        MedgenError: a file cannot be read, or is deflated as a whole.
    """
    found: dict[str, list[tuple[Member, Dataset]]] = {}
    for member in members:
        ds = _header(member)
        if int(ds.get("Rows") or 0) > 0 and int(ds.get("Columns") or 0) > 0:
            found.setdefault(str(ds.get("SeriesInstanceUID") or ""), []).append((member, ds))
    series = []
    for uid, headers in found.items():
        ds = headers[0][1]
        series.append(
            Series(uid, str(ds.get("Modality") or "OT"), str(ds.get("SeriesDescription") or ""), tuple(headers))
        )
    return sorted(series, key=lambda one: -len(one.headers))


def _header(member: Member) -> Dataset:
    try:
        with member.open() as file:
            # the transfer syntax stands before the part that dcmread would inflate
            file.seek(132)
            meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag >= 0x00030000)
            syntax = meta.get("TransferSyntaxUID")
            if syntax == DeflatedExplicitVRLittleEndian:
                raise MedgenError(f"{member.name} is a deflated DICOM, whose size cannot be bounded; save it plain.")
            file.seek(0)
            ds = pydicom.dcmread(file, stop_before_pixels=True)
            for keyword in ("Rows", "Columns", "NumberOfFrames"):  # values are parsed, or fail, when asked for
                int(ds.get(keyword) or 0)
            for keyword in ("SeriesInstanceUID", "Modality", "SeriesDescription"):
                str(ds.get(keyword))
            return ds
    except MedgenError:
        raise
    except UNREADABLE as error:
        raise _unreadable(member, error) from error


def _unreadable(member: Member, error: BaseException) -> MedgenError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return MedgenError(f"{member.name} cannot be read as a DICOM picture ({reason}); save it again, uncompressed.")


def read_series(series: Series, name: str, only: Collection[str] | None = None) -> Volume:
    """The volume of a series.

    Args:
        series: one of `series_of`.
        name: what messages call the whole.
        only: the modalities that will do; None = any.

    Returns:
        Axes: along the rows, down the columns, from slice to slice. Values are rescaled; CT in "HU", where the file
        does not say that it is something else, with padding as air; others in "au", and MONOCHROME1 of them turned so
        that high is white.

    Raises:
        MedgenError: damaged, in colour, compressed in a way that cannot be read here, another modality, or slices that
            make no volume: missing, turned against each other, of different sizes, several at one place.
    """
    if only is not None and series.modality not in only:
        raise MedgenError(f"{name} is of the modality {series.modality}, not {' or '.join(only)}; give another file.")
    frames: list[tuple[int, int]] = []  # (file, frame in it), one a slice
    places: list[Place] = []
    try:
        for i, (member, ds) in enumerate(series.headers):
            _refuse_unsuited(member, ds)
            for frame in range(int(ds.get("NumberOfFrames") or 1)):
                frames.append((i, frame))
                places.append(_place(ds, frame))
        first = series.headers[0][1]
        rows, columns = int(first.Rows), int(first.Columns)
        if rows * columns * len(frames) > MAX_VOXELS:
            raise MedgenError(
                f"{name} claims {columns} x {rows} x {len(frames)} voxels; at most {MAX_VOXELS:,} are read: crop it."
            )
        if any((int(ds.Rows), int(ds.Columns)) != (rows, columns) for _, ds in series.headers):
            raise MedgenError(f"{name} holds slices of different sizes; give the files of one series.")
        order, affine, oriented = place_slices(places, name)
        unit = _unit(series, name)
        window = file_window(_look(first, 0, "FrameVOILUTSequence", "WindowCenter") or first)
    except UNREADABLE as error:
        if isinstance(error, MedgenError):
            raise
        raise _unreadable(series.headers[0][0], error) from error
    array = np.empty((columns, rows, len(frames)), np.float32, order="F")  # a slice is one piece
    slot = {frames[source]: k for k, source in enumerate(order)}
    for i, (member, _) in enumerate(series.headers):
        _fill(array, member, {frame: slot[i, frame] for j, frame in frames if j == i}, unit)
    if first.PhotometricInterpretation == "MONOCHROME1" and unit != "HU":
        low, high = window or (float(array.min()), float(array.max()))
        np.subtract(np.float32(low + high), array, out=array)
    synthetic = first.get("SyntheticData") == "YES" and "PARTLY" not in str(first.get("PatientID", ""))
    return Volume(array, affine, series.modality, unit, window, oriented, synthetic)


def _refuse_unsuited(member: Member, ds: Dataset) -> None:
    """Checks what a header claims, before any pixel is decoded."""
    if "MOSAIC" in (ds.get("ImageType") or ()):
        raise MedgenError(f"{member.name} is a Siemens mosaic of many slices; convert it with dcm2niix first.")
    if ds.get("PhotometricInterpretation") not in _GREY or int(ds.get("SamplesPerPixel") or 1) != 1:
        raise MedgenError(f"{member.name} is no grey picture ({ds.get('PhotometricInterpretation')}); give a grey one.")
    if int(ds.Rows) * int(ds.Columns) > MAX_PIXELS:
        raise MedgenError(f"{member.name} claims {ds.Columns} x {ds.Rows} pixels; at most {MAX_PIXELS:,}: crop it.")
    if not 1 <= int(ds.get("NumberOfFrames") or 1) <= MAX_VOXELS // (int(ds.Rows) * int(ds.Columns)):
        raise MedgenError(f"{member.name} claims {ds.NumberOfFrames} frames; at most {MAX_VOXELS:,} voxels are read.")
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            raise MedgenError(f"{member.name} is compressed as {syntax.name}; save it uncompressed.") from None
        if not decoder.is_available:
            needs = decoder.missing_dependencies[-1].split("requires ")[-1]
            raise MedgenError(
                f"{member.name} is compressed as {syntax.name}, which needs {needs}; install that or save the file "
                "uncompressed."
            )


def _look(ds: Dataset, frame: int, group: str, keyword: str) -> Dataset | None:
    """The item that holds `keyword` for a frame: its own functional group, the shared one, or the data set itself."""
    per_frame: Sequence[Dataset] = ds.get("PerFrameFunctionalGroupsSequence") or ()
    shared: Sequence[Dataset] = ds.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*per_frame[frame : frame + 1], *shared[:1]):
        items: Sequence[Dataset] = groups.get(group) or ()
        if len(items) and items[0].get(keyword) not in (None, ""):
            return items[0]
    several = int(ds.get("NumberOfFrames") or 1) > 1
    return None if several or ds.get(keyword) in (None, "") else ds


def _place(ds: Dataset, frame: int) -> Place:
    def numbers(group: str, keyword: str, n: int) -> np.ndarray | None:
        item = _look(ds, frame, group, keyword)
        values: Any = None if item is None else item.get(keyword)
        if values is None:
            return None
        array = np.atleast_1d(np.array(values, np.float64))
        return array if array.shape == (n,) and np.isfinite(array).all() else None

    spacing = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    thickness = numbers("PixelMeasuresSequence", "SliceThickness", 1)
    return Place(
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        spacing=spacing if spacing is not None else numbers("PixelMeasuresSequence", "ImagerPixelSpacing", 2),
        thickness_mm=None if thickness is None else float(thickness[0]),
    )


def _unit(series: Series, name: str) -> str:
    """ "HU" for CT, where no file says that its values are something else."""
    kinds = set()
    for _, ds in series.headers:
        item = _look(ds, 0, "PixelValueTransformationSequence", "RescaleSlope")
        if series.modality == "CT" and item is None:
            raise MedgenError(
                f"{name} is a CT without rescale slope and intercept, so its values are not HU; export it again."
            )
        said = "" if item is None else str(item.get("RescaleType") or "")
        is_ct = series.modality == "CT" and "LOCALIZER" not in (ds.get("ImageType") or ())
        kinds.add(said == "HU" or (is_ct and not said))
    return "HU" if kinds == {True} else "au"


def _fill(array: np.ndarray, member: Member, slots: dict[int, int], unit: str) -> None:
    """Decodes the frames of a file, one after the other, into `array[:, :, slots[frame]]`."""
    try:
        with member.open() as file:
            ds = pydicom.dcmread(file)
        n_bytes = int(ds.Rows) * int(ds.Columns) * len(slots) * int(ds.BitsAllocated) // 8
        if not ds.file_meta.TransferSyntaxUID.is_compressed and len(ds.get("PixelData", b"")) < n_bytes:
            raise MedgenError(f"{member.name} is cut short: pixels are missing; take a whole copy of it.")
        decoded = 0
        for frame, stored in enumerate(iter_pixels(ds)):  # (rows, columns)
            array[:, :, slots[frame]] = _values(ds, frame, stored, unit).T
            decoded += 1
        if decoded < len(slots):
            raise MedgenError(f"{member.name} holds {decoded} of {len(slots)} frames; take a whole copy of it.")
    except UNREADABLE as error:
        if isinstance(error, MedgenError):
            raise
        raise _unreadable(member, error) from error


def _values(ds: Dataset, frame: int, stored: np.ndarray, unit: str) -> np.ndarray:
    """Stored integers to physical values; padding of a CT, and what is darker than air outside its circle, is air."""
    item = _look(ds, frame, "PixelValueTransformationSequence", "RescaleSlope")
    if item is None or item is ds:
        values = apply_modality_lut(stored, ds)
    else:
        values = stored * float(item.RescaleSlope) + float(item.get("RescaleIntercept") or 0.0)
    padding = ds.get("PixelPaddingValue")
    if unit != "HU":
        return values
    if isinstance(padding, int):
        limit = ds.get("PixelPaddingRangeLimit")
        low, high = sorted((padding, limit if isinstance(limit, int) else padding))
        values = np.where((stored >= low) & (stored <= high), AIR_HU, values)
    return np.maximum(values, AIR_HU)
