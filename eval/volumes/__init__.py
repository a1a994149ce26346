"""Models of volumes: `run` measures them; here is all that a page needs of the reports. No torch here."""

from __future__ import annotations

from eval.export import cell
from eval.volumes.file import AS_REAL, MEANING, METRICS, PERCENT
from eval.volumes.rows import FLOOR, Group, Volumes, groups, sort_choices, table, volumes
from eval.volumes.tables import PARTS, entry_of, export, heading, listing, people, tables

__all__ = [
    "AS_REAL",
    "FLOOR",
    "MEANING",
    "METRICS",
    "PARTS",
    "PERCENT",
    "Group",
    "Volumes",
    "cell",
    "entry_of",
    "export",
    "groups",
    "heading",
    "listing",
    "people",
    "sort_choices",
    "table",
    "tables",
    "volumes",
]
