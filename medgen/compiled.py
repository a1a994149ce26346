"""Networks compiled by OpenVINO, for CPUs: the same function as torch's, in about 0.6 of the time.

Used where `MEDGEN_RUNTIME=openvino` and the package openvino is installed; `medgen.runtime.evaluate` asks here. A
network is converted once a process and input shape (some seconds), in float32. One stream of one thread for each core,
so that a result does not depend on the number of threads.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from medgen.errors import MedgenError

RUNTIMES = ("torch", "openvino")
_building = threading.Lock()


def wanted() -> bool:
    """Whether networks are to be compiled: `MEDGEN_RUNTIME=openvino`, and it is installed.

    Raises:
        MedgenError: `MEDGEN_RUNTIME` names no runtime.
    """
    name = os.environ.get("MEDGEN_RUNTIME", "torch")
    if name not in RUNTIMES:
        raise MedgenError(f"MEDGEN_RUNTIME={name} is no runtime; use {' or '.join(RUNTIMES)}.")
    if name == "openvino" and find_spec("openvino") is None:
        logging.getLogger(__name__).warning("openvino is not installed (pip install openvino): networks run in torch.")
        os.environ["MEDGEN_RUNTIME"] = "torch"  # said once
        return False
    return name == "openvino"


def call(function: Callable[..., Tensor], inputs: list[Tensor], streams: int) -> Tensor:
    """`function(*inputs)`, compiled on first use.

    Args:
        function: a module in evaluation mode, or a method of one; its compiled forms are kept with that module.
        inputs: all of one image.
        streams: how many threads may call at once.
    """
    owner: Any = getattr(function, "__self__", function)
    key = (getattr(function, "__name__", "forward"), *(tuple(tensor.shape) for tensor in inputs))
    forms: dict[Any, Any] = owner.__dict__.setdefault("compiled_forms", {})
    if key not in forms:
        with _building:
            if key not in forms:
                forms[key] = _Form(function, inputs, streams)
    return forms[key](inputs)


class _Function(nn.Module):
    """A method of a module, as a module: what the converter takes."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.owner = getattr(function, "__self__", function)
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class _Form:
    """One compiled function; each thread has its own request to it."""

    def __init__(self, function: Callable[..., Tensor], inputs: list[Tensor], streams: int) -> None:
        import openvino

        # sizes that the network reads while it is traced are constants of this form
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            example = tuple(tensor.clone() for tensor in inputs)
            model = openvino.convert_model(_Function(function).eval(), example_input=example)
        settings = {"INFERENCE_NUM_THREADS": streams, "NUM_STREAMS": streams, "INFERENCE_PRECISION_HINT": "f32"}
        settings["ENABLE_CPU_PINNING"] = False  # or two processes share the first core and leave the others idle
        self.compiled = openvino.Core().compile_model(model, "CPU", settings)
        self.local = threading.local()

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        if not hasattr(self.local, "request"):
            self.local.request = self.compiled.create_infer_request()
        self.local.request.infer([tensor.numpy() for tensor in inputs])
        return torch.from_numpy(self.local.request.get_output_tensor(0).data.copy())
