"""From a trained segmenter to a folder of checkpoints/, measured on the test split."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from medgen import provenance, volume_sets, weights
from medgen.atomic import write_json
from medgen.image import ImageSet
from medgen.registry import checkpoints_dir
from medgen.segmenter import Segmenter, SegmenterCard, volumes_mm3

if TYPE_CHECKING:
    from train.segmenter import SegmenterConfig

LIMITS = (
    "Research and teaching only, not for clinical use. It measures volumes of the kind of its own data set, on its own "
    "grid, and was never shown a disease. On generated volumes nobody knows the truth: read what it says beside its "
    "errors on real ones."
)
_REPEATS = 1000


def export(
    network: nn.Module, net: dict[str, Any], test: ImageSet, truth: np.ndarray, config: SegmenterConfig,
    chosen: dict[str, Any],
) -> SegmenterCard:  # fmt: skip
    """Writes checkpoints/NAME; what is measured are the weights as exported, in fp16.

    segmenter.json comes last: with the weights of one run and the numbers of another it would not load.
    """
    source = volume_sets.VOLUMES[config.data]
    folder = checkpoints_dir() / config.name
    card = SegmenterCard(
        name=config.name, title=f"Segmenter: {source.title}", data=config.data, classes=tuple(source.classes),
        shape=tuple(test.pixels.shape[1:]), spacing_mm=tuple(source.spacing_mm), window=test.window, net=net,
        weights=weights.save(network.state_dict(), folder), dice={}, volume_error={}, limits=LIMITS, folder=folder,
        licence=source.licence,
        trained={
            **chosen,
            "precision": config.precision,
            "parameters": sum(p.numel() for p in network.parameters()),
            "commit": provenance.commit(),
            "citation": source.citation,
        },
    )  # fmt: skip
    made = Segmenter(card).classes(test)
    card = replace(card, dice=overlaps(truth, made, card.classes), volume_error=errors(truth, made, card))
    # not the folder of the run: a path of this machine
    write_json(folder / "config.json", asdict(replace(config, out="")))
    shutil.copyfile(config.folder / "log.jsonl", folder / "log.jsonl")
    card.save(folder)
    return card


def dice(truth: np.ndarray, made: np.ndarray, classes: int) -> list[float]:
    """Overlap 2 |A and B| / (|A| + |B|) of each class but the background; NaN where neither holds it."""
    found = []
    for one in range(1, classes):
        left, right = truth == one, made == one
        size = int(left.sum()) + int(right.sum())
        found.append(2.0 * int((left & right).sum()) / size if size else float("nan"))
    return found


def overlaps(truth: np.ndarray, made: np.ndarray, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Class -> mean Dice over subjects, its 95 % interval over resampled subjects, and n, as a card holds them."""
    values = np.array([dice(*pair, len(classes)) for pair in zip(truth, made, strict=True)])
    drawn = np.random.default_rng(0).integers(len(values), size=(_REPEATS, len(values)))
    found: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(classes[1:]):
        low, high = np.nanquantile(np.nanmean(values[drawn, i], axis=1), (0.025, 0.975))
        found[name] = {"value": float(np.nanmean(values[:, i])), "low": float(low), "high": float(high)}
        found[name]["n"] = len(values)
    return found


def errors(truth: np.ndarray, made: np.ndarray, card: SegmenterCard) -> dict[str, dict[str, Any]]:
    """Class, or "all" structures together -> how far measured volumes are from true ones, as a card holds them."""
    true, said = (volumes_mm3(side, len(card.classes), card.spacing_mm) for side in (truth, made))
    columns = {name: (true[:, i], said[:, i]) for i, name in enumerate(card.classes) if i}
    columns["all"] = (true[:, 1:].sum(axis=1), said[:, 1:].sum(axis=1))
    found: dict[str, dict[str, Any]] = {}
    for name, (wanted, got) in columns.items():
        varies = len(wanted) > 1 and wanted.std() > 0 and got.std() > 0
        found[name] = {
            "mae_mm3": float(np.abs(got - wanted).mean()),
            "bias_mm3": float((got - wanted).mean()),
            "mean_mm3": float(wanted.mean()),
            "r": float(np.corrcoef(wanted, got)[0, 1]) if varies else None,
            "n": len(wanted),
        }
    return found
