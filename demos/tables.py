"""The tables of the Board tab as HTML: headings with a direction, intervals under their values, "-" for missing."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import pandas as pd

from eval import board

MISSING = "-"
_SOURCES = ("Trained on", "Licence", "Commit", "Measured")
_WORDS = (*_SOURCES, "Label", "Real picture", "Repainted as", "Probability of")

CLASSES = (
    "Label by label. FID is biased upwards, the more the fewer images: compare models on one label with one n, never "
    "labels. An image with several labels counts for each."
)
ADHERENCE = (
    "Adherence: how well the classifier tells images with the label from images without, as area under the ROC curve "
    "(0.5 = not at all, 1 = always), on generated and on held-out real images; n is with / without."
)
SEVERITY = (
    "Severity: the classifier's mean probability of the disease on the same seeds, from healthy (0) to diseased (1). "
    "Healthy word: its probability at both ends, which falls where a disease is seen, whichever it is taken for."
)
REGION = (
    "Regional synthesis: one box over a lung of held-out real images is repainted. Changes in grey levels of 255; the "
    "probability is the classifier's. Images repainted as what they were show what repainting alone does."
)


def results(table: pd.DataFrame, caption: str) -> str:
    """What was measured: a row a model, a column a metric, each value over its interval.

    Args:
        table: from `board.table`.
        caption: what the rows are compared with.
    """
    measured = [name for name in board.METRICS if table[name].notna().any()] or list(board.METRICS)
    heads = ["Model", *(_heading(name) for name in measured)]
    words = board.display(table)
    body = []
    for i, row in table.iterrows():
        cells = [_with_interval(words.loc[i], name) for name in measured]
        body.append(_row(row, cells))
        if row["problem"]:
            problem = f"<td class='problem' colspan='{len(heads)}'>{escape(row['problem'])}</td>"
            body.append(f"<tr>{problem}</tr>")
    return _table(heads, body, caption)


def origins(table: pd.DataFrame, caption: str) -> str:
    """What the models cost and where they and the numbers come from."""
    heads = ["Model", "Seconds<br>an image", "Parameters", "Images<br>seen", *_SOURCES]
    body = []
    for _, row in table[table["family"] != board.FLOOR].iterrows():
        numbers = [_number(row["seconds_per_image"], "{:.3g}"), _number(row["params"] / 1e6, "{:.1f} million"),
                   _number(row["images_seen"], "{:,.0f}")]  # fmt: skip
        trained = ", ".join(filter(None, (row["data"], row["hardware"])))
        sources = [trained, row["licence"], row["commit"][:8], row["created"][:10]]
        cells = [f"<td>{number}</td>" for number in numbers]
        body.append(_row(row, cells + [f"<td class='words'>{escape(word) or MISSING}</td>" for word in sources]))
    return _table(heads, body, caption)


def classes(table: pd.DataFrame, caption: str) -> str:
    """The metrics label by label, with the number of images each rests on; "" where there are none.

    Args:
        table: from `board.classes`.
        caption: what must be known to read it.
    """
    if table.empty:
        return ""
    measured = [name for name in board.METRICS if table[name].notna().any()]
    words = board.display(table)[["model", "label", "n_real", "n_fake", *measured]]
    heads = ["Model", "Label", "n real", "n generated", *(_heading(name) for name in measured)]
    return _table(heads, [_text_row(heads, row) for row in words.itertuples(index=False, name=None)], caption)


def plain(table: pd.DataFrame, caption: str) -> str:
    """A table of text, each value over its "[interval]"; "" where it has no rows.

    Args:
        table: one of `board.tables`; its first column names the row.
        caption: what must be known to read it.
    """
    if table.empty:
        return ""
    body = [_text_row(list(table.columns), row) for row in table.itertuples(index=False, name=None)]
    return _table([escape(head).replace(" ", "<br>") for head in table.columns], body, caption)


def _text_row(heads: list[str], row: tuple[str, ...]) -> str:
    """A row of text under `heads`; its first cell names it, and an interval stands under its value."""
    name, *cells = map(str, row)
    shown = []
    for head, cell in zip(heads[1:], cells, strict=True):
        value, _, rest = cell.partition(" [")
        interval = f"<small>[{escape(rest)}</small>" if rest else ""
        shown.append(f"<td{' class=words' * (head in _WORDS)}>{escape(value)}{interval}</td>")
    # a model's name broken at its hyphens would be three lines
    return f"<tr><th scope='row' style='white-space: nowrap'>{escape(name)}</th>{''.join(shown)}</tr>"


def _heading(name: str) -> str:
    metric = board.METRICS[name]
    sign, words = ("↓", "lower is better") if metric.lower_is_better else ("↑", "higher is better")
    return f"{escape(metric.title).replace(' ', '<br>')} <span role='img' aria-label='{words}'>{sign}</span>"


def _with_interval(words: pd.Series, name: str) -> str:
    low, high = words[f"{name}_low"], words[f"{name}_high"]
    interval = f"<small>[{low}, {high}]</small>" if MISSING not in (low, high) else ""
    return f"<td>{words[name]}{interval}</td>"


def _number(value: float, layout: str) -> str:
    return MISSING if math.isnan(value) else layout.format(value)


def _row(row: pd.Series[Any], cells: list[str]) -> str:
    """One model; the row of real images looks different, because it is no model."""
    is_floor = row["family"] == board.FLOOR
    title, name = ("Real images", "the floor") if is_floor else (row["title"] or row["model"], row["model"])
    head = f"<th scope='row'>{escape(title)}<small>{escape(name)}</small></th>"
    return f"<tr{' class=floor' * is_floor}>{head}{''.join(cells)}</tr>"


def _table(heads: list[str], body: list[str], caption: str) -> str:
    words = " class='words'"
    head = "".join(f"<th scope='col'{words * (one.replace('<br>', ' ') in _WORDS)}>{one}</th>" for one in heads)
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    # the caption stays put and wraps while the table scrolls; the keyboard must reach what scrolls
    said = escape(caption)
    region = f"<div class='board' role='region' tabindex='0' aria-label='{said}'>{inner}</div>"
    return f"<p class='caption'>{said}</p>{region}"
