"""All that a page needs of the evaluation of translators: reports -> rows -> one table a comparable group. No torch."""

from __future__ import annotations

from eval import groups as shared
from eval.export import cell
from eval.translation_file import METRICS, SIGNED
from eval.translation_rows import (
    BASELINE,
    Group,
    Translations,
    groups,
    sort_choices,
    table,
    translations,
)
from eval.translation_tables import PARTS, entry_of, export, tables

__all__ = [
    "BASELINE",
    "METRICS",
    "PARTS",
    "SIGNED",
    "Group",
    "Translations",
    "cell",
    "entry_of",
    "export",
    "groups",
    "listing",
    "sort_choices",
    "table",
    "tables",
    "translations",
]

NOT_MEASURED = "translators, not measured yet"


def listing(found: Translations, kind: str, search: str = "") -> list[str]:
    """Every group as text, under its label where a person reads it.

    Args:
        found: from `translations()`.
        kind: of `eval.export.KINDS`.
        search: as for `table`.
    """
    none = None if found.frame.empty else NOT_MEASURED
    return shared.listing(groups(found), none, kind, lambda group: export(table(found, group, search=search), kind))
