"""How much memory the metrics take for many images, each size in a process of its own.

    python -m eval.bench_memory [--n 1000 10000 50000] [--dim 256] [--out FILE]

Features are drawn, not made of pictures: two normal distributions whose means differ a little, written to a file a
chunk at a time and read from there as `eval.run` does. Prints the peak of resident memory, and what of it the
interpreter takes before the first feature. Writes `eval/bench_memory.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from eval import metrics
from eval.run_options import positive
from medgen import provenance
from medgen.atomic import write_json
from medgen.errors import exit_code
from medgen.turns import said

OUT = Path(__file__).with_name("bench_memory.json")
SIZES = (1000, 10_000, 50_000)
_CHUNK = 1000


def measured(n: int, dim: int) -> dict[str, Any]:
    """All metrics of `n` against `n` drawn features in this process: values, seconds and peaks in MiB."""
    before = peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: _drawn(Path(folder) / f"{name}.npy", n, dim, seed) for seed, name in enumerate(("real", "fake"))}
        start = time.perf_counter()
        near = metrics.neighbours(real=sides["real"], fake=sides["fake"])
        values = {name: float(one.mean()) for name, one in near.of().items()}
        values["kid"] = metrics.kid(real=sides["real"], fake=sides["fake"])
        values["fid"] = metrics.fid(real=sides["real"], fake=sides["fake"])
        seconds = time.perf_counter() - start
    return {"n": n, "dim": dim, "start_mib": before, "peak_mib": peak_mib(), "seconds": seconds, "values": values}


def _drawn(path: Path, n: int, dim: int, seed: int) -> np.ndarray:
    """`(n, dim)` float32 on disk."""
    rng = np.random.default_rng(seed)
    found = np.lib.format.open_memmap(path, "w+", np.float32, (n, dim))
    for start in range(0, n, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n))
        found[rows] = rng.normal(0.05 * seed, 1.0, (rows.stop - start, dim))
    found.flush()
    del found
    mapped: np.ndarray = np.load(path, mmap_mode="r")
    return mapped


def peak_mib() -> float:
    """The most memory this process has had so far, mapped files included, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.bench_memory", description="Peak memory of the metrics.")
    parser.add_argument("--n", type=positive, nargs="+", default=list(SIZES), help="default: 1000 10000 50000")
    parser.add_argument("--dim", type=positive, default=256, help="default: 256, that of our encoders")
    parser.add_argument("--out", type=Path, default=OUT, help="default: eval/bench_memory.json")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if min(options.n) <= metrics.NEAREST:
        parser.error(f"--n must be more than {metrics.NEAREST}")
    if options.child:
        print(json.dumps(measured(options.n[0], options.dim)))
        return 0
    rows = []
    for n in options.n:
        rows.append(found := said("eval.bench_memory", "--child", "--n", str(n), "--dim", str(options.dim)))
        print(
            f"{n:>7} x {options.dim}: peak {found['peak_mib']:.0f} MiB, {found['start_mib']:.0f} of them before the "
            f"first feature, {2 * n * options.dim * 4 / 2**20:.0f} MiB of features on disk, {found['seconds']:.0f} s",
            flush=True,
        )
    write_json(options.out, {"rows": rows, **provenance.stamp()})
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
