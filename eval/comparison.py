"""Is model A better than model B? Differences with intervals and p values, all pairs of models corrected together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from eval import halves, metrics
from eval.bootstrap import LEVEL, about
from eval.features import Extractor
from eval.over_patients import rounded
from eval.report import METRICS
from medgen.errors import MedgenError

RULE = (
    "Difference = A - B. The same random halves of the real patients for all models, each with half of a model's "
    "images (200 times, without replacement): the difference is paired over patients, and both models' own draws "
    "count. Its spread over the halves is moved to the difference of the full sets for the interval and gives a "
    "two-sided p by a normal approximation. p is corrected over all pairs of a metric and space (Holm). A verdict "
    "needs a corrected p below 0.05. The halves are of the images that were made; another training run is another "
    "model."
)


@dataclass(frozen=True, eq=False)
class Judged:
    """What the tests need of one model in one space.

    Args:
        values: name of a metric -> its value.
        halves: name of a metric -> `(R,)` its values on the halves.
        n: generated images.
    """

    values: dict[str, float]
    halves: dict[str, np.ndarray]
    n: int


def judge(real: np.ndarray, fake: np.ndarray, extractor: Extractor, k: int, split: halves.Halves) -> Judged:
    """Reduces one model to what the tests need: `(N, D)` real and `(M, D)` generated features."""
    near = metrics.neighbours(real=real, fake=fake, k=k)
    values = {name: float(one.mean()) for name, one in near.of().items()}
    spread = halves.neighbours(real, fake, split, k)
    values["kid"], spread["kid"] = metrics.kid(real=real, fake=fake), halves.kid(real, fake, split)
    if "fid" in extractor.metrics:
        values["fid"], spread["fid"] = metrics.fid(real=real, fake=fake), halves.fid(real, fake, split)
    return Judged(values, spread, len(fake))


def tests(judged: Mapping[str, Judged], n_real: int) -> list[dict[str, Any]]:
    """Every pair of models under every metric of one space, with p values corrected over the pairs.

    Args:
        judged: name of a model -> what is known of it; at least two, with as many generated images each.
        n_real: real images.

    Raises:
        MedgenError: fewer than two models, or of different n.
    """
    if len(judged) < 2:
        raise MedgenError("A comparison needs reports of at least two models: run eval.run for another one.")
    if len({one.n for one in judged.values()}) > 1:
        raise MedgenError("Models with different numbers of generated images are not comparable; run eval.run again.")
    names = list(METRICS)
    found = []
    for name in sorted(set.intersection(*(set(one.values) for one in judged.values())), key=names.index):
        family = [
            {"metric": name, "a": a, "b": b, **_pair(name, judged[a], judged[b]), "n_real": n_real}
            for a, b in itertools.combinations(sorted(judged), 2)
        ]
        for entry, corrected in zip(family, holm([entry["p"] for entry in family]), strict=True):
            found.append({**entry, "p_holm": rounded(corrected), **_verdict(entry, corrected)})
    return found


def _pair(name: str, a: Judged, b: Judged) -> dict[str, Any]:
    difference, spread = a.values[name] - b.values[name], a.halves[name] - b.halves[name]
    low, high = about(difference, spread)
    p = _normal_p(difference, float(spread.std(ddof=1)))
    return {
        "a_value": rounded(a.values[name]), "b_value": rounded(b.values[name]), "difference": rounded(difference),
        "low": rounded(low), "high": rounded(high), "p": rounded(p), "n": a.n,
    }  # fmt: skip


def _normal_p(difference: float, error: float) -> float:
    """Two-sided; where nothing varies, 1 for no difference and 0 for any."""
    if error <= 0:
        return float(difference == 0)
    return float(2.0 * norm.sf(abs(difference) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): the smallest p times their number, the next times one less, ..., never falling."""
    order = np.argsort(p_values, kind="stable")
    found, least = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order.tolist()):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[i]))
        found[i] = least
    return found


def _verdict(entry: dict[str, Any], corrected: float) -> dict[str, Any]:
    if corrected >= 1.0 - LEVEL or entry["difference"] == 0:
        return {"better": None, "verdict": "not distinguishable"}
    first = (entry["difference"] < 0) == METRICS[entry["metric"]].lower_is_better
    return {"better": entry["a"] if first else entry["b"], "verdict": "A better" if first else "B better"}
