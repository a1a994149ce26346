"""What probabilities are worth: accuracy, AUC, precision, recall and calibration, for many weightings at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medgen.auc import weighted_auc

MEASURES = ("accuracy", "auc", "precision", "recall", "ece", "brier")
"""Overall; AUC, precision and recall are means over the classes. ECE and Brier: lower is better."""
LOWER_IS_BETTER = frozenset({"ece", "brier"})
BINS = 15
REPEATS = 500


def resamples(subjects: Sequence[str], repeats: int = REPEATS, seed: int = 0) -> np.ndarray:
    """`(1 + repeats, N)` weights: all images once, then patients drawn with replacement, with all their images."""
    _, patient = np.unique(np.asarray(subjects), return_inverse=True)
    count = int(patient.max()) + 1
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=repeats)
    return np.concatenate([np.ones((1, len(patient))), times[:, patient]])


def measures(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every measure, overall and of each class, for each row of weights.

    A class that nobody predicts has no precision; in the mean over the classes it counts as 0, as in scikit-learn.

    Args:
        probabilities: `(N, C)`, rows sum to 1.
        truth: `(N,)` classes.
        weights: `(R, N)`.

    Returns:
        Each of `MEASURES`, and "precision/c", "recall/c" and "auc/c" for class number c: `(R,)`, NaN where undefined.
    """
    count = probabilities.shape[1]
    guess, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    total = weights.sum(axis=1)
    right = guess == truth
    found: dict[str, np.ndarray] = {"accuracy": _share(weights @ right, total)}
    for c in range(count):
        both = weights @ (right & (truth == c))
        found[f"precision/{c}"] = _share(both, weights @ (guess == c))
        found[f"recall/{c}"] = _share(both, weights @ (truth == c))
        one_side = (truth == c).all() or not (truth == c).any()
        found[f"auc/{c}"] = (
            np.full(len(weights), np.nan) if one_side else weighted_auc(probabilities[:, c], truth == c, weights)
        )
    for name in ("auc", "precision", "recall"):
        each = np.stack([found[f"{name}/{c}"] for c in range(count)])
        found[name] = (np.nan_to_num(each, nan=0.0) if name == "precision" else each).mean(axis=0)
    found["ece"] = _calibration_error(confidence, right, weights)
    missed = np.square(probabilities - np.eye(count)[truth]).sum(axis=1)
    found["brier"] = _share(weights @ missed, total)
    return found


def _calibration_error(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error of the predicted class in `BINS` equal bins (Guo 2017, arXiv:1706.04599, eq. 5)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    inside = np.eye(BINS)[place]  # (N, BINS)
    gap = np.abs(weights @ (inside * (confidence - right)[:, None]))
    return _share(gap.sum(axis=1), weights.sum(axis=1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
