"""Cards and reports as the board's rows: nothing on disk is left out, and nothing stale or broken is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval import report, variants
from eval.groups import LIMITS, extractor, numbers, origin
from eval.report import METRICS
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError

ENDS = {**LIMITS, "_floor": "floor"}
"""End of a column's name -> key of a metric's entry in a report."""


def report_rows() -> list[dict[str, Any]]:
    """One row a model and report; a model without a report has one too, without numbers. See `board.rows`.

    Translators are measured otherwise, see `eval.translation_rows`, and so do not wait for a report here.
    """
    rows: list[dict[str, Any]] = []
    for folder in folders("report*.json"):
        card, problem = card_of(folder)
        base = {"model": folder.name, "problem": problem, **from_card(card)}
        paths = sorted([*folder.glob("report*.json"), *folder.glob(f"{variants.STEM}*.json")])
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


def folders(pattern: str) -> list[Path]:
    """The folders of checkpoints that hold a card or a file of this pattern."""
    root = registry.checkpoints_dir()
    return sorted({path.parent for name in ("card.json", pattern) for path in root.glob(f"*/{name}")})


def must_be_of(card: ModelCard | None, values: dict[str, Any], path: Path) -> None:
    """Raises:
    MedgenError: the report in `path` was made with other weights than the card names.
    """
    if card is not None and values.get("weights", {}) != card.weights:
        where = f"{path.parent.name}/{path.name}"
        raise MedgenError(f"{where} was made with other weights than the card names; run eval.run again.")


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
        must_be_of(card, values, path)
    except MedgenError as error:
        return {"problem": str(error)}
    said = variants.of(values)
    named = {"variant": said, "title": f"{'' if card is None else card.title}, {said}".lstrip(", ")} if said else {}
    return {**columns_of(values), **named, "problem": problem, "report": path.name}


def columns_of(values: dict[str, Any]) -> dict[str, Any]:
    """The columns that a report alone tells."""
    seconds = values.get("seconds")
    sampling = seconds.get("sampling") if isinstance(seconds, dict) else None
    return {
        **{name: values[name] for name in ("protocol", "data", "split", "n_real", "n_fake", "k")},
        **numbers(values["metrics"], METRICS, ENDS),
        **origin(values),
        "extractor": extractor(values),
        "real_images": values["real_sha256"][:12],
        "n_subjects": report.number(values.get("n_subjects")),
        "seconds": report.number(sampling),
        "seconds_per_image": report.number(values.get("seconds_per_image")),
        "cpu_seconds_per_image": report.number(values.get("cpu_seconds_per_image")),
        "warnings": " ".join(
            f"{METRICS[name].title}: {entry['warning']}."
            for name, entry in values["metrics"].items()
            if name in METRICS and isinstance(entry.get("warning"), str)
        ),
    }
