"""Metrics of drawn numbers: torchmetrics and `prdc` against ours."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout

import numpy as np

from eval import metrics
from eval.bench_memory import peak_mib
from medgen.errors import exit_code
from medgen.pair_metrics import compared
from medgen.turns import Contest, Gap, Way, said

_FID_SIZE = (1000, 2048)
_KNN_SIZE = (5000, 256)
_KNN_MEMORY_SIZE = (10_000, 64)
_SSIM_IMAGES, _SSIM_SIDE, _SSIM_EDGE = 32, 256, 5
_OURS = "medgen"
_KNN = ("precision", "recall", "density", "coverage")


def fid_trace() -> Contest:
    """FID of features that are there: torchmetrics' metric, whose network is replaced by the identity."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        num_features = _FID_SIZE[1]

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    real, fake = drawn(*_FID_SIZE)
    stock = "torchmetrics FrechetInceptionDistance"

    def theirs(seed: int) -> float:
        metric = FrechetInceptionDistance(feature=Given(), normalize=True).set_dtype(torch.float64)
        metric.update(torch.from_numpy(real), real=True)
        metric.update(torch.from_numpy(fake), real=False)
        return float(metric.compute())

    ways: dict[str, Way] = {stock: theirs, _OURS: lambda seed: metrics.fid(real=real, fake=fake)}

    def gaps(made: Mapping[str, float]) -> list[Gap]:
        return [Gap(_OURS, "FID, relative", abs(made[_OURS] / made[stock] - 1.0), 1e-6)]

    return Contest(ways, {"fid_trace": _OURS}, gaps=gaps)


def knn_time() -> Contest:
    """Precision, recall, density and coverage of 5,000 against 5,000 vectors of 256 numbers."""
    real, fake = drawn(*_KNN_SIZE)
    return _knn({"prdc": lambda seed: _prdc(real, fake), _OURS: lambda seed: _neighbours(real, fake)}, "knn_time")


def knn_memory() -> Contest:
    """The same of 10,000 against 10,000 of 64, each in a process of its own: memory beyond what it began with."""
    return _knn(
        {name: (lambda seed, name=name: said("eval.bench_metrics", name)) for name in _MEASURES},
        "knn_memory",
        "extra_mib",
    )


def ssim() -> Contest:
    """Of 32 pairs of slices of 256 x 256. At the very edge the two mirror differently; it is left out of both."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    real, fake = _slices()
    stock, edge = "torchmetrics", slice(_SSIM_EDGE, -_SSIM_EDGE)
    inside = np.zeros(real.shape[1:], bool)
    inside[edge, edge] = True

    def theirs(seed: int) -> np.ndarray:
        sides = [torch.from_numpy(one)[:, None] for one in (fake, real)]
        _, whole = structural_similarity_index_measure(*sides, data_range=1.0, reduction="none", return_full_image=True)
        found: np.ndarray = whole[:, 0, edge, edge].mean(dim=(1, 2)).numpy()
        return found

    def ours(seed: int) -> np.ndarray:
        both = zip(real, fake, strict=True)
        return np.array([compared(real=x, fake=y, inside=inside, data_range=1.0).ssim for x, y in both])

    def gaps(made: Mapping[str, np.ndarray]) -> list[Gap]:
        return [Gap(_OURS, "SSIM of a slice", float(np.abs(made[_OURS] - made[stock]).max()), 1e-4)]

    return Contest({stock: theirs, _OURS: ours}, {"ssim": _OURS}, gaps=gaps)


def drawn(n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets `(n, dim)` float32 of normal numbers that differ a little in mean and width."""
    rng = np.random.default_rng(0)
    real, fake = (rng.normal(size=(n, dim)) for _ in range(2))
    return real.astype(np.float32), (1.1 * fake + 0.05).astype(np.float32)


def _slices() -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    clouds = gaussian_filter(rng.normal(size=(_SSIM_IMAGES, _SSIM_SIDE, _SSIM_SIDE)), (0, 6, 6))
    real = np.clip(0.5 + 0.2 * clouds / clouds.std(), 0, 1)
    fake = np.clip(real + 0.05 * rng.normal(size=real.shape), 0, 1)
    return real.astype(np.float32), fake.astype(np.float32)


def _knn(ways: dict[str, Way], key: str, measure: str = "cpu_seconds") -> Contest:
    def gaps(made: Mapping[str, dict[str, float]]) -> list[Gap]:
        return [Gap(_OURS, name, abs(made[_OURS][name] - made["prdc"][name]), 1e-4) for name in _KNN]

    def columns(made: dict[str, float]) -> dict[str, float]:
        return {"extra_mib": made["extra_mib"]} if "extra_mib" in made else {}

    slow = frozenset(ways) if measure == "extra_mib" else frozenset[str]()
    return Contest(ways, {key: _OURS}, slow=slow, gaps=gaps, columns=columns, measure=measure)


def _prdc(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    from prdc import compute_prdc

    with redirect_stdout(io.StringIO()):  # it prints the sizes
        found = compute_prdc(real, fake, nearest_k=metrics.NEAREST)
    return {name: float(value) for name, value in found.items()}


def _neighbours(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    return {name: float(one.mean()) for name, one in metrics.neighbours(real=real, fake=fake).of().items()}


_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {"prdc": _prdc, _OURS: _neighbours}


def main(argv: list[str] | None = None) -> int:
    """The process whose memory is measured: what it has at its peak beyond imports and the features themselves."""
    run = _MEASURES[(sys.argv[1:] if argv is None else argv)[0]]
    real, fake = drawn(*_KNN_MEMORY_SIZE)
    run(real[:100], fake[:100])  # libraries load and threads start
    before = peak_mib()
    values = run(real, fake)
    print(json.dumps({**values, "extra_mib": peak_mib() - before}))
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
