"""The state of a run on disk: one file, replaced atomically, read without unpickling code."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medgen.atomic import write_bytes
from medgen.errors import MedgenError

if TYPE_CHECKING:
    from train.run import Run


STATE = "state.pt"


def save(run: Run, path: Path) -> None:
    """Writes all that `restore` needs: a SIGKILL at any moment leaves the old state or the new one."""
    scaler = run.accelerator.scaler
    content = {
        "modules": {name: module.state_dict() for name, module in run.modules.items()},
        "averages": {name: module.state_dict() for name, module in run.averages.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in run.optimizers.items()},
        "scaler": None if scaler is None else scaler.state_dict(),
        "extra": run.extra,
        "random": torch.get_rng_state(),
        "progress": {
            "step": run.step,
            "seen": run.seen,
            "update": run.order.update,
            "seconds": run.seconds,
            "cpu_seconds": run.cpu_seconds,
            "best": [list(one) for one in run.best],
            "stale": run.stale,
        },
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def restore(run: Run, path: Path) -> None:
    """Fills `run` from a saved state.

    Raises:
        MedgenError: no state, an unreadable one, or one of another network or update size.
    """
    try:
        # weights_only: tensors and plain values, no code
        content: dict[str, Any] = torch.load(path, map_location=run.device, weights_only=True)
        progress = content["progress"]
    except (OSError, KeyError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise MedgenError(
            f"{path} cannot be resumed ({reason}); start again without --resume in another --out."
        ) from error
    if progress["update"] != run.order.update:
        raise MedgenError(
            f"The saved run made updates of {progress['update']} images, this one of {run.order.update}: "
            "choose --batch and --accumulate so that they are equal."
        )
    try:
        for name, module in run.modules.items():
            module.load_state_dict(content["modules"][name])
        for name, module in run.averages.items():
            module.load_state_dict(content["averages"][name])
        for name, optimizer in run.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
    except (KeyError, RuntimeError, ValueError) as error:
        raise MedgenError(f"{path} is the state of another network; resume with the options of that run.") from error
    if run.accelerator.scaler is not None and content["scaler"] is not None:
        run.accelerator.scaler.load_state_dict(content["scaler"])
    for name, tensor in content["extra"].items():
        run.extra[name].copy_(tensor)
    torch.set_rng_state(content["random"].cpu())
    run.step, run.seconds, run.stale = progress["step"], progress["seconds"], progress["stale"]
    run.cpu_seconds = progress.get("cpu_seconds", 0.0)  # states of an earlier version do not know it
    run.best = [(metric, name) for metric, name in progress["best"]]


def rewind_log(path: Path, step: int) -> None:
    """Drops the lines of updates that the saved state does not know: they will be made again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = []
    for line in lines:
        try:
            if json.loads(line)["step"] < step:
                kept.append(line)
        except ValueError:  # the last line of a killed run may be cut
            break
    write_bytes(path, "".join(kept).encode())
