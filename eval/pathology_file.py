"""The file between `eval.pathology`, which writes it, and the board, which reads it: pathology*.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.report import SWEPT, read_object
from eval.shapes import NUMBER, misfit
from medgen.errors import MedgenError

NAME = "pathology.json"
PARTS = ("adherence", "severity", "guidance", "region")
_AGAIN = "delete it and run eval.pathology for this model again"

# shapes as `eval.shapes` reads them
_MEAN = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
_AUC = {**_MEAN, "n_with": int, "n_without": int}
_PAIR = {"before": _MEAN, "after": _MEAN, "change": _MEAN}
_ASKED = {"split": str, "guidance": NUMBER, "steps": NUMBER}
_SETTINGS: dict[str, Any] = {
    "adherence": {**_ASKED, "n": int, "classifiers": {"*": {"*": str}}},
    "severity": {"guidance": NUMBER, "steps": NUMBER, "seeds": int, "classifiers": {"*": {"*": str}}},
    "guidance": {
        "split": str, "protocol": str, "data": str, "extractor": {"name": str, "sha256": str}, "k": int,
        "n_real": int, "n_fake": int, "real_sha256": str, "steps": NUMBER,
    },
    "region": {**_ASKED, "n": int, "place": str, "boxes": {"*": [float]}, "classifiers": {"*": {"*": str}}},
}  # fmt: skip
_ITEMS: dict[str, Any] = {
    "adherence": {
        "cohort": str, "classifier": str, "generated": _AUC, "generated_border": _AUC, "real": _AUC,
        "real_border": _AUC,
    },
    "severity": {
        "cohort": str, "classifier": str, "healthy": str, "n": int, "severities": [float], "label": [_MEAN],
        "border": [_MEAN], "healthy_word": [_MEAN], "rise": _MEAN, "steps": [_MEAN], "rising_seeds": float,
        "monotone": bool,
    },
    "guidance": {"guidance": float, "metrics": dict.fromkeys(SWEPT, _MEAN)},
    "region": {
        "cohort": str, "shown": str, "asked": str, "n": int, "n_subjects": int, "inside": _MEAN, "outside": _MEAN,
        "outside_largest": float, "words": {"*": {"classifier": str, "network": _PAIR, "border": _PAIR}},
    },
}  # fmt: skip


def file_name(split: str, n: int, full: bool) -> str:
    """pathology.json for the test split with enough pictures; anything less has a name of its own."""
    return NAME if full and split == "test" else f"pathology-{split}-{n}.json"


def read(path: Path) -> dict[str, Any]:
    """The results of one model: `model`, and `parts`, each with the `weights`, `settings` and `items` it was made of.

    Raises:
        MedgenError: the file is truncated, has an unknown part, lacks a key or holds something else in its place.
    """
    where = f"{path.parent.name}/{path.name}"
    values = read_object(path, _AGAIN)
    parts = values.get("parts")
    if not isinstance(values.get("model"), str) or not isinstance(parts, dict) or not set(parts) <= set(PARTS):
        raise MedgenError(f"{where} must hold a model, and parts among {', '.join(PARTS)}; {_AGAIN}.")
    for name, part in parts.items():
        shape = {"weights": {"*": str}, "settings": _SETTINGS[name], "items": {"*": _ITEMS[name]}, "created": str}
        if wrong := misfit(part, shape, name):
            raise MedgenError(f"{where}: {wrong} is missing or of the wrong type; {_AGAIN}.")
    for label, item in parts.get("severity", {}).get("items", {}).items():
        if {len(item[key]) for key in ("label", "border", "healthy_word")} != {len(item["severities"])}:
            raise MedgenError(f"{where}: the curves of {label} differ in length; {_AGAIN}.")
    return values
