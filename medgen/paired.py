"""Pairs of slices of one head in two contrasts, split by patient: what translators learn from and are measured on.

    >>> from medgen.paired import paired
    >>> pairs = paired("brain_t1_flair_128", "test")        # pairs.source, pairs.target

Archives are looked for in `$MEDGEN_DATA`.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from medgen import data, layouts
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.record import SPLITS, Record

CONTRASTS = {"t1": "T1", "t2": "T2", "flair": "FLAIR", "mr": "MR", "ct": "CT"}
"""The words of a direction such as "t1-t2", and how they are written."""
FIELD_OF_VIEW_MM = 256.0
"""Edge of all pictures here, whatever their number of pixels."""
MR_WINDOW = (0.0, 255.0)
CT_WINDOW = (-1024.0, 1976.0)
"""HU from air to dense bone; what is denser (metal, enamel) is cut off."""


@dataclass(frozen=True)
class PairedData:
    """A catalogue entry.

    Args:
        name: its key in `PAIRED`.
        title: what it is, in a few words.
        source: word of `CONTRASTS`.
        target: likewise; a translator may go either way.
        size: height and width in pixels.
        licence: of the images; weights learned from them name it.
        citation: to print wherever they are used.
        archive: file or folder below `$MEDGEN_DATA`.
        shareable: whether pictures made from it show no patient, and may be shown with the model.
        notes: what is known to be wrong with it.
    """

    name: str
    title: str
    source: str
    target: str
    size: int
    licence: str
    citation: str
    archive: str
    shareable: bool
    notes: tuple[str, ...]

    @property
    def directions(self) -> tuple[str, str]:
        """Both ways to go, such as "t1-t2" and "t2-t1"."""
        return f"{self.source}-{self.target}", f"{self.target}-{self.source}"


PAIRED: dict[str, PairedData] = {
    "brain_t1_t2_256": PairedData(
        name="brain_t1_t2_256",
        title="Axial T1 and T2 slices of 11 patients, skull-stripped or whole heads",
        source="t1",
        target="t2",
        size=256,
        licence="CC BY 4.0, CC BY 3.0 (by patient)",
        citation=("Lesjak et al. 2016 and 2017 (Open MS data); TCIA Brain-Tumor-Progression; TCGA-LGG; BraTS 2021"),
        archive="brain_t1_t2_256.zip",
        shareable=False,
        notes=(
            "11 patients make a demonstration, not a benchmark: results are shown patient by patient.",
            "T2 of the openms_long sessions was registered rigidly to T1; neighbouring slices look alike.",
        ),
    ),
    "brain_t1_flair_128": PairedData(
        name="brain_t1_flair_128",
        title="Axial T1 and FLAIR slices of 101 patients with a low-grade glioma, whole heads",
        source="t1",
        target="flair",
        size=128,
        licence="CC BY-NC-SA 4.0",
        citation="Buda et al., Computers in Biology and Medicine 2019; TCGA-LGG",
        archive="brain_t1_flair_128.zip",
        shareable=False,
        notes=(
            "All patients have a tumour, which shows on FLAIR and often hardly on T1.",
            "Two of the patients are also in brain_t1_t2_256; they are in the train split of both.",
        ),
    ),
    "head_mr_ct_256": PairedData(
        name="head_mr_ct_256",
        title="MR and CT slices rendered from label maps of 20 heads",
        source="mr",
        target="ct",
        size=256,
        licence="Apache-2.0",
        citation="Billot et al., SynthSeg, Medical Image Analysis 2023",
        archive="head_label_maps_2mm",
        shareable=True,
        notes=(
            "Rendered: the HU of every pixel are known exactly, but no scanner made these pictures.",
            "Label maps of 2 mm: what is thinner (the walls of sinuses, the inner ear) is not there.",
            "Fat and the layers of the skull are drawn in by rule; skull density varies without a trace in the MR.",
        ),
    ),
}


@dataclass(frozen=True, eq=False)
class PairedSet:
    """N pairs of slices, pixel for pixel on one grid.

    Args:
        source: `(N, 1, H, W)`; MR in "au", window (0, 255); CT in HU. `subjects` says whose each is.
        target: the same places in the other contrast.
        facts: what else is known of each slice: "slice", and where there is such a thing "tumor_px", "has_skull", ...
        regions: `(N, H, W)` int16 anatomical labels where they are known exactly; else None.
    """

    source: ImageSet
    target: ImageSet
    facts: tuple[Mapping[str, str], ...]
    regions: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.source.pixels.shape != self.target.pixels.shape or len(self.facts) != len(self.source):
            raise MedgenError(f"{self.source!r} and {self.target!r} are not pairs: their shapes differ.")

    def __len__(self) -> int:
        return len(self.source)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Whose slice each is."""
        return self.source.subjects or ()

    def swapped(self) -> PairedSet:
        """The other direction."""
        return replace(self, source=self.target, target=self.source)

    def take(self, indices: Sequence[int] | np.ndarray) -> PairedSet:
        """The pairs at `indices`, in that order."""
        index = np.asarray(indices, dtype=np.int64)
        regions = None if self.regions is None else self.regions[index]
        facts = tuple(self.facts[i] for i in index)
        return PairedSet(self.source.take(index), self.target.take(index), facts, regions)


