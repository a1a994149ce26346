"""How the app looks: theme and CSS without outside requests, and pictures that say what they are."""

from __future__ import annotations

import math
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medgen import ImageSet

_SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Arial", "sans-serif")
_MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Consolas", "DejaVu Sans Mono", "monospace")

# A gradio theme may name a web font; only names that the reader's machine already has are allowed here.
THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.teal,
    neutral_hue=gr.themes.colors.slate,
    text_size=gr.themes.sizes.text_lg,
    radius_size=gr.themes.sizes.radius_md,
    font=[gr.themes.Font(name) for name in _SYSTEM_FONTS],
    font_mono=[gr.themes.Font(name) for name in _MONO_FONTS],
).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_600",
    button_primary_text_color="white",
    # gradio's greys are too pale for the back of a hall
    block_info_text_color="*neutral_600",
    block_label_text_color="*neutral_700",
    block_title_text_color="*neutral_800",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    checkbox_background_color_selected="*primary_700",
    checkbox_border_color_selected="*primary_700",
)

CSS = Path(__file__).parent / "page.css"

SHOWN_PX = 256
"""A picture smaller than this is enlarged by a whole factor before it is shown, so that its mark can be read."""


def pictures(images: ImageSet, mark: str = "SYNTHETIC") -> list[Image.Image]:
    """What the page shows of `images`: windowed to 8 bit, enlarged to be legible, the mark burned in.

    These are for eyes alone; downloads and metrics take the clean pixels.

    Args:
        images: `(N, C, H, W)` with one or three channels.
        mark: the word burned into the lower edge; "" leaves the picture bare.

    Raises:
        MedgenError: a pixel is NaN.
    """
    # (N, C, H, W) float32 -> (N, H, W, C) uint8
    shown = np.moveaxis(images.uint8(), 1, -1)
    return [burn_in(Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one), mark) for one in shown]


def burn_in(picture: Image.Image, mark: str) -> Image.Image:
    """`picture`, enlarged by a whole factor to at least `SHOWN_PX`, with `mark` on a dark strip at its lower edge."""
    factor = max(1, math.ceil(SHOWN_PX / min(picture.size)))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS)
    if mark:
        strip = _strip(picture, mark, max(14, picture.height // 11))
        picture.paste(strip, (0, picture.height - strip.height))
    return picture


def signed(picture: Image.Image, words: str) -> Image.Image:
    """`picture`, whole, with `words` on a dark strip under it."""
    strip = _strip(picture, words, max(14, picture.width // 18))
    whole = Image.new(picture.mode, (picture.width, picture.height + strip.height))
    whole.paste(picture)
    whole.paste(strip, (0, picture.height))
    return whole


def about_grey(values: np.ndarray, least: float) -> tuple[np.ndarray, float]:
    """A difference to look at: 0 is middle grey, the largest absolute value white or black.

    Args:
        values: `(H, W)`.
        least: what is white where all values are smaller, so that nothing looks like much.

    Returns:
        `(H, W)` uint8, and the value that is white.
    """
    largest = max(float(np.abs(values).max()), least)
    return np.rint(127.5 + values * (127.0 / largest)).astype(np.uint8), largest


def _strip(picture: Image.Image, words: str, text_px: int) -> Image.Image:
    """`words` in white on black, as wide as `picture` and in its mode."""
    font = ImageFont.load_default(size=text_px)
    left, top, right, bottom = font.getbbox(words)
    pad = text_px // 5
    strip = Image.new(picture.mode, (picture.width, int(bottom - top) + 2 * pad))
    white = 255 if picture.mode == "L" else (255,) * len(picture.getbands())
    place = ((strip.width - (right - left)) / 2 - left, pad - top)
    ImageDraw.Draw(strip).text(place, words, fill=white, font=font)
    return strip


def side_by_side(frames: list[list[Image.Image]], gap_px: int = 8) -> list[Image.Image]:
    """Frame k of every column next to each other, for an animation that moves all models at once.

    Args:
        frames: one list of pictures a column; the shortest column sets the number of frames.
        gap_px: black space between two columns.
    """
    joined = []
    for row in zip(*frames, strict=False):
        height = max(picture.height for picture in row)
        width = sum(picture.width for picture in row) + gap_px * (len(row) - 1)
        canvas = Image.new(row[0].mode, (width, height))
        x = 0
        for picture in row:
            canvas.paste(picture, (x, 0))
            x += picture.width + gap_px
        joined.append(canvas)
    return joined
