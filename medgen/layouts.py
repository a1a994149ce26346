"""Readers of the shapes in which chest X-ray sets come: compact archives and the folders people download.

Every reader returns the same thing, a list of `Record` sorted by published file name, and `pixels` decodes one of
them.
"""

from __future__ import annotations

import csv
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from medgen.errors import MedgenError
from medgen.record import SPLITS, Record, attributes, hash_split, parse_table

_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")
_NORMAL_NAME = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?")
_PNEUMONIA_NAME = re.compile(r"(person\d+)_(bacteria|virus)_\d+")
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    NotImplementedError,
    RuntimeError,  # zipfile's word for an encrypted member
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


def archive_records(archive: Path) -> list[Record]:
    """What a compact archive (uncompressed zip of WebP beside `labels.csv`) holds.

    Raises:
        MedgenError: not a whole zip, no usable labels.csv, or an image it lists is missing.
    """
    opened = _open_zip(archive, _stamp(archive))
    try:
        text = opened.read("labels.csv").decode("utf-8")
    except KeyError:
        raise MedgenError(f"{archive.name} holds no labels.csv: it is not one of our archives.") from None
    except _UNREADABLE as error:
        raise MedgenError(f"labels.csv in {archive.name} is damaged ({error}); download the archive again.") from error
    records = parse_table(text, f"labels.csv in {archive.name}")
    if absent := {record.path for record in records} - set(opened.namelist()):
        raise MedgenError(
            f"{archive.name} lacks {len(absent)} images of its labels.csv, such as {min(absent)}; download it again."
        )
    return records


def kermany_records(folder: Path, splits: Mapping[str, str], min_side: int = 0) -> list[Record]:
    """Kermany's `{train,val,test}/{NORMAL,PNEUMONIA}` as Mendeley (no val) and Kaggle ship it.

    The folders' own split is not used: the same patient ids occur in train/ and test/. Equal ids are taken for
    one patient, whatever the folder or the kind of pneumonia.

    Args:
        folder: the one that holds train/ and test/.
        splits: published patient -> split; other patients go by `hash_split`.
        min_side: images with a shorter side, in pixels, are left out.

    Raises:
        MedgenError: a class folder is missing, a file has an unexpected name or is no image.
    """
    present = [split for split in SPLITS if split != "val" or (folder / split).is_dir()]
    records: dict[str, Record] = {}
    for place in (folder / split / kind for split in present for kind in ("NORMAL", "PNEUMONIA")):
        shown = f"{folder.name}/{place.parent.name}/{place.name}"
        if not place.is_dir():
            raise MedgenError(f"The folder {shown} is missing; unpack the download again, all of it.")
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):  # .DS_Store and ._names that macOS leaves
                continue
            label, patient = _kermany_name(path, shown)
            if min_side and _shortest_side(path) < min_side:
                continue
            file = f"{label}__{path.stem}.webp"
            split = splits.get(patient) or hash_split(patient)
            # some copies hold an image in train/ and val/ alike: the first one counts
            records.setdefault(file, Record(file, label, patient, split, path.relative_to(folder).as_posix()))
    return [records[file] for file in sorted(records)]


def _kermany_name(path: Path, shown: str) -> tuple[str, str]:
    """The label and the patient that a Kermany file name tells."""
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        normal, pneumonia = _NORMAL_NAME.fullmatch(path.stem), _PNEUMONIA_NAME.fullmatch(path.stem)
        if normal and path.parent.name == "NORMAL":
            return "normal", normal[1]
        if pneumonia and path.parent.name == "PNEUMONIA":
            kind = "bacterial_pneumonia" if pneumonia[2] == "bacteria" else "viral_pneumonia"
            return kind, pneumonia[1]
    raise MedgenError(
        f"{shown}/{path.name} is not named as in version 2 of the Kermany data (NORMAL/IM-0115-0001.jpeg, "
        "PNEUMONIA/person1_virus_6.jpeg), so its patient is unknown; move it out of the folder."
    )


