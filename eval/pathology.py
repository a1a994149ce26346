"""Measures whether the controls of a model act, and writes checkpoints/NAME/pathology.json.

    python -m eval.pathology NAME [--parts adherence severity guidance region] [--n 500] [--guidance G] [--split val]

Every finished piece is kept: the same command goes on where it was stopped. Choose guidance and steps on the val split.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from eval import adherence, control, control_tables, pathology_file, regional, severity, sweep
from eval.features import EXTRACTORS
from eval.protocols import SPLITS
from eval.run_options import positive
from eval.task import FULL, INCEPTION, Task
from medgen import provenance, registry
from medgen.atomic import write_json
from medgen.backend import measuring
from medgen.errors import MedgenError, exit_code

MODULES: dict[str, ModuleType] = dict(zip(pathology_file.PARTS, (adherence, severity, sweep, regional), strict=True))
"""Part -> the module that measures it."""


def measure(task: Task, part: str, path: Path) -> None:
    """Measures one part piece by piece into `path`; pieces made with the same weights and settings are kept.

    Raises:
        MedgenError: data or classifiers are missing, the file is broken, or the model cannot answer.
    """
    module, card = MODULES[part], task.card
    found = module.settings(task)
    values = pathology_file.read(path) if path.is_file() else {"model": card.name, "parts": {}}
    if values["model"] != card.name:
        raise MedgenError(
            f"{path.name} holds the results of {values['model']}, not of {card.name}; give another --out."
        )
    old = values["parts"].get(part)
    same = old is not None and old["weights"] == card.weights and old["settings"] == found
    items: dict[str, Any] = dict(old["items"]) if same else {}
    seconds = float(old.get("seconds") or 0.0) if same else 0.0
    start = time.perf_counter()
    for key, item in module.measure(task, frozenset(items)):
        items[key] = item
        if path.is_file():  # another process may have measured another part meanwhile
            values = pathology_file.read(path)
        values["parts"][part] = {
            "weights": card.weights,
            "settings": found,
            "items": items,
            **provenance.stamp(),
            "seconds": seconds + time.perf_counter() - start,
        }
        write_json(path, values)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.pathology", description="Measure whether the controls act.")
    parser.add_argument("name", metavar="NAME", help="folder below checkpoints/")
    parser.add_argument("--parts", nargs="+", choices=MODULES, help="default: all that the model has a control for")
    parser.add_argument("--split", choices=SPLITS, default="test", help="val for choosing guidance and steps")
    parser.add_argument("--n", type=positive, default=FULL["n"], help="generated with, and without, each label (500)")
    parser.add_argument("--seeds", type=positive, default=FULL["seeds"], help="of a severity curve (100)")
    parser.add_argument("--sweep-n", type=positive, help="generated for each guidance (default: as the protocol)")
    parser.add_argument("--region-n", type=positive, default=FULL["region_n"], help="repainted each way, at most (100)")
    parser.add_argument("--guidance", type=float, help="of all parts but the sweep (default: the card's)")
    parser.add_argument("--steps", type=positive, help="default: the card's")
    parser.add_argument("--extractor", choices=tuple(EXTRACTORS), default=INCEPTION, help="of the sweep")
    parser.add_argument("--repeats", type=positive, default=200, help="halves for an interval of the sweep (200)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: pathology*.json in the model's folder")
    return parser.parse_args(argv)


def _measure_all(options: argparse.Namespace) -> None:
    task = Task(
        registry.load(options.name), options.split, options.n, options.seeds, options.region_n, options.sweep_n,
        options.guidance, options.steps, options.extractor, options.repeats, sys.stderr.isatty(),
    )  # fmt: skip
    fitting = [part for part, module in MODULES.items() if module.CONTROL in task.card.controls]
    parts = options.parts or fitting
    if not parts:
        raise MedgenError(f"{task.card.name} takes neither label nor guidance, so there is no control to measure.")
    path = options.out or registry.checkpoints_dir() / options.name / task.file()
    for part in parts:  # said before minutes of work
        if part not in fitting:
            raise MedgenError(f"{task.card.name} takes no {MODULES[part].CONTROL}; leave {part} out of --parts.")
    for part in parts:
        measure(task, part, path)
        if path.is_file() and part in (values := pathology_file.read(path))["parts"]:
            shown = control_tables.tables(control.frames(task.card, values, [part]))[part]
            print(f"{part}\n{shown.to_string(index=False)}\nwritten: {path.parent.name}/{path.name}\n")
        else:
            print(f"{part}: no label of {task.card.name} can be measured so.\n")


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    measuring()
    options = _options(argv)

    def work() -> int:
        _measure_all(options)
        return 0

    return exit_code(work, "Interrupted; what was finished is kept, the same command goes on from there.")


if __name__ == "__main__":
    raise SystemExit(main())
