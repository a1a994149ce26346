"""How translations are shown: windows with their numbers, slices with their letters, all models beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from demos import look, scratch, widgets
from demos.columns import facts
from demos.pathology_grid import figure
from demos.slice_source import LEVELS
from demos.translate_run import Answer, Translated
from medgen.disagreement import disagreement
from medgen.pair_metrics import HEAD, Agreement
from medgen.paired import CT_WINDOW, FIELD_OF_VIEW_MM
from medgen.volume import Section

SOURCE, RESULT, DIFFERENCE, DISAGREEMENT, ERROR = "source", "result", "difference", "disagreement", "error"
VIEWS = (SOURCE, RESULT, DIFFERENCE, DISAGREEMENT, ERROR)
CT_WINDOWS = {
    "full -1024 to 1976": CT_WINDOW,
    "brain 80/40": (0.0, 80.0),
    "bone 2000/500": (-500.0, 1500.0),
    "lung 1500/-600": (-1350.0, 150.0),
}
"""Shown -> black and white in HU; the words are width/level."""
MR_WINDOWS: dict[str, tuple[float, float] | None] = {
    "0.5 to 99.5 % of the head, as models see it": None,
    "1 to 99 % of the slice": (1.0, 99.0),
}
"""Shown -> percentiles of what is shown; None = all levels."""
SHOWN_PX = 512
"""Longer side of a slice on the page."""
NOTHING = "<p class='caption'>Nothing is translated yet.</p>"


@dataclass(frozen=True)
class View:
    """How to look at a run: one of `VIEWS`, a key of `CT_WINDOWS`, a key of `MR_WINDOWS`."""

    kind: str
    ct: str
    mr: str


def windowed(pixels: np.ndarray, unit: str, view: View, like: np.ndarray | None = None) -> np.ndarray:
    """Values as grey from 0 to 1.

    Args:
        pixels: `(H, W)` HU, or levels of 255.
        unit: "HU" or "au".
        view: which window.
        like: what percentiles are taken of, so that pictures shown together share their window; None = `pixels`.
    """
    low, high = CT_WINDOWS.get(view.ct, CT_WINDOW) if unit == "HU" else LEVELS
    percentiles = MR_WINDOWS.get(view.mr)
    if unit != "HU" and percentiles is not None:
        found = np.percentile(pixels if like is None else like, percentiles)
        low, high = (float(found[0]), float(found[1])) if found[0] < found[1] else (low, high)
    return (np.clip(pixels, low, high) - low) / (high - low)


def slice_picture(grey: np.ndarray, section: Section, mark: str) -> Image.Image:
    """A slice as the page shows it: square pixels, letters at its edges, the mark under it.

    Args:
        grey: `(H, W)` from 0 to 1, or uint8.
        section: whose spacing and letters.
        mark: the words under it.
    """
    levels = grey if grey.dtype == np.uint8 else np.rint(grey * 255.0).astype(np.uint8)
    height, width = (n * mm for n, mm in zip(levels.shape, section.spacing_mm, strict=True))
    scale = SHOWN_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=24)
    across, down = picture.width / 2, picture.height / 2
    places = ((6, down, "lm"), (picture.width - 6, down, "rm"), (across, 4, "mt"), (across, picture.height - 6, "mb"))
    for letter, (x, y, anchor) in zip(section.edges, places, strict=True):
        draw.text((x, y), letter, fill=255, font=font, anchor=anchor, stroke_width=3, stroke_fill=0)
    return look.signed(picture, mark) if mark else picture


def html(done: Translated | None, view: View, place: Path) -> str:
    """The chosen view of all models side by side, with what is to be known of it.

    Args:
        done: what a run has left; None = nothing yet.
        view: what to look at, and how.
        place: a folder of `scratch.SHOWN`.
    """
    if done is None or not done.answers:
        return NOTHING
    titles = widgets.titles([answer.card for answer in done.answers])
    figures = []
    if view.kind in (SOURCE, RESULT):
        figures.append(_figure(done, _source(done, view), done.mark, SOURCE, place, "Source"))
    for answer in done.answers if view.kind != SOURCE else ():
        grey, said = _of(answer, done, view)
        lines = (titles[answer.card.name], *said)
        if grey is None:
            figures.append(
                f"<figure><figcaption>{''.join(f'<span>{escape(s)}</span>' for s in lines)}</figcaption></figure>"
            )
            continue
        alt = f"{view.kind} of {answer.card.name}"
        figures.append(_figure(done, grey, "SYNTHETIC" if view.kind == RESULT else "", alt, place, *lines))
    if view.kind == RESULT and done.truth is not None:
        card = done.answers[0].card
        grey = windowed(done.truth, card.unit, view, _pooled(done))
        figures.append(_figure(done, grey, "TRUTH", "truth", place, f"Truth ({card.translates['target']})"))
    single = " one" if len(figures) == 1 else ""
    body = f"<div class='figures{single}'>{''.join(figures)}</div>"
    return f"<p class='caption'>{escape(_caption(done))}</p>{body}{_note(done)}"


def pair(done: Translated | None, name: str | None, view: View) -> tuple[Image.Image, Image.Image] | None:
    """Source and result of one model for the slider; None where there is none."""
    answer = next((one for one in done.answers if one.card.name == name), None) if done is not None else None
    if done is None or answer is None:
        return None
    grey = windowed(answer.samples[0], answer.card.unit, view, _pooled(done))
    shown = ((_source(done, view), done.mark), (grey, "SYNTHETIC"))
    # twice, so that each half of the slider says what it is
    before, after = (slice_picture(one, done.section, f"{mark}{' ' * 8}{mark}") for one, mark in shown)
    return before, after


def _figure(done: Translated, grey: np.ndarray, mark: str, alt: str, place: Path, *lines: str) -> str:
    picture = slice_picture(grey, done.section, mark)
    words = f"{alt}, {done.section.plane} slice {done.section.index}"
    return figure(scratch.address(picture, place), f"{words}, synthetic" if mark == "SYNTHETIC" else words, lines)


def _source(done: Translated, view: View) -> np.ndarray:
    return windowed(done.section.pixels, done.unit, view)


def _pooled(done: Translated) -> np.ndarray:
    """All that is shown in the contrast of the results: their common window is found from it."""
    found = [answer.samples[0].ravel() for answer in done.answers]
    return np.concatenate([*found, *([] if done.truth is None else [done.truth.ravel()])])


def _of(answer: Answer, done: Translated, view: View) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """What a view shows of one model, `(H, W)`, and the lines under it; None where it has nothing to show."""
    card, unit = answer.card, "HU" if answer.card.unit == "HU" else "of 255 levels"
    made = windowed(answer.samples[0], card.unit, view, _pooled(done))
    if view.kind == RESULT:
        scores = [_score("", answer.agreement), _score(f"mean of {len(answer.samples)}: ", answer.mean_agreement)]
        return made, (*facts(answer.result), *filter(None, scores))
    if view.kind == DIFFERENCE:
        levels = np.where(answer.covered, (made - _source(done, view)) * 255.0, 0.0)
        shade, largest = look.about_grey(levels, least=1.0)
        return shade, (f"Result less source as they are shown. White: {largest:.0f} of 255 levels brighter.",)
    if view.kind == DISAGREEMENT:
        if len(answer.samples) < 2:
            return None, ("One sample only: nothing to disagree with.",)
        spread = disagreement(answer.samples)
        largest = max(float(spread.max()), 1e-6)
        said = f"Standard deviation over {len(answer.samples)} samples. White: {largest:.1f} {unit}."
        return spread / largest, (said,)
    if done.truth is None:
        return None, ("No truth was given.",)
    black, white = card.window
    gap = np.where(answer.covered, answer.samples[0] - np.clip(done.truth, black, white), 0.0)
    shade, largest = look.about_grey(gap, least=1.0)
    said = f"Result less truth. White: {largest:.0f} {unit} too much, black: too little."
    return shade, (said, *filter(None, [_score("", answer.agreement)]))


def _score(what: str, one: Agreement | None) -> str:
    if one is None:
        return ""
    similar = "SSIM - " if one.ssim is None else f"SSIM {one.ssim:.3f}"
    return f"{what}{similar}, PSNR {one.psnr_db:.1f} dB, MAE {one.mae:.1f}"


def _caption(done: Translated) -> str:
    section = done.section
    height, width = section.pixels.shape
    between_rows, between_columns = section.spacing_mm
    said = (
        f"{done.given.name}, {section.plane} slice {section.index}, {width} x {height} pixels of "
        f"{between_columns:.3g} x {between_rows:.3g} mm. The same slice and seed for every model."
    )
    outside = 1.0 - float(np.mean([answer.covered.mean() for answer in done.answers]))
    if outside > 0.0:
        said += f" {outside:.0%} of it lies outside the {FIELD_OF_VIEW_MM:g} mm that models see, and is background."
    return said


def _note(done: Translated) -> str:
    """What the scores are, where there are any."""
    if done.truth is None:
        return ""
    card = done.answers[0].card
    unit = "HU" if card.unit == "HU" else "levels of 255"
    low, high = card.window
    said = f"n = 1 slice, which measures no model. MAE in {unit}, data range {high - low:g}, inside the head."
    if not any(answer.agreement for answer in done.answers):
        said = "There is no head in this slice, so nothing is compared."
    return f"<p class='caption footnote'>{escape(f'{said} Head: {HEAD}')}</p>"
