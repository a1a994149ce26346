"""Paired tests of "model A beats model B" for all models measured under a protocol.

    python -m eval.compare --protocol cxr-128 [--extractor all] [NAME ...] [--out FILE]

Takes the features that `eval.run` kept in the cache where they are those of the report, and samples again where not.
Writes eval/results/comparison-PROTOCOL.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval import comparison, halves, kept_features, report
from eval.bootstrap import LEVEL
from eval.compare_file import summary
from eval.fakes import fakes_of
from eval.features import EXTRACTORS, Extractor, content_hash
from eval.protocols import PROTOCOLS, Sides, protocol, sides
from eval.reduction import reduce, source_of
from eval.run_options import positive
from eval.setting import ALL, extractors, fitting
from eval.sharded_study import carry_out
from eval.shards import Shards
from medgen import provenance, registry
from medgen.backend import measuring
from medgen.errors import MedgenError

Reports = dict[str, dict[str, dict[str, Any]]]
"""Model -> feature space -> its report."""


def measured(name: str, real_sha256: str, spaces: Sequence[Extractor], only: Sequence[str] = ()) -> Reports:
    """The full reports of the test protocol `name` whose weights are those of the cards.

    Args:
        name: of the protocol.
        real_sha256: of its real images.
        spaces: feature spaces, with the weights they have now.
        only: models; none = all.

    Raises:
        MedgenError: a model of `only` has no such report.
    """
    known = {space.name: space.sha256 for space in spaces}
    found: Reports = {}
    for path in sorted(registry.checkpoints_dir().glob("*/report*.json")):
        if only and path.parent.name not in only:
            continue
        one = report.read(path)
        card = registry.cards().get(path.parent.name)
        space = one["extractor"]
        same = (one["protocol"], one["split"], one["real_sha256"]) == (name, "test", real_sha256)
        fresh = card is not None and one["weights"] == card.weights and known.get(space["name"]) == space["sha256"]
        if same and fresh and one["n_fake"] == one["n_real"]:
            found.setdefault(path.parent.name, {})[space["name"]] = one
    if missing := [model for model in only if model not in found]:
        raise MedgenError(f"{missing[0]} has no full report under {name}: run eval.run {missing[0]} --protocol {name}.")
    return found


def generated(
    model: str,
    reports: Mapping[str, dict[str, Any]],
    spaces: Sequence[Extractor],
    found: Sides,
    shared: Shards,
    progress: bool,
) -> dict[str, tuple[np.ndarray, str]]:
    """Space -> features of the images of `model`, and whether they were "kept" or "sampled again".

    Raises:
        MedgenError: the model cannot be loaded.
    """
    here: dict[str, tuple[np.ndarray, str]] = {}
    for name, one in reports.items():
        features = kept_features.kept(str(one.get("features_sha256")))
        if features is not None:
            here[name] = (features, "kept")
    # every process has to come to the same decision: they share a cache
    if missing := [space for space in spaces if space.name in reports and space.name not in here]:
        n = next(iter(reports.values()))["n_fake"]
        fakes = fakes_of(model, n, found.proportions, quantities=found.quantities)
        made = reduce(fakes.source, missing, shared, model, progress=progress)
        for space in missing:
            kept_features.keep(made.features[space.name])
            here[space.name] = (made.features[space.name], "sampled again")
    return here


def study(options: argparse.Namespace, shared: Shards, progress: bool = False) -> dict[str, Any] | None:
    """The content of the file; None in a process that is not the main one.

    Raises:
        MedgenError: the data are not here, or fewer than two models are measured in any space.
    """
    asked = protocol(options.protocol)
    found = sides(asked, "test")
    spaces = fitting(extractors(options.extractor), found.real.modality)
    reports = measured(asked.name, content_hash(found.real), spaces, options.names)
    several = [space for space in spaces if sum(space.name in own for own in reports.values()) > 1]
    if not several:
        raise MedgenError(
            f"Fewer than two models have a full report under {asked.name} in one space: "
            f"run eval.run NAME NAME --protocol {asked.name} first."
        )
    real = reduce(source_of(found.real), several, shared, "test images", progress=progress)
    features = {model: generated(model, own, several, found, shared, progress) for model, own in reports.items()}
    if not shared.main:
        return None
    n, subjects = len(found.real), found.real.subjects
    split = halves.drawn(n, n, subjects, options.repeats)
    if split is None:
        raise MedgenError(f"{asked.name} has too few patients for a comparison.")
    results = []
    for space in several:
        own = real.features[space.name]
        judged = {
            model: comparison.judge(own, made[space.name][0], space, asked.k, split)
            for model, made in features.items()
            if space.name in made
        }
        results += [{"space": space.name, **one} for one in comparison.tests(judged, n)]
    return {
        "protocol": asked.name,
        "data": asked.data,
        "split": "test",
        "n": n,
        "n_subjects": len(set(subjects or range(n))),
        "k": asked.k,
        "repeats": options.repeats,
        "level": LEVEL,
        "rule": comparison.RULE,
        "extractors": {one.name: {"sha256": one.sha256, "dim": one.dim} for one in several},
        "models": {
            model: {
                "weights": registry.cards()[model].weights,
                "features": {
                    name: {"from": source, "sha256": kept_features.sha256(one)} for name, (one, source) in made.items()
                },
            }
            for model, made in features.items()
        },
        "real_sha256": content_hash(found.real),
        "tests": results,
        **provenance.stamp(),
    }


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    measuring()
    parser = argparse.ArgumentParser(prog="python -m eval.compare", description="Does model A beat model B?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders below checkpoints/ (default: all measured)")
    parser.add_argument("--protocol", required=True, metavar="P", help=" | ".join(PROTOCOLS))
    parser.add_argument("--extractor", choices=(*EXTRACTORS, ALL), default=ALL, help=f"default: {ALL}")
    parser.add_argument("--repeats", type=positive, default=200, help="halves of FID and KID (default: 200)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: eval/results/comparison-P.json")
    options = parser.parse_args(argv)
    if options.names and options.out is None:
        parser.error("some models alone need --out: the file is about all of them")

    return carry_out("eval.compare", "comparison", study, options, argv, summary)


if __name__ == "__main__":
    raise SystemExit(main())
