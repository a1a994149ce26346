"""What a feature space is, and how those with weights come to them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgen.errors import MedgenError

DISTANCES = ("fid", "kid", "precision", "recall", "density", "coverage")
"""Metrics of the spaces of trained networks. "fid" is the Frechet distance, called FID in full for Inception alone."""
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Extractor:
    """A feature space. Numbers from two of them never stand in one table.

    Args:
        name: what the report and the board call it.
        sha256: of the weights file, or of the sentence that defines the space where there are no weights.
        dim: length D of one feature vector.
        metrics: which metrics of `eval.report.METRICS` mean something in this space.
        run: `(N, C, H, W)` uint8 -> `(N, D)` float32.
        source: where the weights come from and what they learned from.
        licence: of the weights.
        modality: DICOM code of the only pictures it is for; None = any.
    """

    name: str
    sha256: str
    dim: int
    metrics: tuple[str, ...]
    run: Run
    source: str = ""
    licence: str = ""
    modality: str | None = None


def packaged(package: str, file: str, what: str, command: str) -> Path:
    """Where an installed package keeps its weights; it is only located, never imported.

    Raises:
        MedgenError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / file if folders else None
    if path is None or not path.is_file():
        raise MedgenError(
            f"{what} features need the weights in the package {package.replace('_', '-')}: run `{command}`."
        )
    return path


def when_needed(load: Callable[[], Run]) -> Run:
    """A function that is loaded when it is first called."""
    loaded: list[Run] = []

    def run(pixels: np.ndarray) -> np.ndarray:
        if not loaded:
            loaded.append(load())
        return loaded[0](pixels)

    return run
