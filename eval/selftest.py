"""Do the metrics see what they should? Real images with known damage, in every feature space.

    python -m eval.selftest --protocol cxr-128 [--n N] [--extractors pixels-32 ...]

The test patients are halved. One half is the real side; the other half, the base, is damaged (`eval.selftest_damage`)
and measured in place of generated images. So the undamaged base is what a perfect model would score, no patient is on
both sides, and no feature space has learned from either. Copies are of the train split, which plays its usual part.
The result is eval/results/selftest-PROTOCOL.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from eval import copying, metrics, selftest_file
from eval.features import EXTRACTORS, Extractor, content_hash, features
from eval.intervals import intervals
from eval.measure import Measured, values
from eval.metrics_of import PIXELS
from eval.protocols import PROTOCOLS
from eval.result_files import path_of
from eval.run_options import positive
from eval.selftest_damage import DAMAGES, Damage
from eval.selftest_rule import RULE, judged
from eval.selftest_sets import Bench, Seen, prepare
from eval.setting import ALL, extractors, fitting
from medgen import provenance
from medgen.atomic import write_json
from medgen.backend import measuring
from medgen.errors import exit_code

Point = dict[str, tuple[float | None, ...]]
"""Metric -> value, low, high."""
Points = dict[str, list[Point]]
"""Damage -> one a strength."""


def points(bench: Bench, space: Extractor, repeats: int, *, progress: bool = False) -> Points:
    """Measures every damaged set in one space, with every metric that means something there.

    Args:
        bench: the sets.
        space: the feature space.
        repeats: halves for an interval.
        progress: bars on stderr.
    """
    train = features(bench.base.train, space, progress=progress)
    known = np.concatenate([features(bench.base.test, space, progress=progress), train])
    learned = copying.trained_on(train, bench.real.n)

    def side(one: Seen) -> Measured:
        own = known[one.rows] if one.images is None else features(one.images, space, progress=progress)
        return Measured(own, one.look, one.subjects, None, copying.near(own, learned))

    real = side(bench.real)
    return {
        kind: [_point(real, side(one), one, space, bench.asked.k, repeats) for one in sets]
        for kind, sets in bench.damaged.items()
    }


def _point(real: Measured, fake: Measured, one: Seen, space: Extractor, k: int, repeats: int) -> Point:
    near = metrics.neighbours(real=real.features, fake=fake.features, k=k)
    found = values(real=real, fake=fake, extractor=space, k=k, near=near, alike=one.pairs)
    limits = intervals(real, fake, found, near, one.pairs, repeats)
    return {name: (value, *(limits.get(name) or (None, None))) for name, value in found.items()}


def curves(bench: Bench, found: Points, *, of_pixels: bool) -> dict[str, Any]:
    """Damage -> the curves of all metrics over its strengths, and the verdict on those with an expected direction.

    Args:
        bench: the sets.
        found: from `points`.
        of_pixels: the metrics of pixels alone, which are the same in every space; else all others.
    """
    result = {}
    for kind, own in found.items():
        names = [name for name in own[0] if (name in PIXELS) == of_pixels]
        missing = (None, None, None)
        columns = {name: list(zip(*(point.get(name, missing) for point in own), strict=True)) for name in names}
        result[kind] = _curve(DAMAGES[kind], [one.n for one in bench.damaged[kind]], columns)
    return result


def _curve(damage: Damage, counts: list[int], columns: dict[str, list[tuple[float | None, ...]]]) -> dict[str, Any]:
    expected = {name: way for name, way in damage.expected.items() if name in columns}
    verdicts = {name: judged(damage.strengths, *columns[name], way=way) for name, way in expected.items()}
    return {
        "strengths": list(damage.strengths),
        "n_fake": counts,
        **{part: {name: list(one[i]) for name, one in columns.items()} for i, part in enumerate(selftest_file.PARTS)},
        "expected": expected,
        "spearman": {name: verdict.spearman for name, verdict in verdicts.items()},
        "monotone": {name: verdict.monotone for name, verdict in verdicts.items()},
        "fails": {name: verdict.why for name, verdict in verdicts.items() if not verdict.monotone},
    }


def study(
    name: str, spaces: tuple[Extractor, ...], *, n: int | None = None, repeats: int = 50, progress: bool = False
) -> dict[str, Any]:
    """The content of the file.

    Args:
        name: of the protocol.
        spaces: feature spaces; those for pictures of another modality are left out.
        n: at most so many images a side.
        repeats: halves for an interval.
        progress: bars on stderr.

    Raises:
        MedgenError: the data are not here or too few, or no space is for such pictures.
    """
    bench = prepare(name, n)
    test = bench.base.test
    known = fitting(spaces, test.modality)
    results: dict[str, Any] = {}
    for space in known:
        found = points(bench, space, repeats, progress=progress)
        if not results:
            results[selftest_file.IMAGES] = curves(bench, found, of_pixels=True)
        results[space.name] = curves(bench, found, of_pixels=False)
    return {
        "protocol": name, "data": bench.asked.data, "split": "test", "k": bench.asked.k, "repeats": repeats,
        "n_real": bench.real.n, "n_base": len(bench.base), "n_train": len(bench.base.train), "rule": RULE,
        "degradations": {kind: {"title": one.title, "unit": one.unit} for kind, one in DAMAGES.items()},
        "extractors": {
            one.name: {"sha256": one.sha256, "dim": one.dim, "source": one.source, "licence": one.licence}
            for one in known
        },
        "spaces": results, "real_sha256": content_hash(test.take(bench.real_rows)),
        "base_sha256": content_hash(bench.base.images), "train_sha256": content_hash(bench.base.train),
        **provenance.stamp(),
        "command": f"python -m eval.selftest --protocol {name}{'' if n is None else f' --n {n}'}",
    }  # fmt: skip


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.selftest", description="Do the metrics see known damage?")
    parser.add_argument("--protocol", required=True, choices=tuple(PROTOCOLS))
    parser.add_argument("--n", type=positive, help="at most so many images a side (default: half of the test split)")
    parser.add_argument(
        "--extractors", nargs="+", choices=tuple(EXTRACTORS), metavar="SPACE", help="default: all that are installed"
    )
    parser.add_argument("--repeats", type=positive, default=50, help="halves for an interval (default: 50)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: eval/results/selftest-PROTOCOL.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    measuring()
    options = _options(argv)

    def work() -> int:
        names = options.extractors
        spaces = extractors(ALL) if names is None else tuple(EXTRACTORS[name]() for name in names)
        progress = sys.stderr.isatty()
        found = study(options.protocol, spaces, n=options.n, repeats=options.repeats, progress=progress)
        out = options.out or path_of("selftest", options.protocol)
        write_json(out, found)
        print(selftest_file.words(selftest_file.read(out)))
        print(f"written: {out.name}")
        return 0

    return exit_code(work, "Interrupted; features are kept, so that the same command goes on from here.")


if __name__ == "__main__":
    raise SystemExit(main())
