"""Has a GAN collapsed? Verdicts on final models and on the snapshots of a training run.

    python -m eval.collapse NAME [NAME ...] --protocol cxr-128 [--n 256] [--extractors pixels-32 inception-v3-2048]
    python -m eval.collapse --run runs/NAME --protocol cxr-128 [--role "positive control"] [--made-by "python -m ..."]

Snapshots are what `python -m train.gan --snapshots 256` keeps. The limits are in `eval.collapse_limits`; the results in
eval/results/collapse-PROTOCOL.json, one entry a model or run, replaced when it is measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from eval import collapse_file, collapse_limits
from eval.collapse_limits import Limits, together
from eval.collapse_measures import FEWEST, entries
from eval.fakes import fakes_of
from eval.features import EXTRACTORS, content_hash, features
from eval.protocols import PROTOCOLS, Protocol, protocol
from eval.report import read_object
from eval.result_files import path_of
from eval.run_options import positive
from medgen import data, provenance, registry
from medgen.atomic import write_json
from medgen.backend import measuring
from medgen.cache import read_arrays
from medgen.errors import MedgenError, exit_code
from medgen.image import ImageSet

SNAPSHOTS = "snapshots"
"""Folder of a run; files of `images` (N, C, H, W) uint8, named by the training images seen."""


@dataclass(frozen=True)
class Detector:
    """The limits of every space, learned from the real images of one protocol."""

    asked: Protocol
    train: ImageSet
    n: int
    limits: tuple[Limits, ...]
    facts: dict[str, dict[str, Any]]

    def point(self, images: ImageSet, seen: int | None, *, progress: bool = False) -> dict[str, Any]:
        """The verdict on one set of generated images.

        Args:
            images: `n` of them.
            seen: training images before them; None for a final model.
            progress: a bar on stderr.

        Raises:
            MedgenError: they are of another shape than the real ones, or too few.
        """
        if images.pixels.shape[1:] != self.train.pixels.shape[1:]:
            raise MedgenError(f"{images!r} cannot be compared with {self.train!r}: choose the protocol of its data.")
        spaces = {}
        for one in self.limits:
            found = entries(features(images, one.space, progress=progress), one.on)
            spaces[one.space.name] = {"verdict": one.judge(found), **found}
        verdict = together([str(space["verdict"]) for space in spaces.values()])
        return {"images": seen, "verdict": verdict, "spaces": spaces}


def detector(name: str, n: int, extractors: Sequence[str], *, progress: bool = False) -> Detector:
    """Learns what real images look like, in each space.

    Args:
        name: of a protocol.
        n: images a set; fewer where the train split is small.
        extractors: names of spaces.
        progress: bars on stderr.

    Raises:
        MedgenError: no such protocol or space, the data are not here or too few.
    """
    asked = protocol(name)
    if unknown := [one for one in extractors if one not in EXTRACTORS]:
        raise MedgenError(f"There is no feature space {unknown[0]!r}; choose from {', '.join(EXTRACTORS)}.")
    train = data.real(asked.data, "train")
    n = min(n, int(collapse_limits.CUT * len(train)))
    if n < FEWEST:
        raise MedgenError(f"{asked.data} has {len(train)} train images: too few to set limits; {FEWEST * 10} would do.")
    learned = [collapse_limits.limits(train, EXTRACTORS[one](), n, progress=progress) for one in extractors]
    facts = {limit.space.name: fact for limit, fact in learned}
    return Detector(asked, train, n, tuple(limit for limit, _ in learned), facts)


def of_model(here: Detector, name: str, *, progress: bool = False) -> dict[str, Any]:
    """The verdict on a model of checkpoints/, asked as its report asks it.

    Raises:
        MedgenError: no such model, or it is broken.
    """
    labels = here.train.labels or ()
    shares = {label: count / len(labels) for label, count in sorted(Counter(labels).items())}
    fakes = fakes_of(name, here.n, shares, quantities=here.train.quantities or (), progress=progress)
    point = here.point(fakes.images, None, progress=progress)
    return _subject(here, name, "model", [point], weights=dict(fakes.origin["weights"]))


def of_run(
    here: Detector, folder: Path, role: str | None, made_by: str | None, *, progress: bool = False
) -> dict[str, Any]:
    """A verdict on each snapshot of a run, in the order of the training.

    Raises:
        MedgenError: there are no snapshots, one is damaged, or the run has learned from other data.
    """
    config = read_object(folder / "config.json", "give the folder of a run of train.gan")
    names = config.get("data") or []
    if here.asked.data not in names:
        raise MedgenError(f"{folder.name} has learned from {', '.join(names) or 'nothing'}, not {here.asked.data}.")
    files = sorted((folder / SNAPSHOTS).glob("*.npz"))
    if not files:
        raise MedgenError(f"{folder.name} has no snapshots: train it with python -m train.gan --snapshots {here.n}.")
    points = [here.point(_snapshot(file, here), int(file.stem), progress=progress) for file in files]
    return _subject(here, folder.name, "run", points, role=role, made_by=made_by)


def _snapshot(file: Path, here: Detector) -> ImageSet:
    """The first n pictures of a snapshot."""
    found = (read_arrays(file, {"images": "uint8"}) or {}).get("images")
    if found is None or found.ndim != 4 or not file.stem.isdecimal():
        raise MedgenError(f"The snapshot {file.name} is damaged; delete it.")
    if len(found) < here.n:
        raise MedgenError(f"{file.name} holds {len(found)} pictures: lower --n from {here.n} to at most that.")
    low, high = here.train.window
    pixels = found[: here.n].astype(np.float32) / np.float32(255.0) * np.float32(high - low) + np.float32(low)
    return ImageSet(pixels, here.train.modality, here.train.unit, here.train.window)


def _subject(
    here: Detector, name: str, kind: str, points: list[dict[str, Any]], *, role: str | None = None,
    made_by: str | None = None, weights: dict[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": name, "kind": kind, "role": role, "made_by": made_by, "weights": weights or {}, "n": here.n,
        "points": points, "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def results(here: Detector, subjects: list[dict[str, Any]], old: dict[str, Any] | None) -> dict[str, Any]:
    """The whole file; entries of `old` stay unless they are measured again.

    Raises:
        MedgenError: `old` is about other real images, another n or other spaces: its entries cannot stand beside new.
    """
    real = content_hash(here.train)
    if old is not None and _setting(old) != (real, here.n, {name: fact["sha256"] for name, fact in here.facts.items()}):
        raise MedgenError(
            f"The results on {here.asked.name} were made with other images, --n or --extractors: give --out another "
            "file, or delete the old one."
        )
    kept = old["subjects"] if old is not None else []
    new = {(one["kind"], one["name"]) for one in subjects}
    everyone = [one for one in kept if (one["kind"], one["name"]) not in new] + subjects
    return {
        "protocol": here.asked.name,
        "data": here.asked.data,
        "split": "train",
        "n": here.n,
        "n_real": len(here.train),
        "real_sha256": real,
        "spaces": here.facts,
        "subjects": sorted(everyone, key=lambda one: (one["kind"], one["name"])),
        **provenance.stamp(),
        "command": f"python -m eval.collapse --protocol {here.asked.name}",
    }


def _setting(values: dict[str, Any]) -> tuple[str, int, dict[str, str]]:
    """What the limits of a file were learned from."""
    return values["real_sha256"], values["n"], {name: space["sha256"] for name, space in values["spaces"].items()}


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.collapse", description="Has a GAN collapsed?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="folder below checkpoints/")
    parser.add_argument("--run", nargs="+", type=Path, default=[], metavar="DIR", help="folder of a run of train.gan")
    parser.add_argument("--protocol", required=True, metavar="P", help=" | ".join(PROTOCOLS))
    parser.add_argument("--n", type=positive, default=256, help="images a set (256; at most a tenth of all)")
    parser.add_argument(
        "--extractors", nargs="+", default=["pixels-32", "inception-v3-2048"], metavar="SPACE", help="feature spaces"
    )
    parser.add_argument("--role", help="what a run is for, as 'positive control'")
    parser.add_argument("--made-by", metavar="COMMAND", help="what makes the run again")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: eval/results/collapse-PROTOCOL.json")
    options = parser.parse_args(argv)
    if not options.names and not options.run:
        parser.error("give the names of models, or --run DIR")
    return options


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    measuring()
    options = _options(argv)

    def work() -> int:
        progress = sys.stderr.isatty()
        for name in options.names:  # a misspelt name should fail before minutes of work
            registry.load(name)
        here = detector(options.protocol, options.n, options.extractors, progress=progress)
        out = options.out or path_of("collapse", options.protocol)
        runs = [lambda folder=folder: of_run(here, folder, options.role, options.made_by, progress=progress)
                for folder in options.run]  # fmt: skip
        models = [lambda name=name: of_model(here, name, progress=progress) for name in options.names]
        for measure in (*runs, *models):
            found = results(here, [measure()], collapse_file.read(out) if out.is_file() else None)
            write_json(out, found)
        print(collapse_file.words(found))
        print(f"written: {out.name}")
        return 0

    return exit_code(work, "Interrupted; models that are finished are in the file, give the others again.")


if __name__ == "__main__":
    raise SystemExit(main())
