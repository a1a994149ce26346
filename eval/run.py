"""Measures models against held-out patients and writes report.json and memorisation.json.

    python -m eval.run NAME [NAME ...] --protocol cxr-128 [--extractor all] [--split val] [--n N] [--limit M]
    python -m eval.run NAME --protocol cxr-128 --steps 12 --runtime openvino-bf16     a shortcut: a row of its own
    python -m eval.run --images DIR --protocol cxr-128 [--out FILE]
    accelerate launch --num_processes N [--cpu] -m eval.run ...                       the same reports, sooner
    python -m eval.run NAME [NAME ...] --protocol t1-t2-256 [--samples K] ...         translators: see eval.translation
    python -m eval.run NAME [NAME ...] --protocol hippo-48 [--n N] ...                volumes: see eval.volumes.run

Real and generated images -> features (cached) -> metrics with interval and real-against-real floor.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval import kept_features, measure, memorisation, memorisation_file, report, run_text, translation, variants
from eval.bootstrap import LEVEL
from eval.copying import Near, near
from eval.fakes import Fakes, fakes_from_folder, fakes_of, png_files
from eval.inception import QUICK
from eval.protocols import TRANSLATIONS, VOLUME_FAMILY, VOLUMETRIC, protocols_of
from eval.reduction import Reduced, reduce
from eval.run_options import parse
from eval.setting import ALWAYS, MAIN, Setting, Space, extractors, prepare
from eval.shards import Shards, shards
from eval.translation_setting import Asked
from eval.volumes import run as volumes_run
from eval.volumes.setting import Asked as AskedVolumes
from medgen import launch, provenance, registry
from medgen.atomic import write_json
from medgen.backend import measuring
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request
from medgen.image import ImageSet

Written = dict[str, Any]


def _n_fake(options: argparse.Namespace) -> int | None:
    """How many generated images were asked for; None = as many as there are real ones.

    A folder is measured whole, and `--limit` only ever lowers a number.
    """
    n: int | None = options.n
    if n is None and options.images is not None:
        n = len(png_files(options.images)) or None
    return n if n is None or options.limit is None else min(n, options.limit)


def evaluate(setting: Setting, fakes: Fakes, *, progress: bool = False) -> tuple[list[Written], Written | None]:
    """The content of a report for every space of `setting`, and that of memorisation.json.

    Nothing in a process that is not the main one: it has done its share of the features by then.

    Raises:
        MedgenError: too few images, NaN pixels, or images of another shape.
    """
    name, wanted = str(fakes.origin["model"]), setting.sides.real

    def part(rows: range) -> ImageSet:
        images = fakes.source.part(rows)
        if images.pixels.shape[1:] != wanted.pixels.shape[1:]:
            raise MedgenError(
                f"{name} makes {images!r}, {setting.asked.name} measures {wanted!r}: "
                "choose the protocol of its data set."
            )
        return images

    source = replace(fakes.source, part=part)
    made = reduce(source, setting.extractors, setting.shards, name, progress=progress)
    if not setting.shards.main:
        return [], None
    reports, distances = [], {}
    for space in setting.spaces:
        start = time.perf_counter()
        fake = measure.Measured(
            made.features[space.extractor.name], made.look, None, fakes.source.labels,
            near(made.features[space.extractor.name], space.train),
        )  # fmt: skip
        found = _in_space(setting, space, fake, fakes)
        found |= _seconds(made, fakes, time.perf_counter() - start)
        reports.append(found)
        if space.real.near is not None and fake.near is not None:
            distances[space.extractor.name] = (fake.near, space.real.near)
    return reports, _memorisation(setting, fakes, distances)


def _in_space(setting: Setting, space: Space, fake: measure.Measured, fakes: Fakes) -> Written:
    extractor, k = space.extractor, setting.asked.k
    entries = measure.compare(
        real=space.real, fake=fake, floor=space.floor, extractor=extractor, k=k, n_train=len(space.train.features),
        repeats=setting.repeats,
    )  # fmt: skip
    per_class = measure.by_label(real=space.real, fake=fake, extractor=extractor, k=k)
    return {
        **_about(setting, fakes),
        "n_floor": len(setting.sides.floor),
        "extractor": {"name": extractor.name, "sha256": extractor.sha256, "dim": extractor.dim},
        "features_sha256": kept_features.keep(fake.features),
        "k": k,
        "interval": {"level": LEVEL, "repeats": setting.repeats},
        "metrics": entries,
        "per_class": per_class,
        "per_class_floor": dict(space.floor.per_class),
        "per_class_warning": measure.class_warnings(per_class, extractor),
    }


def _about(setting: Setting, fakes: Fakes) -> Written:
    """What was compared with what, and by what."""
    real = setting.sides.real
    return {
        "protocol": setting.asked.name,
        "data": setting.asked.data,
        "split": setting.split,
        **fakes.origin,
        "n_real": len(real),
        "n_fake": fakes.source.n,
        "n_train": len(setting.sides.train),
        "n_subjects": len(set(real.subjects or ())),
        "real_sha256": setting.real_sha256,
        "train_sha256": setting.train_sha256,
        **provenance.stamp(),
    }


def _seconds(made: Reduced, fakes: Fakes, metrics: float) -> Written:
    """What it took, of all processes together; "features" are those of all spaces of the run."""
    # CPU seconds too: those of a clock depend on what else the machine has to do
    wall, cpu = ((made.seconds[one] if fakes.sampled else None) for one in ("sampling", "sampling_cpu"))
    return {
        "seconds": {"sampling": wall, "sampling_cpu": cpu, "features": made.seconds["features"], "metrics": metrics},
        "seconds_per_image": None if wall is None else wall / fakes.source.n,
        "cpu_seconds_per_image": None if cpu is None else cpu / fakes.source.n,
    }


def _memorisation(setting: Setting, fakes: Fakes, distances: dict[str, tuple[Near, Near]]) -> Written | None:
    """The content of memorisation.json; None where nothing could be compared with training images."""
    if not distances:
        return None
    train, real = setting.sides.train, setting.sides.real
    subjects = train.subjects or tuple(map(str, range(len(train))))
    judged = memorisation.judged(distances, range(fakes.source.n), fakes.source.labels, subjects, real.subjects)
    for space in setting.spaces:
        judged["spaces"][space.extractor.name]["extractor_sha256"] = space.extractor.sha256
    return {**_about(setting, fakes), "n_held_out": len(real), **judged}


def _measure_all(options: argparse.Namespace, progress: bool) -> None:
    if options.protocol in TRANSLATIONS:
        own = (options.limit, options.samples, options.steps, options.repeats, progress)
        asked = Asked(options.protocol, options.split, extractors(options.extractor)[0], *own)
        translation.measure_all(options.names, asked, options.out)
        return
    if options.protocol in VOLUMETRIC:
        own = (options.n, options.limit, options.steps, options.repeats, progress)
        volumes = AskedVolumes(options.protocol, options.split, extractors(options.extractor)[0], *own)
        volumes_run.measure_all(options.names, volumes, options.out)
        return
    for name in options.names:  # a misspelt name should fail before minutes of work
        card = registry.load(name).card
        if card.translates:
            raise MedgenError(f"{name} is a translator; choose its protocol from {', '.join(TRANSLATIONS)}.")
        if card.family == VOLUME_FAMILY:
            raise MedgenError(f"{name} makes volumes; choose its protocol from {', '.join(VOLUMETRIC)}.")
    with shards() as shared:
        _measure_images(options, shared, progress and shared.main)


def _measure_images(options: argparse.Namespace, shared: Shards, progress: bool) -> None:
    wanted = _n_fake(options)
    setting = prepare(
        options.protocol, options.split, extractors(options.extractor), shared, n_fake=wanted, limit=options.limit,
        repeats=options.repeats, progress=progress,
    )  # fmt: skip
    like = Request(seeds=(), steps=options.steps, guidance=options.guidance)
    n = len(setting.sides.real) if wanted is None else wanted
    for name in options.names or (None,):
        if name is None:
            fakes = fakes_from_folder(options.images, wanted, setting.sides.real)
        else:
            fakes = fakes_of(
                name, n, setting.sides.proportions, like, quantities=setting.sides.quantities, runtime=options.runtime
            )
        reports, memory = evaluate(setting, fakes, progress=progress)
        command = run_text.command(options, name)
        for found in reports:
            found["command"] = command
            print(run_text.summary(found))
            path = options.out
            if name is not None and path is None:
                path = registry.checkpoints_dir() / name / _file(name, setting, found)
            if path is not None:
                write_json(path, found)
                print(f"written: {path.parent.name}/{path.name}\n")
        if memory is not None:
            memory["command"] = command
            print(run_text.memorisation(memory))
            if name is not None and options.out is None and _is_full(name, setting, memory):
                _keep(registry.checkpoints_dir() / name / memorisation_file.FILE, memory)


def _is_full(name: str, setting: Setting, found: Written) -> bool:
    """Whether this is the full test protocol of the model's main data set, in more than grey values, exactly."""
    return (
        not set(found["spaces"]) <= {ALWAYS, QUICK}
        and _file(name, setting, {**found, "extractor": {"name": MAIN}}) == "report.json"
    )


