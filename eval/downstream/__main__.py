"""Is synthetic data useful? Trains a small classifier with and without it, and judges it on real test patients.

    python -m eval.downstream --data kermany_cxr_128 [--models NAME NAME] [--cells PATTERN ...] [--minutes M]
    python -m eval.downstream --data kermany_cxr_128 --pool ddpm-cxr-128 --n 1000 [--minutes M]

A cell is ARM/MODEL/N/SEED, as real_100/stylegan2-cxr-128/500/0; patterns are the shell's. Finished cells are kept in
runs/downstream-DATA, and the same command goes on. Every call writes eval/results/downstream-DATA.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval import downstream_file
from eval.downstream import pools, results, scores, study
from eval.downstream.plan import POOL_LEAST, SETTINGS, STUDIES, cells
from eval.result_files import path_of
from eval.run_options import positive
from medgen import provenance
from medgen.atomic import write_json
from medgen.backend import measuring
from medgen.errors import exit_code

NOT_YET = "not trained yet"


def outcome(here: study.Ready, models: list[str], command: str) -> dict[str, Any]:
    """The whole file of results: every cell of the study, finished or missing, and what the finished add up to."""
    known = study.pools_of(here, models)
    weights = scores.resamples(here.test.subjects or ())
    done: list[results.Judged] = []
    table: list[dict[str, Any]] = []
    for cell in cells(models):
        pool = known.get(cell.model or "")
        file = study.finished(here, cell, pool)
        if file is None:
            table.append(results.missing_entry(cell, study.why_not(here, cell, pool) or NOT_YET))
            continue
        done.append(results.judged(here, cell, file, weights))
        table.append(results.cell_entry(done[-1]))
    return {
        "data": here.study.data,
        "split": "test",
        "classes": list(here.study.classes),
        "n": len(here.test),
        "n_subjects": len(set(here.test.subjects or ())),
        "n_train": len(here.train),
        "real_sha256": here.test_sha256,
        "train_sha256": here.train_sha256,
        "settings": {**asdict(here.settings), "network": "monai.networks.nets.ResNet, basic blocks 1 1 1 1",
                     "bins": scores.BINS, "repeats": scores.REPEATS, "pool_least": POOL_LEAST},
        "pools": {name: pool.facts() for name, pool in known.items()},
        "rows": results.rows(here, done),
        "versus": results.versus(done, models),
        "cells": table,
        **provenance.stamp(),
        "command": command,
    }  # fmt: skip


def run(here: study.Ready, models: list[str], patterns: list[str], minutes: float | None) -> int:
    """Trains what is missing, until all is there or the minutes are over; returns how many cells it has trained."""
    started, trained = time.monotonic(), 0
    known = study.pools_of(here, models)
    wanted = cells(models, patterns)
    for place, cell in enumerate(wanted, start=1):
        pool = known.get(cell.model or "")
        if study.finished(here, cell, pool) is not None:
            continue
        if minutes is not None and time.monotonic() - started >= 60 * minutes:
            break
        if reason := study.why_not(here, cell, pool):
            print(f"{cell.key}: left out, {reason}", file=sys.stderr, flush=True)
            continue
        file = study.train(here, cell, pool)
        trained += 1
        print(f"{place}/{len(wanted)} {cell.key}: {file['cpu_seconds']:.1f} CPU s", file=sys.stderr, flush=True)
    return trained


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.downstream", description="Is synthetic data useful?")
    parser.add_argument("--data", default="kermany_cxr_128", help=" | ".join(STUDIES))
    parser.add_argument("--models", nargs="+", metavar="NAME", help="whose pictures (default: a GAN and a diffusion)")
    parser.add_argument("--cells", nargs="+", default=[], metavar="PATTERN", help="only these, as 'real*/*/100/*'")
    parser.add_argument("--minutes", type=float, metavar="M", help="start nothing after M minutes; 0 = only add up")
    parser.add_argument("--pool", metavar="MODEL", help="only sample pictures of this model to train on")
    parser.add_argument("--n", type=positive, default=POOL_LEAST, help=f"pictures of --pool ({POOL_LEAST})")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="of finished cells (default: runs/downstream-DATA)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: eval/results/downstream-DATA.json")
    options = parser.parse_args(argv)
    if options.minutes is not None and not options.minutes >= 0:
        parser.error("--minutes must be at least 0")
    return options


def _command(options: argparse.Namespace) -> str:
    """The command that makes the file again, without paths of this machine."""
    models = f" --models {' '.join(options.models)}" if options.models else ""
    return f"python -m eval.downstream --data {options.data}{models}"


def _work(options: argparse.Namespace) -> None:
    asked = study.study_of(options.data)
    if options.pool:
        shares = study.proportions_of(asked)
        pool = pools.fill(options.pool, options.n, shares, SETTINGS.guidance, options.minutes)
        print(f"the pool of {options.pool} holds {len(pool)} pictures")
        return
    models = list(options.models or asked.models)
    here = study.ready(options.data, options.folder)
    out = options.out or path_of("downstream", options.data)
    try:
        run(here, models, options.cells, options.minutes)
    finally:
        # also after Ctrl-C: what is finished is worth reading
        found = outcome(here, models, _command(options))
        write_json(out, found)
    left = [cell for cell in found["cells"] if cell["missing"]]
    print(downstream_file.words(downstream_file.frame(found)))
    print(f"{len(found['cells']) - len(left)} of {len(found['cells'])} cells are there; written: {out.name}")


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    measuring()
    options = _options(argv)

    def work() -> int:
        _work(options)
        return 0

    return exit_code(work, "Interrupted; finished cells and pictures are kept, the same command goes on from there.")


if __name__ == "__main__":
    raise SystemExit(main())
