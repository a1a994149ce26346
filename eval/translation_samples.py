"""Several samples of one slice: is one as good as their mean, and how much do they differ?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from eval.fakes import sample
from eval.pairwise import Perceptual
from eval.translation_patients import MOST, spread, summarise
from eval.translation_slices import Ground, compare, levels
from medgen.generator import Generator, Request
from medgen.image import ImageSet


def several(
    model: Generator,
    ground: Ground,
    first: ImageSet,
    k: int,
    like: Request,
    lpips: Perceptual | None = None,
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """The `samples` of a report.

    Sample j of slice i has the seed i + j * N: the first is the one that the report is about.

    Args:
        model: a translator that draws.
        ground: all N pairs.
        first: sample 0 of each.
        k: samples a slice.
        like: what else to ask.
        lpips: from `pairwise.lpips`.
        progress: a bar on stderr.
    """
    if model.card.steps is None:
        return {"reason": "it draws nothing: every seed gives the same picture"}
    if k < 2:
        return {"reason": "one sample was asked for; give --samples 2 or more"}
    chosen = spread(len(first), MOST)
    few = ground.take(chosen)
    drawn = [first.take(chosen)]
    for j in range(1, k):
        seeds = tuple((chosen + j * len(first)).tolist())
        drawn.append(sample(model, seeds, [None] * len(seeds), like, sources=few.pairs.source, progress=progress))
    stack = np.stack([levels(one)[0] for one in drawn])  # (k, n, H, W)
    average = np.stack([one.pixels for one in drawn]).mean(axis=0, dtype=np.float64)
    mean = replace(drawn[0], pixels=average.astype(np.float32))
    subjects = few.pairs.subjects
    deviation = stack.std(axis=0, ddof=1)
    spreads = np.array([own[inside].mean() for own, inside in zip(deviation, few.inside, strict=True)])
    found = {
        name: summarise(compare(few, made, lpips), subjects)[0] for name, made in (("one", drawn[0]), ("mean", mean))
    }
    differ, _ = summarise({"spread": (spreads, np.ones(len(spreads)))}, subjects)
    return {"k": k, **found, "spread": differ["spread"]}
