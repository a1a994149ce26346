"""PNG and DICOM <-> ImageSet, and sets of files with their manifest, as a folder or a ZIP."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from medgen import provenance as origin
from medgen.atomic import replacing
from medgen.card import ModelCard
from medgen.dicom import XRAY, dicom_bytes, read_dicom
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet
from medgen.png import PNG_SIGNATURE, png_bytes, read_png

__all__ = ["FORMATS", "dicom_bytes", "folder_writer", "png_bytes", "read_image", "save_set", "zip_set", "zip_writer"]

FORMATS = ("png", "dcm")
MAX_FILE_BYTES = 256 * 2**20
"""Largest file `read_image` opens: a full-field mammogram has 50 MB."""


class SetWriter:
    """One set of files, written part by part, so that ten thousand images need the memory of one batch.

    Made by `folder_writer` and `zip_writer`. `add` the parts in order, then `finish` once.
    """

    def __init__(self, card: ModelCard, put: Callable[[str, bytes], None], format: str) -> None:
        if format not in FORMATS:
            raise MedgenError(f"There is no format {format!r}; choose from {', '.join(FORMATS)}.")
        if format == "dcm" and card.modality not in XRAY:
            raise MedgenError(f"DICOM export writes X-rays ({', '.join(XRAY)}), not {card.modality}; choose png.")
        self.files: list[dict[str, Any]] = []
        self.manifest: dict[str, Any] | None = None
        self._card, self._put, self._format = card, put, format
        self._asked: list[tuple[Request, list[int]]] = []  # a request without seeds, and its seeds
        self._study, self._series = generate_uid(), generate_uid()

    def add(self, images: ImageSet, request: Request) -> None:
        """Writes one file an image. Parts that differ in nothing but their seeds become one request of the manifest.

        Raises:
            MedgenError: not one 2D grey image a seed, NaN pixels, or the write failed.
        """
        if images.pixels.ndim != 4 or images.pixels.shape[1] != 1 or len(images) != len(request.seeds):
            raise MedgenError(f"{images!r} are not {len(request.seeds)} grey pictures, one a seed; nothing was saved.")
        same = replace(request, seeds=())
        if not self._asked or self._asked[-1][0] != same:
            self._asked.append((same, []))
        self._asked[-1][1].extend(request.seeds)
        for i, picture in enumerate(images.uint8()[:, 0]):  # (H, W) uint8
            label = images.labels[i] if images.labels else request.label
            words = [f"{len(self.files):04d}", f"seed{request.seeds[i]}"]
            if label:
                words.append(re.sub(r"[^A-Za-z0-9_-]+", "-", label))
            name = f"{'_'.join(words)}.{self._format}"
            self._put(name, self._encode(picture, origin.mark(self._card, request, i)))
            digest = origin.pixels_sha256(picture)
            self.files.append({"file": name, "seed": request.seeds[i], "label": label, "pixels_sha256": digest})

    def _encode(self, picture: np.ndarray, mark: dict[str, str]) -> bytes:
        if self._format == "png":
            return png_bytes(picture, mark)
        return dicom_bytes(
            picture,
            mark,
            modality=self._card.modality,
            study_uid=self._study,
            series_uid=self._series,
            number=len(self.files) + 1,
        )

    def finish(self, *, seconds: float, peak_mb: float | None = None) -> dict[str, Any]:
        """Writes labels.csv and manifest.json; returns the manifest.

        Raises:
            MedgenError: nothing was added, or the write failed.
        """
        if not self.files:
            raise MedgenError("There is no image to save; generate at least one.")
        requests = [replace(same, seeds=tuple(seeds)) for same, seeds in self._asked]
        table = io.StringIO()
        rows = csv.DictWriter(table, ("file", "seed", "label"), extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        rows.writerows(self.files)  # None is written as an empty cell
        self._put("labels.csv", table.getvalue().encode())
        self.manifest = origin.manifest(self._card, requests, self.files, seconds=seconds, peak_mb=peak_mb)
        self._put("manifest.json", (json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n").encode())
        return self.manifest


@contextmanager
def folder_writer(card: ModelCard, folder: str | Path, format: str = "png") -> Iterator[SetWriter]:
    """A `SetWriter` into `folder`, which appears, or gains its files, only when the block ends well.

    The one rule: no file is ever replaced. Other files in `folder` stay; where a name is taken, nothing is written.

    Raises:
        MedgenError: the folder holds a set already, is a file, or the operating system refused (disk full, ...).
    """
    folder = Path(folder).absolute()
    with _explained(folder):
        # the nearest folder that exists is on the disk, and with the rights, of the final place
        place = next(path for path in (folder, *folder.parents) if path.exists())
        if not place.is_dir():
            raise MedgenError(f"{place.name} is a file, not a folder; choose another folder.")
        _refuse_taken(folder, ["manifest.json", "labels.csv"])  # before hours of sampling, not after
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=place))

    def put(name: str, content: bytes) -> None:
        with _explained(folder):
            (temporary / name).write_bytes(content)

    try:
        writer = SetWriter(card, put, format)
        yield writer
        if writer.manifest is None:
            raise MedgenError("The set was not finished; nothing was written.")
        with _explained(folder):
            _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_taken(folder: Path, names: list[str]) -> None:
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        raise MedgenError(
            f"{folder.name} already holds {taken[0]}, which is never replaced; choose another folder or empty this one."
        )


def _move(temporary: Path, folder: Path) -> None:
    """Puts the finished files in place, the manifest last; takes all of them back where one cannot be moved."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.chmod(0o755)  # mkdtemp made it private
        temporary.rename(folder)
        return
    names = sorted(path.name for path in temporary.iterdir())
    _refuse_taken(folder, names)
    moved: list[Path] = []
    try:
        for name in sorted(names, key=lambda name: name == "manifest.json"):
            moved.append((temporary / name).rename(folder / name))
    except BaseException:  # Ctrl-C too
        for path in moved:
            path.unlink(missing_ok=True)
        raise


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MedgenError(
            f"Could not write {folder.name}: {reason}. Nothing was kept; free some space or choose another folder."
        ) from error


