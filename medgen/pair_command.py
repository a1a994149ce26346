"""The command line `python -m medgen.data pairs`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medgen.errors import MedgenError, exit_code
from medgen.pair_layouts import find_bids, find_ixi
from medgen.pair_report import report
from medgen.pairs import Settings, prepare


def main(argv: list[str] | None = None) -> int:
    """Makes pairs; 0 = done, 1 = no pair was kept, 2 = the user has to do something first."""
    parser = argparse.ArgumentParser(
        prog="python -m medgen.data pairs",
        description="Pairs of slices of two scans of one head. The input is only read; a stopped run goes on.",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--bids", type=Path, metavar="DIR", help="a BIDS data set, such as one of OpenNeuro")
    where.add_argument("--ixi", type=Path, metavar="DIR", help="the unpacked IXI archives")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or one to go on with")
    parser.add_argument("--source", default="T1w", help="what to translate, such as T1w, CT (default: %(default)s)")
    parser.add_argument("--target", default="T2w", help="what to make, such as FLAIR, CT (default: %(default)s)")
    brain = parser.add_mutually_exclusive_group()
    brain.add_argument("--masks", type=Path, metavar="DIR", help="brain masks named after the pairs, on the source")
    brain.add_argument("--brain", action="store_true", help="find the brain in the source by HD-BET: a minute a head")
    parser.add_argument("--side", type=int, default=256, help="pixels along an edge (default: %(default)s)")
    parser.add_argument("--spacing-mm", type=float, default=1.0, help="size of a pixel (default: %(default)s)")
    parser.add_argument(
        "--foreground", type=float, default=0.3, help="least share of the fullest slice (default: %(default)s)"
    )
    parser.add_argument("--no-register", action="store_true", help="refuse pairs on different grids")
    asked = parser.parse_args(argv)

    def work() -> int:
        settings = Settings(
            source=asked.source,
            target=asked.target,
            side=asked.side,
            spacing_mm=asked.spacing_mm,
            foreground=asked.foreground,
            register=not asked.no_register,
            brain="hd-bet" if asked.brain else "whole" if asked.masks is None else "masks",
        )
        root: Path = asked.bids or asked.ixi
        found = (find_bids if asked.bids else find_ixi)(root, asked.source, asked.target)
        if asked.masks is not None and not asked.masks.is_dir():
            raise MedgenError(f"There is no folder {asked.masks}; check the path of the masks.")
        show, close = _progress(len(found))
        try:
            rows = prepare(found, root, asked.out, settings, asked.masks, show)
        finally:
            close()
        print(report(rows, {**settings.__dict__}))
        return 0 if any(row["status"] == "kept" for row in rows) else 1

    return exit_code(work, "Interrupted; the same command again goes on.")


def _progress(n: int) -> tuple[Callable[[dict[str, Any]], None], Callable[[], None]]:
    """A line for each refused pair and a bar; the second function ends it."""
    bar = tqdm(total=n, unit="pair", disable=not sys.stderr.isatty())

    def show(row: dict[str, Any]) -> None:
        bar.update()
        if row["status"] == "refused":
            bar.write(f"refused {row['key']}: {row['reason']}", file=sys.stdout)

    return show, bar.close
