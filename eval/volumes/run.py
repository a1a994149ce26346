"""Measures models of volumes and writes volumes.json; `python -m eval.run` calls it.

Real volumes of held-out subjects and volumes of fixed seeds -> features of planes, structures of a segmenter, distances
to the training volumes -> metrics, each with its interval and what real volumes score.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.bootstrap import LEVEL
from eval.fakes import sample
from eval.features import content_hash
from eval.protocols import VOLUME_FAMILY, volumetric
from eval.volumes import memorisation, plausibility, similarity, structures
from eval.volumes.autoencoder import autoencoder
from eval.volumes.control import agreement_of_pairs, control
from eval.volumes.distances import SPACE, compare, plane_features
from eval.volumes.file import METRICS, file_name
from eval.volumes.setting import Asked, Setting, prepare
from medgen import provenance, registry, volume_sets
from medgen.atomic import write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator, Request
from medgen.image import ImageSet


def evaluate(setting: Setting, model: Generator) -> dict[str, Any]:
    """The content of a report.

    Raises:
        MedgenError: the model makes something that cannot be compared, or NaN.
    """
    card, asked, real = model.card, setting.asked, setting.real
    seeds = tuple(range(asked.count))
    like = Request(seeds=(), steps=asked.steps)
    start, cpu = time.perf_counter(), time.process_time()
    made = sample(model, seeds, [None] * len(seeds), like, progress=asked.progress)
    sampling, cpu_sampling = time.perf_counter() - start, time.process_time() - cpu
    if made.pixels.shape[1:] != real.pixels.shape[1:]:
        raise MedgenError(f"{card.name} makes {made!r}, {asked.protocol} measures {real!r}: choose its own protocol.")
    if not np.isfinite(made.pixels).all():
        raise MedgenError(f"A volume of {card.name} holds NaN: the model has diverged; use another checkpoint.")
    parts, distances = _parts(setting, model, made, seeds)
    judge = setting.judge
    return {
        "protocol": asked.protocol,
        "data": setting.protocol.data,
        "split": asked.split,
        "model": card.name,
        "method": str(card.net.get("method", "")),
        "weights": card.weights,
        "steps": card.steps if asked.steps is None else asked.steps,
        "seeds": {"first": 0, "last": len(seeds) - 1},
        "n": len(seeds),
        "n_real": len(real),
        "n_subjects": len(set(real.subjects or ())),
        "n_floor": len(setting.floor),
        "n_train": len(setting.train),
        "real_sha256": content_hash(real),
        "extractor": {"name": asked.extractor.name, "sha256": asked.extractor.sha256},
        "space": SPACE,
        "segmenter": {"reason": setting.no_judge} if judge is None else _segmenter(judge.segmenter.card),
        "interval": {"level": LEVEL, "over": "volumes and subjects", "halves": asked.repeats},
        "metrics": _metrics(setting, parts, distances),
        **parts,
        **provenance.stamp(),
        "seconds": {"sampling": sampling, "all": time.perf_counter() - start},
        "seconds_per_volume": sampling / len(seeds),
        "cpu_seconds_per_volume": cpu_sampling / len(seeds),
    }


def _segmenter(card: Any) -> dict[str, Any]:
    return {"name": card.name, "weights": card.weights, "dice": card.dice, "volume_error": card.volume_error}


def _parts(
    setting: Setting, model: Generator, made: ImageSet, seeds: Sequence[int]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The parts of a report, and KID and FID."""
    asked, real, judge = setting.asked, setting.real, setting.judge
    features = plane_features(made, asked.extractor, progress=asked.progress)
    distances = compare(
        real=setting.real_features, fake=features, extractor=asked.extractor, subjects=real.subjects,
        repeats=asked.repeats,
    )  # fmt: skip
    known = setting.known
    voxels = made.unit_range()
    near = memorisation.nearest(voxels, features, known.voxels, known.features, known.mirror)
    fake_pairs = similarity.mean_of_pairs(similarity.similarities(voxels))
    parts: dict[str, Any] = {
        "diversity": {"definition": similarity.DEFINITION, "fake": fake_pairs, **setting.diversity},
        "memorisation": memorisation.judged(near, known, seeds),
        "autoencoder": autoencoder(model, real, setting.train),
    }
    if judge is None:
        parts |= {name: {"reason": setting.no_judge} for name in ("structures", "plausibility", "control")}
        return parts, distances
    table = judge.measured(made)
    parts["structures"] = structures.compared(
        fake=table, real=judge.real, floor=judge.floor, known=judge.known, subjects=real.subjects,
        repeats=asked.repeats,
    )  # fmt: skip
    parts["plausibility"] = plausibility.checked(table, judge.real, judge.limits, judge.known, real.subjects)
    truth, said = judge.real_mm3.T
    parts["control"] = control(
        model, judge.segmenter, truth=truth, measured_real=said, steps=asked.steps, progress=asked.progress
    )
    return parts, distances