def _keep(path: Path, found: Written) -> None:
    """Writes memorisation.json, unless one of the same weights and images that knows more spaces is there."""
    try:
        old = memorisation_file.read(path) if path.is_file() else None
    except MedgenError:
        old = None
    same = old is not None and all(old[key] == found[key] for key in ("weights", "real_sha256", "train_sha256"))
    if old is not None and same and set(old["spaces"]) > set(found["spaces"]):
        print(f"{path.parent.name}/{path.name} knows more spaces and stays; --extractor all makes it anew.\n")
        return
    write_json(path, found)
    print(f"written: {path.parent.name}/{path.name}\n")


def _file(name: str, setting: Setting, found: Written) -> str:
    """What the report of the model `name` is called."""
    known = protocols_of(ModelCard.read(registry.checkpoints_dir() / name / "card.json"))
    second = None if setting.asked in known[:1] or not known else setting.asked.name
    whole = setting.sides.whole and found["n_fake"] == found["n_real"]
    said = variants.of(found)
    stem = variants.stem(said) if said else "report"
    return report.file_name(setting.split, found["extractor"]["name"], whole, found["n_fake"], second, stem)


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    measuring()
    options = parse(argv)

    def work() -> int:
        _measure_all(options, progress=sys.stderr.isatty())
        return 0

    return launch.start(
        "eval.run", work, "Interrupted; features made so far are kept, the same command goes on from there."
    )


if __name__ == "__main__":
    raise SystemExit(main())
