"""From a finished run to a folder of checkpoints/: card, weights, samples, curves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from medgen import data, provenance, registry, weights
from medgen.atomic import write_bytes, write_json
from medgen.autoencoder import FACTOR
from medgen.card import ModelCard
from medgen.conditions import HEALTHY, Conditions, cohorts_of
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from train import warm
from train.autoencoders import Trained
from train.config import Config
from train.pictures import grid
from train.run import Run, hardware

FEW = 100
"""People: of fewer, a card warns of copies."""
LIMITS = (
    "Research and teaching only, not for clinical use. Learned from {sets}: a picture is no evidence of what a "
    "disease looks like, and what the model draws, it may have invented or memorised."
)


def export(
    run: Run, module: str, *, family: str, net: dict[str, Any], sample: Callable[[], Tensor], title: str,
    paper: str, controls: tuple[str, ...] = (), steps: int | None = None, guidance: float | None = None,
    inner: Trained | None = None, old: ModelCard | None = None,
) -> ModelCard:  # fmt: skip
    """Writes checkpoints/NAME from the best averaged weights of `module` and returns its card.

    What the model may be asked is what `net["conditions"]` says it was told while training, and `controls`.
    """
    config = run.config
    state, chosen = best_state(run, module)
    sources = [data.DATASETS[name] for name in config.data]
    # also those behind the autoencoder and the model that the run started from
    behind = [*config.data, *warm.data_of(old), *([] if inner is None else inner.facts.get("data", ()))]
    heritage = [data.DATASETS[name] for name in dict.fromkeys(behind) if name in data.DATASETS]
    told = Conditions(net.get("conditions", ()))
    asks = sources[0].quantity if "quantity known" in told.columns else {}
    spacing = {source.spacing_mm for source in sources}
    channels, height, width = run.split.images.shape[1:]
    shape = (channels, height, width) if inner is None else (1, height * FACTOR, width * FACTOR)
    card = ModelCard(
        name=config.name, family=family, title=title, modality=sources[0].modality, unit="au", window=(0.0, 255.0),
        shape=shape, net=net, quantity=dict(asks), spacing_mm=spacing.pop() if len(spacing) == 1 else None,
        controls=(*answers(told), *controls), labels=told.labels, steps=steps, guidance=guidance, paper=paper,
        data="+".join(config.data),
        limits=_limits(sources), licence=licence_of(heritage),
        trained={
            **training_facts(run, module, chosen, old),
            "citation": " + ".join(dict.fromkeys(source.citation for source in heritage)),
            "labels": run.split.counts,
            **({} if inner is None else {"autoencoder": inner.facts}),
        },
    )  # fmt: skip
    public = config if inner is None else replace(config, autoencoder=inner.facts["name"])
    return publish(run, card, state, public, sample)


def _limits(sources: list[data.Dataset]) -> str:
    """What nobody may conclude; of few people also what the model may have learned by heart."""
    said = LIMITS.format(sets="one data set" if len(sources) == 1 else f"{len(sources)} data sets")
    few = sum(source.n_subjects for source in sources)
    return said if few > FEW else f"{said} Learned from {few} people at most: nearly copying one of them is a risk."


def licence_of(heritage: list[data.Dataset]) -> str:
    """Of the weights: MIT, but where the data must be shared alike, theirs."""
    if alike := [source for source in heritage if "-SA" in source.licence]:
        return f"{alike[0].licence} (weights, as the data: {alike[0].citation})"
    return "MIT (weights); data " + "; ".join(dict.fromkeys(source.licence for source in heritage))


def best_state(run: Run, module: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The best averaged weights of `module`, which it then has, and how they were chosen."""
    tensors, chosen = run.best_weights()
    prefix = module + "/"
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    run.averages[module].load_state_dict(state)
    return state, chosen


def training_facts(run: Run, module: str, chosen: dict[str, Any], old: ModelCard | None) -> dict[str, Any]:
    """How a model was trained, for `card.trained`."""
    return {
        "images_seen": run.seen + warm.before(old, "images_seen"),
        "images": len(run.split.images),
        "epochs": round(run.seen / len(run.split.images), 1),
        "updates": run.step,
        "seconds": round(run.seconds) + warm.before(old, "seconds"),
        # of this run, all threads of the main process; wall time says little on a shared machine
        "cpu_seconds": round(run.cpu_seconds),
        "hardware": hardware(run.device),
        "precision": run.config.precision,
        **warm.facts(old),
        "parameters": sum(p.numel() for p in run.modules[module].parameters()),
        **chosen,
        "commit": provenance.commit(),
    }


def publish(
    run: Run,
    card: ModelCard,
    state: dict[str, Tensor],
    config: Config,
    sample: Callable[[], Tensor] | None,
    parts: Mapping[str, ModelCard] | None = None,
) -> ModelCard:
    """Writes `checkpoints/<card.name>` whole beside the run, then lets it take the place of the old one, reports
    included: those are about other weights.

    Args:
        run: the finished run.
        card: all but `weights`.
        state: the weights.
        config: what to publish of it; the folders of the run are paths of this machine and are left out.
        sample: pictures for samples.png; None where they would show real patients.
        parts: submodule -> the model of checkpoints/ whose weights it still has: they are not written a second time.
    """
    folder = run.folder / "export"
    shutil.rmtree(folder, ignore_errors=True)
    names = {part: known.name for part, known in (parts or {}).items()}
    card = replace(card, weights=weights.save(state, folder, parts=parts), parts=names)
    card.save(folder)
    write_json(folder / "config.json", asdict(replace(config, out="", resume=False)))
    curves(run, folder / "log.jsonl")
    if sample is not None:
        made = sample()
        # large pictures fill a sheet, and checkpoints/, with fewer
        write_bytes(folder / "samples.png", grid(made[: 18 if made.shape[-1] > 128 else 36], columns=6))
    take_place(folder, checkpoints_dir() / card.name)
    for other in registry.cards().values():
        if card.name in other.parts.values():
            print(f"{other.name} was made on the weights that {card.name} had before: train it again.", file=sys.stderr)
    return card


def answers(told: Conditions) -> tuple[str, ...]:
    """Names of the `Request` fields that fill the columns of `told`.

    Severity is one of them where a healthy word and a disease of the same data set are there.
    """
    diseases, healthy = set(told.labels) - set(HEALTHY), set(told.labels) & set(HEALTHY)
    graded = any(cohorts_of(ill) & cohorts_of(well) for ill in diseases for well in healthy)
    kinds = {column.partition("=")[0].partition(" ")[0] for column in told.columns}
    fields = [name for name in ("label", "age", "sex", "view", "cohort", "quantity") if name in kinds]
    return (*fields[:1], "severity", *fields[1:]) if graded else tuple(fields)


def take_place(new: Path, old: Path) -> None:
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


def curves(run: Run, path: Path, lines: int = 150) -> None:
    """At most `lines` lines of the loss curve: what a reader plots, not every update."""
    rows = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    every = max(1, -(-len(rows) // lines))
    kept = rows[::every]
    validation = run.folder / "validation.jsonl"
    if validation.exists():
        kept += validation.read_text(encoding="utf-8").splitlines()
    write_bytes(path, ("\n".join(kept) + "\n").encode())
