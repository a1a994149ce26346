"""checkpoints/README.md, written from the cards and the reports: `python -m eval.summary`."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from eval import board
from eval.protocols import protocols_of
from medgen import registry
from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import exit_code

HEAD = """# Checkpoints

Written by `python -m eval.summary` from the cards and reports of these folders: do not edit.
A folder holds `card.json` (what the model is and may be asked), `config.json` (the training run), the weights,
`samples.png` (fixed seeds, not chosen), `log.jsonl` (losses), `report*.json` (what `python -m eval.run` measured) and
`pathology.json` (what `python -m eval.pathology` measured: do the controls act?). The folder of a classifier holds
`classifier.json` in place of a card.

"""


ADHERENCE = """
## Does the label show?

Area under the ROC curve of an independent classifier that tells pictures with the label from pictures without, and of
a baseline that sees only their border; `n` is with / without. `python -m eval.pathology NAME` measures it.

"""
Reports = dict[str, dict[str, dict[str, Any]]]
"""Model -> protocol -> its row of the board."""


def summary() -> str:
    """The whole text of checkpoints/README.md.

    Raises:
        MedgenError: a card is broken.
    """
    cards = registry.cards()
    frame = board.rows()
    equal_n = (frame["family"] != board.FLOOR) & (frame["split"] == "test") & (frame["n_fake"] == frame["n_real"])
    reported = frame[equal_n & frame["fid"].notna()]
    # fewer real images than another report of the protocol has is a quick look, which nothing here compares with
    whole = reported["n_real"] == reported.groupby("protocol")["n_real"].transform("max")
    rows = reported[whole].to_dict("records")
    reports = {name: {row["protocol"]: row for row in rows if row["model"] == name} for name in cards}
    needs = _needs(cards, reports)
    parts = [HEAD, _table(cards, reports), _adherence(), "\n## What most needs more training\n\n", needs]
    return "".join(parts)


def _table(cards: dict[str, ModelCard], reports: Reports) -> str:
    titles = (
        "| model | data, licence | parameters | images seen | hardware, time | protocol | FID (floor) | KID | "
        "precision | recall |"
    )
    lines = [titles, "|" + "---|" * 10]
    for name, card in cards.items():
        trained = card.trained
        parts = [
            f"[{name}]({name}/card.json)",
            f"{card.data or '-'}, {card.licence}",
            _millions(trained.get("parameters")),
            f"{trained['images_seen']:,}" if "images_seen" in trained else "-",
            f"{trained.get('hardware', '-')}, {trained.get('seconds', 0) / 60:.0f} min" if trained else "-",
        ]
        for row in reports[name].values() or (None,):
            numbers = [
                "-" if row is None else row["protocol"],
                "-" if row is None else f"{_number(row['fid'], 1)} ({_number(row['fid_floor'], 1)})",
                *("-" if row is None else _number(row[metric], 3) for metric in ("kid", "precision", "recall")),
            ]
            lines.append("| " + " | ".join([*parts, *numbers]) + " |")
    return "\n".join(lines) + "\n"


def _adherence() -> str:
    """How well an independent classifier finds the labels that were asked for; "" where no model takes a label."""
    found = board.tables(board.control()._asdict())["adherence"]
    if found.empty:
        return ""
    lines = ["| " + " | ".join(row) + " |" for row in (list(found.columns), *found.to_numpy().tolist())]
    lines.insert(1, "|" + "---|" * len(found.columns))
    return ADHERENCE + "\n".join(lines) + "\n"


def _needs(cards: dict[str, ModelCard], reports: Reports) -> str:
    """Every protocol of every model, the furthest from its floor first; unmeasured ones before all."""
    wanted = []
    for card in cards.values():
        own = [known.name for known in protocols_of(card)]
        wanted += [(card, name) for name in dict.fromkeys([*own, *reports[card.name]]) or ("P",)]
    ranked = sorted(wanted, key=lambda pair: -_distance(reports[pair[0].name].get(pair[1])))
    lines = []
    for card, protocol in ranked:
        row, trained = reports[card.name].get(protocol), card.trained
        if row is None:
            command = f"python -m eval.run {card.name} --protocol {protocol}"
            lines.append(f"1. **{card.name}**: not measured; run `{command}` first.")
            continue
        where = f"{trained.get('images_seen', 0):,} images on {trained.get('hardware', 'unknown hardware')}"
        times = _number(row["fid"] / row["fid_floor"], 1)
        recall, floor = _number(row["recall"], 2), _number(row["recall_floor"], 2)
        said = f"FID {times} times the floor, recall {recall} against {floor}, after {where}."
        lines.append(f"1. **{card.name}**, {protocol}: {said}")
    return "\n".join(lines or ["No model yet."]) + "\n"


def _distance(row: dict[str, Any] | None) -> float:
    """How far from the floor: the order of need. Unmeasured first."""
    return float("inf") if row is None or pd.isna(row["fid_floor"]) else row["fid"] / row["fid_floor"]


def _number(value: float, digits: int) -> str:
    return "-" if pd.isna(value) else f"{value:.{digits}f}"


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f} M"


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    argparse.ArgumentParser(prog="python -m eval.summary", description=__doc__).parse_args(argv)

    def work() -> int:
        write_bytes(registry.checkpoints_dir() / "README.md", summary().encode())
        return 0

    return exit_code(work)


if __name__ == "__main__":
    raise SystemExit(main())
