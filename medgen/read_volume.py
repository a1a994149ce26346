"""A volume from whatever people have: DICOM, a folder or ZIP of a series, NIfTI, PNG; told apart by content."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from medgen.errors import MedgenError
from medgen.files import read_image
from medgen.png import JPEG_SIGNATURE, PNG_SIGNATURE
from medgen.read_nifti import GZIP_MAGIC, inflated_head, is_nifti, read_nifti
from medgen.read_series import Member, Series, read_series, series_of
from medgen.volume import Volume

MAX_FILES = 4096
MAX_BYTES = 2 * 2**30
"""Of one file, and of all members of a ZIP together."""
ZIP_SIGNATURE = b"PK\x03\x04"
_HEAD = 4096
_MAX_RATIO = 200
"""Plain DICOM deflates at most some 20 times; what deflates better is a bomb or empty."""
_BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    struct.error,
    OSError,
)


def read_volume(
    path: str | Path, modality: str = "MR", *, only: Collection[str] | None = None, series: str | None = None
) -> Volume:
    """One volume from a file, folder or ZIP; one picture is a volume of one slice.

    Args:
        path: a DICOM file, single or enhanced multi-frame, with any name; a folder (not its subfolders) or a ZIP of one
            DICOM series; a NIfTI file, gzipped or not, also in a ZIP; a PNG or JPEG.
        modality: what a NIfTI, PNG or JPEG file shows; DICOM says so itself. NIfTI and "CT" means HU.
        only: the DICOM modalities that will do; None = any.
        series: of several series the one to read, a `Series.uid` of `find_series`; None = there must be one only.

    Returns:
        Axes and orientation as stored: `canonical()` and `section()` turn them.

    Raises:
        MedgenError: cannot be read or makes no volume; every voxel is the same; a voxel is NaN or infinite.
    """
    path = Path(path)
    members = _members(path)
    if len(members) == 1:
        volume = _read_picture(members[0], path, modality)
        if volume is not None:
            return _refuse_empty(volume, path.name)
    found = _dicom_series(members, path.name)
    chosen = [one for one in found if series in (None, one.uid)]
    if not chosen:
        raise MedgenError(f"{path.name} holds no series {series}; choose another one.")
    if len(chosen) > 1:
        listed = "; ".join(map(str, chosen[:5])) + ("; ..." if len(chosen) > 5 else "")
        raise MedgenError(f"{path.name} holds {len(chosen)} series ({listed}); choose one of them.")
    return _refuse_empty(read_series(chosen[0], path.name, only), path.name)


def find_series(path: str | Path) -> list[Series]:
    """The DICOM series in a file, folder or ZIP, the one with most images first; only headers are read.

    Raises:
        MedgenError: there is none, or a file cannot be read.
    """
    return _dicom_series(_members(Path(path)), Path(path).name)


def _members(path: Path) -> list[Member]:
    """The file itself, or the files of a folder or ZIP."""
    try:
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if file.is_file() and not file.name.startswith(".")]
            if not files:
                raise MedgenError(f"The folder {path.name} holds no files; give the folder of one DICOM series.")
            if len(files) > MAX_FILES:
                raise MedgenError(
                    f"{path.name} holds {len(files)} files; at most {MAX_FILES} are read: give one series."
                )
            members = [_on_disk(file) for file in files]
        else:
            members = [_on_disk(path)]
            if members[0].head.startswith(ZIP_SIGNATURE):
                members = _in_zip(path)
    except OSError as error:
        raise MedgenError(f"{path.name} cannot be opened ({error.strerror}); check the path.") from error
    if large := [member for member in members if member.size > MAX_BYTES]:
        raise MedgenError(
            f"{large[0].name} has {large[0].size / 2**30:.1f} GiB; at most {MAX_BYTES // 2**30} are read."
        )
    return members


def _on_disk(path: Path) -> Member:
    with path.open("rb") as file:
        return Member(path.name, path.stat().st_size, file.read(_HEAD), lambda: path.open("rb"))


def _in_zip(path: Path) -> list[Member]:
    """The members of a ZIP, never written to disk; each is inflated into memory when it is opened, and no further than
    the size the directory claims for it."""

    try:
        archive = zipfile.ZipFile(path)  # stays open as long as a member is in use
    except _BAD_ZIP as error:
        raise MedgenError(f"{path.name} is not a whole ZIP file ({error}); take a whole copy of it.") from error

    def inflated(info: zipfile.ZipInfo, n_bytes: int) -> bytes:
        try:
            with archive.open(info) as file:
                return file.read(n_bytes)
        except _BAD_ZIP as error:
            raise MedgenError(f"{info.filename} in {path.name} is damaged ({error}); copy it again.") from error

    infos = [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename)]
    if len(infos) > MAX_FILES:
        raise MedgenError(f"{path.name} holds {len(infos)} files; at most {MAX_FILES} are read: give one series.")
    if any(info.flag_bits & 1 for info in infos):
        raise MedgenError(f"{path.name} is locked with a password; unpack it first.")
    if any(stat.S_ISLNK(info.external_attr >> 16) for info in infos):
        raise MedgenError(f"{path.name} holds a link instead of a file; pack the files themselves.")
    total, packed = sum(info.file_size for info in infos), sum(info.compress_size for info in infos)
    if total > MAX_BYTES or total > _MAX_RATIO * max(packed, 2**16):
        raise MedgenError(f"{path.name} would unpack to {total / 1e6:,.0f} MB; that is too much for one series.")
    if not infos:
        raise MedgenError(f"{path.name} is an empty ZIP; give one with the files of a series.")

    def member(info: zipfile.ZipInfo) -> Member:
        head = inflated(info, _HEAD)
        return Member(info.filename, info.file_size, head, lambda: io.BytesIO(inflated(info, info.file_size)))

    return [member(info) for info in infos]


def _hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or Path(name).name.startswith(".")


def _read_picture(member: Member, path: Path, modality: str) -> Volume | None:
    """A NIfTI, PNG or JPEG file as a volume; None where it is something else."""
    head = member.head
    content = inflated_head(head) if head.startswith(GZIP_MAGIC) else head
    if is_nifti(content):
        with member.open() as file:
            return read_nifti(file, member.name, member.size, modality)
    if head.startswith(GZIP_MAGIC):
        raise MedgenError(f"{member.name} is gzipped but holds no NIfTI volume; unpack it and give what is inside.")
    if path.is_file() and head.startswith((PNG_SIGNATURE, JPEG_SIGNATURE)):
        images = read_image(path, modality)
        # (H, W), row 0 on top -> (X, Y, 1) with axes as on a screen, seen from the feet
        array = np.ascontiguousarray(images.pixels[0, 0].T)[:, :, None]
        return Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]), modality, images.unit, images.window, oriented=False)
    return None


def _dicom_series(members: list[Member], name: str) -> list[Series]:
    dicom = [member for member in members if member.head[128:132] == b"DICM"]
    if not dicom:
        kinds = "neither DICOM, NIfTI, PNG nor JPEG" if len(members) == 1 else "no DICOM files"
        verb = "is" if len(members) == 1 else "holds"
        raise MedgenError(f"{name} {verb} {kinds}; convert it to one of them.")
    found = series_of(dicom)
    if not found:
        raise MedgenError(f"{name} holds no pictures (a report, a plan or an index); give DICOM images.")
    return found


def _refuse_empty(volume: Volume, name: str) -> Volume:
    low, high = float(volume.array.min()), float(volume.array.max())  # NaN if a voxel is
    if not (np.isfinite(low) and np.isfinite(high)):
        n = int(np.count_nonzero(~np.isfinite(volume.array)))
        raise MedgenError(f"{name} holds {n:,} voxels that are NaN or infinite; replace them by the background first.")
    if low == high:
        raise MedgenError(f"{name} shows nothing: every voxel is {low:g}; give another file.")
    return volume
