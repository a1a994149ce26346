"""Age and sex of the subjects of IXI, from the table beside the scans: `IXI.csv`, or `IXI.xls` as it is downloaded."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medgen.errors import MedgenError
from medgen.record import attributes

_SEXES = {"1": "M", "2": "F"}


def people(folder: Path) -> dict[str, dict[str, str]]:
    """Subject -> "age" and "sex", as far as they are known; nobody where there is no table.

    `IXI.xls` is read where the package xlrd is installed; save it as `IXI.csv` to do without. A subject with two rows
    that differ keeps what both say.

    Raises:
        MedgenError: `IXI.csv` or `IXI.xls` is there and damaged.
    """
    known: dict[str, dict[str, str]] = {}
    for row in _rows(folder):
        number = _whole(row.get("IXI_ID"))
        if not number:
            continue
        sex = next((value for name, value in row.items() if str(name).upper().startswith("SEX")), "")
        told = attributes(_whole(row.get("AGE")), _SEXES.get(_whole(sex), str(sex)), None)
        if told.get("age") == "0":  # how the table writes that nobody asked
            del told["age"]
        subject = f"IXI{int(number):03d}"
        before = known.get(subject, told)
        known[subject] = {name: value for name, value in told.items() if before.get(name) == value}
    return known


def _rows(folder: Path) -> Iterable[Mapping[str, Any]]:
    table, workbook = folder / "IXI.csv", folder / "IXI.xls"
    try:
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as lines:
                rows = list(csv.DictReader(lines))
            if rows and "IXI_ID" not in rows[0]:
                raise MedgenError("IXI.csv has no column IXI_ID; save IXI.xls as CSV with commas.")
            return rows
        if workbook.is_file() and importlib.util.find_spec("xlrd"):
            return _sheet(workbook)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedgenError(
            f"The table in {folder.name} cannot be read ({error}); copy it again or remove it."
        ) from error
    return []


def _sheet(workbook: Path) -> list[dict[str, Any]]:
    import xlrd  # type: ignore[import-not-found, import-untyped, unused-ignore]

    try:
        sheet = xlrd.open_workbook(str(workbook)).sheet_by_index(0)
        heads, *rows = (sheet.row_values(i) for i in range(sheet.nrows))
    except (xlrd.XLRDError, ValueError, AssertionError, IndexError) as error:
        raise MedgenError(f"{workbook.name} is no Excel table ({error}); copy it again or remove it.") from error
    return [dict(zip(heads, row, strict=True)) for row in rows]


def _whole(value: Any) -> str:
    """The whole part of a number as text; "" where there is none."""
    try:
        return str(int(float(value)))
    except (TypeError, ValueError, OverflowError):
        return ""
