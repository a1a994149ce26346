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
_MAX_SPACING_MM = 200.0
_WIDE = (1536, 1792, 2048)
"""Codes of float128, complex128 and complex256: some machines have no such numbers."""
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
    stored = first(start[:bytes_of_header], check=False)
    if int(stored["datatype"]) in _WIDE:
        raise MedgenError(f"{name} holds complex or 128-bit numbers; save it as 32-bit grey values.")
    header = first(start[:bytes_of_header], check=True)  # makes positive numbers of all spacings
    if bytes(header["magic"])[:2] == b"ni":
        raise MedgenError(f"{name} is the header of a pair of files; give a .nii or .nii.gz file.")
    shape, dtype, offset = _layout(header, name)
    affine = _affine(header, np.array(stored["pixdim"][1:4], np.float64), shape, name)
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
        affine,
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
    if dtype.kind == "V":
        raise MedgenError(f"{name} holds colours; give a file of plain grey values, such as one channel of it.")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise MedgenError(f"{name} holds complex or 128-bit numbers ({dtype}); save it as 32-bit grey values.")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _MAX_OFFSET:
        raise MedgenError(f"{name} is damaged: its voxels begin at byte {offset:g}; take a whole copy of it.")
    return (shape[0], shape[1], shape[2]), dtype, max(int(offset), 544 if header.sizeof_hdr == 540 else 352)


def _affine(header: Nifti1Header, spacing: np.ndarray, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """Where the voxels are, RAS+ millimetres.

    Args:
        header: corrected by nibabel.
        spacing: `(3,)` of the header as stored; the sform does without it.
        shape: of the voxels.
        name: what messages call the file.

    Raises:
        MedgenError: the header says no place that can be, or a spacing that is none.
    """
    several = np.array(shape) > 1  # along an axis of one voxel any spacing will do
    if header["sform_code"] == 0:
        # 0 is also what programs write that do not know it; then nobody knows left from right either
        wrong = spacing < 0.0 if header["qform_code"] == 0 else spacing <= 0.0
        if (wrong & several).any():
            said = " x ".join(f"{length:g}" for length in spacing)
            raise MedgenError(f"{name} says that its voxels are {said} mm large; correct the spacing in its header.")
    try:
        affine = np.array(header.get_best_affine(), np.float64)
    except ValueError as error:  # a quaternion longer than 1
        raise MedgenError(f"{name} has a damaged orientation ({error}); convert it again from its source.") from error
    affine[:3] *= _MILLIMETRES[header.get_xyzt_units()[0]]
    if not np.isfinite(affine).all():
        raise MedgenError(f"{name} says of its place what is no number; convert it again from its source.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all():
        raise MedgenError(f"{name} says that its voxels lie in one plane; correct the affine in its header.")
    if lengths[several].max(initial=0.0) > _MAX_SPACING_MM:
        raise MedgenError(
            f"{name} says that its voxels lie {lengths[several].max():g} mm apart; correct the spacing or its unit."
        )
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
