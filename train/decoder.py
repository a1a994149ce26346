"""Gives a finished latent model the decoder of a newly trained autoencoder with the same encoder.

python -m train.latent --name ae-new --init ldm-cxr-256 --freeze-encoder
python -m train.decoder ldm-cxr-256 --autoencoder ae-new

Latents mean the same to both, so nothing else has to be trained again; everything has to be measured again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medgen import registry, weights
from medgen.atomic import write_bytes, write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError, exit_code
from medgen.generator import Request
from medgen.registry import checkpoints_dir
from train import autoencoders
from train.export import take_place
from train.pictures import grid


def install(name: str, where: str) -> ModelCard:
    """Writes the decoder into checkpoints/NAME, and takes away its reports: they are about other pictures.

    The sample grid is made anew, the labels taking turns; the curves of the training stay.

    Args:
        name: of a latent model in checkpoints/.
        where: a run of train.latent, or another latent model.

    Raises:
        MedgenError: the model works on pixels, or the autoencoders differ in more than the decoder.
    """
    folder = checkpoints_dir() / name
    card = ModelCard.read(folder / "card.json")
    old, new = autoencoders.read(name), autoencoders.read(where)
    before, after = old.network.state_dict(), new.network.state_dict()
    kept = [key for key in before if not key.startswith("decoder.")]
    if old.net != new.net or not all(torch.equal(before[key].half(), after[key].half()) for key in kept):
        raise MedgenError(f"{where} has another encoder than {name}: train it with --init {name} --freeze-encoder.")
    state = weights.read(card)
    state |= {autoencoders.PREFIX + key: value for key, value in after.items()}
    made = Path("runs") / name / "export"
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(folder, made, ignore=lambda _, names: [n for n in names if _stale(n)])
    card = replace(card, weights=weights.save(state, made), trained={**card.trained, "autoencoder": new.facts})
    card.save(made)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(made / "config.json", {**config, "autoencoder": new.facts["name"]})
    take_place(made, folder)
    write_bytes(folder / "samples.png", samples(name))
    return card


def samples(name: str) -> bytes:
    """A grid of 36 pictures on the seeds 0, 1, ..., as PNG."""
    model = registry.load(name)
    labels = model.card.labels or (None,)
    part = -(-36 // len(labels))
    pictures = [
        model.sample(Request(tuple(range(i * part, min((i + 1) * part, 36))), label=label)).unit_range()
        for i, label in enumerate(labels)
    ]
    return grid(torch.from_numpy(np.concatenate(pictures)) * 2.0 - 1.0, columns=6)


def _stale(name: str) -> bool:
    return name.endswith(".safetensors") or Path(name).match("report*.json") or Path(name).match("pathology*.json")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m train.decoder", description=__doc__)
    parser.add_argument("name", metavar="MODEL", help="a latent model of checkpoints/")
    parser.add_argument("--autoencoder", required=True, help="a run of train.latent, or a latent model")
    given = parser.parse_args(argv)

    def work() -> int:
        install(given.name, given.autoencoder)
        print(f"{given.name} has the decoder of {given.autoencoder}; its reports are gone: measure it again.")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    raise SystemExit(main())
