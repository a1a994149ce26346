"""Do the samples of a stochastic translator differ where they are wrong? Held-out slices, k samples each, by pixel.

Written down before any number. Inside the head, for each pixel: the spread is the standard deviation of k samples
(`medgen.disagreement`), the error that of their mean against the truth. Beside each number stands what is promised:
the same number with one more sample in the place of the truth. If truth and samples came from one distribution, the two
would be equal, whatever k.

- **AUC**: how well the spread tells pixels with an error of `LARGE` or more from the others; 0.5 = not at all.
- **Spearman**: rank correlation of spread and size of error within a slice, mean over slices.
- **Calibration**: pixels in ten groups of rising spread; the error of each (root mean square) beside the promised one.
  `ratio` is the one over the other, all pixels: above 1, the samples are surer than they may be.
- **Coverage**: share of pixels whose truth lies between the least and the greatest sample.

Intervals resample patients: pixels and slices of one head are no independent evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import numpy as np
from scipy import stats

from eval.bootstrap import LEVEL
from eval.lesion_task import Task, spread_over_patients
from eval.over_patients import entry, rounded
from eval.translation_masks import heads
from eval.translation_slices import levels
from medgen.auc import FEWEST_PATIENTS
from medgen.disagreement import disagreement
from medgen.image import ImageSet

LARGE = {"au": 25.0, "HU": 100.0}
"""A large error, in grey levels (a tenth of the window) or HU."""
BINS = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 47), [np.inf]])
"""Of spread, in shares of the window: what is kept of a patient is one histogram, from which all else follows."""
_GROUPS = 10
_REPEATS = 1000
_SIDES = ("", "promised_")
"""What the truth says, and what one more sample says in its place."""
_COLUMNS = ("pixels", *(side + name for side in _SIDES for name in ("large", "squared_error")))
_NUMBERS = tuple(side + name for side in _SIDES for name in ("inside_range", "spearman"))


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    asked = task.asked()
    return {**asked, "slices": task.slices, "samples": task.samples, "large": LARGE[asked["unit"]]}


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Patient -> histograms over the spread, and numbers of each slice; skips `done`."""
    pairs = task.pairs()
    chosen = spread_over_patients(pairs.subjects, task.slices)
    for subject in dict.fromkeys(pairs.subjects):
        if subject in done:
            continue
        own = pairs.take([i for i in chosen if pairs.subjects[i] == subject])
        inside = heads(own.source, own.target)
        slices = [_slice(task, own.source.take([i]), own.target.take([i]), inside[i]) for i in range(len(own))]
        item: dict[str, Any] = {
            name: [rounded(value) for value in sum(one[name] for one in slices)] for name in _COLUMNS
        }
        yield subject, item | {name: [one[name] for one in slices] for name in _NUMBERS}


def _slice(task: Task, source: ImageSet, target: ImageSet, inside: np.ndarray) -> dict[str, Any]:
    n = task.samples + 1
    samples = task.translated(source.take([0] * n), range(n))[:, inside]  # (k + 1, P)
    truth, range_ = levels(target)
    return told(samples, truth[0][inside], large=LARGE[task.card.unit], span=range_)


def told(samples: np.ndarray, truth: np.ndarray, *, large: float, span: float) -> dict[str, Any]:
    """What the pixels of one slice say.

    Args:
        samples: `(k + 1, P)`; the last stands in for the truth.
        truth: `(P,)`.
        large: what counts as a large error.
        span: from black to white.

    Returns:
        `(B,)` by bin of spread: `pixels`, how many of them have a `large` error, their summed `squared_error`. Of all:
        `inside_range`, a share; `spearman`, None where all spreads or all errors are equal. And all but the first
        again with `promised_` before it.
    """
    drawn = samples[:-1]
    spread = disagreement(drawn[:, None, None, :])[0].astype(np.float64)
    place = np.searchsorted(BINS, spread / span, side="right") - 1

    def summed(weights: np.ndarray) -> np.ndarray:
        return np.bincount(place, weights, minlength=len(BINS) - 1)

    found: dict[str, Any] = {"pixels": summed(np.ones_like(spread))}
    for side, against in zip(_SIDES, (truth, samples[-1]), strict=True):
        error = np.abs(drawn.mean(axis=0) - against)
        within = (against >= drawn.min(axis=0)) & (against <= drawn.max(axis=0))
        varied = len(error) and np.ptp(spread) > 0 and np.ptp(error) > 0
        found[f"{side}large"], found[f"{side}squared_error"] = summed(error >= large), summed(error**2)
        found[f"{side}inside_range"] = rounded(within.mean()) if len(error) else None
        found[f"{side}spearman"] = rounded(stats.spearmanr(spread, error).statistic) if varied else None
    return found


