"""Where trained autoencoders lie: in the folder of their own run, or inside a latent model of checkpoints/."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from medgen import runtime, weights
from medgen.atomic import write_bytes, write_json
from medgen.autoencoder import Autoencoder, build
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from train.config import ConditionalConfig
from train.data import Split

WEIGHTS, FACTS = "autoencoder.safetensors", "autoencoder.json"
PREFIX = "autoencoder."


@dataclass(frozen=True)
class Trained:
    """A trained autoencoder.

    Args:
        network: frozen, in evaluation mode.
        net: what rebuilds it.
        facts: how it was trained and how well it reconstructs, for the cards of the models that use it.
    """

    network: Autoencoder
    net: dict[str, Any]
    facts: dict[str, Any]


def write(folder: Path, state: dict[str, torch.Tensor], net: dict[str, Any], facts: dict[str, Any]) -> None:
    """Puts an autoencoder into the folder of its run."""
    write_bytes(folder / WEIGHTS, to_bytes({name: tensor.contiguous() for name, tensor in state.items()}))
    write_json(folder / FACTS, {"net": net, "facts": facts})


def read(where: str) -> Trained:
    """The autoencoder of the run in folder `where`, of the run `runs/WHERE`, or of the checkpoint called `where`.

    Raises:
        MedgenError: there is none, or its files are broken.
    """
    for folder in (Path(where), Path("runs") / where):
        if (folder / FACTS).is_file():
            return _from_run(folder)
    path = checkpoints_dir() / where / "card.json"
    if Path(where).name != where or not path.is_file():
        raise MedgenError(f"There is no autoencoder {where!r}: name a run of train.latent or a latent model.")
    card = ModelCard.read(path)
    if not (net := card.net.get("autoencoder")):
        raise MedgenError(f"{where} works on pixels and has no autoencoder: name a latent model.")
    state = {name.removeprefix(PREFIX): t for name, t in weights.read(card).items() if name.startswith(PREFIX)}
    return _trained(where, net, state, card.trained.get("autoencoder", {}))


def _from_run(folder: Path) -> Trained:
    try:
        found = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        net, facts = found["net"], found["facts"]
        state = from_bytes((folder / WEIGHTS).read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MedgenError(f"The autoencoder in {folder.name} cannot be read ({error}); train it again.") from error
    return _trained(folder.name, net, state, facts)


def _trained(where: str, net: dict[str, Any], state: dict[str, torch.Tensor], facts: dict[str, Any]) -> Trained:
    try:
        network = build(net)
        network.load_state_dict(state)
    except (TypeError, RuntimeError) as error:
        raise MedgenError(f"The autoencoder of {where} does not fit its description; train it again.") from error
    return Trained(network.eval().requires_grad_(False), net, facts)


def chosen(config: ConditionalConfig) -> Trained | None:
    """The autoencoder that `config` names, on the device of the run; None where the model works on pixels.

    Raises:
        MedgenError: there is none of that name, or it is broken.
    """
    if not config.autoencoder:
        return None
    trained = read(config.autoencoder)
    trained.network.to("cpu" if config.cpu else runtime.device())
    return trained


def split(config: ConditionalConfig, name: str, trained: Trained | None, columns: tuple[str, ...] | None) -> Split:
    """The split called `name` in the space of the model: pixels, or latents of `trained`.

    Raises:
        MedgenError: no such data, or pictures that differ in size.
    """
    pixels = Split.load(config.data, name, columns, config.rarest)
    return pixels if trained is None else pixels.encoded(trained.network)


def plant(network: nn.Module, trained: Trained | None) -> None:
    """Puts the weights of the trained autoencoder into a network that was built with its `net`."""
    if trained is not None:
        network.autoencoder.load_state_dict(trained.network.state_dict())


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """All parameters but those of the autoencoder, which stays as it is."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def pictures(network: nn.Module, values: Tensor, batch: int = 32) -> Tensor:
    """What `network` made as `(N, 1, H, W)` pictures in about [-1, 1], on the CPU."""
    if network.autoencoder is None:
        return values.float().cpu()
    return torch.cat([network.autoencoder.decode(part).float().cpu() for part in values.split(batch)])
