"""Volumes that a model made, as NIfTI or as a DICOM series: in place, in their unit, and marked as synthetic."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medgen import provenance as origin
from medgen.atomic import replacing, write_bytes, write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.volume import Volume
from medgen.write_series import dicom_series

__all__ = ["described", "dicom_series", "nifti_bytes", "save_dicom", "save_nifti", "voxels_sha256"]

_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT


def voxels_sha256(volume: Volume) -> str:
    """SHA-256 of the voxels as little-endian float32, `array[0, 0, :]` first: the same whatever file they went into."""
    return hashlib.sha256(np.ascontiguousarray(volume.array, "<f4").tobytes()).hexdigest()


def described(volume: Volume) -> dict[str, Any]:
    """What the voxels of a volume are, as plain JSON values: the key `volume` of a manifest."""
    known = volume.affine.tolist() if volume.oriented else None
    about = {"modality": volume.modality, "unit": volume.unit, "shape": list(volume.array.shape), "affine": known}
    return {**about, "spacing_mm": list(volume.spacing_mm)}


def nifti_bytes(volume: Volume, provenance: dict[str, str]) -> bytes:
    """A volume as a gzipped NIfTI-1 file, losslessly: int16 where all values are whole and fit, else float32.

    Both qform and sform hold the affine; `descrip` begins with SYNTHETIC; a comment extension holds `provenance`.

    Args:
        volume: what to write; NaN is refused.
        provenance: `provenance.mark(...)`.

    Raises:
        MedgenError: a voxel is NaN or infinite.
    """
    volume.refuse_nan()
    array = volume.array
    whole = float(np.abs(array).max()) < 2**15 and bool((array == np.rint(array)).all())
    image = nib.Nifti1Image(array.astype(np.int16) if whole else array, volume.affine)
    code = _SCANNER if volume.oriented else 0
    image.set_sform(volume.affine, code)
    image.set_qform(volume.affine, code, strip_shears=True)
    header = image.header
    header.set_xyzt_units("mm")
    header.set_slope_inter(1.0, 0.0)
    low, high = volume.shown()
    header["cal_min"], header["cal_max"] = low, high
    partly = provenance.get("Synthetic") == origin.PARTLY
    words = f"{'PARTLY ' if partly else ''}SYNTHETIC {volume.modality} {volume.unit}, not for clinical use. "
    header["descrip"] = f"{words}{provenance.get('Model', '')}".encode("ascii", "replace")[:79]
    said = {"Synthetic": "true", "Disclaimer": origin.NOTICE, "Software": origin.software(), **provenance}
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", json.dumps(said).encode()))
    # without the time, so that equal volumes give equal files
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


def save_nifti(
    volume: Volume,
    path: str | Path,
    card: ModelCard,
    request: Request,
    *,
    seconds: float,
    peak_mb: float | None = None,
) -> Path:
    """Writes `path` (.nii.gz) and beside it its manifest, `NAME.json`, as BIDS names sidecars; returns the manifest.

    Args:
        volume: what `card`'s model made of `request`, which has one seed.
        path: the file to write; an earlier one is replaced.
        card: the model.
        request: what was asked.
        seconds: wall-clock time of the generation.
        peak_mb: peak memory in MiB; None where nobody measured.

    Raises:
        MedgenError: `path` does not end in .nii.gz, not one seed, NaN, or the operating system refused.
    """
    path = Path(path)
    if not path.name.endswith(".nii.gz"):
        raise MedgenError(f"{path.name} must end in .nii.gz; choose such a name.")
    content = nifti_bytes(volume, _mark(card, request))
    manifest = _manifest(volume, card, request, {"file": path.name}, seconds, peak_mb)
    sidecar = path.with_name(f"{path.name.removesuffix('.nii.gz')}.json")
    write_bytes(path, content)
    write_json(sidecar, manifest)
    return sidecar


def save_dicom(
    volume: Volume,
    path: str | Path,
    card: ModelCard,
    request: Request,
    *,
    seconds: float,
    peak_mb: float | None = None,
    plane: str = "axial",
) -> Path:
    """Writes `dicom_series` and manifest.json into a ZIP, if `path` ends in .zip, or a new folder; all or nothing.

    Raises:
        MedgenError: as `dicom_series`; not one seed; the folder is not empty; the operating system refused.
    """
    path = Path(path).absolute()
    slices = dicom_series(volume, _mark(card, request), plane)
    names = [f"slice{k + 1:04d}.dcm" for k in range(volume.count(plane))]
    manifest = _manifest(volume, card, request, {"file": names[0], "slices": names}, seconds, peak_mb)
    if path.suffix == ".zip":
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in zip(names, slices, strict=True):
                archive.writestr(name, content)
            archive.writestr("manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
        return path
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise MedgenError(f"{path.name} is there already and not an empty folder; choose another one.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as place:
            folder = Path(place) / path.name
            folder.mkdir()
            for name, content in zip(names, slices, strict=True):
                (folder / name).write_bytes(content)
            write_json(folder / "manifest.json", manifest)
            folder.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MedgenError(f"Could not write {path.name}: {reason}. Nothing was kept; choose another folder.") from error
    return path


def _mark(card: ModelCard, request: Request) -> dict[str, str]:
    if len(request.seeds) != 1:
        raise MedgenError(f"One volume is made of one seed, not of {len(request.seeds)}; save one after the other.")
    return origin.mark(card, request, 0)


def _manifest(
    volume: Volume,
    card: ModelCard,
    request: Request,
    files: dict[str, Any],
    seconds: float,
    peak_mb: float | None,
) -> dict[str, Any]:
    """As for pictures, with one entry of `files` for the volume, and what its voxels are."""
    said = {"seed": request.seeds[0], "label": None, "pixels_sha256": voxels_sha256(volume), **request.shows(card)}
    manifest = origin.manifest(card, request, [{**files, **said}], seconds=seconds, peak_mb=peak_mb)
    return {**manifest, "volume": described(volume)}
