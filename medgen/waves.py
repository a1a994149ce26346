"""A number as its place on waves of several lengths: what a network is told of a quantity (arXiv:2006.10739).

One input that grows with the number would leave it to the network to make small differences of it matter.
"""

from __future__ import annotations

import math
import re

OCTAVES = 4
_WAVE = re.compile(r"quantity (sin|cos) (\d+(?:\.\d+)?)")


def columns(low: float, high: float) -> tuple[str, ...]:
    """`Conditions` columns that tell a number from `low` to `high`: the longest wave is twice as long as the range, so
    that no two numbers of it are told alike."""
    lengths = [f"{2.0 * (high - low) / 2**octave:g}" for octave in range(OCTAVES)]
    return ("quantity known", *(f"quantity {wave} {one}" for one in lengths for wave in ("sin", "cos")))


def length(column: str) -> float:
    """Of the wave that a column stands for, in the unit of the quantity; 0 where it stands for none."""
    match = _WAVE.fullmatch(column)
    return float(match[2]) if match else 0.0


def at(column: str, number: float) -> float:
    """The height of that wave at `number`, -1 to 1."""
    angle = 2.0 * math.pi * number / length(column)
    return math.sin(angle) if " sin " in column else math.cos(angle)
