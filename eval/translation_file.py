"""The file between the evaluation of translators, which writes it, and the board, which reads it: translation*.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.report import Metric, read_object
from eval.shapes import NUMBER, well_formed

NAME = "translation.json"
METRICS: dict[str, Metric] = {
    "ssim": Metric("SSIM", False, 3),
    "psnr": Metric("PSNR dB", False, 2),
    "mae": Metric("MAE", True, 2),
    "lpips": Metric("LPIPS", True, 3),
    "fid": Metric("FID", True, 1),
    "kid": Metric("KID", True, 4),
    "bone_dice": Metric("Bone Dice", False, 3),
    "air_dice": Metric("Air Dice", False, 3),
    "tumour_mae": Metric("Tumour MAE", True, 1),
    "tumour_error": Metric("Tumour signed error", True, 1),
    "ssim_whole": Metric("SSIM whole picture", False, 3),
    "psnr_whole": Metric("PSNR whole picture", False, 2),
}
SIGNED = frozenset({"tumour_error"})
"""Metrics that are best at 0, not at either end."""
OF_SETS = frozenset({"fid", "kid"})
"""Metrics of all slices together; no patient has one."""
SAMPLED = ("one", "mean")
"""What several samples of a slice are measured as: the first of them, and the mean of all."""
GAINS = ("ssim", "psnr", "mae", "lpips")
"""What a model and a baseline are compared in, patient by patient."""
TISSUES = ("air", "fat", "soft tissue", "bone")
"""Whose peaks made heads and a real one are compared in."""

_AGAIN = "run eval.run for this model again"
_ENTRY = {**dict.fromkeys(("value", "low", "high", "least", "most"), NUMBER), "n": int, "n_subjects": int}
_ENTRIES = {"*": _ENTRY}
_PATIENTS = {"*": {"*": NUMBER}}
_BASELINE = {"title": str, "metrics": _ENTRIES, "patients": _PATIENTS, "gains": _ENTRIES}
_SHAPE: dict[str, Any] = {
    **dict.fromkeys(("model", "protocol", "direction", "data", "split", "method", "unit", "pairs_sha256"), str),
    "extractor": {"name": str, "sha256": str},
    **dict.fromkeys(("n", "n_subjects"), int),
    "weights": {"*": str},
    "metrics": _ENTRIES,
    "patients": _PATIENTS,
    "baselines": {"*": _BASELINE},
    "samples": dict,
    "cycle": dict,
    "heads": dict,
}
_PARTS: dict[str, Any] = {
    "samples": {"k": int, **dict.fromkeys(SAMPLED, _ENTRIES), "spread": _ENTRY},
    "cycle": {"model": str, "weights": {"*": str}, "metrics": _ENTRIES},
    "heads": {"patients": int, "scan": str, "distance": _ENTRY, "floor": NUMBER, "modes": {"*": {"*": NUMBER}}},
}


def file_name(split: str, extractor: str, whole: bool, n: int) -> str:
    """translation.json for the whole test split with Inception; anything less has a name of its own.

    Args:
        split: of the pairs.
        extractor: name of the feature space of FID and KID.
        whole: whether all pairs of the split were used.
        n: how many were.
    """
    full = split == "test" and whole and extractor == "inception-v3-2048"
    return NAME if full else f"translation-{split}-{extractor}-{n}.json"


def read(path: Path) -> dict[str, Any]:
    """A report whose required keys are there and whose numbers are numbers.

    `samples`, `cycle` and `heads` hold either all of their keys or a `reason` for having none.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else where a number belongs.
    """
    values = read_object(path, _AGAIN)
    return well_formed(path, values, _SHAPE, _PARTS, ("seconds_per_image", "steps"), _AGAIN)
