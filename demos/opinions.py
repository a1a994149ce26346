"""What the independent classifiers say of a picture, with the border baseline beside it, in words, HTML and cells."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from demos.labels import words
from demos.tables import MISSING
from medgen import ImageSet
from medgen.classifier import Classifier, ClassifierCard, classifiers, load_classifier
from medgen.conditions import HEALTHY
from medgen.data import DATASETS

NO_CLASSIFIER = "No classifier here knows this label."
_loaded: dict[str, Classifier] = {}
_loading = threading.Lock()


@dataclass(frozen=True)
class Opinion:
    """What one classifier says of one picture.

    Args:
        card: of the classifier.
        network: label -> its probability.
        border: label -> the probability that the border pixels alone give.
    """

    card: ClassifierCard
    network: dict[str, float]
    border: dict[str, float]

    def cells(self) -> dict[str, str]:
        """Columns of labels.csv."""
        seen = {f"{self.card.name} {label}": value for label, value in self.network.items()}
        edge = {f"{self.card.name} border {label}": value for label, value in self.border.items()}
        return {column: f"{value:.4f}" for column, value in {**seen, **edge}.items()}


Judge = Callable[[ImageSet, str], list[Opinion | None]]
"""`judge(images, label)` -> one opinion a picture, None where no classifier knows the label."""


def judge_for(label: str, shape: tuple[int, ...]) -> ClassifierCard | None:
    """The classifier that knows every word of `label` and takes pictures of `shape`; None where there is none.

    Of several the one that sees most pixels.
    """
    asked = set(label.split("|"))
    knowing = [card for card in classifiers().values() if asked <= set(card.labels)]
    fits = [card for card in knowing if _fits(card, shape)]
    return max(fits, key=lambda card: card.shape[-1], default=None)


def _fits(card: ClassifierCard, shape: tuple[int, ...]) -> bool:
    channels, height, width = card.shape
    return len(shape) == 3 and any(shape == (channels, k * height, k * width) for k in range(1, 17))


def judge(images: ImageSet, label: str) -> list[Opinion | None]:
    """What the classifier that fits says of `images`, judged in the 256 grey levels in which they are saved.

    Raises:
        MedgenError: a classifier is broken, or a picture holds NaN.
    """
    card = judge_for(label, images.pixels.shape[1:])
    if card is None:
        return [None] * len(images)
    with _loading:
        known = _loaded.get(card.name)
        if known is None or known.card != card:
            known = _loaded[card.name] = load_classifier(card.name)
    saved = as_saved(images)
    network, border = known.probabilities(saved), known.border_probabilities(saved)
    return [Opinion(card, _named(card, a), _named(card, b)) for a, b in zip(network, border, strict=True)]


def as_saved(images: ImageSet) -> ImageSet:
    """`images` rounded to the 256 grey levels of a file: what is judged and changed is what is downloaded."""
    low, high = images.window
    levels = images.uint8().astype(np.float32)
    return replace(images, pixels=levels * np.float32((high - low) / 255.0) + np.float32(low))


def _named(card: ClassifierCard, row: np.ndarray) -> dict[str, float]:
    return dict(zip(card.labels, map(float, row), strict=True))


def sentences(opinion: Opinion, label: str) -> tuple[str, str]:
    """What stands under a picture asked to show `label`: what the classifier says, and what the border alone says."""
    asked = label.split("|")
    said = " and ".join(f"{words(word)} {opinion.network[word]:.0%}" for word in asked)
    others = {word: value for word, value in opinion.network.items() if word not in asked}
    if others:
        top = max(others, key=lambda word: others[word])
        said += f", next {words(top)} {others[top]:.0%}"
    edge = " and ".join(f"{words(word)} {opinion.border[word]:.0%}" for word in asked)
    return f"Classifier: {said}", f"Border alone: {edge}"


def warning() -> str:
    """The permanent line about the shortcut, with the number that the classifier's card states for it."""
    found = [
        (float(card.border_auc[word]["value"]), card, word)
        for card in classifiers().values()
        for word in HEALTHY
        if word in card.labels and card.border_auc[word]["value"] is not None
    ]
    if not found:
        return "There is no classifier here: nobody has looked at whether these pictures show what they were asked to."
    area, card, word = max(found, key=lambda entry: entry[0])
    data = DATASETS[card.data].title if card.data in DATASETS else card.data
    return (
        f"The border pixels alone, without the lungs, tell {words(word)} from everything else in real pictures "
        f"({data}: AUC {area:.2f}). A classifier that agrees is no evidence that a picture looks like the disease."
    )


def footnote(judged: Iterable[tuple[ClassifierCard, str]]) -> str:
    """How good each classifier that was asked is on real test pictures, as HTML; "" where none was.

    Args:
        judged: classifier and label, as asked.
    """
    by_name: dict[str, tuple[ClassifierCard, list[str]]] = {}
    for card, label in judged:
        asked = by_name.setdefault(card.name, (card, []))[1]
        asked += [word for word in label.split("|") if word not in asked]
    return "".join(_table(card, asked) for card, asked in by_name.values())


def _table(card: ClassifierCard, asked: list[str]) -> str:
    heads = ("Label", "Classifier", "Border alone", "With", "Without")
    head = "".join(f"<th scope='col'>{one}</th>" for one in heads)
    body = ""
    for label in asked:
        entry = card.auc[label]
        cells = [_area(entry), _area(card.border_auc[label]), entry["n_with"], entry["n_without"]]
        columns = "".join(f"<td>{cell}</td>" for cell in cells)
        body += f"<tr><th scope='row'>{escape(words(label))}</th>{columns}</tr>"
    said = (
        f"{card.title} ({card.name}) learned from the real train pictures alone; 50 % means that it cannot tell. "
        "Below: how well it, and the border pixels alone, tell real test pictures with a label from those without "
        f"(AUC, 95 % interval, number of pictures). {card.limits}"
    )
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    name = escape(f"AUC of {card.name} on real test pictures")
    region = f"<div class='board small' role='region' tabindex='0' aria-label='{name}'>{inner}</div>"
    return f"<p class='caption footnote'>{escape(said)}</p>{region}"


def _area(entry: dict[str, float | None]) -> str:
    value, low, high = entry["value"], entry["low"], entry["high"]
    if value is None:
        return MISSING
    return f"{value:.2f}" + ("" if low is None or high is None else f"<small>[{low:.2f}, {high:.2f}]</small>")
