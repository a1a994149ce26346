"""What training buys: the same models at shares of one budget of computing time, GAN beside diffusion.

    python -m train.at runs/ddpm-brain-128 runs/stylegan2-brain-128 --out DIR
    python -m eval.budget --protocol brain-128 --models DIR

Every model of DIR is measured as `eval.run` measures models. Writes eval/results/budget-PROTOCOL.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from eval import budget_file, report, run
from eval.features import EXTRACTORS
from eval.protocols import PROTOCOLS
from eval.result_files import path_of, write
from medgen import provenance, registry
from medgen.card import ModelCard
from medgen.errors import MedgenError, exit_code

_SHARED = ("protocol", "data", "split", "n_real", "n_subjects", "real_sha256", "extractor")


def row(card: ModelCard, values: dict[str, Any]) -> dict[str, Any]:
    """One model at one share, of its card and its report."""
    trained = card.trained
    return {
        "model": trained["of"],
        "title": card.title,
        "share": float(trained["share"]),
        "images_seen": trained["images_seen"],
        "cpu_seconds": None if trained.get("cpu_seconds") is None else float(trained["cpu_seconds"]),
        "hardware": str(trained.get("hardware") or ""),
        "seconds_per_image": values.get("seconds_per_image"),
        "n": values["n_fake"],
        "weights": card.weights,
        "metrics": {name: values["metrics"][name] for name in budget_file.SHOWN},
    }


def study(protocol: str, models: Path, extractor: str | None = None) -> dict[str, Any]:
    """Measures every model of the folder `models`, in the feature space `extractor`; None = that of `eval.run`.

    Raises:
        MedgenError: it holds no models of `train.at`.
    """
    os.environ["MEDGEN_CHECKPOINTS"] = str(models)
    cards = [card for card in registry.cards().values() if "share" in card.trained]
    if not cards:
        raise MedgenError(f"{models.name} holds no models at shares of their training; python -m train.at makes them.")
    rows, last = [], {}
    with tempfile.TemporaryDirectory() as place:
        for card in cards:
            out = Path(place) / f"{card.name}.json"
            flags = [card.name, "--protocol", protocol, "--out", str(out)]
            if code := run.main(flags if extractor is None else [*flags, "--extractor", extractor]):
                raise MedgenError(f"{card.name} could not be measured (exit code {code}); what it said stands above.")
            last = report.read(out)
            rows.append(row(card, last))
    return {**{key: last[key] for key in _SHARED}, "n": last["n_fake"], "rows": rows, **provenance.stamp()}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.budget", description="What does more training buy?")
    parser.add_argument("--protocol", required=True, choices=tuple(PROTOCOLS))
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="what python -m train.at wrote")
    parser.add_argument("--extractor", choices=tuple(EXTRACTORS), help="default: that of eval.run")
    options = parser.parse_args(argv)
    path = path_of("budget", options.protocol)
    found = study(options.protocol, options.models, options.extractor)
    print(budget_file.text(found))
    shown = ["--protocol", options.protocol, "--models", options.models.name]
    write(path, found, "eval.budget", shown)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
