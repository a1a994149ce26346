"""Ways to do one thing, timed in turns: the stock way first, ours after it, one process for all of them.

    python -m medgen.turns eval.bench_metrics:ssim --repeats 3

`eval.bench` starts this for each of its cases and reads what it prints, one line of JSON. A slower minute of a shared
machine meets all ways. CPU time is that of all threads, and of the processes that a way starts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from medgen.errors import MedgenError, exit_code

Way = Callable[[int], Any]
"""Does the work once, for a seed."""
CPU = "cpu_seconds"


@dataclass(frozen=True)
class Gap:
    """How far what a way made is from what the stock way made.

    Args:
        way: its name.
        what: what was compared, in words.
        value: the difference.
        allowed: the largest that will do.
    """

    way: str
    what: str
    value: float
    allowed: float


@dataclass(frozen=True)
class Contest:
    """Ways to do one thing.

    Args:
        ways: name -> the work; the stock way first.
        ratios: key of a ratio -> the way that the stock way is divided by.
        skipped: key of a ratio -> why it cannot be measured here, and what to do about it.
        slow: ways whose first call counts: they take so long that a warm-up would change nothing.
        gaps: compares what each way made for its first seed.
        columns: turns what a way made into more numbers of its row.
        measure: the number that ratios are made of.
    """

    ways: Mapping[str, Way]
    ratios: Mapping[str, str]
    skipped: Mapping[str, str] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()
    gaps: Callable[[Mapping[str, Any]], Sequence[Gap]] | None = None
    columns: Callable[[Any], Mapping[str, float]] | None = None
    measure: str = CPU


def measured(contest: Contest, repeats: int) -> dict[str, Any]:
    """Times all ways in turns.

    Args:
        contest: the ways.
        repeats: measurements of each, after a first one that is not counted unless the way is slow.

    Returns:
        `rows` of `{"way", "repeat", "cpu_seconds", "seconds", ...}`, `gaps`, and what the contest says of its ratios.

    Raises:
        MedgenError: what two ways make differs more than is allowed.
    """
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for repeat in range(-1, repeats):
        for name, way in contest.ways.items():
            if name in contest.slow and repeat == repeats - 1:
                continue  # it began a turn earlier
            cpu, wall = _cpu_seconds(), time.perf_counter()
            made = way(repeat + 1)
            row: dict[str, Any] = {CPU: _cpu_seconds() - cpu, "seconds": time.perf_counter() - wall}
            if contest.columns is not None:
                row |= contest.columns(made)
            first.setdefault(name, made)
            if repeat >= 0 or name in contest.slow:
                rows.append({"way": name, "repeat": repeat + (name in contest.slow), **row})
        if repeat == -1:
            gaps = _checked(contest, first)
            first = dict.fromkeys(first)  # what they made may be large
    return {
        "rows": rows, "gaps": [asdict(gap) for gap in gaps], "ratios": dict(contest.ratios),
        "skipped": dict(contest.skipped), "measure": contest.measure,
    }  # fmt: skip


def _checked(contest: Contest, made: Mapping[str, Any]) -> Sequence[Gap]:
    gaps = () if contest.gaps is None else contest.gaps(made)
    for gap in gaps:
        # not "greater": NaN is no agreement either
        if not gap.value <= gap.allowed:
            raise MedgenError(
                f"{gap.way}: {gap.what} differs by {gap.value:.3g} from the stock way, {gap.allowed:.3g} is allowed: "
                "a time for another result says nothing. Find what changed the values."
            )
    return gaps


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def said(*words: str, environment: Mapping[str, str] | None = None) -> Any:
    """What `python -m WORDS` prints on its last line, which is JSON.

    Args:
        words: module and arguments.
        environment: of the process; None = that of this one.

    Raises:
        MedgenError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", *words], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise MedgenError(f"python -m {' '.join(words)} failed; what it said stands above.")
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m medgen.turns", description="Time ways to do one thing in turns.")
    parser.add_argument("contest", metavar="MODULE:FUNCTION", help="makes the Contest")
    parser.add_argument("--repeats", type=int, default=3, help="of each way (default: 3)")
    options = parser.parse_args(argv)
    module, _, function = options.contest.partition(":")
    print(json.dumps(measured(getattr(import_module(module), function)(), options.repeats), allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
