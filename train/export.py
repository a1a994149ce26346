"""From a finished run to a folder of checkpoints/: card, weights, samples, curves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from medgen import data, provenance, weights
from medgen.atomic import write_bytes, write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from train.pictures import grid
from train.run import Run, hardware

LIMITS = (
    "Research and teaching only, not for clinical use. Learned from one data set: a picture is no evidence of what a "
    "disease looks like, and what the model draws, it may have invented or memorised."
)


def export(
    run: Run, module: str, *, family: str, net: dict[str, Any], sample: Callable[[], Tensor], title: str,
    controls: tuple[str, ...], labels: tuple[str, ...], paper: str, steps: int | None = None,
    guidance: float | None = None,
) -> ModelCard:  # fmt: skip
    """Writes checkpoints/NAME from the best averaged weights of `module` and returns its card.

    The folder is made whole beside the run and then takes the place of the old one, reports included: those are about
    other weights.
    """
    config = run.config
    folder = run.folder / "export"
    shutil.rmtree(folder, ignore_errors=True)
    tensors, chosen = run.best_weights()
    prefix = module + "/"
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    run.averages[module].load_state_dict(state)
    source = data.DATASETS[config.data]
    shape = tuple(run.split.images.shape[1:])
    card = ModelCard(
        name=config.name, family=family, title=title, modality=source.modality, unit="au", window=(0.0, 255.0),
        shape=shape, net=net, weights=weights.save(state, folder), controls=controls, labels=labels, steps=steps,
        guidance=guidance, data=config.data, paper=paper, limits=LIMITS,
        licence="MIT (weights); data " + source.licence,
        trained={
            "images_seen": run.seen,
            "images": len(run.split.images),
            "epochs": round(run.seen / len(run.split.images), 1),
            "updates": run.step,
            "seconds": round(run.seconds),
            "hardware": hardware(run.device),
            "precision": config.precision,
            "parameters": sum(p.numel() for p in run.modules[module].parameters()),
            **chosen,
            "commit": provenance.commit(),
            "citation": source.citation,
        },
    )  # fmt: skip
    card.save(folder)
    # not the folder of the run: a path of this machine
    write_json(folder / "config.json", asdict(replace(config, out="", resume=False)))
    write_bytes(folder / "samples.png", grid(sample(), columns=6))
    _curves(run, folder / "log.jsonl")
    if (run.folder / "training.gif").exists():
        shutil.copyfile(run.folder / "training.gif", folder / "training.gif")
    _take_place(folder, checkpoints_dir() / config.name)
    return card


def _take_place(new: Path, old: Path) -> None:
    """Moves folder `new` to `old`; what was there is gone only after that.

    Raises:
        MedgenError: the operating system refused (disk full, read-only folder, ...); `old` is as it was.
    """
    aside = new.with_name("export.old")
    shutil.rmtree(aside, ignore_errors=True)
    was_moved = False
    try:
        old.parent.mkdir(parents=True, exist_ok=True)
        if old.exists():
            shutil.move(old, aside)
            was_moved = True
        shutil.move(new, old)
    except OSError as error:
        if was_moved:
            shutil.rmtree(old, ignore_errors=True)
            shutil.move(aside, old)
        raise MedgenError(f"Could not export to {old.parent.name}/{old.name}: {error.strerror or error}.") from error
    shutil.rmtree(aside, ignore_errors=True)


def _curves(run: Run, path: Path, lines: int = 500) -> None:
    """At most `lines` lines of the loss curve: what a reader plots, not every update."""
    rows = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    every = max(1, -(-len(rows) // lines))
    kept = rows[::every]
    validation = run.folder / "validation.jsonl"
    if validation.exists():
        kept += validation.read_text(encoding="utf-8").splitlines()
    write_bytes(path, ("\n".join(kept) + "\n").encode())
