"""The file between `eval.selftest`, which writes it, and the board, which reads it: results/selftest-PROTOCOL.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.report import METRICS, number
from eval.shapes import NUMBER, read_shaped

FOLDER = Path(__file__).parent / "results"
IMAGES = "images"
"""In place of a space: metrics of the pictures themselves, the same in every space."""
PARTS = ("metrics", "low", "high")
"""Curves of the values and of the ends of their intervals."""
_AGAIN = "run eval.selftest for this protocol again"
_CURVES = {
    "strengths": [float], "n_fake": [int], **{part: {"*": [NUMBER]} for part in PARTS}, "expected": {"*": str},
    "spearman": {"*": NUMBER}, "monotone": {"*": bool}, "fails": {"*": str},
}  # fmt: skip
_SHAPE = {
    "protocol": str, "data": str, "split": str, "k": int, "repeats": int, "n_real": int, "n_base": int,
    "n_train": int, "rule": str, "degradations": {"*": {"title": str, "unit": str}},
    "extractors": {"*": {"sha256": str, "dim": int, "source": str, "licence": str}}, "spaces": {"*": {"*": _CURVES}},
    "real_sha256": str, "base_sha256": str, "train_sha256": str, "versions": {"*": str}, "created": str,
    "command": str,
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """The curves of one protocol.

    Raises:
        MedgenError: the file is truncated, lacks a key, holds something else in its place, or curves of other lengths
            than their strengths.
    """

    def whole(values: dict[str, Any]) -> str | None:
        if set(values["spaces"]) != {IMAGES, *values["extractors"]}:
            return f"{path.stem}.spaces"
        known = values["degradations"]
        every = ((f"{path.stem}.spaces.{s}.{d}", d, c) for s, own in values["spaces"].items() for d, c in own.items())
        return next((where for where, kind, one in every if kind not in known or not _fits(one)), None)

    return read_shaped(path, _SHAPE, _AGAIN, path.stem, where=path.name, more=whole)


def _fits(one: dict[str, Any]) -> bool:
    """Whether all curves of a damage are as long as its strengths, and each expected one is judged."""
    n, names, expected = len(one["strengths"]), set(one["metrics"]), set(one["expected"])
    lengths = {len(one["n_fake"]), *(len(curve) for part in PARTS for curve in one[part].values())}
    failed = {name for name, good in one["monotone"].items() if not good}
    return (
        n > 1 and lengths == {n} and names == set(one["low"]) == set(one["high"]) and names <= set(METRICS)
        and expected <= names and set(one["expected"].values()) <= {"up", "down"}
        and set(one["monotone"]) == set(one["spearman"]) == expected and failed == set(one["fails"])
    )  # fmt: skip


def frame(values: dict[str, Any]) -> pd.DataFrame:
    """One row a space, damage, metric and strength.

    Returns:
        Text `space` (`IMAGES` for metrics of pixels), `degradation`, `metric`, `expected` ("up", "down", "" = nothing)
        and `fails` (why; "" = it does not, or nothing was expected); `monotone`, True or False, None where nothing was
        expected; float64 `strength`, `n_fake`, `value`, `low`, `high`, `spearman`, NaN where missing.
    """
    lines = []
    for space, damages in values["spaces"].items():
        for kind, one in damages.items():
            for name, curve in one["metrics"].items():
                told = {
                    "space": space, "degradation": kind, "metric": name, "expected": one["expected"].get(name, ""),
                    "fails": one["fails"].get(name, ""), "monotone": one["monotone"].get(name),
                    "spearman": number(one["spearman"].get(name)),
                }  # fmt: skip
                for i, strength in enumerate(one["strengths"]):
                    point = {"strength": float(strength), "n_fake": float(one["n_fake"][i]), "value": number(curve[i])}
                    lines.append({**told, **point, **{end: number(one[end][name][i]) for end in PARTS[1:]}})
    return pd.DataFrame(lines)


def verdicts(values: dict[str, Any]) -> pd.DataFrame:
    """Rows damage and metric, columns the spaces: "yes", "FAILS: why", or "" where nothing was expected."""
    table = frame(values)
    judged = table[table["expected"] != ""].drop_duplicates(["space", "degradation", "metric"])
    said = [f"FAILS: {why}" if why else "yes" for why in judged["fails"]]
    wide = judged.assign(said=said).pivot(index=["degradation", "metric"], columns="space", values="said")
    order = [name for name in values["spaces"] if name in wide]
    rows = [(kind, name) for kind in values["degradations"] for name in METRICS if (kind, name) in wide.index]
    return wide.loc[rows, order].fillna("")


def words(values: dict[str, Any]) -> str:
    """What a reader of the command sees: the verdicts, and the curve of every metric that fails."""
    lines = [
        f"{values['protocol']}, {values['split']} split: {values['n_real']} real images against as many of other "
        f"patients, damaged; {values['n_train']} train images; k = {values['k']}. Does the metric answer as it should?",
        verdicts(values).to_string(),
        "",
        values["rule"],
        "",
    ]
    for space, damages in values["spaces"].items():
        for kind, one in damages.items():
            for name, why in one["fails"].items():
                curve = ", ".join("-" if v is None else f"{v:.4g}" for v in one["metrics"][name])
                wanted = f"{METRICS[name].title} should go {one['expected'][name]} and {why}"
                lines.append(f"FAILS {space}, {kind}: {wanted}: {curve}")
    return "\n".join(lines)
