"""Sets of pictures or volumes as files with labels.csv and manifest.json, written part by part to a folder or ZIP."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom.uid import generate_uid

from medgen import provenance as origin
from medgen.atomic import replacing
from medgen.card import ModelCard
from medgen.dicom import XRAY, dicom_bytes
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet
from medgen.png import png_bytes
from medgen.volume import Volume
from medgen.write_slice import slice_bytes, slice_spacing
from medgen.write_volume import described, nifti_bytes, voxels_sha256

FORMATS = ("png", "dcm")
"""Of pictures; those of models that learned from slices also go into `VOLUME_FORMATS`."""
VOLUME_FORMATS = ("nii",)
"""Of volumes: gzipped NIfTI-1, .nii.gz."""


def formats(card: ModelCard) -> tuple[str, ...]:
    """What the images of a model can be saved as; the first is what nobody asked for."""
    if len(card.shape) == 4:
        return VOLUME_FORMATS
    return FORMATS if slice_spacing(card) is None else FORMATS + VOLUME_FORMATS


class SetWriter:
    """One set of files, written part by part, so that ten thousand images need the memory of one batch.

    Made by `folder_writer` and `zip_writer`. `add` the parts in order, then `finish` once.
    """

    def __init__(self, card: ModelCard, put: Callable[[str, bytes], None], format: str | None) -> None:
        format = format or formats(card)[0]
        if format not in FORMATS + VOLUME_FORMATS:
            raise MedgenError(f"There is no format {format!r}; choose from {', '.join(FORMATS + VOLUME_FORMATS)}.")
        if format not in formats(card):
            kind = "volumes" if len(card.shape) == 4 else "pictures"
            raise MedgenError(f"{card.name} makes {kind}; choose {' or '.join(formats(card))}, not {format}.")
        if format == "dcm" and card.modality not in XRAY and slice_spacing(card) is None:
            raise MedgenError(f"DICOM export writes X-rays ({', '.join(XRAY)}), not {card.modality}; choose png.")
        self.files: list[dict[str, Any]] = []
        self.manifest: dict[str, Any] | None = None
        self._card, self._put, self._format = card, put, format
        self._about: dict[str, Any] = {}  # of the manifest, beside what every set has
        self._asked: list[tuple[Request, list[int]]] = []  # a request without seeds, and its seeds
        self._columns: list[Mapping[str, str]] = []  # of labels.csv, beside the ones every set has
        self._study, self._series = generate_uid(), generate_uid()

    def add(
        self,
        images: ImageSet,
        request: Request,
        *,
        folder: str | None = None,
        columns: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Writes one file an image. Parts that differ in nothing but their seeds become one request of the manifest.

        Args:
            images: one a seed of `request`.
            request: what was asked.
            folder: name of a folder inside the set to put the files into; None = no folder.
            columns: more cells of labels.csv, one mapping from column to text an image.

        Raises:
            MedgenError: not one grey picture, or volume, a seed; NaN pixels; or the write failed.
        """
        place = "" if folder is None else f"{_plain(folder)}/"
        kind, ndim = ("volumes", 5) if len(self._card.shape) == 4 else ("pictures", 4)
        if images.pixels.ndim != ndim or images.pixels.shape[1] != 1 or len(images) != len(request.seeds):
            raise MedgenError(f"{images!r} are not {len(request.seeds)} grey {kind}, one a seed; nothing was saved.")
        same = replace(request, seeds=())
        if not self._asked or self._asked[-1][0] != same:
            self._asked.append((same, []))
        self._asked[-1][1].extend(request.seeds)
        said = request.shows(self._card)
        for i, seed in enumerate(request.seeds):
            words = [f"{len(self.files):04d}", f"seed{seed}", *_words(said)]
            name = f"{place}{'_'.join(words)}.{self._format}{'.gz' if self._format in VOLUME_FORMATS else ''}"
            content, digest = self._encode(images, i, request)
            self._put(name, content)
            self.files.append({"file": name, "seed": seed, "label": None, "pixels_sha256": digest, **said})
            self._columns.append({} if columns is None else columns[i])

    def _encode(self, images: ImageSet, i: int, request: Request) -> tuple[bytes, str]:
        """Image `i` as the content of a file, and the SHA-256 of its pixels."""
        mark = origin.mark(self._card, request, i)
        if images.pixels.ndim == 5:
            volume = Volume.of(images, i, synthetic=True)
            self._about = {"volume": described(volume)}
            return nifti_bytes(volume, mark), voxels_sha256(volume)
        picture = images.take([i]).uint8()[0, 0]  # (H, W) uint8
        digest = origin.pixels_sha256(picture)
        if self._format == "png":
            return png_bytes(picture, mark), digest
        if (spacing := slice_spacing(self._card)) is not None:
            self._about = {"slice": {"spacing_mm": list(spacing[:2]), "thickness_mm": spacing[2]}}
            return slice_bytes(picture, self._card, request, mark, self._format, self._study), digest
        content = dicom_bytes(
            picture,
            mark,
            modality=self._card.modality,
            study_uid=self._study,
            series_uid=self._series,
            number=len(self.files) + 1,
        )
        return content, digest

    def finish(self, *, seconds: float, peak_mb: float | None = None) -> dict[str, Any]:
        """Writes labels.csv and manifest.json; returns the manifest.

        Raises:
            MedgenError: nothing was added, or the write failed.
        """
        if not self.files:
            raise MedgenError("There is no image to save; generate at least one.")
        requests = [replace(same, seeds=tuple(seeds)) for same, seeds in self._asked]
        table = io.StringIO()
        more = dict.fromkeys(name for cells in self._columns for name in cells)
        rare = (name for name in ("region_label", "severity", "quantity") if any(name in file for file in self.files))
        heads = ("file", "seed", "label", *rare, *more)
        rows = csv.DictWriter(table, heads, extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        # None, and a column that this picture lacks, are written as an empty cell
        rows.writerows({**cells, **file} for file, cells in zip(self.files, self._columns, strict=True))
        self._put("labels.csv", table.getvalue().encode())
        known = origin.manifest(self._card, requests, self.files, seconds=seconds, peak_mb=peak_mb)
        self.manifest = {**known, **self._about}
        self._put("manifest.json", (json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n").encode())
        return self.manifest


def _plain(words: str) -> str:
    """`words` as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", words)


def _words(said: Mapping[str, Any]) -> list[str]:
    """`Request.shows` as parts of a file name."""
    words = [_plain(said["label"])] if "label" in said else []
    words += [f"region-{_plain(said['region_label'])}"] if "region_label" in said else []
    words += [f"severity{float(said['severity'])}"] if "severity" in said else []
    return words + ([f"quantity{float(said['quantity']):g}"] if "quantity" in said else [])


@contextmanager
def folder_writer(card: ModelCard, folder: str | Path, format: str | None = None) -> Iterator[SetWriter]:
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
            (temporary / name).parent.mkdir(exist_ok=True)
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
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
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
def zip_writer(card: ModelCard, path: str | Path, format: str | None = None) -> Iterator[SetWriter]:
    """A `SetWriter` into one ZIP, complete or absent; an earlier file at `path` is replaced.

    Raises:
        MedgenError: the operating system refused (disk full, ...).
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:

        def put(name: str, content: bytes) -> None:
            # a PNG or .nii.gz is compressed already
            how = zipfile.ZIP_STORED if name.endswith((".png", ".gz")) else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=how)

        writer = SetWriter(card, put, format)
        yield writer
        if writer.manifest is None:
            raise MedgenError("The set was not finished; nothing was written.")
