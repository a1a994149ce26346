"""There and back: A -> B by the model, B -> A by the model of the other direction. Never by one generator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from eval.fakes import sample
from eval.report import number
from eval.translation_patients import MOST, spread, summarise
from eval.translation_slices import levels, like_truth
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator
from medgen.image import ImageSet
from medgen.pair_metrics import compared


def reversed_direction(direction: str) -> str:
    """ "t1-t2" -> "t2-t1"."""
    return "-".join(reversed(direction.split("-")))


def reverse_of(card: ModelCard, cards: Iterable[ModelCard]) -> ModelCard | None:
    """The card of the same method and data that goes the other way; None where there is none."""
    fitting = [other for other in cards if not _misfit(card, other)]
    return fitting[0] if fitting else None


def check_reverse(forward: ModelCard, back: ModelCard) -> None:
    """Refuses a way back that would not measure the cycle.

    Raises:
        MedgenError: the same model, or one of another method, direction or data.
    """
    if reason := _misfit(forward, back):
        raise MedgenError(f"{back.name} is not the way back of {forward.name}: {reason}.")


def _misfit(forward: ModelCard, back: ModelCard) -> str:
    there, wanted = back.translates.get("direction"), reversed_direction(forward.translates.get("direction", ""))
    if back.name == forward.name:
        return "a generator does not undo itself"
    if there != wanted:
        return f"it goes {there or 'nowhere'}, not {wanted}"
    if back.net.get("method") != forward.net.get("method"):
        return f"it is a {back.net.get('method')}, not a {forward.net.get('method')}"
    if set((back.data or "").split("+")).isdisjoint((forward.data or "").split("+")):
        return f"it has learned from {back.data}, not from {forward.data}"
    return ""


def cycle(
    forward: ModelCard,
    back: Generator,
    *,
    source: ImageSet,
    made: ImageSet,
    inside: np.ndarray,
    progress: bool = False,
) -> dict[str, Any]:
    """The `cycle` of a report: how close the source comes out again.

    Args:
        forward: card of the model that made `made`.
        back: the model of the other direction.
        source: N slices.
        made: their translations by the first model.
        inside: `(N, H, W)` bool, the head.
        progress: a bar on stderr.

    Raises:
        MedgenError: `back` is not the way back; see `check_reverse`.
    """
    check_reverse(forward, back.card)
    chosen = spread(len(source), MOST)
    source, made, inside = source.take(chosen), made.take(chosen), inside[chosen]
    returned = sample(back, tuple(chosen.tolist()), [None] * len(chosen), sources=made, progress=progress)
    (real, data_range), (fake, _) = levels(source), levels(like_truth(returned, source))
    near = [
        compared(real=a, fake=b, inside=own, data_range=data_range)
        for a, b, own in zip(real, fake, inside, strict=True)
    ]
    even = np.ones(len(chosen))
    numbers = {
        "cycle_ssim": (np.array([number(one.ssim) for one in near]), even),
        "cycle_l1": (np.array([one.mae for one in near]), even),
    }
    found, _ = summarise(numbers, source.subjects or tuple(map(str, chosen)))
    return {"model": back.card.name, "weights": back.card.weights, "metrics": found}
