"""One image of a data set before it is decoded, and the tables that list them.

A patient is on one side only: a published split is used as it is, everything else goes by patient id.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medgen.conditions import CHOICES, MAX_AGE
from medgen.errors import MedgenError

SPLITS = ("train", "val", "test")
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_A_YEAR = {"D": 365, "W": 52, "M": 12, "Y": 1, "": 1}


@dataclass(frozen=True)
class Record:
    """One image of a data set before it is decoded.

    Args:
        file: the name it has in the published manifest, whatever the layout on this disk.
        label: one word, or several joined by "|"; "" in a set without labels.
        patient: whose image it is; no patient is in two splits.
        split: "train", "val" or "test".
        path: zip member, or path below the folder.
        attributes: "age", "sex" and "view", as far as they are known.
        quantity: the number of the image that `Dataset.quantity` names; None where the set has none.
    """

    file: str
    label: str
    patient: str
    split: str
    path: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    quantity: float | None = None


def hash_split(patient: str) -> str:
    """80/10/10 by patient: the same answer on every machine, whichever other patients are there."""
    fraction = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64
    return "train" if fraction < 0.8 else "val" if fraction < 0.9 else "test"


def on_two_sides(records: Iterable[Record]) -> list[str]:
    """Patients with images in more than one split, sorted; must be empty."""
    sides: dict[str, set[str]] = {}
    for record in records:
        sides.setdefault(record.patient, set()).add(record.split)
    return sorted(patient for patient, splits in sides.items() if len(splits) > 1)


def read_manifest(path: Path) -> list[Record]:
    """The rows of a manifest or of an archive's labels.csv: file, label(s), patient, and split and attributes if there.

    Raises:
        MedgenError: a column is missing or a row is incomplete.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MedgenError(f"The manifest {path.name} cannot be read ({error}); restore it with git.") from error
    return parse_table(text, path.name)


def parse_table(text: str, where: str) -> list[Record]:
    """The rows of a manifest or of a labels.csv, sorted by file name.

    Args:
        text: the CSV; its columns age, sex and view may be missing.
        where: what a message calls it.

    Raises:
        MedgenError: a column is missing or a row is incomplete.
    """
    reader = csv.DictReader(io.StringIO(text))
    try:
        records = list(_parsed(reader, where))
    except csv.Error as error:
        raise MedgenError(f"{where}, line {reader.line_num}, is broken ({error}); download it again.") from error
    return sorted(records, key=lambda record: record.file)


def _parsed(reader: csv.DictReader[str], where: str) -> Iterator[Record]:
    columns = reader.fieldnames or ()
    label_column = "labels" if "labels" in columns else "label"
    if missing := {"file", "patient", label_column} - set(columns):
        raise MedgenError(f"{where} has no column {min(missing)!r}; download it again.")
    for row in reader:
        file, label, patient = (row[name] or "" for name in ("file", label_column, "patient"))
        split = row["split"] if "split" in columns else hash_split(patient)
        if not (file and label and patient) or split not in SPLITS:
            raise MedgenError(
                f"{where}, line {reader.line_num}: the row of {file or '?'} is broken; download it again."
            )
        told = attributes(row.get("age"), row.get("sex"), row.get("view"))
        yield Record(file, label, patient, split, file, told)


def attributes(age: str | None, sex: str | None, view: str | None) -> dict[str, str]:
    """What one row of a table tells besides the finding; what is empty or cannot be true is left out.

    ChestX-ray14 gives ages as `58` or, like DICOM, as `058Y`, `018M` or `012D`, and a few patients of 411 years.

    Returns:
        "age" in whole years, "sex" F or M, "view" AP or PA: each only where it is known.
    """
    found: dict[str, str] = {}
    if match := _AGE.fullmatch((age or "").strip().upper()):
        years = int(match[1]) // _A_YEAR[match[2]]
        if years <= MAX_AGE:
            found["age"] = str(years)
    for name, word in (("sex", sex), ("view", view)):
        if (value := (word or "").strip().upper()) in CHOICES[name]:
            found[name] = value
    return found
