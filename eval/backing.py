"""Is every displayed number in a file? Rows of the boards against the JSON on the disk, read apart from the boards.

The boards turn files into rows; here each number of a row is looked up in its file again, by its key, with nothing but
`json`. A row may come from the board or from a file that the board once exported.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from eval import board, translation_board, volumes
from eval.groups import SECONDS, extractor
from eval.report import Metric
from eval.result_files import results_dir
from eval.rows import ENDS
from eval.translation_rows import ENDS as TRANSLATION_ENDS
from medgen import registry


@dataclass(frozen=True)
class Kind:
    """A board, as far as its rows can be looked up.

    Args:
        name: of the board.
        pattern: of its reports.
        metrics: those it shows.
        ends: end of a column's name -> key of an entry.
        counts: columns that are keys of the report itself.
        n: the key of the number of images that the seconds were spent on.
        floor: family of the row whose values are the `floor` of another's entries; "" = none.
        mark: a column that only this board exports.
    """

    name: str
    pattern: str
    metrics: Mapping[str, Metric]
    ends: Mapping[str, str]
    counts: tuple[str, ...]
    n: str
    floor: str
    mark: str


PICTURES = Kind(
    "pictures", "report*.json", board.METRICS, ENDS, ("n_real", "n_fake", "n_subjects", "k"), "n_fake", board.FLOOR,
    "real_images",
)  # fmt: skip
TRANSLATIONS = Kind(
    "translators", "translation*.json", translation_board.METRICS, TRANSLATION_ENDS, ("n", "n_subjects", "steps"), "n",
    "", "pairs",
)  # fmt: skip
VOLUMES = Kind(
    "volumes", "volumes*.json", volumes.METRICS, ENDS, ("n", "n_real", "steps"), "n", volumes.FLOOR, "real_volumes",
)  # fmt: skip
KINDS = (PICTURES, TRANSLATIONS, VOLUMES)
_SAID = ("protocol", "data", "split", "direction", "created", "commit")


class Disk:
    """The files as they are at one moment; each is read once."""

    def __init__(self) -> None:
        self.read = cache(_json)
        self.sha256 = cache(_sha256)
        self.root = registry.checkpoints_dir()
        self.results = results_dir()

    def reports(self, kind: Kind) -> list[dict[str, Any]]:
        """All reports of a board that are JSON objects."""
        return [values for path in sorted(self.root.glob(f"*/{kind.pattern}")) if (values := self.read(path))]

    def report(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        """The report that a row names; {} where there is none."""
        file = _text(row.get("report"))
        return self.read(self.root / str(row["model"]) / file) if file else {}

    def card(self, model: str) -> dict[str, Any]:
        """A card; {} where there is none."""
        return self.read(self.root / model / "card.json")

    def references(self, file: str) -> list[dict[str, Any]]:
        """The reports of a file of references."""
        return [one for one in self.read(self.results / file).get("reports", []) if isinstance(one, dict)]


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Found:
    """What a check has looked at, and what it could not find."""

    numbers: int = 0
    tables: int = 0
    faults: list[str] = field(default_factory=list)

    def say(self, fault: str) -> None:
        """Keeps a fault, once."""
        if fault not in self.faults:
            self.faults.append(fault)


def check_rows(rows: Iterable[Mapping[Any, Any]], kind: Kind, disk: Disk, where: str, found: Found) -> None:
    """Every number of every row against its file.

    Args:
        rows: of `table` of a board, or of a file that a board has exported.
        kind: the board.
        disk: the files.
        where: the name of the table, as a message says it.
        found: what is counted and said goes here.
    """
    found.tables += 1
    for row in rows:
        place = f"{where}, {row['model']}"
        source = _source(row, kind, disk)
        if source is None:
            named = (*_columns(kind), *kind.counts, *SECONDS)
            shown = [name for name in named if _is_number(row.get(name))]
            if shown:
                found.say(f"{place}: no report backs {', '.join(shown)}.")
            source = {}
        expected = source | _of_card(row, disk)
        for name, value in expected.items():
            found.numbers += _is_number(row.get(name))
            if name in row and not _same(row[name], value, _digits(name, kind)):
                found.say(f"{place}: {name} is {_word(row[name])}, but its file gives {_word(value)}.")
        for fault in _weights(row, kind, disk):
            found.say(f"{place}: {fault}")


def _columns(kind: Kind) -> list[str]:
    return [name + end for name in kind.metrics for end in kind.ends]


def _source(row: Mapping[Any, Any], kind: Kind, disk: Disk) -> dict[str, Any] | None:
    """The numbers that the row should show; None where no file has them."""
    family = row["family"]
    if family == board.REFERENCE and kind is PICTURES:
        values = next((one for one in disk.references(str(row["report"])) if _is_of(one, row)), None)
        return None if values is None else _numbers(values, kind)
    if family in (kind.floor, translation_board.BASELINE):
        values = next((one for one in disk.reports(kind) if _is_of(one, row, any_model=True)), None)
        return None if values is None else _beside(values, row, kind)
    values = disk.report(row)
    return _numbers(values, kind) if values else None


def _is_of(values: Mapping[str, Any], row: Mapping[Any, Any], any_model: bool = False) -> bool:
    """Whether this report is the one that a row of a floor, a baseline or a reference was taken from."""
    same = all(_text(values.get(name)) == _text(row[name]) for name in _SAID if name in row and name in values)
    counts = all(_same(row[name], values.get(name), 0) for name in ("n", "n_real", "n_fake", "k") if name in row)
    return (
        same and counts and extractor(values) == row["extractor"] and (any_model or values.get("model") == row["model"])
    )


def _numbers(values: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Column -> number, as the report has it; the time of one image is worked out, not believed."""
    entries = values.get("metrics") or {}
    found = {name + end: (entries.get(name) or {}).get(key) for name in kind.metrics for end, key in kind.ends.items()}
    found |= {name: values.get(name) for name in kind.counts}
    found |= {name: values[name] for name in _SAID if name in values} | {"extractor": extractor(values)}
    wall, cpu = ((values.get("seconds") or {}).get(one) for one in ("sampling", "sampling_cpu"))
    found["seconds_per_image"] = None if wall is None else wall / values[kind.n]
    found["cpu_seconds_per_image"] = values.get("cpu_seconds_per_volume") if cpu is None else cpu / values[kind.n]
    return found | ({"seconds": wall} if kind is PICTURES else {})


