"""Is a generated image one of the training images? The nearest of them, for every sample, in several spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from eval.bootstrap import LEVEL, mean_interval
from eval.copying import Near
from eval.memorisation_file import CLOSEST, PERCENTILE, RULE
from eval.over_patients import rounded


def judged(
    near: Mapping[str, tuple[Near, Near]],
    seeds: Sequence[int],
    labels: Sequence[str] | None,
    train_subjects: Sequence[str],
    held_out_subjects: Sequence[str] | None,
) -> dict[str, Any]:
    """What a file of memorisation says beside where its numbers come from.

    Args:
        near: name of a space -> how near the generated images and the held-out real ones come to the training images.
        seeds: of the generated images.
        labels: of them; None for a model without labels.
        train_subjects: patients of the training images, in the order of the train split.
        held_out_subjects: of the held-out ones; None = every image is its own patient.
    """
    words = list(labels) if labels is not None else [None] * len(seeds)
    spaces, used = {}, set()
    for name, (own, held_out) in near.items():
        order = np.argsort(own.distance, kind="stable")[:CLOSEST]
        percentile = percentiles(own.distance, held_out.distance)
        places = own.place.tolist()
        used.update(places)
        pairs = [
            {"seed": int(seeds[i]), "label": words[i], "train": places[i], "subject": train_subjects[places[i]],
             "distance": rounded(own.distance[i]), "percentile": rounded(percentile[i]), "ratio": rounded(own.ratio[i])}
            for i in order.tolist()
        ]  # fmt: skip
        spaces[name] = {
            **share(own, held_out, held_out_subjects),
            "closest": pairs,
            "train": places,
            "distance": [rounded(value) for value in own.distance],
            "percentile": [rounded(value) for value in percentile],
            "ratio": [rounded(value) for value in own.ratio],
        }
    return {
        "rule": RULE,
        "alarm": any(space["alarm"] for space in spaces.values()),
        "spaces": spaces,
        "seeds": [int(seed) for seed in seeds],
        "labels": words,
        "train_subjects": {str(place): train_subjects[place] for place in sorted(used)},
    }


def percentiles(own: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Of held-out real images, how many percent are as near to the training images as each of `own`, or nearer."""
    ranks = np.searchsorted(np.sort(held_out), own, side="right")
    found: np.ndarray = 100.0 * ranks / len(held_out)
    return found


def share(own: Near, held_out: Near, subjects: Sequence[str] | None) -> dict[str, Any]:
    """How many generated images are nearer to the training images than nearly all held-out real ones, and the alarm.

    Args:
        own: how near the generated images come.
        held_out: how near held-out real ones do.
        subjects: whose these are.
    """
    close, lonely = below(own.distance, held_out.distance, subjects), below(own.ratio, held_out.ratio, subjects)
    return {
        **close,
        "lonely": lonely,
        "alarm": close["raised"] and lonely["raised"],
        "median": rounded(np.median(own.distance)),
        "smallest": rounded(own.distance.min()),
        "held_out_median": rounded(np.median(held_out.distance)),
        "held_out_smallest": rounded(held_out.distance.min()),
    }


def below(own: np.ndarray, held_out: np.ndarray, subjects: Sequence[str] | None) -> dict[str, Any]:
    """The share of `(M,)` numbers below the 5th percentile of `(N,)` of held-out images, beside the share of these."""
    threshold = float(np.percentile(held_out, PERCENTILE))
    close, real_close = own < threshold, (held_out < threshold).astype(float)
    exact = binomtest(int(close.sum()), len(close)).proportion_ci(LEVEL, method="exact")
    low, high = mean_interval(real_close, subjects=subjects, proportion=True) or (None, None)
    real_share = float(real_close.mean())
    return {
        "threshold": rounded(threshold),
        "share": {"value": float(close.mean()), "low": float(exact.low), "high": float(exact.high), "n": len(close)},
        "held_out": {
            "value": real_share, "low": low, "high": high, "n": len(held_out),
            "n_subjects": len(set(subjects)) if subjects is not None else len(held_out),
        },
        "raised": bool(exact.low > (real_share if high is None else high)),
    }  # fmt: skip
