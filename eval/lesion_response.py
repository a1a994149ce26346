"""What an inserted lesion changes in the output: at its place, near it, elsewhere. A slice with and without, one seed.

The change is output(with) - output(without). How strongly a place responds is the mean of its absolute value under
the lesion's own outline laid there. A method that answers differently to the same seed, or whose normalisation passes
a change on to the whole slice, responds everywhere a little: the same measure at places without a lesion says how
much (`elsewhere`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from eval.lesion_plan import Planned, kernel_of, mean_under
from eval.lesion_structures import structures
from eval.over_patients import rounded

NEAR_MM = 20.0
"""How far from its place a response still counts as the lesion's own, which has moved."""
MOVED_MM = 5.0
"""A response whose middle is farther from the lesion's has moved; two pixels of a slice of 128."""
CHANGE = {"au": 10.0, "HU": 30.0}
"""Change of a structure that the lesion brings about elsewhere, in grey levels or HU."""
_BEYOND_MM = 5.0
_SMOOTH_MM = 1.0
_HALF = 0.5


def respond(
    change: np.ndarray,
    planned: Planned,
    spacing_mm: tuple[float, float],
    inside: np.ndarray,
    unit: str,
    true_change: np.ndarray | None = None,
) -> dict[str, Any]:
    """Numbers of one lesion, in grey levels or HU.

    Args:
        change: `(H, W)`, output with the lesion less output without.
        planned: the lesion.
        spacing_mm: of a pixel.
        inside: `(H, W)` bool, the head.
        unit: of the output, "au" or "HU".
        true_change: `(H, W)`, of the target; None where nobody knows it.

    Returns:
        `own`: response at the lesion's place; `signed`: mean change there; `near`: the strongest response between
        `MOVED_MM` and `NEAR_MM` away; `shift_mm`: from the middle of the lesion, or of its true change, to that of what
        responds there (None: nothing); `recovered`: slope of the change against the true one; `outside`: root mean
        square of the change in the rest of the head; `elsewhere` and `elsewhere_near`: as `own` and `near`, at the
        places without a lesion; `structures_near` and `structures_far`: other structures that appear or vanish,
        within `NEAR_MM` of the lesion's edge and beyond.
    """
    size = np.abs(change)
    level = mean_under(size, kernel_of(planned.lesion, spacing_mm))
    mask = planned.lesion.mask(size.shape, spacing_mm)
    distance = away_mm(planned.lesion.centre_mm, size.shape, spacing_mm)
    own, near = _own_and_near(level, distance)
    chance = [_own_and_near(level, away_mm(place, size.shape, spacing_mm)) for place in planned.elsewhere]
    rest = inside & (distance > planned.lesion.radius_mm + NEAR_MM)
    beside, far = _structures(change, mask, planned, distance, spacing_mm, CHANGE[unit])
    middle = _middle_mm(size, mask, planned, distance, spacing_mm)
    wanted = None
    if true_change is not None:  # the same lesion changes bright tissue more than dark
        wanted = _middle_mm(np.abs(true_change), mask, planned, distance, spacing_mm)
    start = planned.lesion.centre_mm if wanted is None else wanted
    return {
        "own": rounded(own),
        "signed": rounded(change[mask].mean()),
        "near": rounded(near),
        "shift_mm": None if middle is None else rounded(np.hypot(*np.subtract(middle, start))),
        "recovered": None if true_change is None else _recovered(change, true_change, mask, spacing_mm),
        "outside": rounded(np.sqrt((size[rest] ** 2).mean()) if rest.any() else 0.0),
        "elsewhere": [rounded(one) for one, _ in chance],
        "elsewhere_near": [rounded(one) for _, one in chance],
        "structures_near": beside,
        "structures_far": far,
    }


def away_mm(place_mm: tuple[float, float], shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> np.ndarray:
    """`(H, W)`: how far the middle of each pixel is from a place."""
    down, right = ((np.arange(n) + 0.5) * mm - at for n, mm, at in zip(shape, spacing_mm, place_mm, strict=True))
    return np.hypot(down[:, None], right[None])


def _own_and_near(level: np.ndarray, distance: np.ndarray) -> tuple[float, float]:
    """Response at a place, and the strongest one around it."""
    ring = (distance > MOVED_MM) & (distance <= NEAR_MM)
    return float(level.ravel()[distance.argmin()]), float(level[ring].max())


def _recovered(change: np.ndarray, true_change: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    """Slope of the output's change against the true one, in and right around the lesion."""
    around = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= _BEYOND_MM
    truth = true_change[around]
    return rounded((change[around] * truth).sum() / (truth**2).sum())


def _middle_mm(
    size: np.ndarray, mask: np.ndarray, planned: Planned, distance: np.ndarray, spacing_mm: tuple[float, float]
) -> tuple[float, float] | None:
    """The centroid of what responds at the lesion's place, down and to the right; None where nothing does.

    What responds is the connected part, within reach, of at least half the strongest change under the lesion, that
    covers most of the lesion: a second, separate response is none of it.
    """
    smooth = ndimage.gaussian_filter(size, [_SMOOTH_MM / mm for mm in spacing_mm])
    peak = float(smooth[mask].max())
    if peak <= 0:
        return None
    parts, _ = ndimage.label((smooth >= _HALF * peak) & (distance <= planned.lesion.radius_mm + NEAR_MM))
    body = parts == np.argmax(np.bincount(parts[mask])[1:]) + 1
    weight = np.where(body, smooth, 0.0)
    down, right = (
        float(((np.arange(n) + 0.5) * mm * weight.sum(axis=1 - axis)).sum() / weight.sum())
        for axis, (n, mm) in enumerate(zip(size.shape, spacing_mm, strict=True))
    )
    return down, right


def _structures(
    change: np.ndarray, mask: np.ndarray, planned: Planned, distance: np.ndarray, spacing_mm: tuple[float, float],
    least: float,
) -> tuple[int, int]:  # fmt: skip
    """Structures outside the lesion and its rim: those within reach of it, and those beyond."""
    beyond = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) > _BEYOND_MM
    near = far = 0
    for sign in (1.0, -1.0):
        parts = structures(np.where(beyond, sign * change, 0.0), least, spacing_mm)
        for n in range(1, int(parts.max()) + 1):
            if distance[parts == n].mean() <= planned.lesion.radius_mm + NEAR_MM:
                near += 1
            else:
                far += 1
    return near, far
