"""results/references-*.json -> rows that show the scale of a board: noise, a mean image, blurred and copied images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval import report
from eval.result_files import files_of
from eval.rows import columns_of
from medgen.errors import MedgenError

REFERENCE = "reference"
"""The family of rows that are no model and no floor: sets of images whose faults are known."""
TITLES = {
    "noise": "Noise",
    "mean_image": "Mean of the train images",
    "blurred_real": "Real images, blurred",
    "train_copies": "Copies of train images",
}


def reference_rows() -> list[dict[str, Any]]:
    """One row a reference and feature space; a file that cannot be read is a row whose `problem` says why."""
    found: list[dict[str, Any]] = []
    for path in files_of("references"):
        base = {"family": REFERENCE, "report": path.name}
        try:
            for values in read(path):
                title = TITLES.get(values["model"], values["model"])
                found.append({**base, "model": values["model"], "title": title, **columns_of(values)})
        except MedgenError as error:
            found.append({**base, "model": path.stem, "title": "References", "problem": str(error), "report": ""})
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The reports of a file of references, in their order.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else where a number belongs.
    """
    again = f"run python -m eval.references --protocol {path.stem.removeprefix('references-')} again"
    reports = report.read_object(path, again).get("reports")
    if not isinstance(reports, list) or not all(isinstance(one, dict) for one in reports):
        raise MedgenError(f"{path.name}: reports is missing or of the wrong type; {again}.")
    for one in reports:
        if not isinstance(one.get("model"), str):
            raise MedgenError(f"{path.name}: a report names no model; {again}.")
        report.check(one, f"{path.name}, {one['model']}", again)
    return reports
