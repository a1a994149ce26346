"""What a study of usefulness says, in words that its numbers decide: better, worse, or no difference shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from eval.export import MISSING, cell, text_table

LOWER_IS_BETTER = frozenset({"ece", "brier"})
JUDGED = {"auc": "AUC", "accuracy": "Accuracy", "ece": "Calibration error"}
"""What the tables judge -> its heading."""
NOT_SHOWN = "not shown"
RULE = (
    "Better or worse: the 95 % interval over patients and seeds together and the one over seeds alone both leave out "
    "0. Of twenty changes one may do so by chance."
)
_BASE = "real"


def verdict(entry: Mapping[str, float | None], metric: str) -> str:
    """ "better", "worse" or `NOT_SHOWN` for a change; "" where it is not known.

    Args:
        entry: of the file: a difference with its intervals.
        metric: one of `downstream_file.METRICS`.
    """
    ends = [entry[name] for name in ("low", "high", "seeds_low", "seeds_high")]
    if any(end is None for end in ends):
        return ""
    signs = {1 if end > 0 else -1 if end < 0 else 0 for end in ends if end is not None}
    if signs not in ({1}, {-1}):
        return NOT_SHOWN
    return "better" if (signs == {1}) != (metric in LOWER_IS_BETTER) else "worse"


def against_real(values: dict[str, Any]) -> pd.DataFrame:
    """Every arm, model and N against real images alone, as text: verdict, change and interval."""
    rows = [
        [one["title"], one["model"] or MISSING, one["size"],
         *(_said(one["against_real"][name], name) for name in JUDGED)]
        for one in values["rows"] if one["against_real"]
    ]  # fmt: skip
    return text_table(rows, ["Trained on", "Model", "N", *JUDGED.values()])


def versus(values: dict[str, Any]) -> pd.DataFrame:
    """One model's images against the other's in the same arm and N, as text."""
    rows = [
        [one["title"], f"{one['a']} against {one['b']}", one["size"], *(_said(one["metrics"][n], n) for n in JUDGED)]
        for one in values["versus"]
    ]
    return text_table(rows, ["Trained on", "Images of", "N", *JUDGED.values()])


def _said(entry: Mapping[str, float | None], metric: str) -> str:
    found = verdict(entry, metric)
    return MISSING if not found else f"{found}: {cell(dict(entry), 3)}"


def sentences(values: dict[str, Any]) -> list[str]:
    """The answer in plain words, counted from the file: one sentence a question that it can answer."""
    said = []
    for one in (_generated(values), _classical(values), _alone(values), _better_model(values)):
        if one:
            said.append(one)
    left = sum(one["missing"] is not None for one in values["cells"])
    if left:
        said.append(f"{left} of {len(values['cells'])} planned trainings are missing; nothing is said of those.")
    return said


def _verdicts(rows: list[dict[str, Any]], key: str = "against_real") -> list[tuple[dict[str, Any], str]]:
    judged = [(one, verdict(one[key]["auc"], "auc")) for one in rows if one[key]]
    return [(one, found) for one, found in judged if found]


def _generated(values: dict[str, Any]) -> str:
    rows = [one for one in values["rows"] if one["model"] and one["n_real"]]
    found = _verdicts(rows)
    if not found:
        return ""
    count = Counter(said for _, said in found)
    return (
        f"Generated images beside or before real ones changed AUC for the better in {count['better']} of {len(found)} "
        f"ways tried, for the worse in {count['worse']}; in {count[NOT_SHOWN]} no difference was shown"
        f"{_named(found, 'better')}."
    )


def _named(found: list[tuple[dict[str, Any], str]], which: str) -> str:
    names = [f"{one['title']}, {one['model']}, N {one['size']}" for one, said in found if said == which]
    return f" ({which}: {'; '.join(names)})" if names else ""


def _classical(values: dict[str, Any]) -> str:
    found = _verdicts([one for one in values["rows"] if one["arm"] == "augmented"])
    return "Classical augmentation: " + _by_size(found) + "." if found else ""


def _alone(values: dict[str, Any]) -> str:
    found = _verdicts([one for one in values["rows"] if one["model"] and not one["n_real"]])
    return "Generated images alone, in place of real ones: " + _by_size(found) + "." if found else ""


def _by_size(found: list[tuple[dict[str, Any], str]]) -> str:
    words = {"better": "better", "worse": "worse", NOT_SHOWN: "no difference shown"}
    return "; ".join(
        f"{words[said]} at N {one['size']}{' with ' + one['model'] if one['model'] else ''}" for one, said in found
    )


def _better_model(values: dict[str, Any]) -> str:
    found = _verdicts(values["versus"], "metrics")
    if not found:
        return ""
    a, b = (values["versus"][0][side] for side in "ab")
    count = Counter(said for _, said in found)
    return (
        f"Images of {a} against those of {b}, in AUC: better in {count['better']} of {len(found)} pairs, worse in "
        f"{count['worse']}, no difference shown in {count[NOT_SHOWN]}."
    )
