"""Starts a run from the weights of a finished model, which may have known fewer conditions (fine-tuning)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medgen import weights
from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir
from train.autoencoders import PREFIX
from train.run import Run
from train.state import STATE

CONDITION = "condition.weight"
COPY = "init.json"


def ancestor(run: Run, family: str) -> ModelCard | None:
    """The card of the model that `--init` names, which must be of the family of the new one; None without one.

    A copy of it stays in the folder of the run: a run may be resumed after its export has taken the old model's place.

    Raises:
        MedgenError: there is no such model in checkpoints/, or it is of another family.
    """
    config: Any = run.config
    if not config.init:
        return None
    if resumed(run):
        return ModelCard.read(run.folder / COPY)
    path = checkpoints_dir() / config.init / "card.json"
    if not path.is_file():
        raise MedgenError(f"There is no model {config.init!r} in {path.parents[1].name}/ to start from.")
    card = ModelCard.read(path)
    if card.family != family:
        raise MedgenError(f"{card.name} is of another architecture ({card.family}) than this run ({family}).")
    if run.main and not config.dry_run:
        write_bytes(run.folder / COPY, path.read_bytes())
    return card


def resumed(run: Run) -> bool:
    """Whether the weights come from the run's own state."""
    return run.config.resume and (run.folder / STATE).exists()


def start_from(network: nn.Module, card: ModelCard | None, columns: tuple[str, ...], run: Run) -> None:
    """Fills `network` with the weights of `card`; not where there is none, or the run goes on from its own state.

    Its conditions are matched by name; a column that it did not know starts at zero, as if nothing had been said.
    Statistics of the data that are part of the network (mean picture and spectrum of a diffusion model) stay those of
    the old model: the rest of it has learned to build on them.

    Args:
        network: untrained, of the same architecture but for the number of conditions.
        card: of the model to start from.
        columns: `Conditions` columns of `network`.
        run: this run.

    Raises:
        MedgenError: the model is of another architecture or its latents are of another autoencoder, or its weights are
            missing or changed.
    """
    if card is None or resumed(run):
        return
    state = weights.read(card)
    old = tuple(card.net.get("conditions", ()))
    if columns and CONDITION in state:
        widened = state[CONDITION].new_zeros(len(state[CONDITION]), len(columns))
        for here, column in enumerate(columns):
            if column in old:
                widened[:, here] = state[CONDITION][:, old.index(column)]
        state[CONDITION] = widened
    own = {key: value for key, value in network.state_dict().items() if key.startswith(PREFIX)}
    for key, value in own.items():  # the decoder may be another one
        same = key in state and torch.equal(state[key].half(), value.half().cpu())
        if not same and not key.startswith(PREFIX + "decoder."):
            raise MedgenError(f"{card.name} works on the latents of another autoencoder: give it as --autoencoder.")
    try:
        network.load_state_dict(state | own)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise MedgenError(
            f"{card.name} is of another architecture than this run ({reason}); give the options of its config.json."
        ) from error


def facts(old: ModelCard | None) -> dict[str, Any]:
    """For the card of the new model: which model its run started from, and what that had seen. Empty without one."""
    if old is None:
        return {}
    kept = ("images_seen", "seconds", "hardware", "commit", "note", "started_from")
    said = {key: old.trained[key] for key in kept if key in old.trained}
    return {"started_from": {"name": old.name, "data": old.data, **said}}


def before(old: ModelCard | None, key: str) -> int:
    """`images_seen` or `seconds` of the model that a run started from: the new weights have them behind them too."""
    return 0 if old is None else int(old.trained.get(key, 0))


def data_of(old: ModelCard | None) -> tuple[str, ...]:
    """The data sets that the model to start from had learned from, and those behind it in turn."""
    if old is None:
        return ()
    further = old.trained.get("started_from", {}).get("data")
    return tuple("+".join(name for name in (old.data, further) if name).split("+"))