def _metrics(setting: Setting, parts: dict[str, Any], distances: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The numbers of the board: `value`, `low`, `high`, what real volumes score as `floor`, and a reason for a null."""
    found: dict[str, Any] = {}
    for name, entry in distances.items():
        floor = setting.floor_distances[name]
        same = name == "kid" or floor["n"] == entry["n"]  # FID is biased by n: a floor of another n is none
        found[name] = {**entry, "floor": floor["value"] if same else None, "n_floor": floor["n"]}
    diversity, memory = parts["diversity"], parts["memorisation"]
    found["ms_ssim"] = {**diversity["fake"], "floor": diversity["train"]["value"]}
    found["near"] = {**_percent(memory["voxels"]["near"]), "floor": memorisation.PERCENTILE}
    for name, part, read in (("volume_distance", "structures", _size), ("implausible", "plausibility", _fails)):
        found[name] = _missing(parts[part]) or read(parts[part])
    for name, key in (("control_r", "pearson"), ("control_mae", "mae")):
        part = parts["control"]
        found[name] = _missing(part) or {**part[key], "floor": part["segmenter"][key]["value"]}
    judge, asked_for = setting.judge, volume_sets.VOLUMES[setting.protocol.data].quantity
    if judge is not None and asked_for is not None and "reason" in parts["control"]:
        # what the segmenter scores on real volumes is known all the same
        truth = agreement_of_pairs(*judge.real_mm3.T)
        found["control_r"]["floor"], found["control_mae"]["floor"] = truth["pearson"]["value"], truth["mae"]["value"]
    for name in ("psnr", "ssim"):
        part = parts["autoencoder"]
        found[name] = _missing(part) or {**part[name], "floor": None}
    return {name: found[name] for name in METRICS}


def _missing(part: dict[str, Any]) -> dict[str, Any]:
    if "reason" not in part:
        return {}
    return {**dict.fromkeys(("value", "low", "high", "floor")), "reason": part["reason"]}


def _percent(entry: dict[str, Any], of: float = 1.0) -> dict[str, Any]:
    """An entry in percent of `of`."""
    scaled = {key: None if entry[key] is None else 100.0 * entry[key] / of for key in ("value", "low", "high")}
    return {**scaled, "n": entry["n"]}


def _size(part: dict[str, Any]) -> dict[str, Any]:
    one = part["measures"]["mm3 all"]
    mean = one["real"]["mean"]
    floor = None if one["floor"] is None else 100.0 * one["floor"] / mean
    return {**_percent(one["distance"], mean), "floor": floor}


def _fails(part: dict[str, Any]) -> dict[str, Any]:
    return {**_percent(part["share"]), "floor": 100.0 * part["real_share"]["value"]}


def measure_all(names: Sequence[str], asked: Asked, out: Path | None) -> None:
    """Measures the models called `names` and writes a report of each.

    Args:
        names: of models.
        asked: how.
        out: file of the report; None = volumes*.json in the model's folder.

    Raises:
        MedgenError: no such model, it makes no such volumes, or the real ones are not here.
    """
    models = [registry.load(name) for name in names]  # a misspelt name should fail before minutes of work
    for model in models:
        check(model.card, asked.protocol)
    setting = prepare(asked)
    for model in models:
        found = evaluate(setting, model)
        print(text(found))
        whole = setting.whole and asked.count == setting.protocol.n and asked.steps is None
        name = file_name(asked.split, asked.extractor.name, whole, found["n"])
        path = out or registry.checkpoints_dir() / model.card.name / name
        write_json(path, found)
        print(f"written: {path.parent.name}/{path.name}\n")


def check(card: ModelCard, protocol: str) -> None:
    """Refuses a model that the protocol cannot measure.

    Raises:
        MedgenError: it makes no volumes, or learned from others.
    """
    known = volumetric(protocol)
    if card.family != VOLUME_FAMILY:
        raise MedgenError(f"{card.name} makes no volumes: choose a protocol of its data set.")
    if known.data not in (card.data or "").split("+"):
        raise MedgenError(f"{card.name} learned from {card.data}, not {known.data}: choose the protocol of its data.")


def text(found: dict[str, Any]) -> str:
    """A report as lines of text: value, interval and what real volumes score."""
    lines = [
        f"{found['model']} | {found['protocol']} {found['split']} split | {found['extractor']['name']} | "
        f"{found['n_real']} real volumes, {found['n']} generated, {found['seconds_per_volume']:.2f} s each",
        f"{'':20} {'value':>9}  {'95 % interval':^21} {'real':>9}",
    ]
    for name, entry in found["metrics"].items():
        shown = METRICS[name]
        value, low, high, floor = (
            "-" if entry[key] is None else f"{entry[key]:.{shown.digits}f}" for key in ("value", "low", "high", "floor")
        )
        reason = f"  ({entry['reason']})" if "reason" in entry else ""
        lines.append(f"{shown.title:20} {value:>9}  {low:>9} .. {high:<9} {floor:>9}{reason}")
    return "\n".join(lines)
