"""Cards and reports as the board's rows: nothing on disk is left out, and nothing stale or broken is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eval import report
from eval.report import METRICS
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError


def report_rows() -> list[dict[str, Any]]:
    """One row a model and report; a model without a report has one too, without numbers. See `board.rows`.

    Translators are measured otherwise, see `eval.translation_rows`, and so do not wait for a report here.
    """
    rows: list[dict[str, Any]] = []
    for folder in sorted({path.parent for name in ("card.json", "report*.json") for path in _glob(name)}):
        card, problem = card_of(folder)
        base = {"model": folder.name, "problem": problem, **from_card(card)}
        paths = sorted(folder.glob("report*.json"))
        waits = card is None or not card.translates
        rows += [{**base, **_from_report(path, card, problem)} for path in paths] or [base] * waits
    return rows


def card_of(folder: Path) -> tuple[ModelCard | None, str]:
    """The card in `folder`, or why there is none."""
    path = folder / "card.json"
    if not path.is_file():
        return None, f"{folder.name} has a report but no card.json."
    try:
        return ModelCard.read(path), ""
    except MedgenError as error:
        return None, str(error)


def _glob(name: str) -> list[Path]:
    return list(registry.checkpoints_dir().glob(f"*/{name}"))


def from_card(card: ModelCard | None) -> dict[str, Any]:
    """The columns that a card alone tells; none where there is no card."""
    if card is None:
        return {}
    trained = card.trained
    return {
        "title": card.title,
        "family": card.family,
        "data": card.data or "",
        "params": report.number(trained.get("parameters")),
        "images_seen": report.number(trained.get("images_seen")),
        "hardware": str(trained.get("hardware") or ""),
        "licence": card.licence,
    }


def _from_report(path: Path, card: ModelCard | None, problem: str) -> dict[str, Any]:
    """The columns of one report; only `problem` where the report cannot be believed."""
    try:
        values = report.read(path)
    except MedgenError as error:
        return {"problem": str(error)}
    if card is not None and values.get("weights", {}) != card.weights:
        where = f"{path.parent.name}/{path.name}"
        return {"problem": f"{where} was made with other weights than the card names; run eval.run again."}
    extractor = values["extractor"]
    weights = values.get("weights") or {}
    found: dict[str, Any] = {name: values[name] for name in ("protocol", "data", "split", "n_real", "n_fake", "k")}
    for name in METRICS:
        entry = values["metrics"].get(name, {})
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"), ("floor", "_floor")):
            found[name + end] = report.number(entry.get(key))
    seconds = values.get("seconds")
    sampling = seconds.get("sampling") if isinstance(seconds, dict) else None
    versions = values.get("versions")
    return found | {
        "extractor": f"{extractor['name']} ({extractor['sha256'][:8]})",
        "real_images": values["real_sha256"][:12],
        "n_subjects": report.number(values.get("n_subjects")),
        "seconds": report.number(sampling),
        "seconds_per_image": report.number(values.get("seconds_per_image")),
        "created": str(values.get("created") or ""),
        "commit": str(values.get("commit") or ""),
        "weights": " ".join(f"{file}:{str(sha)[:12]}" for file, sha in sorted(weights.items())),
        "versions": json.dumps(versions, sort_keys=True) if isinstance(versions, dict) else "",
        "problem": problem,
        "report": path.name,
    }
