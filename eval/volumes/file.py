"""The file between the evaluation of volumes, which writes it, and the board, which reads it: volumes*.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval.report import Metric, read_object
from eval.shapes import NUMBER, well_formed

NAME = "volumes.json"
METRICS: dict[str, Metric] = {
    "kid": Metric("KID 2.5D", True, 4),
    "fid": Metric("FID 2.5D", True, 1),
    "ms_ssim": Metric("MS-SSIM of pairs", True, 3),
    "volume_distance": Metric("Volume distance", True, 1),
    "implausible": Metric("Implausible", True, 1),
    "near": Metric("Near training", True, 1),
    "control_r": Metric("Control r", False, 3),
    "control_mae": Metric("Control MAE mm3", True, 0),
    "psnr": Metric("Autoencoder PSNR", False, 2),
    "ssim": Metric("Autoencoder SSIM", False, 3),
}
PERCENT = frozenset({"volume_distance", "implausible", "near"})
"""Metrics in percent."""
AS_REAL = frozenset({"ms_ssim"})
"""Metrics that are best where they are as of real volumes, not at either end."""
MEANING = {
    "kid": "kernel distance to held-out real volumes; lower is better, 0 = the same",
    "fid": "Frechet distance to them; biased upwards by few volumes",
    "ms_ssim": "mean 3D MS-SSIM of pairs: higher than of real volumes = less varied",
    "volume_distance": "Wasserstein distance of the size of all structures, in percent of the real mean",
    "implausible": "percent of volumes that fail a check of wholeness, size or symmetry",
    "near": "percent nearer to a training volume than 5 % of held-out real ones: about 5 is right, far more is copying",
    "control_r": "correlation of asked and measured mm3",
    "control_mae": "mean distance of measured from asked mm3",
    "psnr": "of held-out volumes there and back through the autoencoder, dB",
    "ssim": "likewise, 3D SSIM",
}

_AGAIN = "run eval.run for this model again"
_ENTRY = {**dict.fromkeys(("value", "low", "high", "floor"), NUMBER)}
_PART_ENTRY = {**dict.fromkeys(("value", "low", "high"), NUMBER), "n": int}
_SHAPE: dict[str, Any] = {
    **dict.fromkeys(("model", "protocol", "data", "split", "method", "real_sha256"), str),
    "extractor": {"name": str, "sha256": str},
    "segmenter": {"name": str, "weights": {"*": str}},
    **dict.fromkeys(("n", "n_real", "n_floor", "n_train"), int),
    "weights": {"*": str},
    "metrics": {"*": _ENTRY},
    "diversity": {"definition": str, **{one: {**_PART_ENTRY, "pairs": int} for one in ("fake", "real", "train")}},
    **dict.fromkeys(("structures", "memorisation", "plausibility", "control", "autoencoder"), dict),
}
_SPREAD = {"mean": NUMBER, "sd": NUMBER, "n": int, "missing": int}
_AGREEMENT = dict.fromkeys(("pearson", "spearman", "slope", "mae"), _PART_ENTRY)
_SPACE = {"near": _PART_ENTRY, **dict.fromkeys(("median", "smallest", "real_median", "real_smallest"), NUMBER)}
_PARTS: dict[str, Any] = {
    "structures": {
        "rule": str,
        "measures": {
            "*": {
                "title": str, "unit": str, "digits": int, "distance": _PART_ENTRY, "ks_p": NUMBER, "floor": NUMBER,
                **dict.fromkeys(("fake", "real", "train"), _SPREAD),
            }
        },
    },
    "memorisation": {
        "rule": str, "n": int, "n_train": int, "n_held_out": int, "voxels": _SPACE, "features": _SPACE,
        "samples": [{"seed": int, "subject": str, "distance": NUMBER, "percentile": NUMBER, "feature_subject": str}],
    },
    "plausibility": {
        "rule": str, "n": int, "n_real": int, "share": _PART_ENTRY, "real_share": _PART_ENTRY, "failing": [int],
        "checks": {"*": {"title": str, "low": NUMBER, "high": NUMBER, "fails": int, "real_fails": int}},
    },
    "control": {
        "quantity": str, "seeds": int, "asked": [float], "measured": [[float]], "means": [float],
        **_AGREEMENT, "segmenter": _AGREEMENT,
    },
    "autoencoder": {
        "model": str, "psnr": _PART_ENTRY, "ssim": _PART_ENTRY, "psnr_of_mean": NUMBER, "ssim_of_mean": NUMBER,
    },
}  # fmt: skip


def file_name(split: str, extractor: str, whole: bool, n: int) -> str:
    """volumes.json for the whole test split with Inception and the protocol's n; anything else has a name of its own.

    Args:
        split: of the real volumes.
        extractor: name of the feature space.
        whole: whether all of the protocol was kept: its n, all real volumes and the card's steps.
        n: generated volumes.
    """
    full = split == "test" and whole and extractor == "inception-v3-2048"
    return NAME if full else f"volumes-{split}-{extractor}-{n}.json"


def read(path: Path) -> dict[str, Any]:
    """A report whose required keys are there and whose numbers are numbers.

    The parts hold either all of their keys or a `reason` for having none.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else where a number belongs.
    """
    values = read_object(path, _AGAIN)
    shape = _SHAPE
    if isinstance(values.get("segmenter"), dict) and "reason" in values["segmenter"]:
        shape = {**_SHAPE, "segmenter": {"reason": str}}
    return well_formed(path, values, shape, _PARTS, ("seconds_per_volume", "steps"), _AGAIN)