def image_set(pixels: np.ndarray, contrast: str, subjects: Sequence[str]) -> ImageSet:
    """Slices `(N, H, W)` of a contrast as images: MR with 0..255 in "au", CT in HU."""
    stack = np.ascontiguousarray(pixels[:, None], np.float32)
    modality, unit, window = ("CT", "HU", CT_WINDOW) if contrast == "ct" else ("MR", "au", MR_WINDOW)
    return ImageSet(stack, modality, unit, window, subjects=tuple(subjects))


def entry(name: str) -> PairedData:
    """The catalogue entry called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in PAIRED:
        raise MedgenError(f"There are no pairs {name!r}; choose from {', '.join(PAIRED)}.")
    return PAIRED[name]


def available(name: str) -> bool:
    """Whether `paired(name, ...)` has something to read; looks only at names, never raises."""
    root = data.data_dir()
    try:
        return root is not None and name in PAIRED and (root / PAIRED[name].archive).exists()
    except OSError:
        return False


def paired(name: str, split: str) -> PairedSet:
    """All pairs of one split.

    Args:
        name: a key of `PAIRED`.
        split: "train", "val" or "test"; by patient.

    Raises:
        MedgenError: unknown name or split, nothing on this disk, or something broken.
    """
    known = entry(name)
    if split not in SPLITS:
        raise MedgenError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    root = data.data_dir()
    if root is None:
        raise MedgenError(f"{name} is not here: set MEDGEN_DATA to the folder that holds {known.archive}.")
    if not available(name):
        raise MedgenError(f"MEDGEN_DATA={root} does not hold {known.archive}; put it there.")
    if name == "head_mr_ct_256":
        return _rendered(split)
    return _archived(known, root / known.archive, split)


def _rendered(split: str) -> PairedSet:
    from medgen.render import rendered_arrays  # needs SciPy's image functions, which the app does not

    made = rendered_arrays(split)
    source, target = (image_set(pixels, word, made.subjects) for pixels, word in ((made.mr, "mr"), (made.hu, "ct")))
    return PairedSet(source, target, made.facts, made.regions)


def _archived(known: PairedData, archive: Path, split: str) -> PairedSet:
    sides = splits(known.name)
    rows = [row for row in _table(archive) if _side(sides, row["patient"], known) == split]
    if not rows:
        raise MedgenError(f"{archive.name} holds no {split} pairs; download it again.")
    subjects = [row["patient"] for row in rows]

    def images(word: str) -> ImageSet:
        # the reader of the X-ray archives: checks size and depth, caches
        stack = [
            layouts.pixels(
                archive, Record(row["file"], word, row["patient"], split, f"{word}/{row['file']}"), known.size
            )
            for row in rows
        ]
        return image_set(np.stack(stack), word, subjects)

    facts = tuple({name: value for name, value in row.items() if name not in ("file", "patient")} for row in rows)
    return PairedSet(images(known.source), images(known.target), facts)


def _table(archive: Path) -> list[dict[str, str]]:
    try:
        with zipfile.ZipFile(archive) as opened:
            text = opened.read("labels.csv").decode("utf-8")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise MedgenError(f"{archive.name} is no whole archive of pairs ({error}); download it again.") from error
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"file", "patient", "slice"} <= set(rows[0]):
        raise MedgenError(f"labels.csv in {archive.name} lacks file, patient or slice; download it again.")
    return rows


@lru_cache(maxsize=4)
def splits(name: str) -> dict[str, str]:
    """Patient -> split, as published in `medgen/manifests`."""
    path = Path(__file__).parent / "manifests" / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {row["patient"]: row["split"] for row in csv.DictReader(file)}


def _side(sides: Mapping[str, str], patient: str, known: PairedData) -> str:
    if patient not in sides:
        raise MedgenError(f"Patient {patient} of {known.archive} is in no split; download the archive again.")
    return sides[patient]
