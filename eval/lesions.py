"""Known lesions, inserted into sources of held-out patients: does the translation show them, there, and nothing else?

Where: `eval.lesion_plan`. The same slice is translated with and without the lesion, with the same seed; what differs
is what the lesion did (`eval.lesion_response`), and that is judged (`eval.lesion_summary`).

- **Real pairs** (T1, T2, FLAIR): the lesion is drawn into the source (`medgen.lesion`). What the target would show of
  it is nobody's knowledge: brighter or darker, both count as kept. What is expected is a change as large as the
  inserted one, in shares of the window.
- **Rendered pairs** (MR, CT): the lesion is laid over the tissues before the picture is taken
  (`eval.lesion_rendered`), so the target with the lesion is known, and `recovered` says how much of the true change
  the output has: the slope of its change against the true one, 1 = all of it, 0 = nothing, below 0 = the wrong way.

A diffusion model is asked k times for the first lesions, each time with another seed for the pair of slices.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from eval import lesion_summary
from eval.lesion_plan import CONTRASTS, RADII_MM, Planned, plan, spacing_of
from eval.lesion_rendered import with_lesions
from eval.lesion_response import CHANGE, MOVED_MM, NEAR_MM, respond
from eval.lesion_task import Task
from eval.over_patients import rounded
from eval.translation_masks import heads
from eval.translation_slices import levels
from medgen.image import ImageSet, concatenate
from medgen.lesion import inserted
from medgen.paired import PairedSet

summary = lesion_summary.summary
SEED = 0
_CHUNK = 20
_NEXT_SAMPLE = 1_000_000
"""Sample j of lesion i has the seed i + j times this."""


class Case(NamedTuple):
    """One lesion and what is known of it.

    Args:
        planned: which, and where.
        pair: source and target without it, one slice.
        with_it: the source with the lesion.
        expected: mean size of the change under the lesion that the output should show, in grey levels or HU.
        true_change: `(H, W)`, of the target, where it is known.
    """

    planned: Planned
    pair: PairedSet
    with_it: ImageSet
    expected: float
    true_change: np.ndarray | None


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    repeated = {"samples": task.samples, "repeated": min(task.repeated, task.lesions)} if task.stochastic else {}
    design = {
        "radii_mm": [list(one) for one in RADII_MM],
        "contrasts": [list(one) for one in CONTRASTS],
        "floor": lesion_summary.FLOOR,
        "chance_level": lesion_summary.CHANCE_LEVEL,
        "moved_mm": MOVED_MM,
        "near_mm": NEAR_MM,
        "change": CHANGE[task.card.unit],
        "seed": SEED,
    }
    return {**task.asked(), "lesions": task.lesions, **repeated, **design}


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Number of the first lesion -> columns of the responses of some twenty lesions; skips `done`."""
    starts = [start for start in range(0, task.lesions, _CHUNK) if str(start) not in done]
    found = cases(task) if starts else []
    for start in starts:
        rows = _rows(task, found[start : start + _CHUNK], start)
        yield str(start), {name: [row[name] for row in rows] for name in rows[0]}


def cases(task: Task) -> list[Case]:
    """All lesions of the experiment, in their slices."""
    pairs = task.pairs()
    planned = plan(pairs, task.lesions, SEED)
    if pairs.regions is None:
        return [_drawn(pairs.take([one.index]), one) for one in planned]
    changed = with_lesions(pairs, planned, task.split)
    return [_known(pairs.take([one.index]), one, changed.take([i])) for i, one in enumerate(planned)]


def _drawn(pair: PairedSet, planned: Planned) -> Case:
    """The lesion drawn into the source."""
    source = inserted(pair.source, planned.lesion, spacing_of(pair))
    (before, range_), (after, _) = levels(pair.source), levels(source)
    share = np.abs(after - before)[0][_mask(planned, pair)].mean() / range_
    return Case(planned, pair, source, float(share * levels(pair.target)[1]), None)


def _known(pair: PairedSet, planned: Planned, changed: PairedSet) -> Case:
    """The lesion in both contrasts."""
    change = (levels(changed.target)[0] - levels(pair.target)[0])[0]
    return Case(planned, pair, changed.source, float(np.abs(change[_mask(planned, pair)]).mean()), change)


def _mask(planned: Planned, pair: PairedSet) -> np.ndarray:
    height, width = pair.source.pixels.shape[-2:]
    return planned.lesion.mask((height, width), spacing_of(pair))


def _rows(task: Task, part: Sequence[Case], start: int) -> list[dict[str, Any]]:
    rows = []
    changes = _changes(task, part, range(start, start + len(part)))
    for one, change in zip(part, changes, strict=True):
        inside = heads(one.pair.source, one.pair.target)[0]
        lesion = one.planned.lesion
        rows.append(
            {
                "subject": one.pair.subjects[0],
                "index": one.planned.index,
                "centre_mm": [rounded(value) for value in lesion.centre_mm],
                "radius_mm": rounded(lesion.radius_mm),
                "contrast": rounded(lesion.contrast),
                "expected": rounded(one.expected),
                **respond(change, one.planned, task.spacing_mm, inside, task.card.unit, one.true_change),
                "samples": [],
            }
        )
    again = [i for i in range(len(part)) if task.stochastic and start + i < task.repeated]
    for j in range(task.samples if again else 0):
        # the first sample is the one above
        seeds = [start + i + j * _NEXT_SAMPLE for i in again]
        made = [changes[i] for i in again] if j == 0 else _changes(task, [part[i] for i in again], seeds)
        for i, change in zip(again, made, strict=True):
            everywhere = np.ones(change.shape, bool)
            own = respond(change, part[i].planned, task.spacing_mm, everywhere, task.card.unit, part[i].true_change)
            rows[i]["samples"].append([own[name] for name in lesion_summary.JUDGED])
    return rows


def _changes(task: Task, part: Sequence[Case], seeds: Sequence[int]) -> np.ndarray:
    """`(N, H, W)`: output with each lesion less output without, in grey levels or HU."""
    sources = concatenate([one.pair.source for one in part] + [one.with_it for one in part])
    made = task.translated(sources, [*seeds, *seeds])
    return made[len(part) :] - made[: len(part)]
