"""The way into every training script: processes, and errors a user can read."""

from __future__ import annotations

from collections.abc import Callable

from medgen import launch


def start(module: str, main: Callable[[], int]) -> int:
    """Runs the `main` of `module` in as many processes as asked for and returns the exit status."""
    said = "Interrupted; the same command with --resume goes on from the last saved state."
    return launch.start(module, main, said)