def summary(settings: Mapping[str, Any], items: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How well the spread predicts the error, over all patients."""
    # (patients, bins)
    columns = {name: np.array([item[name] for item in items.values()]) for name in _COLUMNS}
    pixels, squared, promised = (columns[name] for name in ("pixels", "squared_error", "promised_squared_error"))

    def auc(side: str) -> dict[str, float | None]:
        large = columns[f"{side}large"]
        return _resampled(lambda weights: _auc(weights @ large, weights @ (pixels - large)), len(items))

    def ratio(weights: np.ndarray) -> np.ndarray:
        return _root((weights @ squared).sum(axis=1), (weights @ promised).sum(axis=1))

    def mean(name: str) -> dict[str, Any]:
        known = [(subject, one) for subject, item in items.items() for one in item[name] if one is not None]
        return entry([one for _, one in known], [subject for subject, _ in known])

    found: dict[str, Any] = {
        "k": settings["samples"],
        "n": sum(len(item["spearman"]) for item in items.values()),
        "n_subjects": len(items),
        "pixels": int(pixels.sum()),
        "large_share": rounded(columns["large"].sum() / pixels.sum()),
        "ratio": _resampled(ratio, len(items)),
        "curve": _curve(pixels, squared, promised),
    }
    for side in _SIDES:
        found |= {f"{side}auc": auc(side), f"{side}spearman": mean(f"{side}spearman")}
        found[f"{side}coverage"] = mean(f"{side}inside_range")
    return found


def _curve(pixels: np.ndarray, squared: np.ndarray, promised: np.ndarray) -> list[dict[str, Any]]:
    """Groups of about as many pixels each, by rising spread: what is promised and what is observed."""
    total = pixels.sum(axis=0)
    used = np.flatnonzero(total)
    middle = (np.cumsum(total) - 0.5 * total)[used] / total.sum()
    group = np.minimum((middle * _GROUPS).astype(int), _GROUPS - 1)
    found = []
    for one in np.unique(group):
        own = used[group == one]

        def error(weights: np.ndarray, own: np.ndarray = own) -> np.ndarray:
            return _root((weights @ squared[:, own]).sum(axis=1), (weights @ pixels[:, own]).sum(axis=1))

        expected = rounded(np.sqrt(promised[:, own].sum() / total[own].sum()))
        share = rounded(total[own].sum() / total.sum())
        found.append({"share": share, "promised": expected, "error": _resampled(error, len(pixels))})
    return found


def _auc(with_: np.ndarray, without: np.ndarray) -> np.ndarray:
    """`(R,)` area under the ROC curve from histograms `(R, B)` by rising score; within a bin, ties count half."""
    below = np.cumsum(without, axis=1) - 0.5 * without
    pairs = with_.sum(axis=1) * without.sum(axis=1)
    return np.divide((with_ * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _root(squares: np.ndarray, over: np.ndarray) -> np.ndarray:
    return np.sqrt(np.divide(squares, over, out=np.full(len(over), np.nan), where=over > 0))


def _resampled(statistic: Callable[[np.ndarray], np.ndarray], n: int) -> dict[str, float | None]:
    """`value`, `low` and `high` of a statistic of weighted patients `(R, n)`; None where there is no such number.

    The resamples are those of `auc_entry`: one multinomial draw of patients each.
    """

    def known(value: float) -> float | None:
        return rounded(value) if np.isfinite(value) else None

    found: dict[str, float | None] = {"value": known(statistic(np.ones((1, n)))[0]), "low": None, "high": None}
    if found["value"] is not None and n >= FEWEST_PATIENTS:
        drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1.0 / n), size=_REPEATS).astype(np.float64)
        low, high = np.nanquantile(statistic(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found |= {"low": known(low), "high": known(high)}
    return found
