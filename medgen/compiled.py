"""Networks compiled by OpenVINO, for CPUs: the same function as torch's, in less time, and loaded without torch.

Converting a network takes torch and some seconds. What comes out is kept by `medgen.artefacts`, so that a later process
loads it in a fraction of a second. One stream of one thread for each core, so that a result does not depend on the
number of threads.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medgen import artefacts, backend

if TYPE_CHECKING:
    from torch import Tensor

SOURCES = (
    "autoencoder", "compiled", "denoiser", "diffusion_networks", "gan_networks", "stylegan", "translation_networks",
    "volume_gan", "volume_networks",
)  # fmt: skip
"""Modules that say what a generating network computes: an artefact of other code than this is not used."""
_building = threading.Lock()


def wanted() -> bool:
    """Whether networks that measure are to be compiled: in float32, and only where that was asked for by name."""
    return backend.asked() in (backend.OPENVINO, backend.OPENVINO_BF16) and backend.name() != backend.TORCH


def call(function: Callable[..., Tensor], inputs: list[Tensor], streams: int, numbers: str = "f32") -> Tensor:
    """`function(*inputs)`, converted on first use, once a process.

    Args:
        function: a module in evaluation mode, or a method of one; its compiled forms are kept with that module.
        inputs: all of one image.
        streams: how many threads may call at once.
        numbers: "f32" or "bf16", what it computes in.
    """
    import torch

    owner: Any = getattr(function, "__self__", function)
    key = (getattr(function, "__name__", "forward"), numbers, *(tuple(tensor.shape) for tensor in inputs))
    forms: dict[Any, Any] = owner.__dict__.setdefault("compiled_forms", {})
    with _building:
        if key not in forms:
            forms[key] = Form(_compile(_converted(function, inputs), streams, numbers))
    return torch.from_numpy(forms[key]([tensor.numpy() for tensor in inputs]))


def kept(
    about: dict[str, Any], inputs: Sequence[np.ndarray], numbers: str, function: Callable[[], Callable[..., Tensor]]
) -> Form:
    """A compiled function, from the cache if it is there.

    Args:
        about: what the function is, as JSON values: its network, its weights, its name.
        inputs: all of one image.
        numbers: "f32" or "bf16", what it computes in.
        function: gives the function itself, which loads torch, where the cache has nothing.
    """
    import openvino

    streams = backend.cores()
    facts = {
        **about, "shapes": [list(one.shape) for one in inputs], "numbers": numbers,
        "code": _code(), "openvino": openvino.__version__, "cpu": _cpu(),
    }  # fmt: skip
    path = artefacts.place(facts)
    content = artefacts.read(path)
    if content is not None:
        try:
            return Form(openvino.Core().import_model(content, "CPU", _settings(streams, numbers)))
        except RuntimeError as error:
            backend.say_once(f"A compiled network in the cache cannot be loaded and is built anew: {error}")
    import torch

    with _building:
        compiled = _compile(_converted(function(), [torch.from_numpy(one) for one in inputs]), streams, numbers)
    artefacts.write(path, compiled.export_model().read())
    return Form(compiled)


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the modules that networks are made by."""
    found = hashlib.sha256()
    for name in SOURCES:
        found.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return found.hexdigest()


@lru_cache(maxsize=1)
def _cpu() -> list[str]:
    """What machine code is made for."""
    import openvino

    core = openvino.Core()
    names = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    return [str(core.get_property("CPU", name)) for name in names]


def _converted(function: Callable[..., Tensor], inputs: list[Tensor]) -> Any:
    """`function` as OpenVINO's graph, for inputs of exactly these sizes."""
    import openvino
    import torch

    class Function(torch.nn.Module):
        """A method of a module, as a module: what the converter takes."""

        def __init__(self) -> None:
            super().__init__()
            self.owner = getattr(function, "__self__", function)

        def forward(self, *inputs: Tensor) -> Tensor:
            return function(*inputs)

    # sizes that the network reads while it is traced are constants of this form
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        example = tuple(tensor.clone() for tensor in inputs)
        return openvino.convert_model(Function().eval(), example_input=example)


def _settings(streams: int, numbers: str) -> dict[str, Any]:
    return {
        "INFERENCE_NUM_THREADS": streams, "NUM_STREAMS": streams, "INFERENCE_PRECISION_HINT": numbers,
        # or two processes share the first core and leave the others idle
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip


def _compile(model: Any, streams: int, numbers: str) -> Any:
    import openvino

    return openvino.Core().compile_model(model, "CPU", _settings(streams, numbers))


class Form:
    """One compiled function; each thread has its own request to it."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._local = threading.local()

    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The result for one image."""
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        self._local.request.infer([np.ascontiguousarray(one) for one in inputs])
        result: np.ndarray = self._local.request.get_output_tensor(0).data.copy()
        return result

    def over(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The results for N images, each by a call of its own, spread over the cores."""

        def one(index: int) -> np.ndarray:
            return self([batch[index : index + 1] for batch in inputs])

        return np.concatenate(list(_pool(backend.cores()).map(one, range(len(inputs[0])))))


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "medgen-compiled")
