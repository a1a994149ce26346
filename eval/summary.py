"""checkpoints/README.md, written from the cards and the reports: `python -m eval.summary`."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from eval import board, height_file, learning, translation_board, volumes
from eval.protocols import VOLUME_FAMILY, protocols_of, translation_of, volumetric_of
from medgen import registry
from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import exit_code

HEAD = """# Checkpoints

Written by `python -m eval.summary` from the cards and reports of these folders: do not edit.
A folder holds `card.json` (what the model is and may be asked), `config.json` (the training run), the weights,
`samples.png` (fixed seeds, not chosen), `log.jsonl` (losses), `report*.json`, of a translator `translation*.json`, of a
model of volumes `volumes*.json` (what `python -m eval.run` measured) and `pathology.json` (what
`python -m eval.pathology` measured: do the controls act?).
The folder of a classifier holds `classifier.json` in place of a card, that of a segmenter `segmenter.json`, that of a
gauge, which reads a number off a picture, `gauge.json`, that of an encoder, which is a feature space, `encoder.json`.

"""

ADHERENCE = """
## Does the label show?

Area under the ROC curve of an independent classifier that tells pictures with the label from pictures without, and of
a baseline that sees only their border; `n` is with / without. `python -m eval.pathology NAME` measures it.

"""
TRANSLATORS = """
## Translators

Against the true slices of held-out patients, inside the head; in square brackets the 95 % interval over patients, or in
round ones their range where they are fewer than 5. Under each direction, what needs no network.

"""
VOLUMES = """
## Volumes

Volumes of fixed seeds against those of held-out subjects, with the 95 % interval; above each group, what real volumes
score. KID and FID see three middle planes. MS-SSIM of pairs: higher than of real volumes = less varied.

