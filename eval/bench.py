"""What our shortcuts save, measured against the stock way, run for real in the same minutes.

    python -m eval.bench [CASE ...] [--repeats N] [--threads N ...] [--out FILE]

Each case runs in a process of its own for each number of threads; in it the ways take turns (`medgen.turns`). What is
compared is CPU time (of all threads together) and wall time, least and median. Where values can be compared, they
are, in the same run: a case whose values differ more than it allows fails, and so does the command.

Writes `eval/bench.json` after every case: all single measurements, and `ratios`, stock over ours. Cases that were not
asked for stay in it as they are. docs/speed.md reads it aloud.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgen import provenance
from medgen.atomic import write_json
from medgen.errors import MedgenError, exit_code
from medgen.turns import said

FAST = {"MEDGEN_RUNTIME": "auto"}
"""What the app computes with."""
BF16 = {"MEDGEN_RUNTIME": "openvino-bf16"}
"""Where something measures in rougher numbers, which has to be asked for by name."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        contest: "module:function" that makes the `medgen.turns.Contest`.
        ratios: the keys that it gives `ratios`.
        repeats: measurements of each way.
        threads: numbers of threads; ratios are of the first.
        environment: of its process, beside one runtime and the threads.
    """

    contest: str
    ratios: tuple[str, ...]
    repeats: int = 5
    threads: tuple[int, ...] = (1, 2)
    environment: dict[str, str] = field(default_factory=dict)


CASES: dict[str, Case] = {
    "image_128": Case(
        "eval.bench_image:image_128",
        ("image_128_teacher", "image_128_student", "image_128_unguided"),
        2,
        environment=FAST,
    ),
    "latency": Case("eval.bench_image:latency", (), 2, environment=FAST),
    "volume_64": Case("eval.bench_volume:volume_64", ("volume_64",), 3, environment=FAST),
    "volume_64_torch": Case("eval.bench_volume:volume_64_torch", ("volume_64_torch",), 2, (1,)),
    "volume_64_openvino": Case(
        "eval.bench_volume:volume_64_openvino", ("volume_64_openvino",), 2, (1,), {"MEDGEN_RUNTIME": "openvino"}
    ),
    "cold_start": Case("eval.bench_cold:cold_start", ("cold_start",), 3, (1,), FAST),
    "features": Case("eval.bench_features:features", ("features", "features_float32"), 3, environment=BF16),
    "fid_trace": Case("eval.bench_metrics:fid_trace", ("fid_trace",), 3),
    "knn_time": Case("eval.bench_metrics:knn_time", ("knn_time",), 3),
    "knn_memory": Case("eval.bench_metrics:knn_memory", ("knn_memory",), 1, (1,)),
    "ssim": Case("eval.bench_metrics:ssim", ("ssim",)),
    "training_speed": Case("train.speed:training_speed", ("training_speed",), 2),
    "training_speed_float32": Case("train.speed:training_speed_float32", ("training_speed_float32",), 2, (1,)),
}
OUT = Path(__file__).with_name("bench.json")
_LISTS = ("rows", "gaps", "summary")


def asked(names: Sequence[str]) -> list[str]:
    """The cases of these names, or of these ratios; all where none is named.

    Raises:
        MedgenError: there is no such case.
    """
    home = {key: name for name, case in CASES.items() for key in (*case.ratios, name)}
    if unknown := [name for name in names if name not in home]:
        raise MedgenError(f"There is no case {unknown[0]!r}; there are: {', '.join(CASES)}.")
    return list(dict.fromkeys(home[name] for name in names)) or list(CASES)


def child(name: str, repeats: int, threads: int) -> dict[str, Any]:
    """What `medgen.turns` says of one case, in a process of its own.

    Raises:
        MedgenError: it failed there.
    """
    case = CASES[name]
    environment = {"MEDGEN_THREADS": str(threads), "MEDGEN_RUNTIME": "torch"}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # threads that spin while they wait for one another would count as work: where other programs have the cores, two
    # threads of the stock way then took 29 s of CPU time instead of 7
    environment["OMP_WAIT_POLICY"] = "passive"
    words = ("medgen.turns", case.contest, "--repeats", str(repeats))
    found: dict[str, Any] = said(*words, environment={**os.environ, **environment, **case.environment})
    return found


def measure(name: str, repeats: int | None, threads: Sequence[int] | None) -> dict[str, Any]:
    """One case at every number of threads: its part of bench.json.

    Raises:
        MedgenError: it failed.
    """
    case, start, load = CASES[name], time.perf_counter(), os.getloadavg()
    counts = tuple(threads or case.threads)
    runs = {n: child(name, repeats or case.repeats, n) for n in counts}
    first = runs[counts[0]]
    part: dict[str, Any] = {
        key: [{"case": name, "threads": n, **row} for n, found in runs.items() for row in found[key]]
        for key in ("rows", "gaps")
    }
    part["summary"] = summary(part["rows"], first["measure"])
    part["skipped"] = first["skipped"]
    own = {row["way"]: row["ratio"] for row in part["summary"] if row["threads"] == counts[0]}
    part["ratios"] = {key: own[way] for key, way in first["ratios"].items()}
    seconds = time.perf_counter() - start
    part["about"] = {"seconds": seconds, "load_before": load, "cores": os.cpu_count(), **provenance.stamp()}
    return part


def summary(rows: list[dict[str, Any]], measure: str = "cpu_seconds") -> list[dict[str, Any]]:
    """Least and median of each case, number of threads and way, and how many times more the first way took.

    Args:
        rows: single measurements.
        measure: what the ratio is of; medians are divided.
    """
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["threads"], row["way"]), []).append(row)
    found: list[dict[str, Any]] = []
    for (case, threads, way), own in groups.items():
        numbers = {
            f"{word}_{kind}": pick([row[kind] for row in own])
            for kind in own[0].keys() - {"case", "threads", "way", "repeat"}
            for word, pick in (("least", min), ("median", statistics.median))
        }
        stock = next((one for one in found if (one["case"], one["threads"]) == (case, threads)), numbers)
        ratio = stock[f"median_{measure}"] / numbers[f"median_{measure}"]
        found.append({"case": case, "threads": threads, "way": way, "n": len(own), **numbers, "ratio": ratio})
    return found


def table(part: dict[str, Any]) -> str:
    """One case as lines of text."""
    lines = []
    for row in part["summary"]:
        cpu = f"{row['median_cpu_seconds']:.3f} ({row['least_cpu_seconds']:.3f})"
        mib = f" {row['median_extra_mib']:.0f} MiB" if "median_extra_mib" in row else ""
        lines.append(
            f"{row['case']:18} {row['threads']:>7} {row['way']:52} {cpu:>20} {row['median_seconds']:>9.3f} "
            f"{row['ratio']:>11.1f}x{mib}"
        )
    lines += [
        f"{'':26} {gap['way']}: {gap['what']} differs by {gap['value']:.2g} ({gap['allowed']:.2g} allowed)"
        for gap in part["gaps"]
    ]
    lines += [f"{'':26} {key} is skipped: {reason}" for key, reason in part["skipped"].items()]
    return "\n".join(lines)


def merged(old: dict[str, Any], name: str, part: dict[str, Any] | None, failed: str = "") -> dict[str, Any]:
    """The content of bench.json once the case `name` is measured anew; cases that are no more are left out.

    Args:
        old: the content before.
        name: of the case.
        part: from `measure`; None where it failed.
        failed: why.
    """
    others = [one for one in CASES if one != name]
    part = part or {"failed": failed}
    found: dict[str, Any] = {"ratios": {}, "skipped": {}, "failed": {}}
    for one, case in CASES.items():
        mine = one == name
        for key in case.ratios:
            found["ratios"][key] = (part if mine else old).get("ratios", {}).get(key)
            if reason := (part if mine else old).get("skipped", {}).get(key):
                found["skipped"][key] = reason
        if reason := part.get("failed") if mine else old.get("failed", {}).get(one):
            found["failed"][one] = reason
    for key in _LISTS:
        found[key] = [row for row in old.get(key, []) if row["case"] in others] + part.get(key, [])
    found["cases"] = {one: about for one, about in old.get("cases", {}).items() if one in others}
    if "about" in part:
        found["cases"][name] = part["about"]
    return found


def _kept(path: Path) -> dict[str, Any]:
    """What a file of an earlier run says; nothing where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "cases" in found else {}


def main(argv: list[str] | None = None) -> int:
    """Command line; 1 = a case failed."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench", description="Time our ways against stock ones.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, help="of each way (default: 1 to 5, by how long the case takes)")
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 and 2, for some cases only 1")
    parser.add_argument("--out", type=Path, default=OUT, help="default: eval/bench.json")
    options = parser.parse_args(argv)
    if min([1 if options.repeats is None else options.repeats, *(options.threads or [])]) < 1:
        raise MedgenError("--repeats and --threads must be whole numbers of at least 1.")
    names = asked(options.cases)
    print(f"{'case':18} {'threads':>7} {'way':52} {'CPU-s median (least)':>20} {'wall s':>9} {'stock / this':>12}")
    failed = []
    for name in names:
        try:
            part, reason = measure(name, options.repeats, options.threads), ""
            print(table(part), flush=True)
        except MedgenError as error:
            part, reason = None, str(error)
            print(f"{name:18} FAILED: {reason}", flush=True)
            failed.append(name)
        write_json(options.out, merged(_kept(options.out), name, part, reason))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
