"""The file between `eval.run`, which writes it, and the board, which reads it: report*.json."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgen.errors import MedgenError


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: its heading, which end is good, and how many decimals mean something.

    Args:
        title: its heading.
        lower_is_better: which end is good.
        digits: decimals.
        like_real: the best value is the one that real images have, the floor; beyond it more is no better.
    """

    title: str
    lower_is_better: bool
    digits: int
    like_real: bool = False


METRICS: dict[str, Metric] = {
    "fid": Metric("FID", True, 2),
    "kid": Metric("KID", True, 4),
    "precision": Metric("Precision", False, 3),
    "recall": Metric("Recall", False, 3),
    "density": Metric("Density", False, 3),
    "coverage": Metric("Coverage", False, 3),
    "histogram_distance": Metric("Histogram distance", True, 4),
    "spectrum_distance": Metric("Spectrum distance", True, 2),
    "ms_ssim": Metric("MS-SSIM", True, 3, like_real=True),
    "vendi": Metric("Vendi score", False, 2, like_real=True),
    "mifid": Metric("MiFID", True, 2),
    "authenticity": Metric("Authenticity", False, 3, like_real=True),
    "c_t": Metric("C_T", False, 2, like_real=True),
    "inception_score": Metric("Inception Score", False, 2),
}
SWEPT = ("fid", "kid", "precision", "recall", "density", "coverage", "histogram_distance")
"""Those that `eval.sweep` keeps for each guidance."""

_REQUIRED: dict[str, tuple[type, ...]] = {
    "protocol": (str,),
    "data": (str,),
    "split": (str,),
    "real_sha256": (str,),
    "n_real": (int,),
    "n_fake": (int,),
    "extractor": (dict,),
    "metrics": (dict,),
    "weights": (dict,),
    "k": (int,),
}


_AGAIN = "run eval.run for this model again"


def file_name(
    split: str, extractor: str, whole: bool, n_fake: int, second: str | None = None, stem: str = "report"
) -> str:
    """report.json for the full protocol on the test split with Inception; anything less has its own name.

    A quick look with `--limit` or without the wheel thus never replaces the numbers of a full run.

    Args:
        split: of the real images.
        extractor: its name.
        whole: whether all real images were used, and as many generated ones.
        n_fake: generated images.
        second: the protocol, where it is not the model's main one: a model of two data sets has a report for each.
        stem: how the name begins; that of a variant otherwise than that of a report.
    """
    stem = stem if second is None else f"{stem}-{second}"
    if split == "test" and extractor == "inception-v3-2048" and whole:
        return f"{stem}.json"
    return f"{stem}-{split}-{extractor}-{n_fake}.json"


def read(path: Path) -> dict[str, Any]:
    """A report whose required keys are there and whose numbers are numbers.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else where a number belongs.
    """
    values = read_object(path, _AGAIN)
    check(values, f"{path.parent.name}/{path.name}", _AGAIN)
    return values


def check(values: dict[str, Any], where: str, again: str) -> None:
    """Whether the content of a report can be believed.

    Args:
        values: what the file holds.
        where: its name, as a message says it.
        again: what to do where it is broken, as a message says it.

    Raises:
        MedgenError: a key is missing, a metric is unknown, or something else stands where a number belongs.
    """
    for key, types in _REQUIRED.items():
        value = values.get(key)
        if not isinstance(value, types) or isinstance(value, bool):
            raise MedgenError(f"{where}: {key} is missing or of the wrong type; {again}.")
    extractor = values["extractor"]
    if not all(isinstance(extractor.get(key), str) for key in ("name", "sha256")):
        raise MedgenError(f"{where}: the extractor needs a name and a sha256; {again}.")
    for name, entry in values["metrics"].items():
        if name not in METRICS:
            raise MedgenError(f"{where}: there is no metric {name!r}; {again}.")
        known = isinstance(entry, dict) and all(
            is_number_or_none(entry.get(key)) for key in ("value", "low", "high", "floor")
        )
        if not known:
            raise MedgenError(f"{where}: the metric {name} does not hold numbers; {again}.")
    classes = values.get("per_class", {})
    if not isinstance(classes, dict):
        raise MedgenError(f"{where}: per_class is of the wrong type; {again}.")
    for label, entry in classes.items():
        if not isinstance(entry, dict) or not all(is_number_or_none(value) for value in entry.values()):
            raise MedgenError(f"{where}: per_class of {label} does not hold numbers; {again}.")


def read_object(path: Path, again: str) -> dict[str, Any]:
    """The JSON object in `path`; NaN and Infinity, which are not JSON, are refused.

    Args:
        path: of the file.
        again: what to do where it is broken, as a message says it.

    Raises:
        MedgenError: it cannot be read, or holds no object.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError) as error:
        raise MedgenError(f"{where} cannot be read as JSON ({error}); {again}.") from error
    if not isinstance(values, dict):
        raise MedgenError(f"{where} must hold one JSON object; {again}.")
    return values


def number(value: Any) -> float:
    """`value` as float, NaN where there is none: the board's word for "missing"."""
    return float(value) if value is not None and is_number_or_none(value) else math.nan


def is_number_or_none(value: Any) -> bool:
    """Whether `value` is a finite number, or nothing."""
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(float(value))
    )


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not JSON")