"""
Reports = dict[str, dict[str, dict[str, Any]]]
"""Model -> protocol -> its row of the board."""
_SHOWN = {"ssim": "SSIM", "psnr": "PSNR, dB", "mae": "MAE, HU or grey levels of 255", "lpips": "LPIPS", "fid": "FID"}


def summary() -> str:
    """The whole text of checkpoints/README.md.

    Raises:
        MedgenError: a card is broken.
    """
    known = registry.cards()
    cards = {name: card for name, card in known.items() if not card.translates and card.family != VOLUME_FAMILY}
    frame = board.rows()
    equal_n = (frame["family"] != board.FLOOR) & (frame["split"] == "test") & (frame["n_fake"] == frame["n_real"])
    reported = frame[equal_n & frame["fid"].notna() & (frame["variant"] == "")]
    # fewer real images than another report of the protocol has is a quick look, which nothing here compares with
    whole = reported["n_real"] == reported.groupby("protocol")["n_real"].transform("max")
    rows = reported[whole].to_dict("records")
    reports = {name: {row["protocol"]: row for row in rows if row["model"] == name} for name in cards}
    needs = _needs(cards, reports) + _waiting(known)
    solid = _volumes(known)
    parts = [
        HEAD,
        _table(cards, reports),
        _adherence(),
        height_file.section(),
        _translators(known),
        solid,
        learning.section(),
        "\n## What most needs more training\n\n",
    ]
    return "".join([*parts, needs or "No model yet.\n"])


def _translators(known: dict[str, ModelCard]) -> str:
    """Every measured direction, its models and its baselines; "" where there is no translator."""
    found = translation_board.translations()
    rows = []
    for group in _whole(found):
        shown = translation_board.table(found, group)
        is_model = shown["family"] != translation_board.BASELINE
        for _, row in pd.concat([shown[is_model & shown["n"].notna()], shown[~is_model]]).iterrows():
            rows.append(_translator(row, known.get(row["model"])))
    if not rows:
        return ""
    titles = ("model", "data, licence", "parameters, images seen, time", "direction", "n (patients)", *_SHOWN.values())
    lines = ["| " + " | ".join(row) + " |" for row in (titles, *rows)]
    lines.insert(1, "|" + "---|" * len(titles))
    return TRANSLATORS + "\n".join(lines) + "\n"


def _translator(row: Any, card: ModelCard | None) -> list[str]:
    name, origin, cost = f"*{row['title']}*", "-", "-"
    if card is not None and row["family"] != translation_board.BASELINE:
        trained = card.trained
        name, origin = f"[{card.name}]({card.name}/card.json)", f"{card.data}, {card.licence}"
        seen = f"{trained['images_seen']:,}" if "images_seen" in trained else "-"
        cost = f"{_millions(trained.get('parameters'))}, {seen}, {trained.get('seconds', 0) / 60:.0f} min"
    metrics = translation_board.METRICS
    cells = [translation_board.cell(translation_board.entry_of(row, one), metrics[one].digits) for one in _SHOWN]
    way = row["direction"].replace("-", " to ")
    return [name, origin, cost, way, f"{row['n']:.0f} ({row['n_subjects']:.0f})", *cells]


def _volumes(known: dict[str, ModelCard]) -> str:
    """Every measured model of volumes, below real volumes; "" where there is none."""
    found = volumes.volumes()
    rows = []
    for group in _full(found):
        shown = volumes.table(found, group)
        for _, row in shown[shown["n"].notna()].iterrows():
            card, cells = known.get(row["model"]), []
            for name, metric in volumes.METRICS.items():
                cells.append(volumes.cell(volumes.entry_of(row, name), metric.digits))
            named, origin, cost = "*Real volumes*", "-", "-"
            if card is not None:
                seen = f"{card.trained['images_seen']:,}" if "images_seen" in card.trained else "-"
                named, origin = f"[{card.name}]({card.name}/card.json)", f"{card.data}, {card.licence}"
                minutes = card.trained.get("seconds", 0) / 60
                cost = f"{_millions(card.trained.get('parameters'))}, {seen}, {minutes:.0f} min"
            rows.append([named, origin, cost, group.protocol, f"{group.n} ({group.n_real})", *cells])
    if not rows:
        return ""
    heads = [volumes.heading(name) for name in volumes.METRICS]
    titles = ("model", "data, licence", "parameters, volumes seen, time", "protocol", "n (real)", *heads)
    lines = ["| " + " | ".join(row) + " |" for row in (titles, *rows)]
    lines.insert(1, "|" + "---|" * len(titles))
    return VOLUMES + "\n".join(lines) + "\n"


def _full(found: volumes.Volumes) -> list[volumes.Group]:
    """The groups of the whole test split with as many volumes as any, of each protocol."""
    tested = [group for group in volumes.groups(found) if group.split == "test"]
    most = {name: max((g.n_real, g.n) for g in tested if g.protocol == name) for name in {g.protocol for g in tested}}
    return [group for group in tested if (group.n_real, group.n) == most[group.protocol]]


def _whole(found: translation_board.Translations) -> list[translation_board.Group]:
    """The groups of the whole test split, the most slices of each direction."""
    tested = [group for group in translation_board.groups(found) if group.split == "test"]
    most = {way: max(g.n for g in tested if (g.protocol, g.direction) == way) for way in {g[:2] for g in tested}}
    return [group for group in tested if group.n == most[group[:2]]]


def _waiting(known: dict[str, ModelCard]) -> str:
    """The translators and models of volumes that nobody has measured on the whole test split."""
    found, solid = translation_board.translations(), volumes.volumes()
    measured = {model for group in _whole(found) for model, _ in found.of(group)}
    measured |= {model for group in _full(solid) for model, _ in solid.of(group)}
    lines = []
    for name, card in known.items():
        if (card.translates or card.family == VOLUME_FAMILY) and name not in measured:
            protocol = translation_of(card) or volumetric_of(card)
            command = f"python -m eval.run {name} --protocol {'P' if protocol is None else protocol.name}"
            lines.append(f"1. **{name}**: not measured; run `{command}` first.\n")
    return "".join(lines)


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
    return "".join(f"{line}\n" for line in lines)


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
