"""One X-ray as a DICOM file: written with the synthetic mark, read with its window."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL.Image import DecompressionBombError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.png import MAX_PIXELS, percentile_window
from medgen.provenance import NOTICE, software

XRAY = ("CR", "DX")
_UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    DecompressionBombError,
    struct.error,
    AttributeError,
    LookupError,
    RuntimeError,
    OSError,
    TypeError,
    OverflowError,
    ValueError,
)
"""What pydicom and its decoders raise on damaged files."""


def dicom_bytes(
    picture: np.ndarray,
    provenance: dict[str, str],
    *,
    modality: str = "CR",
    study_uid: str | None = None,
    series_uid: str | None = None,
    number: int = 1,
) -> bytes:
    """One picture as a complete DICOM file, with new UIDs at each call.

    The SOP class is Secondary Capture with Conversion Type SYN, "synthetic image". Digital X-Ray would demand the
    detector's pixel spacing, body part and view, and Computed Radiography claims an acquisition: for pixels of unknown
    physical size that no detector saw, all of that would be invented. The modality still names the kind of
    picture, so that viewers and loaders that filter on CR or DX find it.

    Args:
        picture: `(H, W)` uint8, 0 black; stored as it is, 8 bits, MONOCHROME2.
        provenance: `provenance.mark(...)`; Model, Seed, Label and Request go into the derivation and the comments.
        modality: CR or DX.
        study_uid: shared by the files of one set; None = new.
        series_uid: shared by the files of one set; None = new.
        number: Instance Number, from 1.

    Raises:
        MedgenError: not a `(H, W)` uint8 picture, or not an X-ray.

    Source: DICOM PS3.3, A.8.1 (Secondary Capture Image IOD); C.12.1 for (0008,001C) Synthetic Data.
    """
    if modality not in XRAY:
        raise MedgenError(f"DICOM export writes X-rays ({', '.join(XRAY)}), not {modality}; choose PNG.")
    if picture.ndim != 2 or picture.dtype != np.uint8 or not all(0 < side < 2**16 for side in picture.shape):
        raise MedgenError(f"A DICOM picture must be (H, W) uint8, not {picture.shape} {picture.dtype}.")
    ds = Dataset()
    _nobody(ds)
    _study(ds, provenance, modality, number)
    _origin(ds, provenance)
    ds.StudyInstanceUID = study_uid or generate_uid()
    ds.SeriesInstanceUID = series_uid or generate_uid()
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.set_pixel_data(np.ascontiguousarray(picture), "MONOCHROME2", 8, generate_instance_uid=False)
    ds.PresentationLUTShape = "IDENTITY"
    # with the LINEAR function of PS3.3 C.11.2.1.2 exactly 0 -> black and 255 -> white
    ds.WindowCenter, ds.WindowWidth = 128, 256
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _nobody(ds: Dataset) -> None:
    """The patient and visit attributes a file must have (Type 2), saying that there is no patient."""
    ds.PatientName = "SYNTHETIC^NOT A PATIENT"
    ds.PatientID = "SYNTHETIC"
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.ReferringPhysicianName = ""
    ds.AccessionNumber = ""
    ds.Laterality = ""  # Type 2C, like the next: nobody stood in front of a detector
    ds.PatientOrientation = ""


def _study(ds: Dataset, provenance: dict[str, str], modality: str, number: int) -> None:
    """Study, series and time: when the file was made, in UTC."""
    now = datetime.now(UTC)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    ds.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    ds.TimezoneOffsetFromUTC = "+0000"
    ds.StudyDate = ds.ContentDate = ds.InstanceCreationDate = date
    ds.StudyTime = ds.ContentTime = ds.InstanceCreationTime = time
    ds.StudyID = "SYNTHETIC"
    ds.Modality = modality
    ds.SeriesNumber = 1
    ds.InstanceNumber = number
    ds.StudyDescription = "SYNTHETIC images, not for clinical use"
    words = ("SYNTHETIC", provenance.get("Model", ""), provenance.get("Label", ""))
    ds.SeriesDescription = " ".join(word for word in words if word)[:64]  # VR LO


def _origin(ds: Dataset, provenance: dict[str, str]) -> None:
    """Who made the picture and from what: the synthetic mark in every place a reader may look for it."""
    ds.SyntheticData = "YES"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "SYN"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.Manufacturer = "medgen"
    ds.ManufacturerModelName = provenance.get("Model", "medgen")[:64]
    ds.SoftwareVersions = software()
    known = [f"{key.lower()} {provenance[key]}" for key in ("Model", "Seed", "Label") if key in provenance]
    ds.DerivationDescription = f"Synthetic image generated by {software()}: {', '.join(known)}."[:1024]  # VR ST
    ds.ImageComments = f"{NOTICE} {provenance.get('Request', '')}".strip()[:10240]  # VR LT
    maker = Dataset()
    maker.Manufacturer = "medgen"
    maker.ManufacturerModelName = ds.ManufacturerModelName
    maker.SoftwareVersions = software()
    maker.ContributionDescription = "Generated the pixels with a generative model"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    maker.PurposeOfReferenceCodeSequence = [purpose]
    ds.ContributingEquipmentSequence = [maker]


def read_dicom(path: Path) -> ImageSet:
    """One grey DICOM picture: rescaled, MONOCHROME1 turned so that high is white, window from the file or percentiles.

    Raises:
        MedgenError: damaged, too large, in colour, several frames, or compressed in a way that cannot be read here.
    """
    try:
        # the transfer syntax stands before the part that dcmread would inflate
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:
            raise MedgenError(f"{path.name} is a deflated DICOM, whose size cannot be bounded; save it uncompressed.")
        ds = pydicom.dcmread(path)
        _refuse_unsuited(ds, path.name)
        stored = ds.pixel_array  # (H, W) integer
        values = apply_modality_lut(stored, ds)
        values, window = _windowed(values, ds)
        low_is_white = ds.PhotometricInterpretation == "MONOCHROME1"
        modality = str(ds.get("Modality", "OT"))
        is_hu = modality == "CT" or ds.get("RescaleType") == "HU"
    except MedgenError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise MedgenError(
            f"{path.name} cannot be read as a DICOM picture ({reason}); save it again, uncompressed."
        ) from error
    pixels = values.astype(np.float32)
    if low_is_white:  # mirror within the window
        pixels = np.float32(window[0] + window[1]) - pixels
    return ImageSet(pixels[None, None], modality, "HU" if is_hu else "au", window)


def _refuse_unsuited(ds: Dataset, name: str) -> None:
    """Checks what the header claims, before any pixel is decoded."""
    rows, columns, frames = (int(ds.get(key) or default) for key, default in _SIZES)
    if frames != 1:
        raise MedgenError(f"{name} holds {frames} frames; give a file of one picture.")
    if min(rows, columns) < 1:
        raise MedgenError(f"{name} holds no picture; give a DICOM image.")
    if rows * columns > MAX_PIXELS:
        raise MedgenError(f"{name} claims {columns} x {rows} pixels; at most {MAX_PIXELS:,} are read: scale it down.")
    if ds.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise MedgenError(f"{name} is no grey picture ({ds.get('PhotometricInterpretation')}); give a grey one.")


_SIZES = (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1))


def _windowed(values: np.ndarray, ds: Dataset) -> tuple[np.ndarray, tuple[float, float]]:
    """`values` and the (low, high) to show them with: the file's window, its VOI table, or percentiles 0.5 to 99.5."""
    centre, width = _first(ds.get("WindowCenter")), _first(ds.get("WindowWidth"))
    if centre is not None and width is not None:
        exact = ds.get("VOILUTFunction", "LINEAR") != "LINEAR"
        # LINEAR counts pixel values (PS3.3 C.11.2.1.2): a width of 256 around 128 is 0..255
        middle, half = (centre, width / 2) if exact else (centre - 0.5, (width - 1) / 2)
        if half > 0:
            return values, (middle - half, middle + half)
    if ds.get("VOILUTSequence") and np.issubdtype(values.dtype, np.integer):
        bits = int(ds.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi_lut(values, ds, prefer_lut=True), (0.0, 2.0**bits - 1)
    padding = ds.get("PixelPaddingValue")
    shown = values if padding is None else values[ds.pixel_array != padding]
    return values, percentile_window(shown)


def _first(value: Any) -> float | None:
    """The first of one or several window values; None where there is none."""
    if value is None or value == "":
        return None
    number = float(value[0] if isinstance(value, MultiValue) else value)
    return number if np.isfinite(number) else None
