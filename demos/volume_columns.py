"""The columns of the Volume tab: under each model the mid planes of its volumes, their cost, and what they measure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from demos import look, scratch, widgets
from demos.columns import facts
from demos.pathology_grid import figure
from demos.runner import Result, Step, joined
from demos.volume_form import WALK, VolumeForm, left_out, seeds
from demos.volume_measure import Measured
from medgen import ImageSet, ModelCard
from medgen.volume import PLANES, Volume

GAP_PX = 6
NOTHING = "<p class='caption'>Nothing was generated yet.</p>"


@dataclass(frozen=True, eq=False)
class Made:
    """What a run leaves behind.

    Args:
        results: one a model, in the order of the columns.
        walk: whether the volumes of each are the frames of a film.
        measured: model -> what each of its volumes measures.
    """

    results: tuple[Result, ...] = ()
    walk: bool = False
    measured: dict[str, list[Measured | None]] = field(default_factory=dict)


def mid_planes(volume: Volume, mark: str) -> Image.Image:
    """The middle slice of each plane side by side, on one scale, with `mark` under them.

    Raises:
        MedgenError: a voxel is NaN or infinite.
    """
    volume.refuse_nan()
    low, high = volume.shown()
    pictures = []
    finest = min(volume.spacing_mm)
    for plane in PLANES:
        section = volume.section(plane, volume.count(plane) // 2)
        grey = np.rint((np.clip(section.pixels, low, high) - low) / (high - low) * 255.0).astype(np.uint8)
        between_rows, between_columns = section.spacing_mm
        size = (grey.shape[1] * between_columns / finest, grey.shape[0] * between_rows / finest)
        factor = look.SHOWN_PX / max(volume.array.shape)
        wide, tall = (max(1, round(side * factor)) for side in size)
        pictures.append(Image.fromarray(grey).resize((wide, tall), Image.Resampling.LANCZOS))
    tallest = max(picture.height for picture in pictures)
    centred = [Image.new("L", (picture.width, tallest)) for picture in pictures]
    for picture, place in zip(pictures, centred, strict=True):
        place.paste(picture, (0, (tallest - picture.height) // 2))
    (row,) = look.side_by_side([[one] for one in centred], GAP_PX)
    return look.signed(row, mark)


class Columns:
    """Collects what a run has finished, and draws it.

    Args:
        form: the question.
        columns: the models.
        place: a folder of `scratch.SHOWN` for the pictures.
    """

    def __init__(self, form: VolumeForm, columns: list[ModelCard], place: Path) -> None:
        self._form, self._columns, self._place = form, columns, place
        self._results: dict[str, Result] = {}
        self._pictures: dict[str, list[str]] = {card.name: [] for card in columns}
        self._measured: dict[str, list[Measured | None]] = {card.name: [] for card in columns}
        self._unfinished: dict[str, tuple[str, str]] = {}
        self._over = False

    def show(self, result: Result) -> None:
        """One volume is there.

        Raises:
            MedgenError: it is NaN; then it is not kept.
        """
        name = result.card.name
        address = self._saved(result.images, "SYNTHETIC")
        before = self._results.get(name)
        self._results[name] = result if before is None else joined(before, result)
        self._pictures[name].append(address)
        self._measured[name].append(None)
        self._unfinished.pop(name, None)

    def measured(self, result: Result, found: Measured | None) -> None:
        """What the newest volume of a model measures."""
        self._measured[result.card.name][-1] = found

    def preview(self, step: Step) -> None:
        """A volume on its way."""
        if step.preview is not None:
            caption = f"step {step.done} of {step.total}, unfinished"
            self._unfinished[step.name] = (self._saved(step.preview, "SYNTHETIC, UNFINISHED"), caption)

    def close(self) -> None:
        """The run is over: what is not there will not come."""
        self._over = True
        self._unfinished.clear()

    def made(self) -> Made:
        """What there is so far."""
        results = tuple(self._results[card.name] for card in self._columns if card.name in self._results)
        return Made(results, self._form.mode == WALK, {name: list(all_) for name, all_ in self._measured.items()})

    def html(self) -> str:
        """The columns and what they have in common."""
        titles = widgets.titles(self._columns)
        columns = "".join(
            f"<section><h2>{escape(titles[card.name])}</h2>{self._note(card)}{self._figures(card)}</section>"
            for card in self._columns
        )
        return f"<p class='caption'>{escape(self._caption())}</p><div class='volumes'>{columns}</div>"

    def _saved(self, images: ImageSet, mark: str) -> str:
        return scratch.address(mid_planes(Volume.of(images, 0, synthetic=True), mark), self._place)

    def _caption(self) -> str:
        used = seeds(self._form)
        planes = "The middle slices of the axial, coronal and sagittal plane"
        if self._form.mode == WALK:
            return f"{planes}; from seed {used[0]} to seed {self._form.towards}. All volumes are synthetic."
        same = f"seed {used[0]}" if len(used) == 1 else f"seeds {used[0]} to {used[-1]}"
        return f"{planes}; every model got {same}. All volumes are synthetic."

    def _note(self, card: ModelCard) -> str:
        result = self._results.get(card.name)
        lines = [] if result is None else facts(result)
        lines = [line.replace(" images in ", " volumes in ").replace("1 image in ", "1 volume in ") for line in lines]
        lines += filter(None, (left_out(self._form, card),))
        if result is None:
            lines.append("No volume was finished." if self._over else "Waiting …")
        return f"<div class='result-note'>{'<br>'.join(map(escape, lines))}</div>"

    def _figures(self, card: ModelCard) -> str:
        figures = ""
        result = self._results.get(card.name)
        pictures, measured = self._pictures[card.name], self._measured[card.name]
        shown = list(zip(captions(result), pictures, measured, strict=True)) if result is not None else []
        if self._form.mode == WALK:  # of a film the newest frame
            shown = shown[-1:]
        name = card.quantity.get("name", "")
        for caption, address, found in shown:
            lines = (caption, *(() if found is None else (found.sentence(name.capitalize()),)))
            figures += figure(address, f"{card.name}, {caption}, mid planes, synthetic", lines)
        if card.name in self._unfinished:
            address, caption = self._unfinished[card.name]
            figures += figure(address, f"{card.name}, {caption}", (caption,))
        return figures


def captions(result: Result) -> list[str]:
    """What each volume of `result` is."""
    said = []
    unit = result.card.quantity.get("unit", "")
    for request in result.requests:
        asked = "" if request.quantity is None else f", asked for {request.quantity:g} {unit}".rstrip()
        walked = "" if request.mix is None else f" to {request.towards}, {request.mix:.0%} of the way"
        said += [f"seed {seed}{walked}{asked}" for seed in request.seeds]
    return said
