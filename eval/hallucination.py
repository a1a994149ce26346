"""Measures what translators keep, lose, move and invent, and writes checkpoints/NAME/hallucination.json.

    python -m eval.hallucination NAME [NAME ...] [--parts lesions invention disagreement] [--lesions 200] [--samples 8]

Every finished piece is kept: the same command goes on where it was stopped. All translators of the same pairs and
direction get the same lesions and slices.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from eval import disagreement, hallucination_file, lesion_pictures, lesion_structures, lesions
from eval.hallucination_tables import frames
from eval.hallucination_words import tables
from eval.lesion_task import FULL, Task
from eval.protocols import SPLITS
from eval.run_options import positive
from medgen import provenance, registry
from medgen.backend import measuring
from medgen.errors import MedgenError, exit_code

MODULES: dict[str, ModuleType] = dict(
    zip(hallucination_file.PARTS, (lesions, lesion_structures, disagreement), strict=True)
)
"""Part -> the module that measures it."""


TABLES = {"lesions": ("lesions", "sizes", "floors"), "invention": ("invention",), "disagreement": ("disagreement",)}
"""Part -> the tables about it."""


def measure(task: Task, part: str, path: Path) -> None:
    """Measures one part piece by piece into `path`; pieces made with the same weights and settings are kept.

    Raises:
        MedgenError: data are missing, the file is broken, or the model cannot answer.
    """
    module, card = MODULES[part], task.card
    values = _read(path, card.name)
    if values["model"] != card.name:
        raise MedgenError(
            f"{path.name} holds the results of {values['model']}, not of {card.name}; give another --out."
        )
    found = module.settings(task)
    old = values["parts"].get(part)
    same = old is not None and old["weights"] == card.weights and old["settings"] == found
    items: dict[str, Any] = dict(old["items"]) if same else {}
    seconds = float(old.get("seconds") or 0.0) if same else 0.0
    if same and old["summary"] is not None:
        return
    start = time.perf_counter()

    def keep(summary: dict[str, Any] | None) -> None:
        values = _read(path, card.name)  # anew: another process may have measured another part meanwhile
        values["parts"][part] = {
            "weights": card.weights,
            "settings": found,
            "items": items,
            "summary": summary,
            **provenance.stamp(),
            "seconds": round(seconds + time.perf_counter() - start, 1),
        }
        hallucination_file.write(path, values)

    for key, item in module.measure(task, frozenset(items)):
        items[key] = item
        keep(None)
    keep(module.summary(found, items))


def _read(path: Path, name: str) -> dict[str, Any]:
    return hallucination_file.read(path) if path.is_file() else {"model": name, "parts": {}}


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.hallucination", description="Measure what translators keep, lose, move and invent."
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="folders below checkpoints/")
    parser.add_argument("--parts", nargs="+", choices=MODULES, help="default: all that make sense for the model")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--lesions", type=positive, default=FULL["lesions"], help="inserted (200)")
    parser.add_argument("--samples", type=positive, default=FULL["samples"], help="of a diffusion model (8)")
    parser.add_argument("--repeated", type=positive, default=FULL["repeated"], help="lesions sampled so often (50)")
    parser.add_argument("--slices", type=positive, default=FULL["slices"], help="of the other parts (120)")
    parser.add_argument("--steps", type=positive, help="of a diffusion model (default: the card's)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: hallucination*.json in the model's folder")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR",
        help="also write there what the first lesions look like; made from data that must not be committed",
    )  # fmt: skip
    return parser.parse_args(argv)


def _task(options: argparse.Namespace, name: str) -> Task:
    return Task(
        registry.load(name), options.split, options.lesions, options.samples, options.repeated, options.slices,
        options.steps, sys.stderr.isatty(),
    )  # fmt: skip


def parts_of(task: Task, asked: list[str] | None) -> list[str]:
    """The parts to measure.

    Raises:
        MedgenError: disagreement is asked of a model that always gives the same picture.
    """
    if asked and "disagreement" in asked and not task.stochastic:
        raise MedgenError(f"{task.card.name} gives the same picture for every seed; leave disagreement out of --parts.")
    return asked or [part for part in MODULES if part != "disagreement" or task.stochastic]


def _measure_all(options: argparse.Namespace) -> None:
    if options.out and len(options.names) > 1:
        raise MedgenError("One --out cannot hold several models; leave it out, or name one model.")
    tasks = [_task(options, name) for name in dict.fromkeys(options.names)]
    asked = [parts_of(task, options.parts) for task in tasks]  # what cannot be is said before hours of work
    for task, parts in zip(tasks, asked, strict=True):
        path = options.out or registry.checkpoints_dir() / task.card.name / task.file()
        for part in parts:
            measure(task, part, path)
            shown = tables(frames(task.card, hallucination_file.read(path), [part]))
            for name in TABLES[part]:
                print(f"{part}: {name}\n{shown[name].to_string(index=False)}\n")
            print(f"written: {path.parent.name}/{path.name}\n")
        if options.pictures:
            print(f"written: {lesion_pictures.save(task, options.pictures)}\n")


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
