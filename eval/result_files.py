"""Where studies are kept, results/STUDY-SUBJECT.json, and how one is written. No torch here: the board reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.atomic import write_json


def results_dir() -> Path:
    """Where the studies are: `$MEDGEN_RESULTS`, or `results/` beside this file."""
    return Path(os.environ.get("MEDGEN_RESULTS") or Path(__file__).parent / "results")


def path_of(study: str, subject: str) -> Path:
    """The file of `study` about `subject`, a protocol or a data set."""
    return results_dir() / f"{study}-{subject}.json"


def files_of(study: str) -> list[Path]:
    """The files of `study` that there are."""
    return sorted(results_dir().glob(f"{study}-*.json"))


def write(path: Path, found: Mapping[str, Any], module: str, arguments: Sequence[str]) -> None:
    """Writes a study with the command that made it, and says so.

    Args:
        path: of the file.
        found: its content.
        module: that was run.
        arguments: of its command line.
    """
    write_json(path, {**found, "command": " ".join([f"python -m {module}", *arguments])})
    print(f"written: {path.parent.name}/{path.name}")
