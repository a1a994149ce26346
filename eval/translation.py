"""Measures translators on pairs of held-out patients and writes translation.json; `python -m eval.run` calls it.

Pairs of the split, in the direction of the model -> its translation of each source -> every slice against its truth ->
patients -> all patients; beside it baselines, several samples, the way back and real heads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.bootstrap import LEVEL
from eval.fakes import sample
from eval.protocols import translation
from eval.translation_cycle import cycle, reverse_of
from eval.translation_file import METRICS, file_name
from eval.translation_heads import real_heads
from eval.translation_masks import TUMOUR
from eval.translation_patients import gains
from eval.translation_samples import several
from eval.translation_setting import Asked, Setting, prepare
from medgen import provenance, registry
from medgen.atomic import write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator, Request
from medgen.image import ImageSet
from medgen.pair_metrics import HEAD
from medgen.paired import entry


def evaluate(setting: Setting, model: Generator) -> dict[str, Any]:
    """The content of a report.

    Raises:
        MedgenError: the model makes something that cannot be compared.
    """
    card, asked, pairs = model.card, setting.asked, setting.ground.pairs
    like, n = Request(seeds=(), steps=asked.steps), len(pairs)
    back = _way_back(card)  # a broken one should be said before minutes of work
    start, used = time.perf_counter(), time.process_time()
    made = sample(model, tuple(range(n)), [None] * n, like, sources=pairs.source, progress=asked.progress)
    sampling, cpu = time.perf_counter() - start, time.process_time() - used
    metrics, patients = setting.summarise(made, intervals=True)
    parts = {
        "samples": several(model, setting.ground, made, asked.samples, like, setting.lpips, progress=asked.progress),
        "cycle": _cycle(card, back, setting, made),
        "heads": real_heads(model, setting.direction, asked.split, like, progress=asked.progress),
    }
    return {
        "protocol": asked.protocol,
        "direction": setting.direction,
        "data": translation(asked.protocol).data,
        "split": asked.split,
        "model": card.name,
        "method": str(card.net.get("method", "")),
        "weights": card.weights,
        "steps": card.steps if asked.steps is None else asked.steps,
        "seeds": {"first": 0, "last": n - 1},
        "n": n,
        "n_subjects": len(set(pairs.subjects)),
        "pairs_sha256": setting.pairs_sha256(),
        "unit": "HU" if pairs.target.unit == "HU" else "grey levels of 255",
        "extractor": {"name": asked.extractor.name, "sha256": asked.extractor.sha256},
        "interval": {"level": LEVEL, "over": "patients", "halves": asked.repeats},
        "regions": {"head": HEAD, "tumour": None if setting.ground.tumours is None else TUMOUR},
        "metrics": metrics,
        "patients": patients,
        "baselines": {
            name: {**one, "gains": gains(patients, one["patients"]) if one["patients"] else {}}
            for name, one in setting.baselines.items()
        },
        **parts,
        **provenance.stamp(),
        "seconds": {"sampling": sampling, "sampling_cpu": cpu, "all": time.perf_counter() - start},
        "seconds_per_image": sampling / n,
        "cpu_seconds_per_image": cpu / n,
    }


def _way_back(card: ModelCard) -> Generator | None:
    back = reverse_of(card, registry.cards().values())
    return None if back is None else registry.load(back.name)


def _cycle(card: ModelCard, back: Generator | None, setting: Setting, made: ImageSet) -> dict[str, Any]:
    if back is None:
        return {"reason": f"no {card.net.get('method')} model goes the other way; train one, then measure again"}
    ground, progress = setting.ground, setting.asked.progress
    return cycle(card, back, source=ground.pairs.source, made=made, inside=ground.inside, progress=progress)


def measure_all(names: Sequence[str], asked: Asked, out: Path | None) -> None:
    """Measures the models called `names` and writes a report of each.

    Args:
        names: of models.
        asked: how.
        out: file of the report; None = translation*.json in the model's folder.

    Raises:
        MedgenError: no such model, it is no translator of these pairs, or its pairs are not here.
    """
    models = [registry.load(name) for name in names]  # a misspelt name should fail before minutes of work
    for model in models:
        check(model.card, asked.protocol)
    settings: dict[str, Setting] = {}
    for model in models:
        direction = str(model.card.translates["direction"])
        if direction not in settings:
            settings[direction] = prepare(asked, direction)
        setting = settings[direction]
        found = evaluate(setting, model)
        print(text(found))
        name = file_name(asked.split, asked.extractor.name, setting.whole, found["n"])
        path = out or registry.checkpoints_dir() / model.card.name / name
        write_json(path, found)
        print(f"written: {path.parent.name}/{path.name}\n")


def check(card: ModelCard, protocol: str) -> None:
    """Refuses a model that the protocol cannot measure.

    Raises:
        MedgenError: it is no translator, or one of other pairs.
    """
    known = entry(translation(protocol).data)
    if not card.translates:
        raise MedgenError(f"{card.name} is no translator: choose a protocol of its data set.")
    if known.name not in (card.data or "").split("+"):
        raise MedgenError(
            f"{card.name} has learned from {card.data}, {protocol} is about {known.name}: choose the protocol of its "
            "pairs."
        )
    if card.shape != (1, known.size, known.size):
        shape = " x ".join(map(str, card.shape))
        raise MedgenError(f"{card.name} makes {shape} pixels, {protocol} has {known.size}: train it on these pairs.")


def text(found: dict[str, Any]) -> str:
    """A report as lines of text: the model with its interval or range, and the baselines."""
    names = list(found["baselines"])
    lines = [
        f"{found['model']} | {found['protocol']} {found['direction']}, {found['split']} split | {found['n']} slices of "
        f"{found['n_subjects']} patients | MAE in {found['unit']}",
        f"{'':20} {'model':>9}  {'':^21}" + "".join(f"{name:>10}" for name in names),
    ]
    for name, shown in METRICS.items():
        own = found["metrics"].get(name)
        if own is None:
            continue
        others = [found["baselines"][one]["metrics"].get(name, {}).get("value") for one in names]
        value, low, high, least, most, *rest = (
            "-" if number is None else f"{number:.{shown.digits}f}"
            for number in (*(own[key] for key in ("value", "low", "high", "least", "most")), *others)
        )
        limits = f"[{low}, {high}]" if low != "-" else f"({least} to {most})" if least != "-" else ""
        reason = f"  ({own['reason']})" if value == "-" else ""
        lines.append(f"{shown.title:20} {value:>9}  {limits:^21}" + "".join(f"{one:>10}" for one in rest) + reason)
    said = {part: found[part]["reason"] for part in ("samples", "cycle", "heads") if "reason" in found[part]}
    lines += [f"{part}: - ({reason})" for part, reason in said.items()]
    return "\n".join(lines)
