"""PNG, JPEG and DICOM <-> ImageSet, and whole sets of files at once (`medgen.sets` writes them part by part)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from medgen.card import ModelCard
from medgen.dicom import dicom_bytes, read_dicom
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet
from medgen.png import JPEG_SIGNATURE, PNG_SIGNATURE, png_bytes, read_jpeg, read_png
from medgen.sets import FORMATS, VOLUME_FORMATS, SetWriter, folder_writer, formats, zip_writer

__all__ = [
    "FORMATS",
    "VOLUME_FORMATS",
    "SetWriter",
    "dicom_bytes",
    "folder_writer",
    "formats",
    "png_bytes",
    "read_image",
    "save_set",
    "zip_set",
    "zip_writer",
]

MAX_FILE_BYTES = 256 * 2**20
"""Largest file `read_image` opens: a full-field mammogram has 50 MB."""


def save_set(
    images: ImageSet,
    card: ModelCard,
    request: Request,
    folder: str | Path,
    *,
    seconds: float,
    peak_mb: float | None = None,
    format: str | None = None,
) -> Path:
    """Writes images, labels.csv and manifest.json into `folder`; returns the manifest's path. See `folder_writer`."""
    with folder_writer(card, folder, format) as writer:
        writer.add(images, request)
        writer.finish(seconds=seconds, peak_mb=peak_mb)
    return Path(folder) / "manifest.json"


def zip_set(
    images: ImageSet,
    card: ModelCard,
    request: Request,
    path: str | Path,
    *,
    seconds: float,
    peak_mb: float | None = None,
    format: str | None = None,
) -> Path:
    """The content of `save_set` as one ZIP; returns its path. See `zip_writer`."""
    with zip_writer(card, path, format) as writer:
        writer.add(images, request)
        writer.finish(seconds=seconds, peak_mb=peak_mb)
    return Path(path)


def read_image(
    path: str | Path, modality: str = "CR", *, only: Collection[str] | None = None, body_part: str | None = None
) -> ImageSet:
    """One grey picture from a PNG, JPEG or DICOM file, told apart by content, not by name.

    Args:
        path: the file.
        modality: what a PNG or JPEG shows; a DICOM file says so itself.
        only: the DICOM modalities that will do; None = any.
        body_part: the DICOM Body Part Examined that will do, where a file names one; None = any.

    Returns:
        One image, `(1, 1, H, W)` float32, in the file's own units, with the window to show it in.

    Raises:
        MedgenError: no such file, another format, damaged, too large, in colour, of several frames, or a DICOM file
            that says it shows something else.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise MedgenError(f"{path.name} cannot be opened ({error.strerror}); check the path.") from error
    if size > MAX_FILE_BYTES:
        raise MedgenError(f"{path.name} has {size / 2**20:.0f} MiB; at most {MAX_FILE_BYTES // 2**20} are read.")
    if head.startswith(PNG_SIGNATURE):
        return read_png(path, modality)
    if head.startswith(JPEG_SIGNATURE):
        return read_jpeg(path, modality)
    if head[128:] == b"DICM":
        return read_dicom(path, only, body_part)
    raise MedgenError(f"{path.name} is neither PNG, JPEG nor DICOM; convert it to one of them.")
