"""The limits of a verdict, from real images alone, and known truths that the detector has to get right.

No generated image has a part in them:

| verdict | rule, for each judged statistic of each space |
|---|---|
| varied | the interval reaches what 95 % of equally large draws of real train images reach |
| collapsed | the whole interval is below real images cut to a tenth, whichever cut leaves less variety |
| narrow | anything between |

A set is collapsed only if every judged statistic in every space says so, and varied only if all say that. There are
two cuts: `near` keeps the nearest neighbours of one real image (a model that makes one kind of picture), `few` repeats
a few real images with small shifts and changes of brightness (a model that makes a few pictures again and again).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eval.collapse_measures import JUDGED, Scale, entries, scale, values
from eval.features import Extractor, features
from medgen.errors import MedgenError
from medgen.image import ImageSet

VERDICTS = ("varied", "narrow", "collapsed")
CUT = 0.1
DRAWS = 40
CENTRES = 20
REAL_END = 0.05
SHIFT_PX = 3
"""Largest shift of a repeated picture, in pixels of 128."""
CONTROLS = {"half": 0.5, "twentieth": 0.05}
"""Cuts whose verdict is known: half of real variety is not collapsed, a twentieth is."""


@dataclass(frozen=True)
class Limits:
    """One space, and what its statistics may be.

    Args:
        space: the extractor.
        on: its scale.
        n: images a set.
        varied_from: statistic -> the lower end of real draws.
        collapsed_below: statistic -> what the cut to a tenth leaves.
    """

    space: Extractor
    on: Scale
    n: int
    varied_from: dict[str, float]
    collapsed_below: dict[str, float]

    def judge(self, found: dict[str, dict[str, Any]]) -> str:
        """The verdict of this space on the entries of one set."""
        each = set()
        for name in JUDGED:
            high = found[name]["high"]
            below = high < self.collapsed_below[name]
            each.add("collapsed" if below else "varied" if high >= self.varied_from[name] else "narrow")
        return each.pop() if len(each) == 1 else "narrow"


def together(verdicts: list[str]) -> str:
    """The verdict of several spaces."""
    return verdicts[0] if len(set(verdicts)) == 1 else "narrow"


def limits(train: ImageSet, space: Extractor, n: int, *, progress: bool = False) -> tuple[Limits, dict[str, Any]]:
    """Learns the limits of one space from real train images.

    Args:
        train: the real images.
        space: the extractor.
        n: images a set; at most a tenth of `train`.
        progress: a bar on stderr.

    Returns:
        The limits, and what the file says of them: real draws, cuts and the verdicts on the controls.

    Raises:
        MedgenError: there are too few real images for sets of `n`.
    """
    if n > CUT * len(train):
        raise MedgenError(f"Sets of {n} images need {round(n / CUT)} real ones, there are {len(train)}: lower --n.")
    whole = features(train, space, progress=progress)
    subjects = np.asarray(train.subjects if train.subjects is not None else np.arange(len(train)))
    random = np.random.default_rng(0)
    own = random.permutation(len(train))[: max(n, 512)]
    on = scale(whole[own], subjects[own])
    draws = [values(whole[random.permutation(len(train))[:n]], on) for _ in range(DRAWS)]
    cut = {kind: _cut(kind, CUT, train, whole, space, n, on) for kind in ("near", "few")}
    found = Limits(
        space, on, n,
        {name: float(np.quantile([one[name] for one in draws], REAL_END)) for name in JUDGED},
        {name: min(_middle(sets, name) for sets in cut.values()) for name in JUDGED},
    )  # fmt: skip
    facts = {
        "sha256": space.sha256,
        "radius": on.radius,
        "middle": on.middle,
        "real": {name: _middle(draws, name) for name in draws[0]},
        "cuts": {kind: {name: _middle(sets, name) for name in sets[0]} for kind, sets in cut.items()},
        "varied_from": found.varied_from,
        "collapsed_below": found.collapsed_below,
        "controls": _controls(found, train, whole),
    }
    return found, facts


def _controls(found: Limits, train: ImageSet, whole: np.ndarray) -> list[dict[str, Any]]:
    """Verdicts on fresh cuts of real images."""
    rows = []
    for name, share in CONTROLS.items():
        for kind, make in _SETS.items():
            made = entries(make(share, train, whole, found.space, found.n, np.random.default_rng(7)), found.on)
            rows.append({"control": name, "kind": kind, "share": share, "verdict": found.judge(made), "entries": made})
    return rows


def _cut(
    kind: str, share: float, train: ImageSet, whole: np.ndarray, space: Extractor, n: int, on: Scale
) -> list[dict[str, float]]:
    """The statistics of real images cut to a share: of many centres, or of one set of repeated pictures."""
    repeats = CENTRES if kind == "near" else 1
    return [values(_SETS[kind](share, train, whole, space, n, np.random.default_rng(i)), on) for i in range(repeats)]


def _near(
    share: float, train: ImageSet, whole: np.ndarray, space: Extractor, n: int, random: np.random.Generator
) -> np.ndarray:
    """`(n, D)` features drawn from the nearest neighbours of one real image; repeated only where they are too few."""
    centre = whole[random.integers(len(whole))]
    nearest = np.argsort(np.square(whole - centre).sum(axis=1))[: max(2, round(share * len(whole)))]
    if len(nearest) >= n:
        return whole[random.permutation(nearest)[:n]]
    return features(jittered(train.take(random.choice(nearest, n)), random), space)


def _few(
    share: float, train: ImageSet, whole: np.ndarray, space: Extractor, n: int, random: np.random.Generator
) -> np.ndarray:
    """`(n, D)` features of `share * n` real images, repeated with small changes."""
    kept = random.permutation(len(train))[: max(2, round(share * n))]
    return features(jittered(train.take(random.choice(kept, n)), random), space)


_SETS: dict[str, Callable[..., np.ndarray]] = {"near": _near, "few": _few}


def jittered(images: ImageSet, random: np.random.Generator) -> ImageSet:
    """Each image shifted by up to `SHIFT_PX` of 128 pixels, its contrast and brightness changed by some 3 %."""
    reach = max(1, SHIFT_PX * images.pixels.shape[-1] // 128)
    low, high = images.window
    moved = np.empty_like(images.pixels)
    for i, picture in enumerate(images.pixels):
        down, right = random.integers(-reach, reach + 1, 2).tolist()
        padded = np.pad(picture, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        height, width = picture.shape[1:]
        cut = padded[:, reach + down : reach + down + height, reach + right : reach + right + width]
        moved[i] = cut * (1.0 + 0.03 * random.normal()) + 0.015 * (high - low) * random.normal()
    return replace(images, pixels=np.clip(moved, low, high))


def _middle(sets: list[dict[str, float]], name: str) -> float:
    return float(f"{np.median([one[name] for one in sets]):.6g}")
