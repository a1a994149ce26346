"""The file between `eval.compare`, which writes it, and the board, which reads it: results/comparison-PROTOCOL.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eval.report import METRICS
from eval.result_files import files_of
from eval.shapes import read_shaped
from medgen.errors import MedgenError

COLUMNS = (
    "protocol", "space", "metric", "a", "b", "a_value", "b_value", "difference", "low", "high", "p", "p_holm", "n",
    "n_real", "verdict", "better",
)  # fmt: skip
VERDICTS = ("A better", "B better", "not distinguishable")
_NUMBERS = dict.fromkeys(("a_value", "b_value", "difference", "low", "high", "p", "p_holm"), float)
_TEST = {
    "space": str, "metric": str, "a": str, "b": str, **_NUMBERS, "n": int, "n_real": int, "verdict": str,
    "better": (str, None),
}  # fmt: skip
SHAPE = {
    "protocol": str, "data": str, "split": str, "n": int, "n_subjects": int, "rule": str, "real_sha256": str,
    "models": {"*": {"weights": {"*": str}}}, "extractors": {"*": {"sha256": str}}, "tests": [_TEST],
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """The content of a comparison of the right shape.

    Raises:
        MedgenError: the file is truncated, lacks a key, or holds an unknown metric or verdict.
    """
    again = f"run python -m eval.compare --protocol {path.stem.removeprefix('comparison-')} again"

    def known(values: dict[str, Any]) -> str | None:
        odd = [one for one in values["tests"] if one["metric"] not in METRICS or one["verdict"] not in VERDICTS]
        return f"the test of {odd[-1]['metric']}" if odd else None

    return read_shaped(path, SHAPE, again, "comparison", where=path.name, more=known)


def tests() -> tuple[pd.DataFrame, list[str]]:
    """One row a pair of models, metric and space, of all protocols; and what is wrong with files that are broken.

    A file whose protocol is another than its name says is broken.

    Returns:
        Columns `COLUMNS`; numbers are float64, `better` is "" where the two are not distinguishable.
    """
    found, problems = [], []
    for path in files_of("comparison"):
        try:
            values = read(path)
            if path.stem != f"comparison-{values['protocol']}":
                raise MedgenError(f"{path.name} is about {values['protocol']}; rename or remove it.")
        except MedgenError as error:
            problems.append(str(error))
            continue
        found += [{**test, "protocol": values["protocol"], "better": test["better"] or ""} for test in values["tests"]]
    return pd.DataFrame(found, columns=list(COLUMNS)), problems


def summary(values: dict[str, Any]) -> str:
    """A comparison as lines of text, space by space and metric by metric."""
    lines = [f"{values['protocol']} | {values['n']} real images of {values['n_subjects']} patients, as many generated"]
    for test in values["tests"]:
        digits = METRICS[test["metric"]].digits
        numbers = "{:.{d}f} - {:.{d}f} = {:+.{d}f} ({:+.{d}f} .. {:+.{d}f})".format(
            *(test[key] for key in ("a_value", "b_value", "difference", "low", "high")), d=digits
        )
        said = f"{test['better']} is better" if test["better"] else test["verdict"]
        lines.append(
            f"{test['space']:18} {METRICS[test['metric']].title:9} {test['a']} - {test['b']}: {numbers}, "
            f"p {test['p']:.2g}, corrected {test['p_holm']:.2g}: {said}"
        )
    return "\n".join(lines)
