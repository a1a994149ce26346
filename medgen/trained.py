"""The trained network of a card as a function of arrays: compiled where that is the runtime, in torch otherwise.

Samplers call it by name with NumPy arrays and need not know which it is. torch is loaded only to compute with it, or to
compile what is not in the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np

from medgen import backend, compiled, runtime
from medgen.card import ModelCard

WHOLE = "forward"


class Trained:
    """What a sampler has of a network.

    Args:
        card: the model.
        build: the untrained network of `card.net`.

    Raises:
        MedgenError: in torch, that the card or the weights are broken; compiled, the first call says so.
    """

    def __init__(self, card: ModelCard, build: Callable[[dict[str, Any]], Any]) -> None:
        self.card = card
        self._build = build
        self._forms: dict[Any, compiled.Form] = {}
        self._lock = threading.Lock()
        if backend.name() == backend.TORCH:
            _ = self.network

    @cached_property
    def network(self) -> Any:
        """The torch module with its weights, on `runtime.device()`, in evaluation mode."""
        return runtime.trained(self.card, self._build)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """The network itself, `run("forward", ...)`."""
        return self.run(WHOLE, *inputs)

    def run(self, function: str, *inputs: np.ndarray) -> np.ndarray:
        """A method of the network, by its dotted name, without gradients.

        Args:
            function: such as "autoencoder.decode".
            inputs: `(N, ...)` float32 each: they share their first axis, the images.

        Returns:
            `(N, ...)` float32. Image i depends on its own inputs alone.
        """
        name = backend.name()
        if name == backend.TORCH:
            import torch

            made: np.ndarray = runtime.evaluate(self._function(function), *map(torch.from_numpy, inputs)).numpy()
            return made
        numbers = "bf16" if name == backend.OPENVINO_BF16 else "f32"
        return self._form(function, inputs, numbers).over(inputs)

    def to_pixels(self, values: np.ndarray) -> np.ndarray:
        """What a network of pictures or of latents made, `(N, C, h, w)`, as pictures `(N, 1, H, W)`, about [-1, 1]."""
        return self.run("autoencoder.decode", values) if self.card.net.get("autoencoder") else values

    def from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Pictures `(N, 1, H, W)` in [-1, 1] in the space of such a network."""
        return self.run("autoencoder.encode", pixels) if self.card.net.get("autoencoder") else pixels

    def _function(self, function: str) -> Any:
        # called as a module, not by its forward: hooks count
        return self.network if function == WHOLE else attrgetter(function)(self.network)

    def _form(self, function: str, inputs: tuple[np.ndarray, ...], numbers: str) -> compiled.Form:
        key = (function, numbers, backend.cores(), *(one.shape[1:] for one in inputs))
        with self._lock:
            if key not in self._forms:
                card = self.card
                about = {"family": card.family, "net": card.net, "weights": card.weights, "function": function}
                one = [np.ascontiguousarray(batch[:1]) for batch in inputs]
                self._forms[key] = compiled.kept(about, one, numbers, lambda: self._function(function))
            return self._forms[key]
