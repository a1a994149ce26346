"""Models as they were at a share of their training, for eval.budget: what does more training buy?

python -m train.at RUN [RUN ...] --shares 0.1 0.3 1 --budget SECONDS --out DIR

A run of --keep-best 99 has kept its averaged weights of every validation. The nearest ones to each share become a model
of DIR; checkpoints/ stays as it is, and the model there that the run made gives its card. A budget in CPU seconds makes
models of equal cost of runs of unequal length; without one, a share is of the run itself.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load

from medgen import weights
from medgen.card import ModelCard
from medgen.errors import MedgenError, exit_code
from medgen.registry import checkpoints_dir

MODULES = ("network", "generator")
"""What the scripts call the network that makes pictures."""


def kept(run: Path) -> dict[int, Path]:
    """Images seen -> weights of a run.

    Raises:
        MedgenError: it has kept fewer than two.
    """
    found = {int(re.sub(r"\D", "", path.stem)): path for path in sorted(run.glob("best-*.safetensors"))}
    if len(found) < 2:
        raise MedgenError(f"{run.name} has kept the weights of {len(found)} validations; train with --keep-best 99.")
    return found


def at(run: Path, share: float, out: Path, budget: float | None = None) -> ModelCard:
    """Writes the model as it was nearest to a share of its training, and returns its card.

    Args:
        run: folder of a finished run.
        share: of the budget.
        out: where the model goes.
        budget: CPU seconds that are the whole; None = those of the run.

    Raises:
        MedgenError: checkpoints/ has no model of that name, the run has kept too little or ended before the budget did.
    """
    path = checkpoints_dir() / run.name / "card.json"
    if not path.is_file():
        raise MedgenError(f"There is no model {run.name!r} in checkpoints/: let the run finish with --export first.")
    card, found = ModelCard.read(path), kept(run)
    total = float(max(found))
    if budget is not None:
        # an image costs the same at any time of a run
        total = budget * card.trained["images_seen"] / card.trained["cpu_seconds"]
        if share * total > 1.05 * max(found):
            raise MedgenError(
                f"{run.name} took {card.trained['cpu_seconds']:,} CPU seconds, {share:.0%} of the budget are "
                f"{share * budget:,.0f}: train it longer or lower --budget."
            )
    seen = min(found, key=lambda images: abs(images - share * total))
    tensors = load(found[seen].read_bytes())
    prefix = next(f"{name}/" for name in MODULES if any(key.startswith(f"{name}/") for key in tensors))
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    name = f"{run.name}-at-{seen}"
    whole = card.trained["images_seen"]
    trained = {
        **card.trained, "images_seen": seen, "of": run.name, "share": seen / total, "weights_bits": 16,
        **{key: round(card.trained[key] * seen / whole) for key in ("seconds", "cpu_seconds") if key in card.trained},
    }  # fmt: skip
    card = replace(card, name=name, weights=weights.save(state, out / name), trained=trained, parts={})
    card.save(out / name)
    return card


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m train.at", description="Models at a share of their training.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0], help="default: 0.1 0.3 1")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="of CPU; default: those of each run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the models go")
    options = parser.parse_args(argv)
    for run in options.runs:
        for share in options.shares:
            print(at(run, share, options.out, options.budget).name)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
