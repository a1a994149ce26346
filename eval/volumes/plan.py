"""What is looked at in the volumes of each data set: which structures, how they lie, whether sides are compared."""

from __future__ import annotations

from dataclasses import dataclass

from medgen.errors import MedgenError


@dataclass(frozen=True)
class Plan:
    """How to look at the volumes of one data set.

    Args:
        body: what all structures together are called.
        thick: class whose thickness is measured; "" = of all structures together.
        ends: two classes and the world axis (0 right, 1 front, 2 top) on which the first lies beyond the second.
        sides: whether both sides of a body are there, so that left and right can be compared, and so that a mirrored
            training volume counts as a training volume.
    """

    body: str
    thick: str
    ends: tuple[str, str, int]
    sides: bool


PLANS: dict[str, Plan] = {
    "hippo_48": Plan("hippocampus", "", ("anterior", "posterior", 1), sides=False),
    "ixi_brain_64": Plan("brain", "ventricles", ("cortex", "brain stem and cerebellum", 2), sides=True),
}


def plan(data: str) -> Plan:
    """How to look at the volumes of `data`.

    Raises:
        MedgenError: nobody said.
    """
    if data not in PLANS:
        raise MedgenError(f"Nobody said how to look at {data!r}; add it to eval/volumes/plan.py.")
    return PLANS[data]
