"""The file between `eval.pathology`, which writes it, and the board, which reads it: pathology*.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.report import METRICS, is_number_or_none, read_object
from medgen.errors import MedgenError

NAME = "pathology.json"
PARTS = ("adherence", "severity", "guidance", "region")
_AGAIN = "delete it and run eval.pathology for this model again"

# The shape of JSON values: a type, None or a number ("number or null"), [shape] = a list of it, {"*": shape} = an
# object of any keys, {key: shape} = an object that has at least these keys.
_NUMBER = "number or null"
_MEAN = {"value": _NUMBER, "low": _NUMBER, "high": _NUMBER}
_AUC = {**_MEAN, "n_with": int, "n_without": int}
_PAIR = {"before": _MEAN, "after": _MEAN, "change": _MEAN}
_ASKED = {"split": str, "guidance": _NUMBER, "steps": _NUMBER}
_SETTINGS: dict[str, Any] = {
    "adherence": {**_ASKED, "n": int, "classifiers": {"*": {"*": str}}},
    "severity": {"guidance": _NUMBER, "steps": _NUMBER, "seeds": int, "classifiers": {"*": {"*": str}}},
    "guidance": {
        "split": str, "protocol": str, "data": str, "extractor": {"name": str, "sha256": str}, "k": int,
        "n_real": int, "n_fake": int, "real_sha256": str, "steps": _NUMBER,
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
    "guidance": {"guidance": float, "metrics": dict.fromkeys(METRICS, _MEAN)},
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
        if wrong := _misfit(part, shape, name):
            raise MedgenError(f"{where}: {wrong} is missing or of the wrong type; {_AGAIN}.")
    for label, item in parts.get("severity", {}).get("items", {}).items():
        if {len(item[key]) for key in ("label", "border", "healthy_word")} != {len(item["severities"])}:
            raise MedgenError(f"{where}: the curves of {label} differ in length; {_AGAIN}.")
    return values


def _misfit(value: Any, shape: Any, path: str) -> str | None:
    """The path of the first value that is not of `shape`; None where all are."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return path
        pairs = [(key, shape["*"]) for key in value] if "*" in shape else list(shape.items())
        found = (_misfit(value.get(key), inner, f"{path}.{key}") for key, inner in pairs)
        return next((wrong for wrong in found if wrong), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return path
        found = (_misfit(item, shape[0], f"{path}[{i}]") for i, item in enumerate(value))
        return next((wrong for wrong in found if wrong), None)
    return None if _is(value, shape) else path


def _is(value: Any, kind: Any) -> bool:
    if kind == _NUMBER:
        return is_number_or_none(value)
    if kind is float:
        return value is not None and is_number_or_none(value)
    if kind is int:
        return type(value) is int and value >= 0
    return isinstance(value, kind)
