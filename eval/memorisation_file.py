"""The file between `eval.run`, which writes it, and the board, which reads it: checkpoints/NAME/memorisation.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.shapes import NUMBER, read_shaped
from medgen import registry
from medgen.errors import MedgenError

FILE = "memorisation.json"
CLOSEST = 8
"""Pairs that a space lists."""
PERCENTILE = 5.0
RULE = (
    f"Near = nearer to a training image than the nearest {PERCENTILE:g} % of held-out real images are, by Euclidean "
    f"distance in the space; of those {PERCENTILE:g} % are, by definition. Lonely = likewise by the ratio of that "
    "distance to the mean distance of the next 50 training images. A share is raised where the lower end of its exact "
    "binomial 95 % interval lies above the upper end of the 95 % interval, over patients, of the same share of "
    "held-out real images. Alarm = both are raised in a space: blurred images are near to everything, and only "
    "copies are near to one image alone."
)
_SHARE = {"value": float, "low": NUMBER, "high": NUMBER, "n": int}
_OTHERS = {**_SHARE, "n_subjects": int}
_PAIR = {
    "seed": int, "label": (str, None), "train": int, "subject": str, "distance": float, "percentile": float,
    "ratio": float,
}  # fmt: skip
_SPACE = {
    "extractor_sha256": str, "threshold": float, "share": _SHARE, "held_out": _OTHERS, "raised": bool,
    "lonely": {"threshold": float, "share": _SHARE, "held_out": _OTHERS, "raised": bool},
    "alarm": bool, "median": float, "smallest": float, "held_out_median": float, "held_out_smallest": float,
    "closest": [_PAIR], "train": [int], "distance": [float], "percentile": [float], "ratio": [float],
}  # fmt: skip
SHAPE = {
    "protocol": str, "data": str, "split": str, "model": str, "weights": dict, "rule": str, "alarm": bool,
    "n_fake": int, "n_train": int, "n_held_out": int, "real_sha256": str, "train_sha256": str,
    "spaces": {"*": _SPACE}, "seeds": [int], "labels": [(str, None)], "train_subjects": {"*": str},
}  # fmt: skip
_AGAIN = "run eval.run NAME --protocol P --extractor all again"


def read(path: Path) -> dict[str, Any]:
    """The content of a memorisation.json of the right shape.

    Raises:
        MedgenError: the file is truncated, lacks a key or holds something else where a number belongs.
    """

    def filled(values: dict[str, Any]) -> str | None:
        return None if values["spaces"] else "memorisation.spaces"

    return read_shaped(path, SHAPE, _AGAIN, "memorisation", more=filled)


def rows() -> tuple[pd.DataFrame, list[str]]:
    """One row a model and space, and what is wrong with files that cannot be believed.

    Returns:
        Columns `model`, `protocol`, `space`, `alarm` (of the space), `alarm_any` (of the model), `share`, `low`,
        `high`, `n`, `held_out`, `held_out_low`, `held_out_high`, `lonely`, `lonely_held_out`, `smallest`, `median`,
        `held_out_median`; and messages.
    """
    found, problems = [], []
    for path in sorted(registry.checkpoints_dir().glob(f"*/{FILE}")):
        try:
            values = read(path)
        except MedgenError as error:
            problems.append(str(error))
            continue
        for name, space in values["spaces"].items():
            found.append(
                {
                    "model": path.parent.name, "protocol": values["protocol"], "space": name, "alarm": space["alarm"],
                    "alarm_any": values["alarm"], "share": space["share"]["value"],
                    **{key: space["share"][key] for key in ("low", "high", "n")},
                    **{f"held_out{end}": space["held_out"][key]
                       for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))},
                    "lonely": space["lonely"]["share"]["value"],
                    "lonely_held_out": space["lonely"]["held_out"]["value"],
                    **{key: space[key] for key in ("smallest", "median", "held_out_median")},
                }
            )  # fmt: skip
    columns = [
        "model", "protocol", "space", "alarm", "alarm_any", "share", "low", "high", "n", "held_out", "held_out_low",
        "held_out_high", "lonely", "lonely_held_out", "smallest", "median", "held_out_median",
    ]  # fmt: skip
    return pd.DataFrame(found, columns=columns), problems
