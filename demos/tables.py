"""The tables of the Board tab as HTML: headings with a direction, intervals under their values, "-" for missing."""

from __future__ import annotations

import math
import re
from html import escape
from typing import Any

import pandas as pd

from eval import board, translation_board

MISSING = "-"
COSTS = (
    "Cost and origin. Seconds by the clock depend on what else the machine had to do; CPU seconds, those of all "
    "threads together, hardly do. Reports from before they were counted lack them."
)
_SOURCES = ("Trained on", "Licence", "Commit", "Measured")
_WORDS = (
    *_SOURCES,
    "Label",
    "Real picture",
    "Repainted as",
    "Probability of",
    "Over",
    "Picture",
    "Back by",
    "Way",
    "Radius mm",
    "Lesions",
)

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
TRANSLATION = (
    "Each slice against the true slice of the same head; slices are averaged by patient, then over patients. "
    "[low, high]: 95 % interval over patients; (least to most): the patients' range, where there are fewer than 5. "
    "SSIM, PSNR and MAE inside the head. Baselines, which need no network, stand on top."
)
TRANSLATION_PARTS = {
    "patients": "Patient by patient, in the number that the table is sorted by (in SSIM, where no patient has it).",
    "gains": (
        "Gained over each baseline on the same patients, above 0 is better, and how many patients are better; this "
        "tells two apart even where their own intervals overlap."
    ),
    "samples": (
        "Models that draw: one sample against the mean of several, on the same slices. The mean lies nearer to the "
        "truth and looks smoother than any true slice; the spread is the samples' standard deviation inside the head."
    ),
    "cycle": (
        "There and back: the translation, translated back by the model of the same method that goes the other way. A "
        "good cycle alone proves nothing: what the first model hides, the second may find again."
    ),
    "heads": (
        "CTs made from real MR heads against a real CT head that no training saw. They are other people, so only the "
        "tissues compare: how far values lie from the real head's on average, and where each tissue peaks, in HU."
    ),
}


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


def translated(table: pd.DataFrame, caption: str) -> str:
    """The same of translators, with the baselines on top.

    Args:
        table: from `translation_board.table`.
        caption: what the rows are compared with.
    """
    metrics = translation_board.METRICS
    measured = [name for name in metrics if table[name].notna().any()] or list(metrics)
    heads = ["Model", *(_heading(name) for name in measured)]
    body = []
    for _, row in table.iterrows():
        cells = [
            _limited(translation_board.cell(translation_board.entry_of(row, n), metrics[n].digits)) for n in measured
        ]
        body.append(_row(row, [f"<td>{one}</td>" for one in cells]))
        if row["problem"]:
            body.append(f"<tr><td class='problem' colspan='{len(heads)}'>{escape(row['problem'])}</td></tr>")
    return _table(heads, body, caption)


def origins(table: pd.DataFrame, caption: str) -> str:
    """What the models cost and where they and the numbers come from."""
    heads = ["Model", "Seconds<br>an image", "CPU seconds<br>an image", "Parameters", "Images<br>seen", *_SOURCES]
    body = []
    for _, row in table[~table["family"].isin(board.NO_MODEL)].iterrows():
        seconds = [_number(row[name], "{:.3g}") for name in board.SECONDS]
        numbers = [*seconds, _number(row["params"] / 1e6, "{:.1f} million"), _number(row["images_seen"], "{:,.0f}")]
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


def in_words(table: pd.DataFrame, caption: str) -> str:
    """The same where cells are sentences: all to the left; "" where it has no rows."""
    if table.empty:
        return ""
    body = [
        f"<tr><th scope='row'>{escape(str(name))}</th>"
        + "".join(f"<td class='words'>{escape(str(cell))}</td>" for cell in cells) + "</tr>"
        for name, *cells in table.itertuples(index=False, name=None)
    ]  # fmt: skip
    made = _table([escape(head) for head in table.columns], body, caption)
    return made.replace("<th scope='col'>", "<th scope='col' class='words'>").replace("='board'", "='board prose'")


def _text_row(heads: list[str], row: tuple[str, ...]) -> str:
    """A row of text under `heads`; its first cell names it, and an interval stands under its value."""
    name, *cells = map(str, row)
    shown = []
    for head, cell in zip(heads[1:], cells, strict=True):
        shown.append(f"<td{' class=words' * (head in _WORDS)}>{_limited(cell)}</td>")
    # a model's name broken at its hyphens would be three lines
    return f"<tr><th scope='row' style='white-space: nowrap'>{escape(name)}</th>{''.join(shown)}</tr>"


def _limited(cell: str) -> str:
    """A value, or a verdict and a value, with its interval or range under it."""
    found = re.fullmatch(r"((?:[a-z ]+: )?\S+(?: %)?) (\[.+\]|\(\S+ to \S+\))", cell)
    return escape(cell) if found is None else f"{escape(found[1])}<small>{escape(found[2])}</small>"


def _heading(name: str) -> str:
    metric = board.METRICS.get(name) or translation_board.METRICS[name]
    sign, words = ("↓", "lower is better") if metric.lower_is_better else ("↑", "higher is better")
    if name in translation_board.SIGNED:
        sign, words = "→ 0", "best at 0"
    if metric.like_real:
        sign, words = "→ real", "best as of real images"
    return f"{escape(metric.title).replace(' ', '<br>')} <span role='img' aria-label='{words}'>{sign}</span>"


def _with_interval(words: pd.Series, name: str) -> str:
    low, high = words[f"{name}_low"], words[f"{name}_high"]
    interval = f"<small>[{low}, {high}]</small>" if MISSING not in (low, high) else ""
    return f"<td>{words[name]}{interval}</td>"


def _number(value: float, layout: str) -> str:
    return MISSING if math.isnan(value) else layout.format(value)


def _row(row: pd.Series[Any], cells: list[str]) -> str:
    """One model; the row of real images looks different, because it is no model."""
    beside = {translation_board.BASELINE: "baseline", board.REFERENCE: "reference"}
    is_floor = row["family"] in (board.FLOOR, *beside)
    title, name = row["title"] or row["model"], row["model"]
    if is_floor:
        title, name = ("Real images", "the floor") if row["family"] == board.FLOOR else (title, beside[row["family"]])
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
