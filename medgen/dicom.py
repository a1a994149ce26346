"""One X-ray as a DICOM file: written with the synthetic mark, read with its window."""

from __future__ import annotations

import struct
from collections.abc import Collection
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
from medgen.provenance import NOTICE, PARTLY, SOURCE_TYPE, software

XRAY = ("CR", "DX")
UNREADABLE = (
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
    picture, so that viewers and loaders that filter on CR or DX find it. A picture of which only a region is synthetic
    (`Synthetic` of the mark is "partly") says so instead, and claims nothing of the rest: Conversion Type WSD.

    Args:
        picture: `(H, W)` uint8, 0 black; stored as it is, 8 bits, MONOCHROME2.
        provenance: `provenance.mark(...)`; what was asked goes into the derivation and the comments.
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
    ds = marked_dataset(SecondaryCaptureImageStorage, provenance, modality, number)
    ds.StudyInstanceUID = study_uid or generate_uid()
    ds.SeriesInstanceUID = series_uid or generate_uid()
    ds.set_pixel_data(np.ascontiguousarray(picture), "MONOCHROME2", 8, generate_instance_uid=False)
    ds.PresentationLUTShape = "IDENTITY"
    # with the LINEAR function of PS3.3 C.11.2.1.2 exactly 0 -> black and 255 -> white
    ds.WindowCenter, ds.WindowWidth = 128, 256
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def marked_dataset(sop_class: str, provenance: dict[str, str], modality: str, number: int) -> Dataset:
    """A data set that says what, when and by whom, with the synthetic mark and no patient; without pixels and series.

    Args:
        sop_class: SOP Class UID.
        provenance: `provenance.mark(...)`.
        modality: DICOM modality code.
        number: Instance Number, from 1.
    """
    ds = Dataset()
    _nobody(ds, provenance)
    _study(ds, provenance, modality, number)
    _origin(ds, provenance)
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = generate_uid()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _nobody(ds: Dataset, provenance: dict[str, str]) -> None:
    """The patient and visit attributes a file must have (Type 2), saying that this is no patient's record."""
    partly = provenance.get("Synthetic") == PARTLY
    ds.PatientName = "PARTLY SYNTHETIC^NOT A PATIENT RECORD" if partly else "SYNTHETIC^NOT A PATIENT"
    ds.PatientID = ds.StudyID = str(ds.PatientName.family_name)
    ds.PatientBirthDate = ""
    ds.PatientSex = ""
    ds.ReferringPhysicianName = ""
    ds.AccessionNumber = ""
    ds.Laterality = ""  # Type 2C, like the next: nobody stood in front of a detector, or nobody said who and how
    ds.PatientOrientation = ""


def _study(ds: Dataset, provenance: dict[str, str], modality: str, number: int) -> None:
    """Study, series and time: when the file was made, in UTC."""
    now = datetime.now(UTC)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    ds.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    ds.TimezoneOffsetFromUTC = "+0000"
    ds.StudyDate = ds.ContentDate = ds.InstanceCreationDate = date
    ds.StudyTime = ds.ContentTime = ds.InstanceCreationTime = time
    ds.Modality = modality
    ds.SeriesNumber = 1
    ds.InstanceNumber = number
    ds.StudyDescription = f"{ds.PatientID} images, not for clinical use"
    # what restricts the label stands before it: the end may be cut off
    named = {"Model": "", "Severity": "severity ", "Label": "", "Region label": "region: "}
    words = [f"{head}{provenance[key]}" for key, head in named.items() if key in provenance]
    ds.SeriesDescription = " ".join([ds.PatientID, *words])[:64]  # VR LO


def _origin(ds: Dataset, provenance: dict[str, str]) -> None:
    """Who made the picture and from what: the synthetic mark in every place a reader may look for it."""
    partly = provenance.get("Synthetic") == PARTLY
    ds.SyntheticData = "YES"  # "some or all" of the content
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD" if partly else "SYN"
    if not partly:  # of an upload nobody knows
        ds.BurnedInAnnotation = "NO"
        ds.LossyImageCompression = "00"
    ds.Manufacturer = "medgen"
    ds.ManufacturerModelName = provenance.get("Model", "medgen")[:64]
    ds.SoftwareVersions = software()
    asked = ("Model", "Seed", "Label", "Region label", "Severity")
    known = ", ".join(f"{key.lower()} {provenance[key]}" for key in asked if key in provenance)
    what = "Region of an uploaded picture" if partly else "Synthetic image"
    rest = " The rest is the uploaded picture." if partly else ""
    kind = f"IPTC digital source type: {provenance.get('Source type', SOURCE_TYPE)}"
    ds.DerivationDescription = f"{what} generated by {software()}: {known}.{rest} {kind}"[:1024]  # VR ST
    ds.ImageComments = f"{provenance.get('Disclaimer', NOTICE)} {provenance.get('Request', '')}".strip()[:10240]  # LT
    maker = Dataset()
    maker.Manufacturer = "medgen"
    maker.ManufacturerModelName = ds.ManufacturerModelName
    maker.SoftwareVersions = software()
    maker.ContributionDescription = f"Generated the pixels{' of a region' if partly else ''} with a generative model"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    maker.PurposeOfReferenceCodeSequence = [purpose]
    ds.ContributingEquipmentSequence = [maker]


def read_dicom(path: Path, only: Collection[str] | None = None, body_part: str | None = None) -> ImageSet:
    """One grey DICOM picture: rescaled, MONOCHROME1 turned so that high is white, window from the file or percentiles.

    Args:
        path: the file.
        only: the modalities that will do; None = any.
        body_part: the Body Part Examined that will do, where the file names one; None = any.

    Raises:
        MedgenError: damaged, too large, in colour, several frames, compressed in a way that cannot be read here, or it
            says that it shows something else.
    """
    try:
        # the transfer syntax stands before the part that dcmread would inflate
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:
            raise MedgenError(f"{path.name} is a deflated DICOM, whose size cannot be bounded; save it uncompressed.")
        ds = pydicom.dcmread(path)
        _refuse_others(ds, path.name, only, body_part)
        _refuse_unsuited(ds, path.name)
        stored = ds.pixel_array  # (H, W) integer
        values = apply_modality_lut(stored, ds)
        values, window = _windowed(values, ds)
        low_is_white = ds.PhotometricInterpretation == "MONOCHROME1"
        modality = str(ds.get("Modality", "OT"))
        is_hu = modality == "CT" or ds.get("RescaleType") == "HU"
    except MedgenError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise MedgenError(
            f"{path.name} cannot be read as a DICOM picture ({reason}); save it again, uncompressed."
        ) from error
    pixels = values.astype(np.float32)
    if low_is_white:  # mirror within the window
        pixels = np.float32(window[0] + window[1]) - pixels
    return ImageSet(pixels[None, None], modality, "HU" if is_hu else "au", window)


def _refuse_others(ds: Dataset, name: str, only: Collection[str] | None, body_part: str | None) -> None:
    """Checks what the header says the picture shows, before anything else about it."""
    modality, part = str(ds.get("Modality") or "unknown"), str(ds.get("BodyPartExamined") or "").strip().upper()
    if only is not None and modality not in only:
        raise MedgenError(f"{name} is of the modality {modality}, not an X-ray ({', '.join(only)}); give another file.")
    if body_part is not None and part and body_part not in part:
        raise MedgenError(f"{name} shows {part}, not {body_part}; give another file.")


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
    if (window := file_window(ds)) is not None:
        return values, window
    if ds.get("VOILUTSequence") and np.issubdtype(values.dtype, np.integer):
        bits = int(ds.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi_lut(values, ds, prefer_lut=True), (0.0, 2.0**bits - 1)
    padding = ds.get("PixelPaddingValue")
    shown = values if padding is None else values[ds.pixel_array != padding]
    return values, percentile_window(shown)


def file_window(ds: Dataset) -> tuple[float, float] | None:
    """The (low, high) of the first Window Center and Width; None where there is no usable one."""
    centre, width = _first(ds.get("WindowCenter")), _first(ds.get("WindowWidth"))
    if centre is None or width is None:
        return None
    exact = ds.get("VOILUTFunction", "LINEAR") != "LINEAR"
    # LINEAR counts pixel values (PS3.3 C.11.2.1.2): a width of 256 around 128 is 0..255
    middle, half = (centre, width / 2) if exact else (centre - 0.5, (width - 1) / 2)
    return (middle - half, middle + half) if half > 0 else None


def _first(value: Any) -> float | None:
    """The first of one or several window values; None where there is none."""
    if value is None or value == "":
        return None
    number = float(value[0] if isinstance(value, MultiValue) else value)
    return number if np.isfinite(number) else None
