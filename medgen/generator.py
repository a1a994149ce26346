"""What a generator is: one question in, one set of images out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.image import ImageSet

MAX_SEED = 2**63 - 1


class Stopped(Exception):  # noqa: N818 - it is a request, not an error
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
        towards: a second seed: image i starts from a point on the way from the latent of `seeds[i]` to its latent.
        mix: how far along that way, 0 to 1; goes with `towards`. A latent walk is several requests.
    """

    seeds: tuple[int, ...]
    steps: int | None = None
    guidance: float | None = None
    label: str | None = None
    source: ImageSet | None = None
    towards: int | None = None
    mix: float | None = None

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
            MedgenError: an unknown or missing field, or seeds that are no list.
        """
        known = {f.name for f in fields(cls)} - {"source"}
        unknown = sorted(set(values) - known)
        if unknown or "seeds" not in values:
            raise MedgenError(f"A request needs seeds and may hold {sorted(known)}; it holds {sorted(values)}.")
        if not isinstance(values["seeds"], list):
            raise MedgenError(f"The seeds of a request must be a list of whole numbers, not {values['seeds']!r}.")
        return cls(**{**values, "seeds": tuple(values["seeds"])})

    def checked(self, card: ModelCard) -> Request:
        """This request with the card's defaults filled in.

        Raises:
            MedgenError: the model cannot answer it: no or bad seeds, a control it lacks, a value out of range.
        """
        asked_seeds = (*self.seeds, *(() if self.towards is None else (self.towards,)))
        if not self.seeds or not all(_is_seed(seed) for seed in asked_seeds):
            raise MedgenError("Seeds must be whole numbers from 0 to 2**63 - 1, at least one.")
        for control in ("steps", "guidance", "label", "source", "towards"):
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
        if guidance is not None and not (_is_number(guidance) and 0.0 <= guidance <= 20.0):
            raise MedgenError(f"Guidance must be a number from 0 to 20, not {guidance}.")
        fraction = 0.0 if self.mix is None else self.mix
        if (self.towards is None) != (self.mix is None) or not (_is_number(fraction) and 0.0 <= fraction <= 1.0):
            raise MedgenError("A latent walk needs both a second seed (towards) and a fraction from 0 to 1 (mix).")
        return replace(self, steps=steps, guidance=guidance)


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Generator(Protocol):
    """All that demos/ and eval/ know about a model."""

    card: ModelCard

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Images for `request.seeds`, in that order.

        Image i depends on `request.seeds[i]` alone, never on its neighbours in the batch.
        """
        ...
