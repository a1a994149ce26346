"""The way into every command that spreads over processes: as many as asked for, and errors a user can read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import psutil

from medgen.errors import MedgenError, exit_code


def start(module: str, main: Callable[[], int], interrupted: str) -> int:
    """Runs the `main` of `module` and returns the exit status.

    `accelerate launch --num_processes N --cpu` starts one process only, unless it is given an mpirun host file, and
    says nothing. Here it starts the N it was asked for.

    Args:
        module: its name, as `python -m` takes it.
        main: what it does.
        interrupted: what Ctrl-C leaves behind, in a sentence.
    """

    def work() -> int:
        wanted = _processes_asked_for()
        if wanted <= 1:
            return main()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(wanted)]
        environment = {k: v for k, v in os.environ.items() if k not in ("MASTER_ADDR", "MASTER_PORT")}
        # behind "--" nothing is an option of the launcher: without it `--n` would be short for several of them
        return subprocess.run([*launcher, "-m", "--", module, *sys.argv[1:]], env=environment, check=False).returncode

    return exit_code(work, interrupted)


def _processes_asked_for() -> int:
    """The N of an `accelerate launch --cpu` that started this process alone; 1 in every other case."""
    alone = "MASTER_ADDR" in os.environ and "RANK" not in os.environ and "PMI_SIZE" not in os.environ
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    parent = psutil.Process().parent()
    if not (alone and on_cpu and parent is not None):
        return 1
    words = " ".join(parent.cmdline()).replace("=", " ").replace("num-processes", "num_processes").split()
    if "--num_processes" not in words:
        raise MedgenError(
            "accelerate started one process only: name --num_processes on its command line, or use torchrun."
        )
    return int(words[words.index("--num_processes") + 1])
