"""Shortcuts: a model measured with other steps, guidance or runtime than its card's, in a file and a row of its own."""

from __future__ import annotations

from typing import Any

from medgen.card import ModelCard

STEM = "variant"
"""How the names of their files begin; reports about what the card says begin with "report"."""
RUNTIMES = {"torch": "torch", "openvino": "OpenVINO float32", "openvino-bf16": "OpenVINO bfloat16"}
"""What a model may be computed by -> how a row calls it."""


def words(card: ModelCard, steps: int | None, guidance: float | None, runtime: str) -> str:
    """What differs from the card's defaults and from torch, as a row says it: "12 steps, guidance 1"; "" = nothing.

    Args:
        card: of the model.
        steps: those it was measured with.
        guidance: likewise.
        runtime: a key of `RUNTIMES`.
    """
    found = [
        f"{steps} step{'s' * (steps != 1)}" if steps is not None and steps != card.steps else "",
        f"guidance {guidance:g}" if guidance is not None and guidance != card.guidance else "",
        RUNTIMES[runtime] if runtime != "torch" else "",
    ]
    return ", ".join(filter(None, found))


def stem(said: str) -> str:
    """How the name of the file of such a variant begins: "variant-12-steps-guidance-1"."""
    return "-".join([STEM, *said.lower().replace(",", "").split()])


def of(values: dict[str, Any]) -> str:
    """What a report says of itself; "" for one about what the card says."""
    return str(values.get("variant") or "")
