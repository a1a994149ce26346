"""The grid of the pathology tab: a row a label, a column a model, the same seeds in every cell, opinions below."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from demos import look, scratch, widgets
from demos.columns import facts
from demos.labels import RARE, counted, is_rare, words
from demos.opinions import NO_CLASSIFIER, Judge, Opinion, footnote, sentences
from demos.pathology_form import PathologyForm, left_out, rows, seeds
from demos.runner import Result, joined
from demos.tables import MISSING
from medgen import ModelCard, Request

RARE_HINT = f": fewer than {RARE} patients, hardly learned"
Key = tuple[str, str]
"""Model and label of a cell."""


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run of the grid leaves behind.

    Args:
        results: one a model, in the order of the columns.
        opinions: model -> what the classifier said of each picture, in their order.
    """

    results: list[Result] = field(default_factory=list)
    opinions: dict[str, list[Opinion | None]] = field(default_factory=dict)

    def columns(self) -> dict[str, list[dict[str, str]]]:
        """The cells of labels.csv: model -> one mapping a picture."""
        return {name: [one.cells() if one else {} for one in said] for name, said in self.opinions.items()}

    def pictures(self) -> list[tuple[str, tuple[str, int]]]:
        """Every picture as (shown, (model, index)): what another page may choose from."""
        titles = widgets.titles([result.card for result in self.results])
        found = []
        for result in self.results:
            asked = [(question(request), seed) for request in result.requests for seed in request.seeds]
            for i, (what, seed) in enumerate(asked):
                found.append((f"{what} · {titles[result.card.name]} · seed {seed}", (result.card.name, i)))
        return found


class Grid:
    """Collects what a run has finished, and draws it.

    Args:
        form: the question.
        columns: the models.
        found: (model, label) -> its request, or why that cell stays empty.
        place: a folder of `scratch.SHOWN` for the pictures.
        judge: says what a picture shows.
    """

    def __init__(
        self, form: PathologyForm, columns: list[ModelCard], found: dict[Key, Request | str], place: Path, judge: Judge
    ) -> None:
        self._form, self._columns, self._found, self._place, self._judge = form, columns, found, place, judge
        self._results: dict[str, Result] = {}
        self._addresses: dict[Key, list[str]] = {}
        self._opinions: dict[Key, list[Opinion | None]] = {}
        self._over = False

    def show(self, result: Result) -> None:
        """The pictures of one cell are there."""
        key = _key(result)
        before = self._results.get(result.card.name)
        self._results[result.card.name] = result if before is None else joined(before, result)
        self._addresses[key] = [scratch.address(one, self._place) for one in look.pictures(result.images)]

    def judge(self, result: Result) -> None:
        """Asks the classifier about the pictures of a cell that is shown."""
        self._opinions[_key(result)] = self._judge(result.images, _key(result)[1])

    def close(self) -> None:
        """The run is over: what is not there will not come."""
        self._over = True

    def finished(self) -> Finished:
        """What there is so far."""
        results = [self._results[card.name] for card in self._columns if card.name in self._results]
        opinions: dict[str, list[Opinion | None]] = {}
        for result in results:
            said = opinions.setdefault(result.card.name, [])
            for request in result.requests:
                key = (result.card.name, request.label or "")
                said += self._opinions.get(key) or [None] * len(request.seeds)
        return Finished(results, opinions)

    def html(self) -> str:
        """The grid as a table, and below it how good the classifiers are."""
        said = self._caption()
        titles = widgets.titles(self._columns)
        heads = "".join(
            f"<th scope='col'>{escape(titles[card.name])}<small>{escape(self._about(card))}</small></th>"
            for card in self._columns
        )
        body = "".join(self._row(label) for label in rows(self._form))
        table = f"<table style='--columns: {len(self._columns)}'><thead><tr>{heads}</tr></thead>{body}</table>"
        judged = [(one.card, key[1]) for key, many in self._opinions.items() for one in many if one]
        # what scrolls must be reached by the keyboard
        region = f"<div class='board grid' role='region' tabindex='0' aria-label='{escape(said)}'>{table}</div>"
        return f"<p class='caption'>{escape(said)}</p>{region}{footnote(judged)}"

    def _caption(self) -> str:
        used = seeds(self._form)
        same = f"Seed {used[0]} in every cell" if len(used) == 1 else f"Seeds {used[0]} to {used[-1]} in every cell"
        return f"{same}: along a row only the model changes, down a column only the label. All pictures are synthetic."

    def _about(self, card: ModelCard) -> str:
        result = self._results.get(card.name)
        cost, memory = ("", "") if result is None else (facts(result)[0], facts(result)[2])
        return " · ".join(filter(None, (cost, memory, left_out(self._form, card))))

    def _row(self, label: str) -> str:
        learned = []
        for word in label.split("|"):
            if known := self._learned(word):
                learned.append(f"{words(word)}: {known}" if "|" in label else known)
        real = escape("learned from " + "; ".join(learned)) if learned else ""
        head = f"<th scope='rowgroup' colspan='{len(self._columns)}'>{escape(words(label))}<small>{real}</small></th>"
        cells = "".join(f"<td>{self._cell(card, label)}</td>" for card in self._columns)
        return f"<tbody><tr>{head}</tr><tr>{cells}</tr></tbody>"

    def _learned(self, word: str) -> str:
        """How much real data stands behind a word in the columns, which need not have learned from the same."""
        titles = widgets.titles(self._columns)
        columns: dict[str, list[str]] = {}
        for card in self._columns:
            if word in card.labels:
                known = f"{counted(card, word)}{RARE_HINT * is_rare(card, word)}"
                columns.setdefault(known, []).append(titles[card.name])
        if len(columns) < 2:
            return "".join(columns)
        return ", or ".join(f"{known} ({', '.join(names)})" for known, names in columns.items())

    def _cell(self, card: ModelCard, label: str) -> str:
        asked = self._found[card.name, label]
        if isinstance(asked, str):
            return f"<p class='empty'>{MISSING}<small>{escape(asked)}</small></p>"
        shown = self._addresses.get((card.name, label))
        if shown is None:
            return f"<p class='empty'>{'No picture was finished.' if self._over else '…'}</p>"
        opinions = self._opinions.get((card.name, label))
        unsaid = NO_CLASSIFIER if opinions else "Not judged: the run ended before." if self._over else "…"
        figures = ""
        for address, seed, opinion in zip(shown, asked.seeds, opinions or [None] * len(shown), strict=True):
            alt = f"{question(asked)}, {card.name}, seed {seed}, synthetic"
            graded = "" if asked.severity is None else f"severity {asked.severity:g}, "
            said = sentences(opinion, label) if opinion else (unsaid,)
            figures += figure(address, alt, (f"{graded}seed {seed}", *said))
        return f"<div class='figures'>{figures}</div>"


def question(request: Request) -> str:
    """What a picture was asked to show, in words: a severity of 0 is no disease, whatever the label says."""
    graded = "" if request.severity is None else f", severity {request.severity:g}"
    return f"{words(request.label or '')}{graded}"


def figure(address: str, alt: str, lines: tuple[str, ...]) -> str:
    """One picture, which opens in full size, and what is said of it."""
    said = "".join(f"<span>{escape(line)}</span>" for line in lines)
    # the link has the picture's alt text as its name
    picture = f"<a href='{address}' target='_blank' rel='noopener'><img src='{address}' alt='{escape(alt)}'></a>"
    return f"<figure>{picture}<figcaption>{said}</figcaption></figure>"


def _key(result: Result) -> Key:
    return result.card.name, result.requests[0].label or ""
