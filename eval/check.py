"""`python -m eval.board --check`: every number that the boards display must be in a report file.

Rows of the boards are looked up number by number (`eval.backing`); so are the rows of exported CSV and JSON files that
are named. Of a table of text, each number must be one of the file of its row, rounded alike. checkpoints/README.md must
say, cell by cell, what the files give.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from eval import board, memorisation_file, memorisation_tables, summary, translation_board, volumes
from eval.backing import KINDS, PICTURES, TRANSLATIONS, VOLUMES, Disk, Found, Kind, check_rows
from eval.studies import STUDIES
from medgen.errors import MedgenError

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w])")


def check(exported: Iterable[str | Path] = ()) -> Found:
    """All tables of the boards, checkpoints/README.md and these files.

    Args:
        exported: CSV or JSON files that a board has written.

    Raises:
        MedgenError: one of them cannot be read, or is no table of a board.
    """
    disk, found = Disk(), Found()
    _pictures(disk, found)
    _sections(translation_board, translation_board.translations(), TRANSLATIONS, disk, found)
    _sections(volumes, volumes.volumes(), VOLUMES, disk, found)
    _memorisation(disk, found)
    _studies(found)
    _readme(disk, found)
    for path in map(Path, exported):
        _file(path, disk, found)
    return found


def _pictures(disk: Disk, found: Found) -> None:
    frame = board.rows()
    for problem in sorted(set(frame["problem"]) - {""}):
        found.say(problem)
    for group in board.groups(frame):
        check_rows(board.table(frame, group).to_dict("records"), PICTURES, disk, group.label, found)
        by_label = board.classes(frame, group)
        shown = frame[(frame["report"] != "") & ~frame["family"].isin(board.NO_MODEL) & (frame["variant"] == "")]
        files = {row["model"]: disk.report(row) for row in shown.to_dict("records") if _is_of(row, group)}
        found.tables += len(by_label) > 0
        for row in by_label.to_dict("records"):
            entry = files.get(row["model"], {}).get("per_class", {}).get(row["label"], {})
            for name in ("n_real", "n_fake", *board.METRICS):
                found.numbers += row[name] == row[name]
                value = entry.get(name)
                if (row[name] == row[name]) != (value is not None) or (value is not None and row[name] != value):
                    found.say(f"{group.label}, {row['model']}, {row['label']}: {name} is {row[name]}, not {value}.")


def _is_of(row: Mapping[Any, Any], group: board.Group) -> bool:
    return all(row[name] == value for name, value in group._asdict().items())


def _sections(module: Any, known: Any, kind: Kind, disk: Disk, found: Found) -> None:
    """The tables of a board that has parts of text beside its main table: `module` reads what is `known`."""
    for problem in known.problems:
        found.say(problem)
    for group in module.groups(known):
        rows = module.table(known, group).to_dict("records")
        check_rows(rows, kind, disk, group.label, found)
        files = {row["model"]: disk.report(row) for row in rows if disk.report(row)}
        for part, table in module.tables(known, group).items():
            check_text(table, files, f"{group.label}, {part}", found)


def _memorisation(disk: Disk, found: Found) -> None:
    frame, problems = memorisation_file.rows()
    for problem in problems:
        found.say(problem)
    for model, own in frame.groupby("model", sort=True):
        values = disk.read(disk.root / str(model) / memorisation_file.FILE)
        if values["weights"] != disk.card(str(model)).get("weights"):
            found.say(f"{model}/{memorisation_file.FILE} was made with other weights than the card names.")
        shown = [memorisation_tables.summary(own), *(memorisation_tables.closest(values, one) for one in own["space"])]
        for table in shown:
            check_text(table, {str(model): values}, f"memorisation of {model}", found)


def _studies(found: Found) -> None:
    for name, study in STUDIES.items():
        for path in study.files():
            try:
                values = study.read(path)
            except MedgenError as error:
                found.say(str(error))
                continue
            for caption, table in study.tables(values, None):
                check_text(table, {path.name: values}, f"{name}, {path.name}, {caption[:40]}", found)


def check_text(table: pd.DataFrame, files: Mapping[str, Any], where: str, found: Found) -> None:
    """Every number in the cells of a table of text against all numbers of the files that its row may come from.

    Args:
        table: of text; where the first column names one of `files`, the row is of that file alone.
        files: name -> content.
        where: the name of the table, as a message says it.
        found: what is counted and said goes here.
    """
    found.tables += len(table) > 0
    leaves = {name: _leaves(values) for name, values in files.items()}
    known = {name: _Leaves.of(own) for name, own in leaves.items()}
    everything = _Leaves.of(set().union(*leaves.values())) if len(known) != 1 else next(iter(known.values()))
    for row in table.itertuples(index=False, name=None):
        own = known.get(str(row[0]), everything)
        for head, cell in zip(table.columns[1:], row[1:], strict=True):
            for shown in _NUMBER.findall(str(cell)):
                found.numbers += 1
                if not own.has(shown):
                    found.say(f"{where}, {row[0]}, {head}: {shown} is not in the files.")


@dataclass(frozen=True)
class _Leaves:
    """All that files hold, sorted so that thousands of numbers are looked up in no time.

    Args:
        numbers: each as it is, and a hundred times it, for tables of per cent.
        words: texts, which may hold numbers too.
    """

    numbers: list[float]
    words: list[str]

    @classmethod
    def of(cls, leaves: set[float | str]) -> _Leaves:
        numbers = [leaf for leaf in leaves if not isinstance(leaf, str)]
        words = [leaf for leaf in leaves if isinstance(leaf, str)]
        return cls(sorted(scale * leaf for leaf in numbers for scale in (1.0, 100.0)), words)

    def has(self, shown: str) -> bool:
        """Whether a number, or a hundred times it, is written so."""
        digits = len(shown.partition(".")[2])
        value, near = float(shown.replace(",", "")), 0.5 * 10.0**-digits * (1 + 1e-9)
        place = bisect_left(self.numbers, value - near)
        found = place < len(self.numbers) and self.numbers[place] <= value + near
        return found or any(shown in word for word in self.words)


def _leaves(values: Any) -> set[float | str]:
    """All numbers and words of a file, and how many items its lists and objects have."""
    if isinstance(values, dict | list):
        inner = values.values() if isinstance(values, dict) else values
        names = set(values) if isinstance(values, dict) else set()
        return {float(len(values)), *names}.union(*map(_leaves, inner))
    if isinstance(values, bool) or values is None:
        return set()
    return {float(values)} if isinstance(values, int | float) else {str(values)}


def _readme(disk: Disk, found: Found) -> None:
    """Every cell of checkpoints/README.md against what `eval.summary` makes of the files now."""
    path = disk.root / "README.md"
    if not path.is_file():
        return
    try:
        right = summary.summary().splitlines()
    except MedgenError as error:
        found.say(str(error))
        return
    found.tables += 1
    written = path.read_text(encoding="utf-8").splitlines()
    wanted = _by_row(right)
    for (title, key), (number, cells) in _by_row(written).items():
        found.numbers += sum(len(_NUMBER.findall(cell)) for cell in cells)
        head = f"checkpoints/README.md, line {number}, {key}"
        if (title, key) not in wanted:
            found.say(f"{head}: no file backs this row.")
            continue
        for column, cell, real in zip_longest(title, cells, wanted.pop((title, key))[1], fillvalue="nothing"):
            if cell != real:
                found.say(f"{head}, {column}: {cell} is not what the files give, {real}.")
    for (_, key), (_, cells) in wanted.items():
        found.say(f"checkpoints/README.md lacks the row {key} ({cells[-1]}); run python -m eval.summary.")
    prose = [[line for line in lines if not line.startswith("|")] for lines in (written, right)]
    for line in prose[0]:
        if line not in prose[1]:
            found.say(f"checkpoints/README.md says: {line} No file backs this; run python -m eval.summary.")


Rows = dict[tuple[tuple[str, ...], str], tuple[int, list[str]]]


def _by_row(lines: list[str]) -> Rows:
    """(headings, what names the row) -> its line number and cells; rows of one name are counted."""
    found: Rows = {}
    title: tuple[str, ...] = ()
    for number, line in enumerate(lines, start=1):
        if not line.startswith("|"):
            title = ()
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not title:
            title = tuple(cells)
        elif not set(line) <= set("|-: "):
            # what a person may retype is numbers; a row is known by its first cell and its words
            words = [cell for cell in cells[1:] if not _NUMBER.search(cell) and cell != "-"]
            key = ", ".join([cells[0], *words])
            while (title, key) in found:
                key += " "
            found[title, key] = (number, cells)
    return found


def _file(path: Path, disk: Disk, found: Found) -> None:
    """The rows of an exported file, as `check_rows`."""
    try:
        read = pd.read_json if path.suffix == ".json" else pd.read_csv
        frame = read(path)
    except (OSError, ValueError) as error:
        raise MedgenError(f"{path} cannot be read as a table ({error}); export it again as CSV or JSON.") from error
    kind = next((one for one in KINDS if one.mark in frame and "report" in frame), None)
    if kind is None:
        raise MedgenError(f"{path} is no table of a board: export one with python -m eval.board --format csv.")
    check_rows(frame.to_dict("records"), kind, disk, path.name, found)
