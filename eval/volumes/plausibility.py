"""Is each volume whole? Limits from real training volumes, and how many generated and held-out real ones break them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import mean_interval
from eval.volumes.measures import Measure

MARGIN = 0.25
RULE = (
    f"A volume fails where a measure lies beyond those of all real train volumes by more than {MARGIN:.0%} of their "
    "range, or where a structure is missing. Limits come from the train split; held-out real volumes stand beside."
)


def limits(train: Mapping[str, np.ndarray], known: Mapping[str, Measure]) -> dict[str, tuple[float, float]]:
    """Name -> the lowest and the highest value that passes, infinite where any does.

    Args:
        train: `measured` of the real train volumes.
        known: what the measures are; only those that a volume can fail have limits.
    """
    found = {}
    for name, measure in known.items():
        if not measure.fails:
            continue
        low, high = float(np.nanmin(train[name])), float(np.nanmax(train[name]))
        # where all real volumes are in one piece, a few stray voxels of another are no failure yet
        margin = max(MARGIN * (high - low), 5e-3)
        # a small structure may be smaller, but not be gone
        least = max(low - margin, 0.5 * low) if low > 0 else low - margin
        below = least if measure.fails in ("both", "low") else -np.inf
        above = high + margin if measure.fails in ("both", "high") else np.inf
        found[name] = (below, above)
    return found


def failures(values: Mapping[str, np.ndarray], allowed: Mapping[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """Name -> which volumes fail, `(N,)` bool. A measure that is NaN, of a structure that is missing, fails."""
    return {name: ~((values[name] >= low) & (values[name] <= high)) for name, (low, high) in allowed.items()}


def checked(
    fake: Mapping[str, np.ndarray],
    real: Mapping[str, np.ndarray],
    allowed: Mapping[str, tuple[float, float]],
    known: Mapping[str, Measure],
    subjects: Sequence[str] | None,
) -> dict[str, Any]:
    """The part "plausibility" of a report.

    Args:
        fake: `measured` of generated volumes.
        real: of held-out real ones.
        allowed: from `limits`.
        known: what the measures are.
        subjects: whose the real ones are.
    """
    own, others = failures(fake, allowed), failures(real, allowed)
    any_own, any_other = (np.any(list(side.values()), axis=0) for side in (own, others))
    checks = {}
    for name, (low, high) in allowed.items():
        checks[name] = {
            "title": known[name].title,
            "low": low if np.isfinite(low) else None,
            "high": high if np.isfinite(high) else None,
            "fails": int(own[name].sum()),
            "real_fails": int(others[name].sum()),
        }
    return {
        "rule": RULE,
        "n": len(any_own),
        "n_real": len(any_other),
        "share": share(any_own),
        "real_share": share(any_other, subjects),
        "failing": [int(i) for i in np.flatnonzero(any_own)],
        "checks": checks,
    }


def share(which: np.ndarray, subjects: Sequence[str] | None = None) -> dict[str, Any]:
    """Share of True with its 95 % interval over volumes, as a report holds it."""
    low, high = mean_interval(which.astype(float), subjects=subjects, proportion=True) or (None, None)
    return {"value": float(which.mean()), "low": low, "high": high, "n": len(which)}
