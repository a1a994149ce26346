"""What is known of memorisation as tables of text. No torch here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from eval import memorisation_file, volumes
from eval.export import cell, fixed, text_table
from eval.protocols import VOLUME_FAMILY
from medgen.card import ModelCard
from medgen.errors import MedgenError


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a model and space: the shares of near and of lonely images beside those of held-out ones, and the alarm.

    Args:
        frame: from `memorisation_file.rows`.
    """
    rows = []
    for row in frame.to_dict("records"):
        own = percent({"value": row["share"], "low": row["low"], "high": row["high"]})
        held_out = percent({"value": row["held_out"], "low": row["held_out_low"], "high": row["held_out_high"]})
        medians = f"{fixed(row['median'], 3)} / {fixed(row['held_out_median'], 3)}"
        lonely = f"{fixed(100.0 * row['lonely'], 1)} / {fixed(100.0 * row['lonely_held_out'], 1)}"
        alarm = "ALARM" if row["alarm"] else "none"
        rows.append([row["model"], row["space"], f"{row['n']}", own, held_out, lonely, medians, alarm])
    heads = ["Near training %", "Held-out near training %", "Lonely %, made / held-out", "Median, made / held-out"]
    heads = ["Model", "Space", "n", *heads, "Alarm"]
    return text_table(rows, heads)


def closest(values: dict[str, Any], space: str) -> pd.DataFrame:
    """The closest pairs of one model in one space, by seed and by number of the training image.

    Args:
        values: from `memorisation_file.read`.
        space: one of its spaces.
    """
    rows = [
        [f"{one['seed']}", one["label"] or "-", f"{one['train']}", one["subject"], fixed(one["distance"], 4),
         fixed(one["percentile"], 1), fixed(one["ratio"], 3)]
        for one in values["spaces"][space]["closest"]
    ]  # fmt: skip
    heads = [
        "Seed",
        "Asked for",
        "Train image",
        "Patient",
        "Distance",
        "Percentile among held-out",
        "Of the mean of the next 50",
    ]
    return text_table(rows, heads)


def percent(entry: dict[str, Any]) -> str:
    """A share with its interval, in percent."""
    return cell({key: None if value is None else 100.0 * value for key, value in entry.items()}, 1)


def _near_volumes(name: str) -> tuple[str, bool]:
    """What the reports of a model of volumes say of copying, and whether it is an alarm."""
    frame = volumes.volumes().frame
    own = frame[(frame["model"] == name) & frame["near"].notna()]
    if own.empty:
        return "Memorisation was not measured: python -m eval.run measures it with everything else.", False
    row = own.iloc[-1]
    near_too_many = bool(row["near_low"] > row["near_floor"])
    near = cell(volumes.entry_of(row, "near"), volumes.METRICS["near"].digits)
    head = "ALARM: more than held-out volumes explain" if near_too_many else "No alarm of memorisation"
    return f"{head}. {near} % of its volumes are {volumes.MEANING['near'].removeprefix('percent ')}.", near_too_many


def alarm(folder: Path, card: ModelCard | None) -> tuple[str, bool, pd.DataFrame]:
    """What is known of a model's memorisation: a sentence, whether it is an alarm, and the numbers behind it.

    Args:
        folder: of the model.
        card: its card, where it can be read.
    """
    path, nothing = folder / memorisation_file.FILE, text_table([], ["Model"])
    if card is not None and card.family == VOLUME_FAMILY:
        return *_near_volumes(folder.name), nothing
    if not path.is_file():
        protocol = _protocol(folder)
        command = f"python -m eval.run {folder.name} --protocol {protocol} --extractor all"
        return f"Memorisation was not measured: {command} does." if protocol else "", False, nothing
    try:
        values = memorisation_file.read(path)
    except MedgenError as error:
        return str(error), True, nothing
    if card is not None and values["weights"] != card.weights:
        return f"{path.name} was made with other weights than the card names; run eval.run again.", True, nothing
    said = "ALARM: nearer to training images than chance explains." if values["alarm"] else "No alarm of memorisation."
    frame, _ = memorisation_file.rows()
    return f"{said} {values['rule']}", values["alarm"], summary(frame[frame["model"] == folder.name])


def _protocol(folder: Path) -> str:
    """The protocol of the model's report; "" where it has none."""
    try:
        return str(json.loads((folder / "report.json").read_text(encoding="utf-8"))["protocol"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
