"""What is wrong with a data set on this disk. It only reads: repairing or deleting is the owner's business."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medgen.errors import MedgenError
from medgen.record import SPLITS, Record, on_two_sides

NEAR_CONSTANT = 4.0
"""Standard deviation, in grey values of 255, below which an image shows nothing; the flattest real film has 14."""


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def checksum_problems(archive: Path, expected: str) -> list[str]:
    """One sentence if the archive is not the catalogued one, else nothing."""
    found = sha256(archive)
    if found == expected:
        return []
    return [
        f"{archive.name}: sha256 is {found[:12]}..., not {expected[:12]}...: damaged, cut short or another version."
    ]


def counts_table(records: Sequence[Record]) -> list[str]:
    """Lines of a table: images per label, and with each attribute, per split; one with two labels counts for both."""
    counts = Counter((label, record.split) for record in records for label in record.label.split("|") if label)
    labels = sorted({label for label, _ in counts}, key=lambda label: -sum(counts[label, s] for s in SPLITS))
    lines = [f"{'':22}" + "".join(f"{split:>8}" for split in SPLITS)]
    lines += [f"{label:22}" + "".join(f"{counts[label, s]:8}" for s in SPLITS) for label in labels]
    attributes = sorted({name for record in records for name in record.attributes})
    for title, things in (
        ("images", [(record.split, record.file) for record in records]),
        ("patients", [(record.split, record.patient) for record in records]),
        *((f"with {name}", [(r.split, r.file) for r in records if name in r.attributes]) for name in attributes),
    ):
        totals = Counter(split for split, _ in set(things))
        lines.append(f"{title:22}" + "".join(f"{totals[s]:8}" for s in SPLITS))
    return lines


def record_problems(records: Sequence[Record], labels: Sequence[str]) -> list[str]:
    """Patients on two sides, file names that occur twice, and words that are not labels of this set."""
    problems = [f"patient {patient} is in two splits." for patient in on_two_sides(records)]
    names = Counter(record.file for record in records)
    problems += [f"{file} is listed {times} times." for file, times in names.items() if times > 1]
    unknown = {label for record in records for label in record.label.split("|") if label} - set(labels)
    return problems + [f"the label {label!r} is not one of {', '.join(labels)}." for label in sorted(unknown)]


def image_problems(
    records: Sequence[Record], read: Callable[[Record], np.ndarray], on_image: Callable[[], object] = lambda: None
) -> list[str]:
    """Unreadable and near-constant images, and one picture under two patients in different splits; `read` decodes."""
    problems = []
    first_with: dict[bytes, Record] = {}
    for record in records:
        on_image()
        try:
            image = read(record)
        except MedgenError as error:
            problems.append(str(error))
            continue
        if (spread := float(np.std(image))) < NEAR_CONSTANT:
            problems.append(f"{record.file} shows next to nothing (standard deviation {spread:.1f} of 255).")
            continue  # two blank images are not a leak
        twin = first_with.setdefault(hashlib.sha256(image.tobytes()).digest(), record)
        if twin.split != record.split:
            problems.append(f"{record.file} ({record.split}) is the same picture as {twin.file} ({twin.split}).")
    return problems
