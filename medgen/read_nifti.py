"""NIfTI-1 and NIfTI-2, plain or gzipped, in bounded memory: a header is believed only as far as the file goes."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from medgen.errors import MedgenError
from medgen.volume import MAX_VOXELS, Volume

GZIP_MAGIC = b"\x1f\x8b"
_MAX_INFLATION = 1032
"""Bytes that one byte of deflate can become."""
_MAX_OFFSET = 64 * 2**20
_PIECE_VOXELS = 2**20
_MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
_UNREADABLE = (HeaderDataError, ValueError, EOFError, OSError, OverflowError, KeyError, struct.error, zlib.error)


def is_nifti(head: bytes) -> bool:
    """Whether a file that begins with these 352 bytes (of its content, if it is gzipped) is a NIfTI file."""
    size = struct.unpack("<i", head[:4]) + struct.unpack(">i", head[:4]) if len(head) >= 4 else ()
    return (348 in size and head[344:347] in (b"n+1", b"ni1")) or (540 in size and head[4:7] in (b"n+2", b"ni2"))


def inflated_head(head: bytes) -> bytes:
    """The first bytes of the content of a gzip file that begins with `head`; as much as can be had."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 352)
    except zlib.error:
        return b""


def read_nifti(file: BinaryIO, name: str, size: int, modality: str) -> Volume:
    """One volume from a NIfTI file.

    Args:
        file: the bytes, from the first.
        name: what messages call it.
        size: bytes of the file, as it is, compressed or not.
        modality: what it shows; NIfTI does not say. The unit of "CT" is "HU", of all others "au".

    Returns:
        Axes as stored; scaled by the header's slope and intercept. `synthetic` where its description says so.

    Raises:
        MedgenError: damaged, cut short, too large, of several volumes (4D), in colour or complex, or only a header.
    """
    try:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not packed:
            return _read(file, name, size, size, modality)
        with gzip.GzipFile(fileobj=file, mode="rb") as opened:
            return _read(opened, name, size * _MAX_INFLATION, size, modality)
    except EOFError as error:
        raise MedgenError(f"{name} is cut short; take a whole copy of it.") from error
    except MedgenError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise MedgenError(f"{name} cannot be read as NIfTI ({reason}); take a whole copy of it.") from error


def _read(file: BinaryIO | gzip.GzipFile, name: str, at_most: int, size: int, modality: str) -> Volume:
    start = _exactly(file, 352)
    first = Nifti2Header if 540 in struct.unpack("<i", start[:4]) + struct.unpack(">i", start[:4]) else Nifti1Header
    bytes_of_header = 540 if first is Nifti2Header else 348
    start += _exactly(file, max(0, bytes_of_header - len(start)))
    header = first(start[:bytes_of_header], check=True)
    if bytes(header["magic"])[:2] == b"ni":
        raise MedgenError(f"{name} is the header of a pair of files; give a .nii or .nii.gz file.")
    shape, dtype, offset = _layout(header, name)
    claimed = offset + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if claimed > at_most:
        raise MedgenError(
            f"{name} claims {claimed / 1e6:,.1f} MB of voxels but has {size / 1e6:,.3f} MB; take a whole copy of it."
        )
    _exactly(file, offset - len(start))
    slope, intercept = header.get_slope_inter()
    flat = np.empty(int(np.prod(shape)), np.float32)
    for begin in range(0, flat.size, _PIECE_VOXELS):
        piece = flat[begin : begin + _PIECE_VOXELS]
        values = np.frombuffer(_exactly(file, piece.size * dtype.itemsize), dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused as such
            piece[:] = values if slope is None else values.astype(np.float64) * slope + (intercept or 0.0)
    file.read(1)  # at the end of a gzip stream its checksum is compared
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return Volume(
        flat.reshape(shape, order="F"),
        _affine(header),
        modality,
        "HU" if modality == "CT" else "au",
        window=(low, high) if np.isfinite([low, high]).all() and low < high else None,
        oriented=bool(header["qform_code"] > 0 or header["sform_code"] > 0),
        synthetic=bytes(header["descrip"]).startswith(b"SYNTHETIC"),
    )


def _layout(header: Nifti1Header, name: str) -> tuple[tuple[int, int, int], np.dtype, int]:
    """Shape, type and place of the voxels, all within bounds."""
    shape = [int(n) for n in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 3:
        kind = "4D" if len(shape) == 4 else f"{len(shape)}D"
        raise MedgenError(
            f"{name} is {kind} ({' x '.join(map(str, shape))}): several volumes in one file; give one of them."
        )
    shape += [1] * (3 - len(shape))
    n_voxels = int(np.prod(shape, dtype=object))
    if min(shape) < 1:
        raise MedgenError(f"{name} holds no voxels ({' x '.join(map(str, shape))}); take a whole copy of it.")
    if n_voxels > MAX_VOXELS:
        raise MedgenError(
            f"{name} claims {' x '.join(map(str, shape))} voxels; at most {MAX_VOXELS:,} are read: crop or coarsen it."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise MedgenError(f"{name} holds colours or complex numbers ({dtype}); give one of plain grey values.")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _MAX_OFFSET:
        raise MedgenError(f"{name} is damaged: its voxels begin at byte {offset:g}; take a whole copy of it.")
    return (shape[0], shape[1], shape[2]), dtype, max(int(offset), 544 if header.sizeof_hdr == 540 else 352)


def _affine(header: Nifti1Header) -> np.ndarray:
    affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= _MILLIMETRES[header.get_xyzt_units()[0]]
    return affine


def _exactly(file: BinaryIO | gzip.GzipFile, n_bytes: int) -> bytes:
    """The next `n_bytes` of `file`.

    Raises:
        EOFError: there are fewer.
    """
    content = file.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError
    return content
