"""checkpoints/README.md, written from the cards and the reports: `python -m eval.summary`."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from eval import board
from eval.protocols import PROTOCOLS
from medgen import registry
from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import exit_code

HEAD = """# Checkpoints

Written by `python -m eval.summary` from the cards and reports of these folders: do not edit.
A folder holds `card.json` (what the model is and may be asked), `config.json` (the training run), the weights,
`samples.png` (fixed seeds, not chosen), `log.jsonl` (losses) and `report.json` (what `python -m eval.run` measured).

"""


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
    reports = {row["model"]: row for row in reported[whole].to_dict("records")}
    ranked = sorted(cards.values(), key=lambda card: -_distance(reports.get(card.name)))
    return HEAD + _table(cards, reports) + "\n## What most needs more training\n\n" + _needs(ranked, reports)


def _table(cards: dict[str, ModelCard], reports: dict[str, Any]) -> str:
    titles = (
        "| model | data, licence | parameters | images seen | hardware, time | FID (floor) | KID | precision | recall |"
    )
    lines = [titles, "|---|---|---|---|---|---|---|---|---|"]
    for name, card in cards.items():
        trained = card.trained
        row = reports.get(name)
        parts = [
            f"[{name}]({name}/card.json)",
            f"{card.data or '-'}, {card.licence}",
            _millions(trained.get("parameters")),
            f"{trained['images_seen']:,}" if "images_seen" in trained else "-",
            f"{trained.get('hardware', '-')}, {trained.get('seconds', 0) / 60:.0f} min" if trained else "-",
            "-" if row is None else f"{_number(row['fid'], 1)} ({_number(row['fid_floor'], 1)})",
            *("-" if row is None else _number(row[metric], 3) for metric in ("kid", "precision", "recall")),
        ]
        lines.append("| " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


def _needs(ranked: list[ModelCard], reports: dict[str, Any]) -> str:
    lines = []
    for card in ranked:
        row, trained = reports.get(card.name), card.trained
        if row is None:
            fitting = next((known.name for known in PROTOCOLS.values() if known.data == card.data), "P")
            command = f"python -m eval.run {card.name} --protocol {fitting}"
            lines.append(f"1. **{card.name}**: not measured; run `{command}` first.")
            continue
        where = f"{trained.get('images_seen', 0):,} images on {trained.get('hardware', 'unknown hardware')}"
        times = _number(row["fid"] / row["fid_floor"], 1)
        recall, floor = _number(row["recall"], 2), _number(row["recall_floor"], 2)
        lines.append(
            f"1. **{card.name}**: FID {times} times the floor, recall {recall} against {floor}, after {where}."
        )
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
