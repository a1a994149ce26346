"""What the tests of the pathology tab share: small models, a classifier that needs no weights, a run of the grid."""

from __future__ import annotations

import re
from dataclasses import astuple
from html import unescape
from pathlib import Path
from typing import Any

from demos import (
    lane,
    pathology,
    runner,
)
from demos.opinions import Opinion
from demos.pathology_form import ANY, EACH, PathologyForm
from medgen import ImageSet, ModelCard
from medgen.classifier import ClassifierCard

WORDS = ("normal", "bacterial_pneumonia", "viral_pneumonia")
ADULT = ("No Finding", "Effusion", "Pneumonia")
BOTH = (*WORDS, *ADULT)
COLUMNS = (*(f"label={word}" for word in BOTH), "age", "age known", "sex=F", "sex=M")
PLAIN = PathologyForm(
    models=["noise-a-32", "noise-b-32"], labels=["normal", "viral_pneumonia"], combine=EACH, seed="7", count=1,
    severity=1.0, guidance="", steps="", age="", sex=ANY, view=ANY,
)  # fmt: skip


def make_card(name: str, **other: Any) -> ModelCard:
    values = {
        "name": name, "family": "noise", "title": name.title(), "modality": "CR", "unit": "au",
        "window": (0.0, 255.0), "shape": (1, 32, 32), "licence": "MIT", "limits": "Noise.",
        "controls": ("label", "steps"), "labels": WORDS, "steps": 3,
    }  # fmt: skip
    return ModelCard(**{**values, **other})


def judge_card(name: str, words: tuple[str, ...], side: int, border: float) -> ClassifierCard:
    entry = {"value": 0.91, "low": 0.87, "high": 0.95, "n_with": 40, "n_without": 60}
    return ClassifierCard(
        name, name.title(), "kermany_cxr_128", words, (1, side, side), {"labels": len(words)}, {}, {},
        dict.fromkeys(words, entry), {word: {**entry, "value": border} for word in words}, "MIT", "Its limits.",
    )  # fmt: skip


def save_cards(place: Path) -> None:
    """Four models: the children's labels; both cohorts; one that changes regions; one without labels."""
    cards = [
        make_card("noise-a-32", data="kermany_cxr_128"),
        make_card("noise-b-32", labels=BOTH, net={"conditions": COLUMNS}, guidance=1.5,
                  controls=("label", "severity", "guidance", "age", "sex")),
        make_card("noise-r-32", controls=("label", "source", "region"), steps=None),
        make_card("noise-u-32", controls=(), labels=()),
    ]  # fmt: skip
    for card in cards:
        card.save(place / card.name)


def fixed(images: ImageSet, label: str) -> list[Opinion | None]:
    """A classifier for the tests: the brighter the picture, the surer; only of the children's labels."""
    if label not in WORDS:
        return [None] * len(images)
    card = judge_card("judge-children", WORDS, 32, 0.93)
    said = images.unit_range().mean(axis=(1, 2, 3))
    return [Opinion(card, dict.fromkeys(WORDS, 0.25) | {label: float(p)}, dict.fromkeys(WORDS, 0.75)) for p in said]


def run_grid(form: PathologyForm, session: str = "me") -> list[list[Any]]:
    lane.arm(session)
    return list(pathology.generate(runner.portions, fixed, session, *astuple(form)))


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
