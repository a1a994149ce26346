"""Does a model make what number it is asked for? Slices at asked heights, and the height that a gauge reads off each.

    python -m eval.height NAME [NAME ...] [--n N] [--steps S] [--guidance G]

Asked are the numbers of the train split, spread over the seeds as `eval.run` does. The gauge (`medgen.gauge`) learned
from real slices alone; its own error on held-out real slices stands beside every result, which cannot be better.
Writes checkpoints/NAME/height.json.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from eval.fakes import sample
from eval.height_file import FILE
from eval.over_patients import rounded
from eval.quantities import quantities_for
from medgen import data, provenance, registry
from medgen.agreement import agreement
from medgen.atomic import write_json
from medgen.backend import measuring
from medgen.errors import MedgenError, exit_code
from medgen.gauge import Gauge, gauge_for, load_gauge
from medgen.generator import Generator, Request

IMAGES = 300


def measured(
    model: Generator, gauge: Gauge, known: tuple[float, ...], n: int, like: Request, *, progress: bool = False
) -> dict[str, Any]:
    """The content of a height.json.

    Args:
        model: whose card has a quantity.
        gauge: that reads it.
        known: numbers of the train split.
        n: how many images, of the seeds 0 to n - 1.
        like: steps and guidance, where not the card's.
        progress: a bar on stderr.
    """
    card = model.card
    asked = quantities_for(card, range(n), known)
    images = sample(model, range(n), [None] * n, like, quantities=asked, progress=progress)
    read = gauge.read(images)
    wanted = np.array(asked, np.float64)
    return {
        "model": card.name,
        "weights": card.weights,
        "data": card.data or "",
        "quantity": dict(gauge.card.quantity),
        "steps": card.steps if like.steps is None else like.steps,
        "guidance": card.guidance if like.guidance is None else like.guidance,
        "gauge": {"name": gauge.card.name, "weights": gauge.card.weights, "test": gauge.card.test},
        "agreement": agreement(wanted, read),
        "seeds": {"first": 0, "last": n - 1},
        "asked": [rounded(value) for value in wanted],
        "measured": [rounded(value) for value in read],
        **provenance.stamp(),
    }


def measure(name: str, n: int, like: Request, *, progress: bool = False) -> dict[str, Any]:
    """`measured` of the model called `name`.

    Raises:
        MedgenError: there is none, it is asked for no number, no gauge reads that, or its data are not here.
    """
    model = registry.load(name)
    if "quantity" not in model.card.controls or len(model.card.shape) != 3:
        able = [one.name for one in registry.cards().values() if "quantity" in one.controls and len(one.shape) == 3]
        raise MedgenError(f"{name} makes no pictures of an asked number; choose from {', '.join(able) or 'none yet'}.")
    found = gauge_for(model.card)
    if found is None:
        raise MedgenError(f"No gauge reads the {model.card.quantity['name']} of pictures like those of {name}; "
                          f"run python -m train.gauge --data {model.card.data} --name NAME --export.")  # fmt: skip
    gauge = load_gauge(found)
    known = data.real(gauge.card.data, "train").quantities or ()
    return measured(model, gauge, known, n, like, progress=progress)


def summary(found: dict[str, Any]) -> str:
    """A result as lines of text."""
    unit, own, real = found["quantity"]["unit"], found["agreement"], found["gauge"]["test"]
    lines = [f"{found['model']} | {found['quantity']['name']} asked and as {found['gauge']['name']} reads it"]
    for words, one in (
        (f"{own['n']} generated", own),
        (f"{real['n']} held-out real of {real['n_subjects']} people", real),
    ):
        r, mae, bias = (one[name] for name in ("r", "mae", "bias"))
        lines.append(f"  {words:34} r {_shown(r, 3)}  MAE {_shown(mae, 1)} {unit}  bias {_shown(bias, 1)} {unit}")
    return "\n".join(lines)


def _shown(entry: dict[str, float | None], digits: int) -> str:
    if entry["value"] is None:
        return "-"
    span = "" if entry["low"] is None else f" [{entry['low']:.{digits}f}, {entry['high']:.{digits}f}]"
    return f"{entry['value']:.{digits}f}{span}"


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 2 = the user has to do something first, 130 = interrupted."""
    measuring()
    words = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m eval.height", description=words)
    parser.add_argument("names", nargs="+", metavar="NAME", help="models of checkpoints/ that take a number")
    parser.add_argument("--n", type=int, default=IMAGES, help="images of each (default %(default)s)")
    parser.add_argument("--steps", type=int, help="network evaluations of a diffusion model")
    parser.add_argument("--guidance", type=float, help="strength of classifier-free guidance; 1 = none")

    def work() -> int:
        options = parser.parse_args(argv)
        if options.n < 2:
            raise MedgenError(f"--n must be at least 2, not {options.n}: one image has no correlation.")
        like = Request(seeds=(), steps=options.steps, guidance=options.guidance)
        usual = options.n == IMAGES and options.steps is None and options.guidance is None
        for name in options.names:
            found = measure(name, options.n, like, progress=sys.stderr.isatty())
            print(summary(found))
            if usual:
                write_json(registry.checkpoints_dir() / name / FILE, found)
                print(f"written: {name}/{FILE}\n")
            else:
                print(f"Not written: {name}/{FILE} holds {IMAGES} images with the settings of the card.\n")
        return 0

    return exit_code(work, "Interrupted; nothing was written of the last model.")


if __name__ == "__main__":
    raise SystemExit(main())
