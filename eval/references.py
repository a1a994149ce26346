"""Sets of images whose faults are known, measured like models: they show what the numbers of a board mean.

    python -m eval.references --protocol cxr-128 [--extractor all] [--out FILE]

Writes eval/results/references-PROTOCOL.json: a report of each set in each feature space. The sets are made of training
images, as many as the protocol has real ones: those that the floor is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from eval import run, run_text
from eval.fakes import Fakes
from eval.features import EXTRACTORS
from eval.protocols import PROTOCOLS, Sides
from eval.reduction import source_of
from eval.run_options import positive
from eval.setting import ALL, extractors, prepare
from eval.sharded_study import carry_out
from eval.shards import Shards
from medgen import provenance
from medgen.backend import measuring
from medgen.image import ImageSet

BLUR = 64
"""The standard deviation of the blur is the side of a picture over this: 2 pixels of 128."""


def noise(found: Sides) -> ImageSet:
    """Grey values drawn evenly from black to white, each pixel by itself; seed 0."""
    low, high = found.floor.window
    drawn = np.random.default_rng(0).uniform(low, high, found.floor.pixels.shape).astype(np.float32)
    return replace(found.floor, pixels=drawn, labels=None, subjects=None, attributes=None)


def mean_image(found: Sides) -> ImageSet:
    """The mean of all training images, again and again."""
    mean = found.train.pixels.mean(axis=0, keepdims=True)
    repeated = np.repeat(mean, len(found.floor), axis=0)
    return replace(found.floor, pixels=repeated, labels=None, subjects=None, attributes=None)


def blurred_real(found: Sides) -> ImageSet:
    """Training images out of focus."""
    pixels = found.floor.pixels
    sigma = min(pixels.shape[2:]) / BLUR
    return replace(found.floor, pixels=gaussian_filter(pixels, (0, 0, sigma, sigma)), subjects=None)


def train_copies(found: Sides) -> ImageSet:
    """Training images as they are: what a model that has learned them by heart makes."""
    return replace(found.floor, subjects=None)


SETS: dict[str, Callable[[Sides], ImageSet]] = {
    "noise": noise,
    "mean_image": mean_image,
    "blurred_real": blurred_real,
    "train_copies": train_copies,
}


def study(options: argparse.Namespace, shared: Shards, progress: bool = False) -> dict[str, Any] | None:
    """The content of the file; None in a process that is not the main one.

    Raises:
        MedgenError: the data or the extractor are not here.
    """
    setting = prepare(
        options.protocol, "test", extractors(options.extractor), shared, limit=options.limit, repeats=options.repeats,
        progress=progress,
    )  # fmt: skip
    reports: list[dict[str, Any]] = []
    memories: dict[str, Any] = {}
    for name, make in SETS.items():
        images = make(setting.sides)
        origin: dict[str, Any] = {
            "model": name,
            "seeds": None,
            "labels": None,
            "weights": {},
            "made": (make.__doc__ or "").strip(),
        }
        found, memory = run.evaluate(setting, Fakes(source_of(images), origin), progress=progress)
        reports += found
        for one in found:
            print(run_text.summary(one), "\n")
        if memory is not None:
            print(run_text.memorisation(memory), "\n")
            memories[name] = {
                space: {key: one[key] for key in ("threshold", "share", "held_out", "lonely", "alarm")}
                for space, one in memory["spaces"].items()
            }
    if not shared.main:
        return None
    real = setting.sides.real
    return {
        "protocol": options.protocol,
        "data": setting.asked.data,
        "split": "test",
        "n": len(real),
        "extractors": {one.name: {"sha256": one.sha256, "dim": one.dim} for one in setting.extractors},
        "real_sha256": setting.real_sha256,
        "train_sha256": setting.train_sha256,
        "reports": reports,
        "memorisation": memories,
        **provenance.stamp(),
    }


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    measuring()
    parser = argparse.ArgumentParser(prog="python -m eval.references", description="Measure sets of known faults.")
    parser.add_argument("--protocol", required=True, metavar="P", help=" | ".join(PROTOCOLS))
    parser.add_argument("--extractor", choices=(*EXTRACTORS, ALL), default=ALL, help=f"default: {ALL}")
    parser.add_argument("--limit", type=positive, metavar="M", help="at most M images a set: a quick look, needs --out")
    parser.add_argument("--repeats", type=positive, default=200, help="halves for an interval (default: 200)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: eval/results/references-P.json")
    options = parser.parse_args(argv)
    if options.limit is not None and options.out is None:
        parser.error("--limit needs --out: the file is about the whole protocol")

    return carry_out("eval.references", "references", study, options, argv)


if __name__ == "__main__":
    raise SystemExit(main())
