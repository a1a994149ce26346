"""From a cold process to the first picture: Python starts, imports, loads the weights, makes one image of ddpm-cxr-128.

    python -m eval.bench_cold stock | ours      what the case runs: prints 8 x 8 mean grey values of its picture

Ours finds its cache warm: the first call, which is not counted, has filled it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import numpy as np

import medgen
from medgen.errors import exit_code
from medgen.turns import Contest, Gap, Way, said

NAME = "ddpm-cxr-128"
_SIDE = 8
_ALLOWED = 0.02
"""Of black to white: bfloat16 and int8 may change a picture by that much, another picture differs by far more."""
_STOCK, _OURS = "torch and diffusers", "medgen.load(...).sample(...)"


def cold_start() -> Contest:
    """The same model, steps, guidance, label and seed both ways."""
    ways: dict[str, Way] = {_STOCK: lambda seed: _picture("stock"), _OURS: lambda seed: _picture("ours")}
    return Contest(ways, {"cold_start": _OURS}, gaps=gaps)


def gaps(made: Mapping[str, np.ndarray]) -> list[Gap]:
    """How far the two pictures are from each other."""
    apart = float(np.abs(made[_OURS] - made[_STOCK]).max())
    return [Gap(_OURS, "a mean grey value of 8 x 8, of black to white", apart, _ALLOWED)]


def _picture(which: str) -> np.ndarray:
    """`(8, 8)` in [0, 1], made by a process of its own."""
    return np.array(said("eval.bench_cold", which))


def picture(which: str) -> np.ndarray:
    """`(H, W)` in [0, 1]."""
    card = medgen.cards()[NAME]
    if which == "ours":
        return medgen.load(NAME).sample(medgen.Request(seeds=(0,), label=card.labels[0])).unit_range()[0, 0]
    import torch

    from eval.bench_plain import network_of, sampler

    torch.set_grad_enabled(False)
    pixels: np.ndarray = sampler(card, network_of(card))(0).numpy()[0, 0]
    return np.clip(pixels / 2.0 + 0.5, 0.0, 1.0)


def main(argv: list[str] | None = None) -> int:
    """The process that is timed."""
    made = picture((sys.argv[1:] if argv is None else argv)[0])
    step = len(made) // _SIDE
    print(json.dumps(made.reshape(_SIDE, step, _SIDE, step).mean(axis=(1, 3)).tolist()))
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
