"""The file between `eval.height`, which writes it, and the board, which reads it: checkpoints/NAME/height.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.shapes import NUMBER, read_shaped
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError

FILE = "height.json"
_AGAIN = "run eval.height for this model again"
_ENTRY = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
_AGREEMENT = {"n": int, "n_subjects": int, "mae": _ENTRY, "bias": _ENTRY, "r": _ENTRY}
SHAPE = {
    "model": str, "weights": {"*": str}, "data": str, "quantity": {"name": str, "unit": str}, "steps": NUMBER,
    "guidance": NUMBER, "gauge": {"name": str, "weights": {"*": str}, "test": _AGREEMENT},
    "agreement": _AGREEMENT, "seeds": {"first": int, "last": int}, "asked": [float], "measured": [float],
    "created": str, "commit": str, "versions": {"*": object},
}  # fmt: skip
COLUMNS = ("model", "quantity", "unit", "n", "r", "r_low", "r_high", "mae", "mae_low", "mae_high", "bias", "real_r",
           "real_mae", "real_n", "real_subjects")  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """The content of a height.json of the right shape.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else where a number belongs.
    """

    def counted(values: dict[str, Any]) -> str | None:
        same = len(values["asked"]) == len(values["measured"]) == values["agreement"]["n"] > 0
        return None if same else "height.measured"

    return read_shaped(path, SHAPE, _AGAIN, "height", more=counted)


def rows() -> tuple[pd.DataFrame, list[str]]:
    """One row a model, and what is wrong with files that cannot be believed.

    Returns:
        `COLUMNS`: `r` and `mae` of what the model was asked against what the gauge read; `real_*` the same of the
        gauge on held-out real images: no model can seem better than that.
    """
    found, problems = [], []
    for path in sorted(registry.checkpoints_dir().glob(f"*/{FILE}")):
        try:
            values, card = read(path), ModelCard.read(path.parent / "card.json")
            if values["weights"] != card.weights:
                raise MedgenError(f"{card.name}/{FILE} was made with other weights than the card names; {_AGAIN}.")
        except MedgenError as error:
            problems.append(str(error))
            continue
        own, real = values["agreement"], values["gauge"]["test"]
        found.append(
            {
                "model": path.parent.name, "quantity": values["quantity"]["name"], "unit": values["quantity"]["unit"],
                "n": own["n"], "bias": own["bias"]["value"],
                **{f"{name}{end}": own[name][key] for name in ("r", "mae")
                   for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))},
                "real_r": real["r"]["value"], "real_mae": real["mae"]["value"], "real_n": real["n"],
                "real_subjects": real["n_subjects"],
            }
        )  # fmt: skip
    return pd.DataFrame(found, columns=list(COLUMNS)), problems


def cell(row: Any, name: str, digits: int, unit: str = "") -> str:
    """A value with its interval, as a table shows it; "-" where there is none."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "-"
    shown = f"{value:.{digits}f}{unit and ' '}{unit}"
    return shown if pd.isna(low) else f"{shown} [{low:.{digits}f}, {high:.{digits}f}]"


SECTION = """
## Does the asked number show?

The number that a model was asked for against what an independent network reads off its pictures: Pearson correlation
and mean absolute error, with 95 % intervals over images; beside them the same of real pictures of held-out people.
`python -m eval.height NAME` measures it.

"""


def section() -> str:
    """A table of every measured model as Markdown; "" where there is none."""
    found, _ = rows()
    if found.empty:
        return ""
    titles = ("model", "asked", "n", "r", "MAE", "bias", "real n (people)", "real r", "real MAE")
    lines = [titles, ("---",) * len(titles)]
    for _, row in found.iterrows():
        unit = row["unit"]
        lines.append(
            (
                f"[{row['model']}]({row['model']}/card.json)", row["quantity"], f"{row['n']}", cell(row, "r", 3),
                cell(row, "mae", 1, unit), f"{row['bias']:+.1f} {unit}", f"{row['real_n']} ({row['real_subjects']})",
                f"{row['real_r']:.3f}", f"{row['real_mae']:.1f} {unit}",
            )
        )  # fmt: skip
    return SECTION + "".join(f"| {' | '.join(line)} |\n" for line in lines)
