"""Axial T1 slices of heads in the layout of the IXI download, each with its height in the brain.

    IXI-T1/IXI132-HH-1415-T1.nii.gz       as the download unpacks, any spacing and orientation
    brain_labels/IXI132-*.nii.gz          a segmentation of each on the same grid; above 0 is brain
    IXI.csv or IXI.xls                    age and sex, where there is such a table

Scans without a segmentation are left out. What was cut is kept in `$MEDGEN_CACHE`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from medgen.brain_people import people
from medgen.brain_slices_preparation import cut
from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.catalogue import Dataset
from medgen.errors import MedgenError
from medgen.read_volume import read_volume
from medgen.record import Record, hash_split

LAYOUTS = ("ixi_brain", "ixi_head")
"""Of `Dataset.layout`: skull-stripped, and the whole head."""
SCANS, MASKS = "IXI-T1", "brain_labels"

_VERSION = 1
"""Change it with anything that changes a pixel or a height: what was cached before is then made anew."""
_KINDS = {"pixels": "uint8", "heights": "float32", "counts": "int32"}


def brain_records(entry: Dataset, folder: Path, splits: Mapping[str, str]) -> list[Record]:
    """Every slice of the folder, sorted by name: `IXI132_007` is the eighth from below.

    Args:
        entry: a data set of one of `LAYOUTS`.
        folder: the one that holds `IXI-T1` and `brain_labels`.
        splits: published subject -> split; other subjects go by `hash_split`.

    Raises:
        MedgenError: no scans, no segmentations, or a file is damaged or does not fit.
    """
    found, known = _files(folder), people(folder)
    arrays = _arrays(entry, folder, found)
    ends = np.cumsum(arrays["counts"])
    records = []
    for (subject, (scan, _)), end, count in zip(found.items(), ends, arrays["counts"], strict=True):
        split = splits.get(subject) or hash_split(subject)
        for number in range(int(count)):
            path = f"{SCANS}/{scan.name}#{number}"
            height = round(float(arrays["heights"][end - count + number]), 2)
            name = f"{subject}_{number:03d}"
            records.append(Record(name, "", subject, split, path, known.get(subject, {}), height))
    return records


def brain_reader(entry: Dataset, folder: Path) -> Callable[[Record], np.ndarray]:
    """What turns a record into its slice, `(side, side)` uint8: the patient's right on the left, the front on top.

    Raises:
        MedgenError: as `brain_records`.
    """
    found = _files(folder)
    arrays = _arrays(entry, folder, found)
    first = dict(zip(found, (np.cumsum(arrays["counts"]) - arrays["counts"]).tolist(), strict=True))

    def read(record: Record) -> np.ndarray:
        picture: np.ndarray = arrays["pixels"][first[record.patient] + int(record.path.rpartition("#")[2])]
        return picture

    return read


def _files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Subject -> its scan and its segmentation, sorted; of several scans of one subject the first."""
    scans = sorted((folder / SCANS).glob("IXI*-T1.nii.gz"))
    if not scans:
        raise MedgenError(
            f"{folder.name} holds no {SCANS}/IXI*-T1.nii.gz; unpack IXI-T1.tar into {folder.name}/{SCANS}."
        )
    masks = {path.name.partition("-")[0]: path for path in sorted((folder / MASKS).glob("IXI*.nii.gz"), reverse=True)}
    found: dict[str, tuple[Path, Path]] = {}
    for scan in scans:
        subject = scan.name.partition("-")[0]
        if subject in masks:
            found.setdefault(subject, (scan, masks[subject]))
    if not found:
        raise MedgenError(
            f"{folder.name} holds no {MASKS}/IXI*.nii.gz: segment the scans of {SCANS} with any tool that finds the "
            "brain (DLMUSE, SynthSeg, HD-BET) and put one file a subject there, above 0 inside the brain."
        )
    return found


def _arrays(entry: Dataset, folder: Path, found: Mapping[str, tuple[Path, Path]]) -> dict[str, np.ndarray]:
    try:
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for pair in found.values() for path in pair]
    except OSError as error:
        raise MedgenError(f"The folder {folder.name} cannot be read: {error.strerror}.") from error
    assert entry.spacing_mm is not None
    setting = (_VERSION, entry.layout, entry.shape, entry.spacing_mm, stats)
    key = hashlib.sha256(repr(setting).encode()).hexdigest()[:16]
    return _cut_all(entry.layout == "ixi_brain", entry.shape[1], entry.spacing_mm[0], entry.name, key,
                    tuple(found.values()))  # fmt: skip


@lru_cache(maxsize=2)
def _cut_all(
    stripped: bool, side: int, spacing_mm: float, name: str, key: str, pairs: tuple[tuple[Path, Path], ...]
) -> dict[str, np.ndarray]:
    """`pixels` `(N, side, side)`, `heights` `(N,)` and how many of them belong to each subject, from the cache if
    nothing changed."""
    path = cache_dir() / "slices" / f"{name}-{key}.npz"
    cached = read_arrays(path, _KINDS)
    if cached is not None and len(cached["pixels"]) == len(cached["heights"]) == cached["counts"].sum():
        return cached
    made = []
    for scan, mask in pairs:
        try:
            made.append(cut(read_volume(scan), read_volume(mask), side=side, spacing_mm=spacing_mm, stripped=stripped))
        except MedgenError as error:
            raise MedgenError(f"{scan.name}: {error}") from error
    arrays = {
        "pixels": np.concatenate([one.pixels for one in made]),
        "heights": np.concatenate([one.heights for one in made]),
        "counts": np.array([len(one.heights) for one in made], np.int32),
    }
    write_arrays(path, arrays)
    return arrays
