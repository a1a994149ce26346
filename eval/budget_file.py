"""The file between `eval.budget`, which writes it, and the board, which reads it: results/budget-PROTOCOL.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.groups import LIMITS, numbers
from eval.report import METRICS, number
from eval.shapes import NUMBER, read_shaped

SHOWN = ("fid", "kid", "precision", "recall", "coverage")
_ENTRY = {"value": NUMBER, "low": NUMBER, "high": NUMBER, "floor": NUMBER}
_ROW = {
    "model": str, "title": str, "share": float, "images_seen": int, "cpu_seconds": (float, None), "hardware": str,
    "seconds_per_image": NUMBER, "n": int, "weights": {"*": str}, "metrics": dict.fromkeys(SHOWN, _ENTRY),
}  # fmt: skip
_SHAPE = {
    "protocol": str, "data": str, "split": str, "n": int, "n_real": int, "n_subjects": int, "real_sha256": str,
    "extractor": {"name": str, "sha256": str}, "rows": [_ROW], "created": str, "command": str,
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """What a protocol's models reached at shares of their training.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else in its place.
    """
    return read_shaped(path, _SHAPE, "run eval.budget for this protocol again", path.stem, where=path.name)


def frame(values: dict[str, Any]) -> pd.DataFrame:
    """One row a model and share.

    Returns:
        Text `model`, `title`, `hardware`; float64 `share` (percent), `images_seen`, `cpu_seconds`, `seconds_per_image`,
        `n`, and `X`, `X_low`, `X_high`, `X_floor` for each of `SHOWN`.
    """
    return pd.DataFrame(
        {
            **{key: row[key] for key in ("model", "title", "hardware")},
            "share": 100.0 * row["share"],
            "images_seen": float(row["images_seen"]),
            "cpu_seconds": number(row["cpu_seconds"]),
            "seconds_per_image": number(row["seconds_per_image"]),
            "n": float(row["n"]),
            **numbers(row["metrics"], SHOWN, {**LIMITS, "_floor": "floor"}),
        }
        for row in values["rows"]
    )


def text(values: dict[str, Any]) -> str:
    """The table as lines of text."""
    lines = [f"{values['protocol']} | {values['n']} generated against {values['n_real']} real images"]
    for row in frame(values).sort_values(["share", "model"]).to_dict("records"):
        metrics = ", ".join(f"{METRICS[name].title} {row[name]:.{METRICS[name].digits}f}" for name in SHOWN)
        lines.append(f"{row['share']:5.0f} %  {row['title']:18} {row['images_seen']:>8,.0f} images  {metrics}")
    return "\n".join(lines)
