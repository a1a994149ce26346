"""What our shortcuts save, measured against the stock way with the same network, in one run.

    python -m eval.bench [CASE ...] [--repeats 5] [--threads 1 2] [--out FILE]

Each case runs in a process of its own for each number of threads; in it the ways take turns, so that a slower minute of
the machine meets all of them. What is compared is CPU time (of all threads together) and wall time, least and median.
Writes `eval/bench.json`: all single measurements, and `ratios`, stock over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from medgen import provenance
from medgen.atomic import write_json
from medgen.errors import MedgenError, exit_code

Way = Callable[[int], object]
"""Does the work once, for a seed."""
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "volume_64": ("eval.bench_volume", {}),
    "volume_64_openvino": ("eval.bench_volume", {"MEDGEN_RUNTIME": "openvino"}),
}
"""Case -> the module whose `ways()` it times, stock first, and the environment of its process."""
OUT = Path(__file__).with_name("bench.json")


def measured(ways: dict[str, Way], repeats: int) -> list[dict[str, Any]]:
    """Times all ways in turns.

    Args:
        ways: name -> what to do for one seed.
        repeats: measurements of each way, after one that is not counted.

    Returns:
        Rows `{"way", "repeat", "cpu_seconds", "seconds"}`.
    """
    found = []
    for repeat in range(-1, repeats):
        for name, way in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            way(repeat + 1)
            row = {"cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - wall}
            if repeat >= 0:
                found.append({"way": name, "repeat": repeat, **row})
    return found


def child(case: str, repeats: int, threads: int) -> list[dict[str, Any]]:
    """The rows of one case, measured in a process of its own.

    Raises:
        MedgenError: it failed there.
    """
    environment = {"MEDGEN_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "MEDGEN_RUNTIME": "torch"}
    done = subprocess.run(
        [sys.executable, "-m", "eval.bench", case, "--child", "--repeats", str(repeats)],
        env={**os.environ, **environment, **CASES[case][1]}, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise MedgenError(f"The case {case} could not be measured; what it said stands above.")
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return [{"case": case, "threads": threads, **row} for row in rows]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Least and median of each case, number of threads and way, and how many times more the first way took."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["threads"], row["way"]), []).append(row)
    found: list[dict[str, Any]] = []
    for (case, threads, way), own in groups.items():
        times = {
            f"{word}_{kind}": pick([row[kind] for row in own])
            for kind in ("cpu_seconds", "seconds")
            for word, pick in (("least", min), ("median", statistics.median))
        }
        stock = next((one for one in found if (one["case"], one["threads"]) == (case, threads)), times)
        ratio = stock["median_cpu_seconds"] / times["median_cpu_seconds"]
        found.append({"case": case, "threads": threads, "way": way, "n": len(own), **times, "ratio": ratio})
    return found


def table(found: list[dict[str, Any]]) -> str:
    """`summary` as lines of text."""
    head = f"{'case':20} {'threads':>7} {'way':42} {'CPU-s median (least)':>22} {'wall s':>9} {'stock / this':>12}"
    lines = [head]
    for row in found:
        cpu = f"{row['median_cpu_seconds']:.3f} ({row['least_cpu_seconds']:.3f})"
        lines.append(
            f"{row['case']:20} {row['threads']:>7} {row['way']:42} {cpu:>22} {row['median_seconds']:>9.3f} "
            f"{row['ratio']:>11.1f}x"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench", description="Time our ways against stock ones.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=5, help="of each way (default: 5)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--out", type=Path, default=OUT, help="default: eval/bench.json")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := [name for name in options.cases if name not in CASES]:
        raise MedgenError(f"There is no case {unknown[0]!r}; there are: {', '.join(CASES)}.")
    if options.repeats < 1 or min(options.threads) < 1:
        raise MedgenError("--repeats and --threads must be whole numbers of at least 1.")
    if options.child:
        ways = import_module(CASES[options.cases[0]][0]).ways()
        print(json.dumps(measured(ways, options.repeats)))
        return 0
    rows = [
        row
        for case in options.cases or CASES
        for threads in options.threads
        for row in child(case, options.repeats, threads)
    ]
    found = summary(rows)
    print(table(found))
    ratios = {row["case"]: row["ratio"] for row in found if row["threads"] == options.threads[0] and row["ratio"] != 1}
    write_json(
        options.out,
        {
            "ratios": ratios, "summary": found, "rows": rows, "versions": provenance.versions(),
            "commit": provenance.commit(), "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
