"""Does the label show? An independent classifier tells generated "with" from generated "without", as it does on real.

Pictures of a data set with one label each: as many of every label, and "without" is the other labels in equal shares.
Pictures with several: label sets of real train images, "with" those that hold the label, "without" those that do not.
One picture serves many labels, but never twice for one.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval import fakes
from eval.features import content_hash
from eval.judge import Judge, Scores, judges, told
from eval.protocols import askable
from eval.task import Task
from medgen import data
from medgen.auc import auc_entry, truth_table

CONTROL = "label"


@dataclass(frozen=True)
class Plan:
    """Which pictures to make, and which of them stand for each label.

    Args:
        asked: the label, or label set "A|B", of picture i.
        shown: label -> pictures with it.
        absent: label -> as many pictures without it.
    """

    asked: tuple[str, ...]
    shown: dict[str, np.ndarray]
    absent: dict[str, np.ndarray]


def plan_alone(words: Sequence[str], n: int) -> Plan:
    """`n` pictures of each of `words`; those without a word are the others in equal shares, `n` in all."""
    own = {word: np.arange(i * n, (i + 1) * n) for i, word in enumerate(words)}
    absent = {}
    for word in words:
        others = [rows for other, rows in own.items() if other != word]
        shares = [len(part) for part in np.array_split(np.arange(n), len(others))] if others else []
        absent[word] = np.array([row for rows, share in zip(others, shares, strict=True) for row in rows[:share]], int)
    usable = [word for word in words if len(absent[word])]
    asked = tuple(word for word in words for _ in range(n))
    return Plan(asked, {word: own[word] for word in usable}, {word: absent[word] for word in usable})


def plan_sets(words: Sequence[str], sets: Sequence[str], n: int, seed: int = 0) -> Plan:
    """`n` pictures with and `n` without each of `words`, of label sets drawn from `sets`, one a real image.

    First a natural mix, long enough to hold `n` without each word; its pictures with a word count as such. What a rare
    word still lacks is drawn from the real images that show it, and serves that word alone, for it would bend the mix.
    """
    shows = truth_table(sets, words)
    usable = [i for i in range(len(words)) if 0 < shows[:, i].sum() < len(sets)]
    if not usable:
        return Plan((), {}, {})
    rng = np.random.default_rng(seed)
    # the longest run without a word is bounded by the rarest absence; drawing in blocks ends as soon as all have n
    drawn = np.empty(0, int)
    while len(drawn) == 0 or (~shows[drawn][:, usable]).sum(axis=0).min() < n:
        drawn = np.concatenate([drawn, rng.integers(len(sets), size=n)])
    here = shows[drawn]
    shown, absent, extra = {}, {}, []
    for i in usable:
        present = np.flatnonzero(here[:, i])[:n]
        missing = rng.choice(np.flatnonzero(shows[:, i]), size=n - len(present))
        shown[words[i]] = np.concatenate([present, len(drawn) + len(extra) + np.arange(len(missing))])
        absent[words[i]] = np.flatnonzero(~here[:, i])[:n]
        extra += list(missing)
    return Plan(tuple(sets[row] for row in [*drawn, *extra]), shown, absent)


def settings(task: Task) -> dict[str, Any]:
    """All that decides the result, but the weights of the model."""
    found = judges(task.cohorts())
    real = {name: content_hash(data.real(name, task.split)) for name in found}
    return {**task.asked(), "n": task.n, "classifiers": told(found), "real_sha256": real}


def measure(task: Task, done: Container[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Label -> its areas under the ROC curve, generated and real, each beside that of the border; skips `done`."""
    for name, judge in judges(task.cohorts()).items():
        if any(word not in done for word in judge.words):
            yield from _of_cohort(task, name, judge)


def _of_cohort(task: Task, name: str, judge: Judge) -> Iterator[tuple[str, dict[str, Any]]]:
    words = task.cohorts()[name]
    entry = data.DATASETS[name]
    train = [row.label for row in data.records(entry, data.present(entry)) if row.split == "train"]
    sets = [asked for label in train if (asked := askable(label, task.card)) is not None]
    plan = plan_sets(words, sets, task.n) if any("|" in one for one in sets) else plan_alone(words, task.n)
    if not plan.asked:
        return
    made = _generated(task, plan.asked, judge)
    real = data.real(name, task.split)
    seen = judge.scores(real)
    truth = truth_table(real.labels or (), judge.words)
    for column, word in enumerate(judge.words):
        if word not in plan.shown:
            continue
        rows = np.concatenate([plan.shown[word], plan.absent[word]])
        asked = np.arange(len(rows)) < len(plan.shown[word])
        yield (
            word,
            {
                "cohort": name,
                "classifier": judge.names[word],
                "generated": auc_entry(made.network[rows, column], asked),
                "generated_border": auc_entry(made.border[rows, column], asked),
                "real": auc_entry(seen.network[:, column], truth[:, column], real.subjects),
                "real_border": auc_entry(seen.border[:, column], truth[:, column], real.subjects),
            },
        )


def _generated(task: Task, asked: Sequence[str], judge: Judge) -> Scores:
    """The judgement of picture i, asked for `asked[i]` with seed i; the pictures themselves are not kept."""
    network = np.empty((len(asked), len(judge.words)), np.float32)
    border = np.empty_like(network)
    for rows, images in fakes.batches(task.model, range(len(asked)), asked, task.like(), progress=task.progress):
        scores = judge.scores(images)
        network[rows], border[rows] = scores.network, scores.border
    return Scores(network, border)
