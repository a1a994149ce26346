"""From a finished run of volumes to a folder of checkpoints/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from medgen.card import ModelCard
from train.export import LIMITS, best_state, publish, training_facts
from train.run import Run
from train.volumes import MIRRORED, asked_for


def export(
    run: Run, module: str, *, net: dict[str, Any], sample: Callable[[], Tensor], title: str, paper: str,
    limits: str = "", controls: Sequence[str] = (), steps: int | None = None, guidance: float | None = None,
    finish: Callable[[Run], None] | None = None, facts: Callable[[], dict[str, Any]] | None = None, copies: int = 1,
) -> ModelCard:  # fmt: skip
    """Writes checkpoints/NAME from the best averaged weights of `module` and returns its card.

    Args:
        run: the finished run.
        module: which of its modules.
        net: what rebuilds it.
        sample: pictures for samples.png.
        title: a few words for a column heading.
        paper: source of the method.
        limits: what must not be concluded of this method.
        controls: `Request` fields it answers to, besides a walk to another seed and the quantity of its data.
        steps: of a diffusion model.
        guidance: likewise.
        finish: computes what training leaves open, in the averaged weights.
        facts: for the card, of the finished weights.
        copies: how often each volume is in the split of the run.
    """
    config: Any = run.config
    known = config.known
    _, chosen = best_state(run, module)
    if finish is not None:
        finish(run)
    quantity = asked_for(known)
    mirrored = " Training volumes were mirrored at random: left and right are alike." if known.name in MIRRORED else ""
    volumes = len(run.split.images) // copies
    count = f" Learned from {volumes} volumes: nearly copying one of them is a risk."
    card = ModelCard(
        name=config.name, family="volume", title=title, modality=known.modality, unit=known.unit,
        window=known.window, shape=known.shape, spacing_mm=known.spacing_mm, net=net,
        controls=(*(("quantity",) if quantity else ()), *controls, "towards"), quantity=quantity,
        steps=steps, guidance=guidance, data=known.name, paper=paper,
        limits=" ".join([LIMITS.format(sets="one data set") + count + mirrored, limits]).strip(),
        licence=f"{known.licence} (weights, as the data: {known.citation})",
        trained={
            **training_facts(run, module, chosen, None), "citation": known.citation,
            "images": volumes, "epochs": round(run.seen / volumes, 1),
            **({} if facts is None else facts()),
        },
    )  # fmt: skip
    return publish(run, card, run.averages[module].state_dict(), config, sample if known.shareable else None)