@contextmanager
def zip_writer(card: ModelCard, path: str | Path, format: str = "png") -> Iterator[SetWriter]:
    """A `SetWriter` into one ZIP, complete or absent; an earlier file at `path` is replaced.

    Raises:
        MedgenError: the operating system refused (disk full, ...).
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:

        def put(name: str, content: bytes) -> None:
            # a PNG is compressed already
            how = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=how)

        writer = SetWriter(card, put, format)
        yield writer
        if writer.manifest is None:
            raise MedgenError("The set was not finished; nothing was written.")


def save_set(
    images: ImageSet,
    card: ModelCard,
    request: Request,
    folder: str | Path,
    *,
    seconds: float,
    peak_mb: float | None = None,
    format: str = "png",
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
    format: str = "png",
) -> Path:
    """The content of `save_set` as one ZIP; returns its path. See `zip_writer`."""
    with zip_writer(card, path, format) as writer:
        writer.add(images, request)
        writer.finish(seconds=seconds, peak_mb=peak_mb)
    return Path(path)


def read_image(path: str | Path, modality: str = "CR") -> ImageSet:
    """One grey picture from a PNG or DICOM file, told apart by content, not by name.

    Args:
        path: the file.
        modality: what a PNG shows; a DICOM file says so itself.

    Returns:
        One image, `(1, 1, H, W)` float32, in the file's own units, with the window to show it in.

    Raises:
        MedgenError: no such file, another format, damaged, too large, in colour or of several frames.
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
    if head[128:] == b"DICM":
        return read_dicom(path)
    raise MedgenError(f"{path.name} is neither a PNG nor a DICOM file; convert it to one of them.")
