"""What became of every pair: pairs.csv, slices.csv and report.txt."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.atomic import write_bytes
from medgen.record import SPLITS

_COLUMNS = (
    *("key", "subject", "session", "split", "status", "reason", "source", "target", "grid", "rotation_degrees"),
    *("shift_mm", "overlap", "n_slices", "too_little", "in_one_only", "slice_mm"),
)


def write_report(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], out: Path) -> None:
    """Writes the three files into `out`.

    Args:
        rows: of `pairs.prepare`.
        settings: that made them.
        out: the folder of the pairs.
    """
    cells = ({**row, "slice_mm": " ".join(map(str, row.get("slice_mm", ())))} for row in rows)
    write_bytes(out / "pairs.csv", _table(_COLUMNS, cells))
    slices = (
        {**row, "file": f"{row['key']}.npz", "number": number, "slice": index}
        for row in rows
        for number, index in enumerate(row.get("slices", ()))
    )
    write_bytes(out / "slices.csv", _table(("file", "number", "slice", "subject", "session", "split"), slices))
    write_bytes(out / "report.txt", (report(rows, settings) + "\n").encode())


def _table(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, tuple(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def report(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """The report as text."""
    kept = [row for row in rows if row["status"] == "kept"]
    refused = [row for row in rows if row["status"] != "kept"]
    registered = [row for row in kept if row["grid"] != "same"]
    lines = [
        f"{settings['source']} -> {settings['target']}: {len(kept)} pairs kept, {len(refused)} refused.",
        f"Slices of {settings['side']} pixels of {settings['spacing_mm']:g} mm"
        + (", whole heads." if settings["brain"] == "whole" else f", brain only ({settings['brain']})."),
        f"{len(kept) - len(registered)} pairs on one grid, {len(registered)} registered rigidly.",
        "",
        f"{'':10}" + "".join(f"{split:>8}" for split in SPLITS),
    ]
    for title, things in (
        ("subjects", {(row["split"], row["subject"]) for row in kept}),
        ("pairs", {(row["split"], row["key"]) for row in kept}),
    ):
        counts = Counter(split for split, _ in things)
        lines.append(f"{title:10}" + "".join(f"{counts[split]:8}" for split in SPLITS))
    n_slices = {split: sum(row["n_slices"] for row in kept if row["split"] == split) for split in SPLITS}
    lines.append(f"{'slices':10}" + "".join(f"{n_slices[split]:8}" for split in SPLITS))
    lines.append("Subjects go to a side by a hash of their name (80/10/10): no subject is on two sides.")
    if kept and (empty := [split for split in SPLITS if not n_slices[split]]):
        lines.append(f"No subject is in {' and '.join(empty)}: too few for a split; validate across subjects instead.")
    thick = [row["key"] for row in kept if max(row["slice_mm"]) > 3 * float(settings["spacing_mm"])]
    if thick:
        lines.append(f"{len(thick)} pairs have thick slices (over 3 pixels), such as {thick[0]}: their details differ.")
    if refused:
        lines += ["", "Refused:", *(f"  {row['key']}: {row['reason']}" for row in refused)]
    return "\n".join(lines)
