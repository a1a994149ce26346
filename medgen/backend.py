"""What computes networks: torch or OpenVINO, on which device, on how many cores. Asked without loading torch.

| `MEDGEN_RUNTIME` | generation | networks that measure |
|---|---|---|
| auto (default) | OpenVINO on a CPU, bfloat16 where it multiplies that; torch on a GPU or without OpenVINO | torch |
| torch | torch | torch |
| openvino | OpenVINO, float32 | OpenVINO, float32 |
| openvino-bf16 | OpenVINO, bfloat16 where the CPU multiplies it | OpenVINO, float32 |
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.errors import MedgenError

if TYPE_CHECKING:
    import torch

AUTO, TORCH, OPENVINO, OPENVINO_BF16 = "auto", "torch", "openvino", "openvino-bf16"
RUNTIMES = (AUTO, TORCH, OPENVINO, OPENVINO_BF16)
_using: ContextVar[str | None] = ContextVar("medgen runtime", default=None)


@contextmanager
def using(name: str | None) -> Iterator[None]:
    """In this block, and in this thread, networks run as `MEDGEN_RUNTIME=name` says; None changes nothing.

    Raises:
        MedgenError: there is no such runtime.
    """
    if name is not None:
        _known(name)
    token = _using.set(name if name is not None else _using.get())
    try:
        yield
    finally:
        _using.reset(token)


def measuring() -> None:
    """Makes torch the default of this process and its children: reports must not change with what is installed."""
    os.environ.setdefault("MEDGEN_RUNTIME", TORCH)


def asked() -> str:
    """What `using` or `MEDGEN_RUNTIME` says, one of `RUNTIMES`.

    Raises:
        MedgenError: it names no runtime.
    """
    return _known(_using.get() or os.environ.get("MEDGEN_RUNTIME") or AUTO)


def _known(name: str) -> str:
    if name not in RUNTIMES:
        raise MedgenError(f"MEDGEN_RUNTIME={name} is no runtime; use {' or '.join(RUNTIMES)}.")
    return name


def name() -> str:
    """The runtime in force for generation: "torch", "openvino" or "openvino-bf16". Manifests keep it.

    Raises:
        MedgenError: `MEDGEN_RUNTIME` names no runtime.
    """
    wanted = asked()
    if wanted == TORCH or device_type() != "cpu":
        return TORCH
    if find_spec("openvino") is None:
        say_once("openvino is not installed (pip install openvino): networks run in torch, which takes longer.")
        return TORCH
    if wanted == OPENVINO:
        return OPENVINO
    if multiplies_bf16():
        return OPENVINO_BF16
    if wanted == OPENVINO_BF16:
        say_once("This CPU does not multiply bfloat16: networks run in float32.")
    return OPENVINO


@lru_cache(maxsize=1)
def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16, as OpenVINO sees it."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@lru_cache(maxsize=64)
def say_once(sentence: str) -> None:
    """Logs a warning the first time it is given."""
    logging.getLogger("medgen").warning(sentence)


def device() -> torch.device:
    """The accelerator if there is one, else the CPU. `MEDGEN_DEVICE` overrides.

    Raises:
        MedgenError: `MEDGEN_DEVICE` names no device.
    """
    import torch

    if name := os.environ.get("MEDGEN_DEVICE"):
        try:
            return torch.device(name)
        except RuntimeError as error:
            raise MedgenError(f"MEDGEN_DEVICE={name} is no device; use cpu, cuda or mps.") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_type() -> str:
    """The type of `device()`: torch is loaded to find out only where there are signs of an accelerator."""
    if os.environ.get("MEDGEN_DEVICE") == "cpu":
        return "cpu"
    signs = bool(os.environ.get("MEDGEN_DEVICE")) or platform.system() == "Darwin" or _has_gpu_driver()
    return device().type if signs or "torch" in sys.modules else "cpu"


@lru_cache(maxsize=1)
def _has_gpu_driver() -> bool:
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either of them inside WSL
    return any(Path(place).exists() for place in devices) or shutil.which("nvidia-smi") is not None


def cores() -> int:
    """CPU cores to use; `MEDGEN_THREADS` overrides.

    Raises:
        MedgenError: `MEDGEN_THREADS` is no whole number of at least 1.
    """
    number = os.environ.get("MEDGEN_THREADS", "")
    if number and not (number.isdigit() and int(number) > 0):
        raise MedgenError(f"MEDGEN_THREADS={number} must be a whole number of at least 1.")
    return int(number or os.cpu_count() or 1)
