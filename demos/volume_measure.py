"""How large the structures in a generated volume are, as a segmenter of this house measures them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from medgen import ImageSet, ModelCard
from medgen.segmenter import Segmenter, SegmenterCard, load_segmenter, segmenters


@dataclass(frozen=True)
class Measured:
    """What one volume measures.

    Args:
        mm3: of all structures together.
        error_mm3: how far the same segmenter is off on real test volumes, on average; None where nobody knows.
    """

    mm3: float
    error_mm3: float | None

    def sentence(self, name: str) -> str:
        """As the page says it; `name` is what was measured."""
        off = "" if self.error_mm3 is None else f" (error on real volumes {self.error_mm3:,.0f})"
        return f"{name} measured: {self.mm3:,.0f} mm³{off}"


Measure = Callable[[ModelCard, ImageSet], Measured | None]
"""`measure(card, one volume)`; None where there is nothing to measure with."""


def measure(card: ModelCard, images: ImageSet) -> Measured | None:
    """What the segmenter for the data of `card` finds in one volume; None where the card has no quantity, or none fits.

    Raises:
        MedgenError: the segmenter is broken, or the volume is NaN.
    """
    if not card.quantity or card.data is None:
        return None
    known = next((one for one in segmenters().values() if one.data == card.data), None)
    if known is None or known.shape != tuple(images.pixels.shape[1:]):
        return None
    mm3 = float(_loaded(known.name, str(known.weights)).volumes_mm3(images)[0, 1:].sum())
    return Measured(mm3, _error(known))


def _error(known: SegmenterCard) -> float | None:
    value = known.volume_error.get("all", {}).get("mae_mm3")
    return float(value) if isinstance(value, (int, float)) else None


@lru_cache(maxsize=2)
def _loaded(name: str, _weights: str) -> Segmenter:
    return load_segmenter(name)
