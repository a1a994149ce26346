"""Which models there are, and how to get one."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator

FAMILIES: dict[str, str] = {
    "noise": "medgen.noise",
    "gan": "medgen.gan",
    "diffusion": "medgen.diffusion",
    "translator": "medgen.translator",
    "volume": "medgen.volume_models",
}
"""Family name -> the module whose `load(card)` returns a Generator. Imported when first needed."""


def checkpoints_dir() -> Path:
    """Where the models are: `$MEDGEN_CHECKPOINTS`, or `checkpoints/` beside this package."""
    return Path(os.environ.get("MEDGEN_CHECKPOINTS") or Path(__file__).parent.parent / "checkpoints")


def cards(modality: str | None = None) -> dict[str, ModelCard]:
    """Every readable card by name, sorted; a folder with a broken card raises, it is never skipped in silence.

    Raises:
        MedgenError: a card is broken, its family is unknown or its name is not that of its folder.
    """
    found = {}
    for path in sorted(checkpoints_dir().glob("*/card.json")):
        card = _checked(path)
        if modality in (None, card.modality):
            found[card.name] = card
    return found


def load(name: str) -> Generator:
    """The model called `name`, ready to sample.

    Raises:
        MedgenError: no such model, or its card or weights are broken.
    """
    path = checkpoints_dir() / name / "card.json"
    if Path(name).name != name or not path.is_file():
        known = ", ".join(cards()) or "none yet"
        raise MedgenError(f"There is no model {name!r}; there are: {known}.")
    card = _checked(path)
    generator: Generator = import_module(FAMILIES[card.family]).load(card)
    return generator


def _checked(path: Path) -> ModelCard:
    card = ModelCard.read(path)
    if card.family not in FAMILIES:
        raise MedgenError(f"{card.name}: unknown family {card.family!r}; known: {', '.join(FAMILIES)}.")
    if card.name != path.parent.name:
        raise MedgenError(f"The card in {path.parent.name}/ is named {card.name!r}; the two must be equal.")
    return card
