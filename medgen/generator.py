"""What a generator is: one question in, one set of images out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from medgen.card import ModelCard
from medgen.conditions import Conditions, is_number
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.region import Region

MAX_SEED = 2**63 - 1
CONTROLS = (
    *("label", "severity", "age", "sex", "view", "cohort"),
    *("quantity", "steps", "guidance", "towards", "source", "region"),
)
"""Fields of `Request` that a card may name in its `controls`."""


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
        label: one of `card.labels`, or several of one cohort joined by "|"; None = nobody said.
        source: the image to translate, or to change inside `region`.
        towards: a second seed: image i starts from a point on the way from the latent of `seeds[i]` to its latent.
        mix: how far along that way, 0 to 1; goes with `towards`. A latent walk is several requests.
        severity: how far from healthy (0) to `label` (1); None = `label` itself.
        age: of the patient in years, 0 to 120; None = nobody said, as for the next three.
        sex: "F" or "M".
        view: "AP" or "PA".
        cohort: the data set whose pictures to make, one of the model's.
        region: the part of `source` to make anew; the rest is kept.
        quantity: how much of what `card.quantity` names the image shall show, in its unit; None = nobody said.
        source_synthetic: whether a model made all of `source`; False, as for an upload: it may show a patient.
    """

    seeds: tuple[int, ...]
    steps: int | None = None
    guidance: float | None = None
    label: str | None = None
    source: ImageSet | None = None
    towards: int | None = None
    mix: float | None = None
    severity: float | None = None
    age: float | None = None
    sex: str | None = None
    view: str | None = None
    cohort: str | None = None
    region: Region | None = None
    quantity: float | None = None
    source_synthetic: bool = False

    def condition(self, columns: Sequence[str]) -> np.ndarray:
        """What a network with these `Conditions` columns is told, `(K,)` float32; zeros = unconditional.

        Raises:
            MedgenError: it cannot be told, or it makes no sense.
        """
        said = {name: getattr(self, name) for name in ("age", "sex", "view", "cohort")}
        if "quantity known" in columns:  # models of volumes are told theirs in another way
            said["quantity"] = self.quantity
        attributes = {name: value for name, value in said.items() if value is not None}
        return Conditions(tuple(columns)).row(self.label, attributes, self.severity, strict=True)

    def shows(self, card: ModelCard) -> dict[str, Any]:
        """What a picture that `card`'s model made of this request may be filed under, without what nobody said.

        Returns:
            `label`: the asked one; at severity 0, the healthy word of its cohort. Where only a region was made nobody
            knows what the whole picture shows, and `region_label` stands in its place. `severity`, `quantity`: if
            asked.

        Raises:
            MedgenError: a severity of a label that has no healthy counterpart.
        """
        label = self.label
        if label is not None and self.severity == 0.0:
            label = Conditions(_columns(card)).healthy(label)
        said = {
            "label" if self.region is None else "region_label": label,
            "severity": self.severity,
            "quantity": self.quantity,
        }
        return {name: value for name, value in said.items() if value is not None}

    def keeps_upload(self) -> bool:
        """Whether the rest of the picture, around the region, is one that no model made: it is partly synthetic."""
        return self.region is not None and not self.source_synthetic

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; of `source` only the SHA-256 of its pixels, as `source_sha256`."""
        return {
            **{f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"},
            "seeds": list(self.seeds),
            "region": None if self.region is None else self.region.to_json(),
            "source_sha256": None if self.source is None else _pixels_sha256(self.source),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Request:
        """The inverse of `to_json`, without `source`: whoever has the picture that `source_sha256` names adds it.

        Raises:
            MedgenError: an unknown or missing field, seeds that are no list, a region or a SHA-256 that is none.
        """
        known = {f.name for f in fields(cls)} - {"source"} | {"source_sha256"}
        unknown = sorted(set(values) - known)
        if unknown or "seeds" not in values:
            raise MedgenError(f"A request needs seeds and may hold {sorted(known)}; it holds {sorted(values)}.")
        if not isinstance(values["seeds"], list):
            raise MedgenError(f"The seeds of a request must be a list of whole numbers, not {values['seeds']!r}.")
        values = {**values, "seeds": tuple(values["seeds"])}
        digest = values.pop("source_sha256", None)
        if digest is not None and not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
            raise MedgenError(f"The source_sha256 of a request must be 64 hexadecimal digits or null, not {digest!r}.")
        if values.get("region") is not None:
            values["region"] = Region.from_json(values["region"])
        return cls(**values)

    def checked(self, card: ModelCard) -> Request:
        """This request with the card's defaults filled in.

        Raises:
            MedgenError: the model cannot answer it: no or bad seeds, a control it lacks, a value out of range.
        """
        asked_seeds = (*self.seeds, *(() if self.towards is None else (self.towards,)))
        if not self.seeds or not all(_is_seed(seed) for seed in asked_seeds):
            raise MedgenError("Seeds must be whole numbers from 0 to 2**63 - 1, at least one.")
        for control in CONTROLS:
            if getattr(self, control) is not None and control not in card.controls:
                raise MedgenError(
                    f"{card.name} takes no {control}; it takes {', '.join(card.controls) or 'only seeds'}."
                )
        self._check_condition(card)
        self._check_region(card)
        self._check_quantity(card)
        steps = self.steps if self.steps is not None else card.steps
        if steps is not None and not (isinstance(steps, int) and 1 <= steps <= 1000):
            raise MedgenError(f"Steps must be a whole number from 1 to 1000, not {steps}.")
        guidance = self.guidance if self.guidance is not None else card.guidance
        if guidance is not None and not (is_number(guidance) and 0.0 <= guidance <= 20.0):
            raise MedgenError(f"Guidance must be a number from 0 to 20, not {guidance}.")
        fraction = 0.0 if self.mix is None else self.mix
        if (self.towards is None) != (self.mix is None) or not (is_number(fraction) and 0.0 <= fraction <= 1.0):
            raise MedgenError("A latent walk needs both a second seed (towards) and a fraction from 0 to 1 (mix).")
        return replace(self, steps=steps, guidance=guidance)

    def _check_condition(self, card: ModelCard) -> None:
        words = self.label.split("|") if isinstance(self.label, str) else [] if self.label is None else [self.label]
        for word in words:
            if word not in card.labels:
                raise MedgenError(
                    f"{card.name} does not know the label {word!r}; choose from {', '.join(card.labels)}."
                )
        if len(words) > 1 and "conditions" not in card.net:
            raise MedgenError(f"{card.name} takes one label at a time; choose from {', '.join(card.labels)}.")
        self.condition(_columns(card))

    def _check_region(self, card: ModelCard) -> None:
        if self.region is None:
            return
        height, width = card.shape[-2:]
        if self.source is None:
            raise MedgenError("A region needs the picture it lies in; give the request a source.")
        if self.region.shape != (height, width):
            raise MedgenError(
                f"The region must be {height} x {width} pixels as the pictures of {card.name} are, not "
                f"{' x '.join(map(str, self.region.shape))}; draw it again."
            )
        if self.region.is_empty():
            raise MedgenError("The region is empty; draw where the picture is to change.")

    def _check_quantity(self, card: ModelCard) -> None:
        if self.quantity is None:
            return
        name, unit, low, high = (card.quantity[key] for key in ("name", "unit", "low", "high"))
        if not (is_number(self.quantity) and low <= self.quantity <= high):
            raise MedgenError(f"The {name} must be a number from {low:g} to {high:g} {unit}, not {self.quantity}.")


def _columns(card: ModelCard) -> tuple[str, ...]:
    """The `Conditions` columns of a model; one that lists none is told its labels alone."""
    return tuple(card.net.get("conditions", [f"label={word}" for word in card.labels]))


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED


def _pixels_sha256(images: ImageSet) -> str:
    return hashlib.sha256(np.ascontiguousarray(images.pixels, "<f4").tobytes()).hexdigest()


class Generator(Protocol):
    """All that demos/ and eval/ know about a model."""

    card: ModelCard

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        """Images for `request.seeds`, in that order.

        Image i depends on `request.seeds[i]` alone, never on its neighbours in the batch.
        """
        ...
