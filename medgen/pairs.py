"""Pairs of slices of two contrasts of one head, made from folders of scans, every pair kept or refused and why.

    python -m medgen.data pairs --bids DIR --out DIR [--source T1w] [--target T2w | CT] [--masks DIR | --brain] ...

The folder `--out` gets `KEY.npz` for each pair, and pairs.csv, slices.csv and report.txt. A run that was stopped goes
on where it was when the same command is given again. The input is only read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medgen.atomic import write_json
from medgen.errors import MedgenError
from medgen.pair_file import write_pair
from medgen.pair_layouts import Candidate, find_mask
from medgen.pair_report import write_report
from medgen.pair_scan import modality, read_scan, stamp
from medgen.pair_slices import PairSlices, cut
from medgen.read_volume import read_volume
from medgen.record import hash_split
from medgen.registration import MissingLibraryError, Rigid, register
from medgen.volume import Volume, grid_difference

MIN_OVERLAP = 0.75
"""Dice coefficient of the heads of both scans below which they do not lie on each other."""
MAX_SHIFT_MM = 60.0
MAX_ROTATION_DEGREES = 35.0


@dataclass(frozen=True)
class Settings:
    """What decides over the pairs of a folder; saved in it as settings.json.

    Args:
        source: BIDS suffix of the scan to translate; "CT" is read in HU.
        target: of the scan to make.
        side: pixels along an edge of a picture.
        spacing_mm: of its pixels.
        foreground: slices that show less head than this part of the fullest one are left out.
        register: whether scans on different grids are registered; else such pairs are refused.
        brain: "whole" heads, or only the brain: from "masks", or found in the source by "hd-bet".
    """

    source: str = "T1w"
    target: str = "T2w"
    side: int = 256
    spacing_mm: float = 1.0
    foreground: float = 0.3
    register: bool = True
    brain: str = "whole"

    def __post_init__(self) -> None:
        if self.source.upper() == self.target.upper():
            raise MedgenError(f"Source and target are both {self.source}; give two kinds of scans.")
        if not (16 <= self.side <= 1024 and 0.1 <= self.spacing_mm <= 10 and 0 <= self.foreground <= 1):
            raise MedgenError("Give a side of 16 to 1024 pixels, a spacing of 0.1 to 10 mm and a foreground of 0 to 1.")
        if self.brain == "hd-bet" and modality(self.source) != "MR":
            raise MedgenError("The brain is found in MR only; make MR the source, or give masks of your own.")


def prepare(
    candidates: Sequence[Candidate],
    root: Path,
    out: Path,
    settings: Settings,
    masks: Path | None = None,
    on_row: Callable[[dict[str, Any]], object] = lambda row: None,
) -> list[dict[str, Any]]:
    """Makes the pairs that are not in `out` yet; writes the reports.

    Args:
        candidates: of `find_bids` or `find_ixi`.
        root: the folder they are in; paths in the report are below it.
        out: a new folder, or one that was begun with the same settings.
        settings: what decides.
        masks: folder of brain masks, one for each key, on the source; None = whole heads.
        on_row: called with each row of the report.

    Returns:
        The rows of pairs.csv.

    Raises:
        MedgenError: `out` holds something else, or cannot be written.
        MissingLibraryError: a pair must be registered, and the library for it is not installed.
    """
    _begin(out, root, settings)
    rows = []
    for candidate in candidates:
        row = _known(out, candidate, masks)
        if row is None:
            row = _row(candidate, root, out, settings, masks)
            write_json(_row_path(out, candidate.key), row)
        rows.append(row)
        on_row(row)
    write_report(rows, asdict(settings), out)
    return rows


def _begin(out: Path, root: Path, settings: Settings) -> None:
    """Makes `out`, or checks that it was begun by the same command."""
    if out.resolve() == root.resolve() or root.resolve() in out.resolve().parents:
        raise MedgenError(f"{out} lies in the folder that is read; choose one outside of it for the pairs.")
    path = out / "settings.json"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MedgenError(f"{path} cannot be read ({error}); choose another folder.") from error
        if found != asdict(settings):
            raise MedgenError(f"{out} holds pairs made with other settings; choose another folder.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MedgenError(f"{out} holds other files; choose a new folder for the pairs.")
    else:
        write_json(path, asdict(settings))


def _row_path(out: Path, key: str) -> Path:
    return out / "rows" / f"{key}.json"


def _known(out: Path, candidate: Candidate, masks: Path | None) -> dict[str, Any] | None:
    """The row of a pair that an earlier run kept, if its files are the same; what was refused is tried again."""
    try:
        row = json.loads(_row_path(out, candidate.key).read_text(encoding="utf-8"))
        same = row["status"] == "kept" and row["stamp"] == _stamp(candidate, masks)
        return row if same and (out / f"{candidate.key}.npz").is_file() else None
    except (OSError, ValueError, KeyError, TypeError, MedgenError):
        return None


def _stamp(candidate: Candidate, masks: Path | None) -> list[list[int]]:
    """Size and time of the files of a pair, which tell a replaced one."""
    paths = [candidate.source, candidate.target, None if masks is None else find_mask(masks, candidate.key)]
    return [stamp(path) for path in paths if path is not None]


def _row(candidate: Candidate, root: Path, out: Path, settings: Settings, masks: Path | None) -> dict[str, Any]:
    """Makes one pair, or says why not."""
    row: dict[str, Any] = {
        "key": candidate.key,
        "subject": candidate.subject,
        "session": candidate.session,
        "split": hash_split(candidate.subject),
        "source": "" if candidate.source is None else candidate.source.relative_to(root).as_posix(),
        "target": "" if candidate.target is None else candidate.target.relative_to(root).as_posix(),
    }
    try:
        if candidate.refused or candidate.source is None or candidate.target is None:
            raise MedgenError(candidate.refused)
        before = _stamp(candidate, masks)
        made, about = _make(candidate, candidate.source, candidate.target, settings, masks)
    except MissingLibraryError:
        raise
    except MedgenError as error:
        return {**row, "status": "refused", "reason": str(error)}
    except OSError as error:
        return {**row, "status": "refused", "reason": f"a file cannot be read ({error.strerror})"}
    write_pair(out / f"{candidate.key}.npz", made)
    return {**row, "status": "kept", "reason": "", **about, "slices": made.index.tolist(), "stamp": before}


def _make(
    candidate: Candidate, source_path: Path, target_path: Path, settings: Settings, masks: Path | None
) -> tuple[PairSlices, dict[str, Any]]:
    """The slices of a pair, and what the report tells of them."""
    source, target = read_scan(source_path, settings.source), read_scan(target_path, settings.target)
    difference = grid_difference(source, target)
    if difference is not None and not (source.oriented and target.oriented):
        raise MedgenError(difference)
    found = None
    if difference is not None:
        if not settings.register:
            raise MedgenError(f"on different grids ({difference}), and registration is switched off")
        found = _believable(register(source, target))
    mask = None if masks is None else read_volume(find_mask(masks, candidate.key))
    if settings.brain == "hd-bet":
        from medgen.brain import brain_mask  # imports torch

        mask = replace(source, array=brain_mask(source).astype(np.float32))
    made = cut(
        source,
        target,
        side=settings.side,
        spacing_mm=settings.spacing_mm,
        foreground=settings.foreground,
        matrix=None if found is None else found.matrix,
        mask=mask,
    )
    if mask is None and made.overlap < MIN_OVERLAP:
        raise MedgenError(f"the heads do not lie on each other (Dice {made.overlap:.2f}, at least {MIN_OVERLAP})")
    return made, {
        "grid": "same" if difference is None else f"registered: {difference}",
        "rotation_degrees": 0.0 if found is None else round(found.rotation_degrees, 3),
        "shift_mm": 0.0 if found is None else round(found.shift_mm, 3),
        "information": None if found is None else [round(found.before, 4), round(found.after, 4)],
        "overlap": round(made.overlap, 4),
        "n_slices": len(made.index),
        "too_little": made.left_out[0],
        "in_one_only": made.left_out[1],
        "slice_mm": [round(_axial_mm(volume), 3) for volume in (source, target)],
    }


def _axial_mm(volume: Volume) -> float:
    return volume.reoriented("LPS").spacing_mm[2]


def _believable(found: Rigid) -> Rigid:
    """Raises:
    MedgenError: a move that heads do not make between two scans, or one that made things worse.
    """
    moved = f"{found.rotation_degrees:.0f} degrees and {found.shift_mm:.0f} mm"
    if found.rotation_degrees > MAX_ROTATION_DEGREES or found.shift_mm > MAX_SHIFT_MM:
        raise MedgenError(f"registration failed: it moved the head by {moved}")
    if found.after < found.before - 0.01:
        raise MedgenError(f"registration failed: mutual information fell from {found.before:.3f} to {found.after:.3f}")
    return found