def _beside(values: Mapping[str, Any], row: Mapping[Any, Any], kind: Kind) -> dict[str, Any]:
    """The numbers of a floor or of a baseline, from the report that has measured it too."""
    entries = values.get("metrics") or {}
    if row["family"] == kind.floor:
        return {name: (entries.get(name) or {}).get("floor") for name in kind.metrics}
    own = ((values.get("baselines") or {}).get(row["model"]) or {}).get("metrics") or {}
    return {name + end: (own.get(name) or {}).get(key) for name in kind.metrics for end, key in kind.ends.items()}


def _of_card(row: Mapping[Any, Any], disk: Disk) -> dict[str, Any]:
    trained = disk.card(str(row["model"])).get("trained") or {}
    return {"params": trained.get("parameters"), "images_seen": trained.get("images_seen")}


def _weights(row: Mapping[Any, Any], kind: Kind, disk: Disk) -> list[str]:
    """Whether card, report and the weights on the disk are of one model."""
    card, report = disk.card(str(row["model"])), str(row["report"])
    faults = []
    values = disk.report(row)
    if card and values and values.get("weights", {}) != card.get("weights", {}):
        faults.append(f"{report} was made with other weights than the card names.")
    for name, sha in (card.get("weights") or {}).items():
        path = disk.root / name if "/" in name else disk.root / str(row["model"]) / name
        # weights that only the Hub has cannot be compared
        if path.is_file() and disk.sha256(path) != sha:
            faults.append(f"{name} is not the file whose sha256 the card names.")
    return faults


def _digits(name: str, kind: Kind) -> int:
    ends = [end for end in kind.ends if end and name.endswith(end)]
    stem = name.removesuffix(ends[0]) if ends else name
    return kind.metrics[stem].digits if stem in kind.metrics else {"seconds": 1, **SECONDS}.get(name, 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _text(value: Any) -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _same(shown: Any, value: Any, digits: int) -> bool:
    """Whether `shown` is `value`, rounded so; both may be missing."""
    if not _is_number(shown) or not _is_number(value):
        return _text(shown) == _text(value)
    return abs(shown - value) <= 0.5 * 10.0**-digits + 1e-9 * abs(value)


def _word(value: Any) -> str:
    return str(value) if _text(value) else "nothing"
