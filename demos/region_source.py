"""The picture whose region is to change, and that region: uploads checked and fitted to a model, boxes and drawings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from demos import look
from demos.opinions import as_saved
from medgen import ImageSet, MedgenError, ModelCard
from medgen.dicom import XRAY
from medgen.files import read_image

MIN_SIDE = 64
"""Pixels of the shorter side of an upload: with fewer nobody can see a lung."""
CANVAS_PX = 512
_RADIOGRAPHS = (*XRAY, "RG")
_DRAWN = 0.25
"""Share of a pixel that the brush must cover."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge in percent of the picture."""


@dataclass(frozen=True, eq=False)
class Source:
    """A picture to change.

    Args:
        images: one image, `(1, 1, H, W)`.
        said: what it is, in a few words.
        mark: its provenance where it is synthetic, as `provenance.mark` gives it; None for an upload.
    """

    images: ImageSet
    said: str
    mark: Mapping[str, str] | None = None


def read_upload(path: str | Path) -> Source:
    """A chest X-ray from a PNG, JPEG or DICOM file.

    Raises:
        MedgenError: no file of these kinds, not grey, too small, without content, or a DICOM file that says that it
            is no X-ray or shows another part of the body.
    """
    path = Path(path)
    images = read_image(path, only=_RADIOGRAPHS, body_part="CHEST")
    height, width = images.pixels.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise MedgenError(
            f"{path.name} has {width} x {height} pixels; give an X-ray of at least {MIN_SIDE} x {MIN_SIDE}."
        )
    unit = images.unit_range()
    if not np.isfinite(unit).all():
        raise MedgenError(f"{path.name} holds pixels that are no numbers; save it again.")
    if np.ptp(unit) == 0.0:
        raise MedgenError(f"{path.name} is of one grey all over; give an X-ray.")
    return Source(images, f"{path.name}, {width} x {height} pixels")


def fitted(images: ImageSet, card: ModelCard) -> ImageSet:
    """The first of `images` in the size, unit and window of `card`, rounded to the 256 grey levels of a file.

    Another size is stretched to it, antialiased, as the pictures were that the models learned from.
    """
    height, width = card.shape[-2:]
    picture = Image.fromarray(images.unit_range()[0, 0])  # mode F, [0, 1]
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    low, high = card.window
    pixels = np.asarray(picture, np.float32) * np.float32(high - low) + np.float32(low)
    return as_saved(ImageSet(pixels[None, None], card.modality, card.unit, card.window))


def box_mask(shape: tuple[int, int], box: Box) -> np.ndarray:
    """`(H, W)` bool: the pixels inside `box`.

    Raises:
        MedgenError: the box holds no pixel.
    """
    (height, width), (left, top, right, bottom) = shape, (edge / 100.0 for edge in box)
    mask = np.zeros(shape, bool)
    mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    if not mask.any():
        raise MedgenError("The box holds no pixel: its left edge must be less than its right, its top than its bottom.")
    return mask


def drawn(editor: Mapping[str, Any] | None) -> np.ndarray | None:
    """What was drawn in a `gr.ImageEditor`, `(h, w)` bool in pixels of its canvas; None where nothing was."""
    layers = [np.asarray(layer) for layer in (editor or {}).get("layers") or []]
    painted = [layer[..., 3] > 127 for layer in layers if layer.ndim == 3 and layer.shape[-1] == 4]
    mask = np.logical_or.reduce(painted) if painted else np.zeros((1, 1), bool)
    return mask if mask.any() else None


def drawn_mask(shape: tuple[int, int], drawing: np.ndarray | None) -> np.ndarray:
    """`(H, W)` bool: the pixels that `drawing` covers enough of.

    Raises:
        MedgenError: nothing was drawn.
    """
    if drawing is not None:
        height, width = shape
        covered = Image.fromarray(drawing.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        mask = np.asarray(covered) >= _DRAWN
        if mask.any():
            return mask
    raise MedgenError("Nothing is drawn: paint with the brush where the picture is to change, or give a box.")


def canvas(source: Source) -> Image.Image:
    """The picture to draw on, `CANVAS_PX` square as the model will see it; a synthetic one is marked."""
    levels = Image.fromarray(source.images.uint8()[0, 0])
    square = levels.resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BILINEAR)
    return look.burn_in(square, "UPLOADED" if source.mark is None else "SYNTHETIC")


def with_box(picture: Image.Image, box: Box) -> Image.Image:
    """`picture` with the frame of `box` on it; an edge outside the picture stands at its rim."""
    framed = picture.convert("RGB")
    inside = [min(max(edge, 0.0), 100.0) / 100.0 for edge in box]  # Pillow would draw a line of 10**12 pixels
    left, right = (round(edge * (framed.width - 1)) for edge in inside[::2])
    top, bottom = (round(edge * (framed.height - 1)) for edge in inside[1::2])
    if left <= right and top <= bottom:
        ImageDraw.Draw(framed).rectangle((left, top, right, bottom), outline=(255, 191, 0), width=3)
    return framed
