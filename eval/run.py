"""Measures models against held-out patients and writes report.json.

    python -m eval.run NAME [NAME ...] --protocol cxr-128 [--split val] [--n N] [--limit M] [--out FILE]
    python -m eval.run --images DIR --protocol cxr-128 [--out FILE]
    python -m eval.run NAME [NAME ...] --protocol t1-t2-256 [--samples K] ...         translators: see eval.translation
    python -m eval.run NAME [NAME ...] --protocol hippo-48 [--n N] ...                volumes: see eval.volumes.run

Real and generated images -> features (cached) -> metrics with interval and real-against-real floor.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eval import measure, report, translation
from eval.bootstrap import LEVEL
from eval.fakes import Fakes, fakes_from_folder, fakes_of, png_files
from eval.features import EXTRACTORS, Extractor, content_hash
from eval.protocols import (
    TRANSLATIONS,
    VOLUME_FAMILY,
    VOLUMETRIC,
    Protocol,
    Sides,
    protocol,
    protocols_of,
    sides,
)
from eval.run_options import parse
from eval.translation_setting import Asked
from eval.volumes import run as volumes_run
from eval.volumes.setting import Asked as AskedVolumes
from medgen import provenance, registry
from medgen.atomic import write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError, exit_code
from medgen.generator import Request


@dataclass(frozen=True)
class Setting:
    """What all models of one run share: the protocol, the real images and their features."""

    asked: Protocol
    split: str
    sides: Sides
    real: measure.Measured
    floor: measure.Measured
    extractor: Extractor
    repeats: int


def prepare(
    name: str,
    split: str,
    *,
    n_fake: int | None = None,
    limit: int | None = None,
    extractor: str | None = None,
    repeats: int = 200,
    progress: bool = False,
) -> Setting:
    """Reads the real images and their features, once for all models.

    Args:
        name: of the protocol.
        split: "test" or "val".
        n_fake: generated images to come, hence of the floor; None = as many as real ones.
        limit: at most so many real images.
        extractor: its name; None = Inception, or grey values where its weights are missing.
        repeats: halves for an interval.
        progress: a bar on stderr.

    Raises:
        MedgenError: unknown protocol, data not here, or an extractor that was asked for is missing.
    """
    asked = protocol(name)
    found = sides(asked, split, n_fake=n_fake, limit=limit)
    space = _extractor(extractor)
    real = measure.reduced(found.real, space, progress=progress)
    floor = measure.reduced(found.floor, space, progress=progress)
    return Setting(asked, split, found, real, floor, space, repeats)


def _n_fake(options: argparse.Namespace) -> int | None:
    """How many generated images were asked for; None = as many as there are real ones.

    A folder is measured whole, and `--limit` only ever lowers a number.
    """
    n: int | None = options.n
    if n is None and options.images is not None:
        n = len(png_files(options.images)) or None
    return n if n is None or options.limit is None else min(n, options.limit)


def _extractor(name: str | None) -> Extractor:
    """The extractor called `name`; None = Inception, or grey values where its weights are missing."""
    if name is not None:
        return EXTRACTORS[name]()
    try:
        return EXTRACTORS["inception-v3-2048"]()
    except MedgenError as error:
        print(f"{error} Until then: pixels-32 features, which know no FID.", file=sys.stderr)
        return EXTRACTORS["pixels-32"]()


def evaluate(setting: Setting, fakes: Fakes, *, progress: bool = False) -> dict[str, Any]:
    """The content of a report.

    Raises:
        MedgenError: too few images, NaN pixels, or images of another shape.
    """
    extractor, real_images = setting.extractor, setting.sides.real
    if fakes.images.pixels.shape[1:] != real_images.pixels.shape[1:]:
        raise MedgenError(
            f"{fakes.origin['model']} makes {fakes.images!r}, {setting.asked.name} measures {real_images!r}: "
            "choose the protocol of its data set."
        )
    start = time.perf_counter()
    fake = measure.reduced(fakes.images, extractor, progress=progress)
    features_end = time.perf_counter()
    k = setting.asked.k
    found = measure.compare(
        real=setting.real, fake=fake, floor=setting.floor, extractor=extractor, k=k, repeats=setting.repeats
    )
    per_class = measure.by_label(real=setting.real, fake=fake, extractor=extractor, k=k)
    return {
        "protocol": setting.asked.name,
        "data": setting.asked.data,
        "split": setting.split,
        **fakes.origin,
        "n_real": len(real_images),
        "n_fake": len(fakes.images),
        "n_floor": len(setting.sides.floor),
        "n_subjects": len(set(real_images.subjects or ())),
        "real_sha256": content_hash(real_images),
        "extractor": {"name": extractor.name, "sha256": extractor.sha256},
        "k": k,
        "interval": {"level": LEVEL, "repeats": setting.repeats},
        "metrics": found,
        "per_class": per_class,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "seconds": {
            "sampling": fakes.seconds,
            "features": features_end - start,
            "metrics": time.perf_counter() - features_end,
        },
        "seconds_per_image": None if fakes.seconds is None else fakes.seconds / len(fakes.images),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def summary(found: dict[str, Any]) -> str:
    """A report as lines of text: value, interval and floor of each metric."""
    head = (
        f"{found['model']} | {found['protocol']} {found['split']} split | {found['extractor']['name']} | "
        f"{found['n_real']} real of {found['n_subjects']} patients, {found['n_fake']} generated"
    )
    lines = [head, f"{'':20} {'value':>9}  {'95 % interval':^21} {'floor':>9}"]
    for name, entry in found["metrics"].items():
        shown = report.METRICS[name]
        value, low, high, floor = (
            "-" if entry[key] is None else f"{entry[key]:.{shown.digits}f}" for key in ("value", "low", "high", "floor")
        )
        reason = f"  ({entry['reason']})" if "reason" in entry else ""
        lines.append(f"{shown.title:20} {value:>9}  {low:>9} .. {high:<9} {floor:>9}{reason}")
    return "\n".join(lines)


def _measure_all(options: argparse.Namespace, progress: bool) -> None:
    if options.protocol in TRANSLATIONS:
        own = (options.limit, options.samples, options.steps, options.repeats, progress)
        asked = Asked(options.protocol, options.split, _extractor(options.extractor), *own)
        translation.measure_all(options.names, asked, options.out)
        return
    if options.protocol in VOLUMETRIC:
        own = (options.n, options.limit, options.steps, options.repeats, progress)
        volumes = AskedVolumes(options.protocol, options.split, _extractor(options.extractor), *own)
        volumes_run.measure_all(options.names, volumes, options.out)
        return
    for name in options.names:  # a misspelt name should fail before minutes of work
        card = registry.load(name).card
        if card.translates:
            raise MedgenError(f"{name} is a translator; choose its protocol from {', '.join(TRANSLATIONS)}.")
        if card.family == VOLUME_FAMILY:
            raise MedgenError(f"{name} makes volumes; choose its protocol from {', '.join(VOLUMETRIC)}.")
    wanted = _n_fake(options)
    setting = prepare(
        options.protocol, options.split, n_fake=wanted, limit=options.limit, extractor=options.extractor,
        repeats=options.repeats, progress=progress,
    )  # fmt: skip
    like = Request(seeds=(), steps=options.steps, guidance=options.guidance)
    n = len(setting.sides.real) if wanted is None else wanted
    for name in options.names or (None,):
        if name is None:
            fakes = fakes_from_folder(options.images, wanted, setting.sides.real)
        else:
            fakes = fakes_of(name, n, setting.sides.proportions, like, progress=progress)
        found = evaluate(setting, fakes, progress=progress)
        print(summary(found))
        path = options.out
        if name is not None and path is None:
            path = registry.checkpoints_dir() / name / _file(name, setting, found)
        if path is not None:
            write_json(path, found)
            print(f"written: {path.parent.name}/{path.name}\n")


def _file(name: str, setting: Setting, found: dict[str, Any]) -> str:
    """What the report of the model `name` is called."""
    known = protocols_of(ModelCard.read(registry.checkpoints_dir() / name / "card.json"))
    second = None if setting.asked in known[:1] or not known else setting.asked.name
    whole = setting.sides.whole and found["n_fake"] == found["n_real"]
    return report.file_name(setting.split, setting.extractor.name, whole, found["n_fake"], second)


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    options = parse(argv)

    def work() -> int:
        _measure_all(options, progress=sys.stderr.isatty())
        return 0

    return exit_code(work, "Interrupted; features made so far are kept, the same command goes on from there.")


if __name__ == "__main__":
    raise SystemExit(main())
