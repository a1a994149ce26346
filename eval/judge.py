"""What the independent classifiers say of pictures, with their border baseline always beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medgen.classifier import Classifier, classifier_for, classifiers, load_classifier
from medgen.errors import MedgenError
from medgen.image import ImageSet


@dataclass(frozen=True)
class Scores:
    """Probabilities of N pictures for W words.

    Args:
        network: `(N, W)` float32 of the classifier.
        border: `(N, W)` float32 of the baseline that sees only the edge of the picture.
    """

    network: np.ndarray
    border: np.ndarray


class Judge:
    """For each of `words` the classifier that can tell it; words that none can tell are left out.

    Args:
        words: labels, as of one data set.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.names = {word: name for word in words if (name := classifier_for(word)) is not None}
        self._loaded: dict[str, Classifier] = {}

    @property
    def words(self) -> tuple[str, ...]:
        """What it can tell."""
        return tuple(self.names)

    def weights(self) -> dict[str, dict[str, str]]:
        """Name of each classifier -> its weights, as a file states who judged."""
        known = classifiers()
        return {name: dict(known[name].weights) for name in sorted(set(self.names.values()))}

    def scores(self, images: ImageSet) -> Scores:
        """What the classifiers say; columns in the order of `words`.

        Raises:
            MedgenError: a classifier is broken, or cannot judge pictures of this shape.
        """
        network = np.empty((len(images), len(self.names)), np.float32)
        border = np.empty_like(network)
        for name in set(self.names.values()):
            if name not in self._loaded:
                self._loaded[name] = load_classifier(name)
            judge = self._loaded[name]
            inside, edge = judge.probabilities(images), judge.border_probabilities(images)
            for column, (word, owner) in enumerate(self.names.items()):
                if owner == name:
                    place = judge.card.labels.index(word)
                    network[:, column], border[:, column] = inside[:, place], edge[:, place]
        return Scores(network, border)


def judges(cohorts: dict[str, tuple[str, ...]]) -> dict[str, Judge]:
    """A judge for each data set.

    Raises:
        MedgenError: there is no classifier for any label.
    """
    found = {name: Judge(words) for name, words in cohorts.items()}
    if not any(judge.words for judge in found.values()):
        words = ", ".join(word for own in cohorts.values() for word in own) or "no label"
        raise MedgenError(f"No classifier can tell {words}; train one with python -m train.classifier first.")
    return found


def told(judges: dict[str, Judge]) -> dict[str, dict[str, str]]:
    """The weights of all classifiers of `judges`, by name."""
    return {name: weights for judge in judges.values() for name, weights in judge.weights().items()}
