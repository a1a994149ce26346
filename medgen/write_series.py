"""A volume that a model made as DICOM slices, where they belong and in their unit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from medgen.dicom import marked_dataset
from medgen.errors import MedgenError
from medgen.volume import SEEN, Volume

SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI counts to the right and to the front, DICOM to the left and to the back."""


def dicom_series(
    volume: Volume, provenance: dict[str, str], plane: str = "axial", *, study_uid: str | None = None
) -> Iterator[bytes]:
    """The slices of a volume as complete DICOM files, in order; new UIDs at each call, no patient.

    CT and MR Image Storage, Image Type DERIVED\\SECONDARY: Secondary Capture has no place in space. What only an
    acquisition has is left empty, or says that there was none (Scanning Sequence RM, research mode). HU are rounded to
    whole numbers; "au" to one of 65,536 steps from the lowest value to the highest, or not at all if whole.

    Args:
        volume: CT in "HU" or MR.
        provenance: `provenance.mark(...)`.
        plane: along which slices are cut, turned as viewers expect it; voxels stay where they are.
        study_uid: of the study that the series belongs to; None = a new one.

    Raises:
        MedgenError: another modality or unit, orientation unknown, NaN, or HU beyond 16 bits.

    Source: DICOM PS3.3 A.3, A.4, C.7.6.2 (Image Plane), C.8.2.1 (CT Image), C.8.3.1 (MR Image).
    """
    if volume.modality not in SOP_CLASSES or (volume.modality == "CT") != (volume.unit == "HU"):
        raise MedgenError(f"DICOM export writes CT in HU and MR, not {volume.modality} in {volume.unit}; choose NIfTI.")
    if plane not in SEEN:
        raise MedgenError(f"There is no plane {plane!r}; choose from {', '.join(SEEN)}.")
    if not volume.oriented:
        raise MedgenError("DICOM needs to know left from right, and this volume does not say; choose NIfTI.")
    volume.refuse_nan()
    seen = volume.reoriented(SEEN[plane])
    stored, slope, intercept = _stored(seen)
    shared = {key: generate_uid() for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")}
    shared |= {} if study_uid is None else {"StudyInstanceUID": study_uid}
    directions, lps = _directions(seen)
    low, high = volume.shown()
    for k in range(stored.shape[2]):
        ds = marked_dataset(SOP_CLASSES[volume.modality], provenance, volume.modality, k + 1)
        for keyword, value in {**shared, **_empty(volume.modality), **directions}.items():
            setattr(ds, keyword, value)
        ds.ImagePositionPatient = _ds(lps[:3, 3] + k * lps[:3, 2])
        ds.set_pixel_data(np.ascontiguousarray(stored[:, :, k].T), "MONOCHROME2", 16, generate_instance_uid=False)
        ds.RescaleSlope, ds.RescaleIntercept = _ds((slope, intercept))
        ds.RescaleType = "HU" if volume.unit == "HU" else "US"
        # the LINEAR function of PS3.3 C.11.2.1.2 counts values, as `dicom.file_window` undoes
        ds.WindowCenter, ds.WindowWidth = _ds(((low + high + 1) / 2, high - low + 1))
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        yield buffer.getvalue()


def _stored(volume: Volume) -> tuple[np.ndarray, float, float]:
    """Integers of 16 bits, and the slope and intercept that turn them into values."""
    array = volume.array
    low, high = float(array.min()), float(array.max())
    if volume.unit == "HU":
        if low < -(2**15) or high >= 2**15 - 0.5:
            raise MedgenError(f"The volume has values from {low:g} to {high:g} HU, which 16 bits cannot hold.")
        return np.rint(array).astype(np.int16), 1.0, 0.0
    if low >= 0 and high < 2**16 and bool((array == np.rint(array)).all()):
        return array.astype(np.uint16), 1.0, 0.0
    slope = (high - low) / (2**16 - 1) or 1.0
    return np.rint((array - np.float64(low)) / slope).astype(np.uint16), slope, low


def _directions(seen: Volume) -> tuple[dict[str, Any], np.ndarray]:
    """The attributes of place that all slices share, and the affine `(4, 4)` to DICOM's LPS+ millimetres."""
    lps = _TO_LPS @ seen.affine
    between_columns, between_rows, _ = seen.spacing_mm
    row, column = lps[:3, 0] / between_columns, lps[:3, 1] / between_rows
    if abs(float(row @ column)) > 1e-3:
        raise MedgenError("The rows and columns of this volume are not at right angles; cut it along another plane.")
    across = abs(float(np.cross(row, column) @ lps[:3, 2]))
    shared = {
        "ImageOrientationPatient": _ds((*row, *column)),
        "PixelSpacing": _ds((between_rows, between_columns)),
        "SliceThickness": _ds((across,))[0],
        "PositionReferenceIndicator": "",
    }
    return shared, lps


def _empty(modality: str) -> dict[str, Any]:
    """What the CT or MR image module must have although nothing was acquired."""
    if modality == "CT":
        return {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "KVP": None, "AcquisitionNumber": None}
    return {
        "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "",
        "EchoTime": None,
        "EchoTrainLength": None,
    }


def _ds(values: Any) -> list[DSfloat]:
    """Decimal strings of at most 16 characters, as many digits as fit."""
    return [DSfloat(float(value), auto_format=True) for value in values]
