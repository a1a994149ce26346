"""From a finished run of a translator to a folder of checkpoints/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from medgen.card import ModelCard
from medgen.image import ImageSet
from medgen.paired import CONTRASTS, FIELD_OF_VIEW_MM, PAIRED, PairedData, image_set
from train import warm
from train.export import best_state, publish, training_facts
from train.pairs import describe
from train.run import Run

LIMITS = (
    "Research and teaching only, not for clinical use. Learned from {subjects} heads: it shows what is usual "
    "at such a place, not what this patient has; it may remove a lesion or invent one. {notes}"
)

MOST_SHOWN = 18
"""Pictures of samples.png: six sources, translations and targets; more would be a megabyte each."""


def export(
    run: Run, module: str, *, name: str, way: str, net: dict[str, Any], title: str, paper: str,
    sample: Callable[[], Tensor], old: ModelCard | None = None, steps: int | None = None,
    inside: str = "", further: tuple[str, ...] = (), cited: str = "", parts: Mapping[str, ModelCard] | None = None,
) -> ModelCard:  # fmt: skip
    """Writes checkpoints/NAME from the best averaged weights of `module` and returns its card.

    Args:
        run: the finished run.
        module: of the run.
        name: of the model.
        way: direction, such as "t1-flair".
        net: what rebuilds the network.
        title: of the method.
        paper: its source.
        sample: pictures for samples.png, drawn only if they show no patient.
        old: card of the model that the run started from.
        steps: default steps of a diffusion model.
        inside: name of the submodule that is the model; "" = all of `module`.
        further: licences of other data behind the weights.
        cited: where these come from.
        parts: submodules with the weights of another model.
    """
    config: Any = run.config
    pairs: PairedData = config.pairs
    state, chosen = best_state(run, module)
    if inside:
        state = {key.removeprefix(f"{inside}."): value for key, value in state.items() if key.startswith(f"{inside}.")}
    subjects = run.split.counts["pairs"]["patients"]
    seen, made = (kind(word) for word in way.split("-"))
    behind = [PAIRED[key] for key in dict.fromkeys((pairs.name, *warm.data_of(old))) if key in PAIRED]
    licences = dict.fromkeys([*(known.licence for known in behind), *further])
    card = ModelCard(
        name=name, family="translator", title=f"{title}, {describe(way)}", modality=made.modality, unit=made.unit,
        window=made.window, shape=(1, pairs.size, pairs.size), spacing_mm=2 * (FIELD_OF_VIEW_MM / pairs.size,),
        net=net, controls=("source",) if steps is None else ("source", "steps"), steps=steps, data=pairs.name,
        paper=paper, limits=LIMITS.format(subjects=subjects, notes=pairs.notes[0]),
        licence="MIT (weights); data " + "; ".join(licences),
        translates={
            "direction": way, "source": CONTRASTS[way.split("-")[0]], "target": CONTRASTS[way.split("-")[1]],
            "modality": seen.modality, "unit": seen.unit, "window": list(seen.window),
        },
        trained={
            **training_facts(run, module, chosen, old),
            "subjects": subjects,
            "citation": " + ".join(dict.fromkeys([*(known.citation for known in behind), *([cited] if cited else [])])),
        },
    )  # fmt: skip
    shown = (lambda: sample()[:MOST_SHOWN]) if pairs.shareable else None
    return publish(run, card, state, config, shown, parts)


def kind(word: str) -> ImageSet:
    """Modality, unit and window of a contrast, as an empty set."""
    return image_set(np.zeros((0, 1, 1), np.float32), word, ())
