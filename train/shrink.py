"""Keeps the weights of finished models as 8-bit integers: half the room, and another model, to be measured again.

python -m train.shrink NAME [NAME ...]

A scale for each output channel, so that weak channels keep their digits; small tensors stay as they are. Prints how far
the pictures move. Reports of the old weights are left out of the new folder: run the evaluations again.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import medgen
from medgen import ImageSet, Request, weights
from medgen.backend import measuring
from medgen.card import ModelCard
from medgen.errors import MedgenError, exit_code
from medgen.registry import cards, checkpoints_dir
from train.export import take_place

KEPT = ("config.json", "log.jsonl", "samples.png")
"""Files of a model that say how it was made, and stay true; reports do not."""


def shrink(name: str, seeds: tuple[int, ...] = (0, 1, 2, 3)) -> float:
    """Replaces the weights of checkpoints/NAME; returns the PSNR, dB, between pictures of old and new ones.

    Raises:
        MedgenError: there is no such model, another one has its weights as a part, or it was shrunk before.
    """
    known = cards()
    if name not in known:
        raise MedgenError(f"There is no model {name!r}; there are: {', '.join(known)}.")
    card = known[name]
    if owners := [other.name for other in known.values() if name in other.parts.values()]:
        raise MedgenError(f"{owners[0]} shares the weights of {name}; shrink {owners[0]} instead.")
    if card.trained.get("weights_bits") == 8:
        raise MedgenError(f"{name} was shrunk before.")
    before = pictures(card, seeds)
    with tempfile.TemporaryDirectory(prefix=".shrink.", dir=checkpoints_dir()) as place:
        folder = Path(place) / name
        folder.mkdir()
        parts = {part: known[other] for part, other in card.parts.items()}
        hashes = weights.save(weights.read(card), folder, parts=parts, int8=True)
        trained = {**card.trained, "weights_bits": 8}
        replace(card, weights=hashes, trained=trained).save(folder)
        for file in KEPT:
            if (checkpoints_dir() / name / file).exists():
                shutil.copyfile(checkpoints_dir() / name / file, folder / file)
        take_place(folder, checkpoints_dir() / name)
    return psnr(before, pictures(cards()[name], seeds))


def pictures(card: ModelCard, seeds: tuple[int, ...]) -> ImageSet:
    """What the model makes of these seeds; a translator, of smooth random blobs."""
    if not card.translates:
        return medgen.load(card.name).sample(Request(seeds=seeds))
    from scipy import ndimage

    random = np.random.default_rng(0).standard_normal((1, *card.shape)).astype(np.float32)
    smooth = ndimage.gaussian_filter(random, (0, 0, 8, 8))
    low, high = card.translates["window"]
    pixels = low + (high - low) * (smooth - smooth.min()) / np.ptp(smooth)
    wanted = card.translates
    source = ImageSet(pixels.astype(np.float32), wanted["modality"], wanted["unit"], (low, high))
    return medgen.load(card.name).sample(Request(seeds=seeds, source=source))


def psnr(one: ImageSet, other: ImageSet) -> float:
    """Of two sets of the same pictures, dB, over their window."""
    error = float(np.square(one.unit_range() - other.unit_range()).mean())
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    measuring()
    parser = argparse.ArgumentParser(prog="python -m train.shrink", description="Store weights with 8 bits.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="folder below checkpoints/")
    for name in parser.parse_args(argv).names:
        print(f"{name}: PSNR {shrink(name):.1f} dB between pictures before and after; measure it again")
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
