"""Made-up models, reports and studies for the tests of the board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval.report import METRICS
from medgen import ModelCard

WEIGHTS = {"model.safetensors": "a" * 64}


def add(house: Path, name: str, *, family: str = "noise", weights: dict[str, str] = WEIGHTS) -> Path:
    ModelCard(
        name=name, family=family, title=f"Title of {name}", modality="CR", unit="au", window=(0.0, 255.0),
        shape=(1, 8, 8), licence="MIT", limits="None.", weights=weights, data="kermany_cxr_128",
        trained={"images_seen": 1000, "parameters": 123},
    ).save(house / name)  # fmt: skip
    return house / name


def write(folder: Path, *, file: str = "report.json", created: str = "2025-01-01", fid: float | None = 30.0, **changed):
    """A report with `fid`, and 0.5 for the rest."""
    entry = {"value": 0.5, "low": 0.4, "high": 0.6, "floor": 0.85}
    metrics = {name: dict(entry) for name in METRICS}
    metrics["fid"] = {"value": fid, "low": fid and fid - 2, "high": fid and fid + 2, "floor": 23.0}
    values = {
        "protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "model": folder.name,
        "real_sha256": "f" * 64, "n_real": 584, "n_fake": 584, "n_subjects": 326, "k": 5,
        "extractor": {"name": "inception-v3-2048", "sha256": "7ff4a85c" + "0" * 56}, "metrics": metrics,
        "weights": WEIGHTS, "commit": "abc", "versions": {"numpy": "2"}, "created": created,
        "seconds": {"sampling": 58.4, "features": 1.0, "metrics": 1.0}, "seconds_per_image": 0.1,
    } | changed  # fmt: skip
    (folder / file).write_text(json.dumps(values))


def reference(model: str, **changed: Any) -> dict[str, Any]:
    """A report of a reference in the group of `write`."""
    metrics = {name: {"value": 0.25, "low": 0.2, "high": 0.3, "floor": 0.85} for name in METRICS}
    return {
        "model": model, "protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "real_sha256": "f" * 64,
        "n_real": 584, "n_fake": 584, "n_subjects": 326, "k": 5, "weights": {}, "metrics": metrics,
        "extractor": {"name": "inception-v3-2048", "sha256": "7ff4a85c" + "0" * 56}, "created": "2025-01-02",
        "commit": "abc",
    } | changed  # fmt: skip


def save(path: Path, values: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, allow_nan=False))
    return path


def references(results: Path, *reports: dict[str, Any]) -> Path:
    return save(results / "references-cxr-128.json", {"protocol": "cxr-128", "reports": list(reports)})


_MADE = {"versions": {"numpy": "2"}, "created": "2025-01-03T00:00:00", "command": "the command", "commit": "abc"}


def selftest(results: Path) -> Path:
    """Blur makes FID worse as it should; recall fails."""
    curves = {
        "strengths": [0.0, 1.0, 2.0], "n_fake": [10, 10, 10],
        "metrics": {"fid": [10.0, 20.0, 40.0], "recall": [0.8, 0.9, 0.7]},
        "low": {"fid": [9.0, 19.0, 39.0], "recall": [None] * 3},
        "high": {"fid": [11.0, 21.0, 41.0], "recall": [None] * 3},
        "expected": {"fid": "up", "recall": "down"}, "spearman": {"fid": 1.0, "recall": -0.5},
        "monotone": {"fid": True, "recall": False}, "fails": {"recall": "rises by 0.1 at 1"},
    }  # fmt: skip
    values = {
        "protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "k": 5, "repeats": 4, "n_real": 10,
        "n_base": 10, "n_train": 20, "rule": "Every step must go the right way.",
        "degradations": {"blur": {"title": "Blur", "unit": "px"}},
        "extractors": {"pixels-32": {"sha256": "00", "dim": 1024, "source": "ours", "licence": "MIT"}},
        "spaces": {"pixels-32": {"blur": curves}, "images": {}}, "real_sha256": "f", "base_sha256": "b",
        "train_sha256": "t", **_MADE,
    }  # fmt: skip
    return save(results / "selftest-cxr-128.json", values)


def collapse(results: Path) -> Path:
    """A run that collapses between two snapshots, and a model that does not."""

    def entries(value: float) -> dict[str, Any]:
        return {name: {"value": value, "low": value - 1, "high": value + 1} for name in
                ("vendi", "modes", "spread", "recall")}  # fmt: skip

    def point(images: int | None, value: float, verdict: str) -> dict[str, Any]:
        return {"images": images, "verdict": verdict, "spaces": {"pixels-32": {"verdict": verdict, **entries(value)}}}

    numbers = {"vendi": 20.0, "modes": 20.0, "spread": 20.0, "recall": 1.0}
    own = {"weights": {}, "n": 32, "created": "2025-01-03", "made_by": None}
    space = {
        "sha256": "00", "radius": 1.0, "middle": 2.0, "real": numbers, "cuts": {"few": numbers},
        "varied_from": {"vendi": 16.0, "modes": 15.0}, "collapsed_below": {"vendi": 8.0, "modes": 7.0},
        "controls": [{"control": "half", "kind": "few", "share": 0.5, "verdict": "varied", "entries": entries(17.0)}],
    }  # fmt: skip
    subjects = [
        {"name": "falling", "kind": "run", "role": "positive control",
         "points": [point(1000, 18.0, "varied"), point(3000, 3.0, "collapsed")], **own},
        {"name": "a", "kind": "model", "role": None, "points": [point(None, 19.0, "varied")], **own},
    ]  # fmt: skip
    values = {
        "protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "n": 32, "n_real": 64, "real_sha256": "f",
        "spaces": {"pixels-32": space}, "subjects": subjects, **_MADE,
    }  # fmt: skip
    return save(results / "collapse-cxr-128.json", values)


def downstream(results: Path, model: str = "a") -> Path:
    """Real images alone, and with half as many generated ones; sides of one attribute."""

    def entry(value: float) -> dict[str, Any]:
        low, high = value - 0.05, value + 0.05
        return {"value": value, "low": low, "high": high, "patients_low": low, "patients_high": high, "seeds_low": low,
                "seeds_high": high}  # fmt: skip

    names = ("accuracy", "auc", "precision", "recall", "ece", "brier")

    def row(arm: str, title: str, model: str | None, synthetic: int, auc: float) -> dict[str, Any]:
        side = {"accuracy": entry(0.7), "auc": entry(auc), "recall": entry(0.6), "n": 12, "n_subjects": 6}
        gap = {"accuracy": entry(0.01), "auc": entry(0.02), "recall": entry(0.03)}
        return {
            "arm": arm, "title": title, "model": model, "size": "100", "n": 100, "n_real": 100,
            "n_synthetic": synthetic, "seeds": [0, 1], "metrics": {name: entry(auc) for name in names}, "classes": {},
            "against_real": None if model is None else {name: entry(-0.03) for name in names},
            "groups": {"sex": {"sides": [{**side, "group": "F"}, {**side, "group": "M"}], "gap": gap}},
        }  # fmt: skip

    rows = [row("real", "Real images", None, 0, 0.8), row("real_50", "Real and 50 % synthetic", model, 50, 0.77)]
    cells = [
        {"arm": one["arm"], "title": one["title"], "model": one["model"], "size": "100", "seed": seed, "missing": None,
         "metrics": dict.fromkeys(names, 0.8)}
        for one in rows for seed in (0, 1)
    ]  # fmt: skip
    values = {
        "data": "kermany_cxr_128", "split": "test", "classes": ["normal", "pneumonia"], "n": 24, "n_subjects": 12,
        "n_train": 200, "real_sha256": "f", "settings": {}, "pools": {}, "rows": rows, "cells": cells,
        "versus": [], **_MADE,
    }  # fmt: skip
    return save(results / "downstream-kermany_cxr_128.json", values)


def memorisation(folder: Path, *, alarm: bool, **changed: Any) -> Path:
    """memorisation.json of the model in `folder`, whose closest image is nearer than all held-out ones."""
    share = {"value": 0.4 if alarm else 0.05, "low": 0.3 if alarm else 0.0, "high": 0.5, "n": 10}
    pair = {
        "seed": 7,
        "label": "normal",
        "train": 3,
        "subject": "person3",
        "distance": 0.25,
        "percentile": 0.0,
        "ratio": 0.5,
    }
    held_out = {"value": 0.05, "low": 0.0, "high": 0.1, "n": 10, "n_subjects": 10}
    judged = {"threshold": 1.0, "share": share, "held_out": held_out, "raised": alarm}
    space = {
        "extractor_sha256": "00", **judged, "lonely": judged, "ratio": [0.5], "alarm": alarm, "median": 1.5,
        "smallest": 0.25, "held_out_median": 2.5, "held_out_smallest": 0.9, "closest": [pair], "train": [3],
        "distance": [0.25], "percentile": [0.0],
    }  # fmt: skip
    values = {
        "protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "model": folder.name, "weights": WEIGHTS,
        "rule": "Near = nearer than held-out images.", "alarm": alarm, "n_fake": 10, "n_train": 20, "n_held_out": 10,
        "real_sha256": "f", "train_sha256": "t", "spaces": {"pixels-32": space}, "seeds": [7], "labels": ["normal"],
        "train_subjects": {"3": "person3"},
    } | changed  # fmt: skip
    return save(folder / "memorisation.json", values)