def chestxray14_records(folder: Path, splits: Mapping[str, str]) -> list[Record]:
    """ChestX-ray14: `Data_Entry_2017*.csv` beside `images*/`; parts that were not downloaded are left out.

    Args:
        folder: the one that holds the table.
        splits: published patient -> split; other patients go by `hash_split`.

    Raises:
        MedgenError: no table, a column missing, a row that contradicts itself, no images, or one the table lacks.
    """
    table = next(iter(sorted(folder.glob("Data_Entry_2017*.csv"))), None)
    if table is None:
        raise MedgenError(f"{folder.name} holds no Data_Entry_2017.csv; put the table beside the images folders.")
    files = {path.name: path.relative_to(folder).as_posix() for path in sorted(folder.glob("images*/**/*.png"))}
    records = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                name, patient = row["Image Index"], row["Patient ID"].zfill(8)
                if not name.startswith(f"{patient}_"):
                    raise MedgenError(f"{table.name} gives {name} to patient {patient}; download the table again.")
                if (path := files.pop(name, None)) is not None:
                    label = "|".join(sorted(row["Finding Labels"].split("|")))
                    split = splits.get(patient) or hash_split(patient)
                    sex = row.get("Patient Gender") or row.get("Patient Sex")  # its name in 2017, and since 2020
                    told = attributes(row.get("Patient Age"), sex, row.get("View Position"))
                    file = f"{name.removesuffix('.png')}.webp"
                    records.append(Record(file, label, patient, split, path, told))
    except KeyError as error:
        raise MedgenError(f"{table.name} has no column {error}; download the table again.") from None
    except (OSError, UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise MedgenError(f"{table.name} cannot be read ({error}); download the table again.") from error
    if files:
        raise MedgenError(f"{min(files.values())} is not in {table.name}; move it out of the images folders.")
    if not records:
        raise MedgenError(f"{folder.name} holds no image of {table.name}; unpack images_*.tar.gz beside the table.")
    return sorted(records, key=lambda record: record.file)


def pixels(source: Path, record: Record, side: int) -> np.ndarray:
    """One image as `(side, side)` uint8, read-only, kept in memory for the next call.

    Archives hold this size already; images of folders are turned to grey and stretched to a square, antialiased
    (bilinear: of Pillow's filters the one that best turns our 256-pixel archive into the 128-pixel one).

    Raises:
        MedgenError: the file is damaged, not 8-bit, or an archive's image is not of this size.
    """
    file = source if source.is_file() else source / record.path
    return _decoded(source, record.path, side, _stamp(file))


@lru_cache(maxsize=8192)
def _decoded(source: Path, member: str, side: int, stamp: tuple[int, int]) -> np.ndarray:
    in_archive = source.is_file()
    try:
        content = _open_zip(source, stamp).read(member) if in_archive else (source / member).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith(("I", "F")):
                raise MedgenError(f"{member} is not an 8-bit image; convert it with its own window first.")
            if in_archive and image.size != (side, side):
                raise MedgenError(f"{member} in {source.name} is {image.size}, not {side} x {side}; check the archive.")
            grey = image.convert("L")
    except MedgenError:
        raise
    except (KeyError, *_UNREADABLE) as error:
        raise MedgenError(f"{member} in {source.name} is damaged ({error}); download it again.") from error
    if grey.size != (side, side):
        grey = grey.resize((side, side), Image.Resampling.BILINEAR)
    array = np.array(grey, dtype=np.uint8)
    array.setflags(write=False)
    return array


def _shortest_side(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return min(image.size)
    except _UNREADABLE as error:
        raise MedgenError(f"{path.name} is not a readable image ({error}); download it again.") from error


def _stamp(path: Path) -> tuple[int, int]:
    """What tells a replaced file from the cached one."""
    try:
        status = path.stat()
    except OSError as error:
        raise MedgenError(f"{path.name} cannot be opened: {error.strerror}.") from error
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _open_zip(archive: Path, stamp: tuple[int, int]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except _UNREADABLE as error:
        raise MedgenError(
            f"{archive.name} is not a whole zip file ({error}): cut short or damaged; download it again."
        ) from error
