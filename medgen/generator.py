"""What a generator is: one question in, one set of images out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.image import ImageSet

MAX_SEED = 2**63 - 1


class Stopped(Exception):
    """Raise it inside `on_step` to end a running `sample()`."""


OnStep = Callable[[int, int, Callable[[], ImageSet]], None]
"""Called as `on_step(done, total, preview)` after each step; `preview()` makes the picture so far, at a cost."""


@dataclass(frozen=True)
class Request:
    """One question to a generator. Saved beside every image, so that any pixel can be remade.

    Args:
        seeds: one whole number an image, 0 to 2**63 - 1.
        steps: network evaluations of a diffusion model; None = the card's default.
        guidance: strength of classifier-free guidance, 1 = none; None = the card's default.
        label: one of `card.labels`; None = unconditional.
        source: the image to translate.
    """

    seeds: tuple[int, ...]
    steps: int | None = None
    guidance: float | None = None
    label: str | None = None
    source: ImageSet | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but `source`, as plain JSON values."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"},
            "seeds": list(self.seeds),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Request:
        """The inverse of `to_json`.

        Raises:
            MedgenError: an unknown or missing field.
        """
        known = {f.name for f in fields(cls)} - {"source"}
        unknown = sorted(set(values) - known)
        if unknown or "seeds" not in values:
            raise MedgenError(f"A request needs seeds and may hold {sorted(known)}; it holds {sorted(values)}.")
        return cls(**{**values, "seeds": tuple(values["seeds"])})

    def checked(self, card: ModelCard) -> Request:
        """This request with the card's defaults filled in.

        Raises:
            MedgenError: the model cannot answer it: no or bad seeds, a control it lacks, a value out of range.
        """
        seeds_ok = all(isinstance(s, int) and not isinstance(s, bool) and 0 <= s <= MAX_SEED for s in self.seeds)
        if not self.seeds or not seeds_ok:
            raise MedgenError("Seeds must be whole numbers from 0 to 2**63 - 1, at least one.")
        for control in ("steps", "guidance", "label", "source"):
            if getattr(self, control) is not None and control not in card.controls:
                raise MedgenError(
                    f"{card.name} takes no {control}; it takes {', '.join(card.controls) or 'only seeds'}."
                )
        if self.label is not None and self.label not in card.labels:
            raise MedgenError(
                f"{card.name} does not know the label {self.label!r}; choose from {', '.join(card.labels)}."
            )
        steps = self.steps if self.steps is not None else card.steps
        if steps is not None and not (isinstance(steps, int) and 1 <= steps <= 1000):
            raise MedgenError(f"Steps must be a whole number from 1 to 1000, not {steps}.")
        guidance = self.guidance if self.guidance is not None else card.guidance
        if guidance is not None and not (math.isfinite(guidance) and 0.0 <= guidance <= 20.0):
            raise MedgenError(f"Guidance must be a number from 0 to 20, not {guidance}.")
        return Request(self.seeds, steps, guidance, self.label, self.source)


class Generator(Protocol):
    """All that demos/ and eval/ know about a model."""

    card: ModelCard

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Images for `request.seeds`, in that order.

        Image i depends on `request.seeds[i]` alone, never on its neighbours in the batch.
        """
        ...
