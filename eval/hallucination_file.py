"""The file between `eval.hallucination`, which writes it, and the board, which reads it: hallucination*.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from eval.report import read_object
from eval.shapes import NUMBER, misfit
from medgen.atomic import write_bytes
from medgen.errors import MedgenError

NAME = "hallucination.json"
PARTS = ("lesions", "invention", "disagreement")
_PLAIN_LIST = re.compile(r"\[\s+([^\[\]{}]*?)\s+\]")
_AGAIN = "delete it and run eval.hallucination for this model again"

_MEAN = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
_ENTRY = {**_MEAN, "least": NUMBER, "most": NUMBER, "n": int, "n_subjects": int}
_ASKED = {"data": str, "direction": str, "split": str, "unit": str, "steps": NUMBER, "pairs_sha256": [str]}
_STRUCTURES = dict.fromkeys(("brighter", "darker", "brighter_percent", "darker_percent"), _ENTRY)
_SETTINGS: dict[str, Any] = {
    "lesions": {**_ASKED, "lesions": int, "floor": float, "chance_level": float},
    "invention": {**_ASKED, "slices": int, "difference": float, "least_mm2": float},
    "disagreement": {**_ASKED, "slices": int, "samples": int, "large": float},
}
_SUMMARIES: dict[str, Any] = {
    "lesions": {
        **dict.fromkeys(("kept", "moved", "lost", "invented", "slices_with_invention"), _ENTRY),
        **dict.fromkeys(("reversed", "response", "outside", "recovered"), _ENTRY),
        "by_chance": dict.fromkeys(("own", "own_and_floor", "near", "near_and_floor"), NUMBER),
        "kept_at": {"*": float},
        "cells": [{"radius_mm": [float], "contrast": [float], "kept": _ENTRY}],
        "signs": {"darker": _ENTRY, "brighter": _ENTRY},
        "samples": ({"k": int, "kept": _ENTRY, "by_all": _ENTRY, "by_none": _ENTRY}, None),
    },
    "invention": {"model": _STRUCTURES, "as_it_was": (_STRUCTURES, None)},
    "disagreement": {
        **dict.fromkeys(("k", "n", "n_subjects", "pixels"), int),
        **dict.fromkeys(("auc", "promised_auc", "ratio"), _MEAN),
        **dict.fromkeys(("spearman", "promised_spearman", "coverage", "promised_coverage"), _ENTRY),
        "large_share": float,
        "curve": [{"share": float, "promised": float, "error": _MEAN}],
    },
}


def file_name(split: str, lesions: int, full: bool) -> str:
    """hallucination.json for the test split with enough of everything; anything less has a name of its own."""
    return NAME if full and split == "test" else f"hallucination-{split}-{lesions}.json"


def write(path: Path, values: dict[str, Any]) -> None:
    """Writes the results, all or nothing; lists of numbers take one line each, or a file would have ten thousand."""
    text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False)
    short = _PLAIN_LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    write_bytes(path, f"{short if json.loads(short) == values else text}\n".encode())


def read(path: Path) -> dict[str, Any]:
    """The results of one model: `model`, and `parts`, each with the `weights`, `settings` and `items` it was made of.

    `summary` of a part is what its items add up to; None while some are missing.

    Raises:
        MedgenError: the file is truncated, has an unknown part, lacks a key or holds something else in its place.
    """
    where = f"{path.parent.name}/{path.name}"
    values = read_object(path, _AGAIN)
    parts = values.get("parts")
    if not isinstance(values.get("model"), str) or not isinstance(parts, dict) or not set(parts) <= set(PARTS):
        raise MedgenError(f"{where} must hold a model, and parts among {', '.join(PARTS)}; {_AGAIN}.")
    for name, part in parts.items():
        shape = {
            "weights": {"*": str}, "settings": _SETTINGS[name], "items": {"*": {"*": object}}, "created": str,
            "summary": (_SUMMARIES[name], None),
        }  # fmt: skip
        if wrong := misfit(part, shape, name):
            raise MedgenError(f"{where}: {wrong} is missing or of the wrong type; {_AGAIN}.")
    return values
