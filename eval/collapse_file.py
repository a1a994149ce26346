"""The file between `eval.collapse`, which writes it, and the board, which reads it: results/collapse-PROTOCOL.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.groups import LIMITS, numbers
from eval.report import number
from eval.shapes import NUMBER, read_shaped
from medgen.errors import MedgenError

STATISTICS = ("vendi", "modes", "spread", "recall")
_AGAIN = "delete it and run eval.collapse for this protocol again"

_ENTRY = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
_ENTRIES = dict.fromkeys(STATISTICS, _ENTRY)
_NUMBERS = dict.fromkeys(STATISTICS[:-1], float)
_JUDGED = {"vendi": float, "modes": float}
_SPACE = {
    "sha256": str, "radius": float, "middle": float, "real": _NUMBERS, "cuts": {"*": _NUMBERS},
    "varied_from": _JUDGED, "collapsed_below": _JUDGED,
    "controls": [{"control": str, "kind": str, "share": float, "verdict": str, "entries": _ENTRIES}],
}  # fmt: skip
_POINT = {"images": (int, None), "verdict": str, "spaces": {"*": {"verdict": str, **_ENTRIES}}}
_SUBJECT = {
    "name": str, "kind": str, "role": (str, None), "made_by": (str, None), "weights": {"*": str}, "n": int,
    "points": [_POINT], "created": str,
}  # fmt: skip
_SHAPE = {
    "protocol": str, "data": str, "split": str, "n": int, "n_real": int, "real_sha256": str, "spaces": {"*": _SPACE},
    "subjects": [_SUBJECT], "versions": {"*": str}, "created": str, "command": str,
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """The verdicts of one protocol.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else in its place.
    """
    values = read_shaped(path, _SHAPE, _AGAIN, path.stem, where=path.name)
    for subject in values["subjects"]:
        for point in subject["points"]:
            if set(point["spaces"]) != set(values["spaces"]):
                raise MedgenError(f"{path.name}: {subject['name']} was judged in other spaces; {_AGAIN}.")
    return values


def frame(values: dict[str, Any]) -> pd.DataFrame:
    """One row a model or snapshot and space; controls of real images have the kind "real".

    Returns:
        Text `name`, `kind` (model, run, real), `role`, `space`, `verdict` (of all spaces), `space_verdict`; float64
        `images` (training images seen; NaN for a model), `n`, and `X`, `X_low`, `X_high` for each of `STATISTICS`, and
        `X_varied_from`, `X_collapsed_below` for those that are judged.
    """
    lines = []
    for space, facts in values["spaces"].items():
        ends = {
            f"{name}_{end}": number(facts[end][name]) for name in _JUDGED for end in ("varied_from", "collapsed_below")
        }
        for subject in values["subjects"]:
            for point in subject["points"]:
                told = {key: subject[key] or "" for key in ("name", "kind", "role")}
                own = point["spaces"][space]
                lines.append(
                    {
                        **told,
                        "space": space,
                        "verdict": point["verdict"],
                        "space_verdict": own["verdict"],
                        "images": number(point["images"]),
                        "n": float(subject["n"]),
                        **_line(own),
                        **ends,
                    }
                )
        for control in facts["controls"]:
            name = f"real images cut to {control['share']:g}, {control['kind']}"
            lines.append({"name": name, "kind": "real", "role": "control", "space": space, "verdict": "",
                          "space_verdict": control["verdict"], "images": number(None), "n": float(values["n"]),
                          **_line(control["entries"]), **ends})  # fmt: skip
    return pd.DataFrame(lines)


def words(values: dict[str, Any]) -> str:
    """The frame as lines of text."""
    table = frame(values)
    shown = table[["name", "images", "space", "space_verdict", "verdict"]].copy()
    shown["images"] = ["" if at != at else f"{at:,.0f}" for at in table["images"]]
    for name in STATISTICS:
        shown[name] = [
            f"{row[name]:.3g}" + (f" ({row[f'{name}_low']:.3g} to {row[f'{name}_high']:.3g})" if
                                  row[f"{name}_low"] == row[f"{name}_low"] else "")
            for row in table.to_dict("records")
        ]  # fmt: skip
    return shown.to_string(index=False)


def _line(entries: dict[str, Any]) -> dict[str, float]:
    return numbers(entries, STATISTICS, LIMITS)
