"""Carries out a study whose features several processes may make; the main one writes its file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from eval.result_files import path_of, write
from eval.shards import Shards, shards
from medgen import launch

Study = Callable[[argparse.Namespace, Shards, bool], dict[str, Any] | None]
"""`study(options, shared, progress)`: the content of the file; None in a process that is not the main one."""


def carry_out(
    name: str, stem: str, study: Study, options: argparse.Namespace, argv: Sequence[str] | None,
    show: Callable[[dict[str, Any]], str] | None = None,
) -> int:  # fmt: skip
    """Runs `study` and writes `options.out`, or results/STEM-PROTOCOL.json; returns the exit code.

    Args:
        name: of the module.
        stem: beginning of the name of the file.
        study: what is run.
        options: of its command line, with `protocol` and `out`.
        argv: its arguments; None = those of the process.
        show: what is printed of the content.
    """

    def work() -> int:
        with shards() as shared:
            found = study(options, shared, sys.stderr.isatty() and shared.main)
        if found is not None:
            if show is not None:
                print(show(found))
            write(options.out or path_of(stem, options.protocol), found, name, sys.argv[1:] if argv is None else argv)
        return 0

    return launch.start(name, work, "Interrupted; features made so far are kept.")
