"""Work spread over processes, and a folder where its pieces wait, so that nobody has to hold all of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgen.cache import cache_dir


@dataclass(frozen=True)
class Shards:
    """One of the processes that share a run.

    Args:
        folder: the same for all of them, removed at the end.
        index: which process this is, from 0.
        count: how many there are.
        state: accelerate's, where there are several.
    """

    folder: Path
    index: int = 0
    count: int = 1
    state: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.index == 0

    def mine(self, n: int) -> range:
        """Which of `n` pieces of work are this process's."""
        return range(self.index, n, self.count)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.state is not None:
            self.state.wait_for_everyone()


@contextmanager
def shards() -> Iterator[Shards]:
    """This process's share of the run: alone, or one of those that `medgen.launch` or accelerate started."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with tempfile.TemporaryDirectory(prefix="pieces-", dir=_place()) as name:
            yield Shards(Path(name))
        return
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    from medgen.runtime import device

    # accelerate spreads over CPUs only where it is told that there is nothing else
    state = PartialState(cpu=device().type == "cpu")
    folders = [tempfile.mkdtemp(prefix="pieces-", dir=_place()) if state.is_main_process else ""]
    folder = Path(broadcast_object_list(folders)[0])
    try:
        yield Shards(folder, state.process_index, state.num_processes, state)
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
        state.destroy_process_group()


def _place() -> Path | None:
    """Where the folder goes: beside the cache, which has room for features; None = where the system has it."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return cache_dir() if os.access(cache_dir(), os.W_OK) else None
