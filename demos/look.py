"""How the app looks: theme and CSS without outside requests, and pictures that say what they are."""

from __future__ import annotations

import math

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
    checkbox_background_color_selected="*primary_700",
    checkbox_border_color_selected="*primary_700",
)

CSS = """
.gradio-container { max-width: 1680px !important; }
.notice { border-left: 6px solid #b45309; background: #fef3c7; color: #451a03; padding: 10px 16px;
          border-radius: 4px; font-weight: 600; }
.dark .notice { background: #422006; color: #fde68a; }
.run-bar { min-height: 3em; }
.run-bar p { margin: 0 0 6px 0; font-variant-numeric: tabular-nums; }
.run-bar progress { width: 100%; height: 14px; accent-color: #0f766e; }
.result-note { font-size: 1rem; line-height: 1.45; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.result-note b { font-weight: 600; }
.quiet { opacity: 0.85; font-size: 0.95rem; }
.hardware { width: 100%; border-collapse: collapse; }
.hardware th { text-align: left; font-weight: 600; padding: 2px 12px 2px 0; vertical-align: top; white-space: nowrap; }
.hardware td { padding: 2px 0; }
.columns { display: grid !important; grid-template-columns: repeat(auto-fit, minmax(min(260px, 100%), 1fr));
           gap: 16px; }
.columns > * { min-width: 0 !important; }
.columns h3 { margin: 0; font-size: 1.15rem; font-weight: 600; }
.results .grid-wrap { min-height: 0; max-height: none; overflow-y: auto; }
.columns .caption-label { display: none; }  /* it would hide the burned-in mark; it stays as alt text and tooltip */
.picture img { image-rendering: auto; }
button[role=tab][aria-selected=true] { color: #0f766e; font-weight: 600; }
.dark button[role=tab][aria-selected=true] { color: #5eead4; }
:focus-visible { outline: 3px solid #0f766e !important; outline-offset: 2px; }
@media (max-width: 480px) {
  .gradio-container { padding: 8px !important; }
  .gradio-container h1 { font-size: 1.4rem; }
}
"""

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
    if not mark:
        return picture
    text_px = max(14, picture.height // 11)
    font = ImageFont.load_default(size=text_px)
    left, top, right, bottom = font.getbbox(mark)
    pad = text_px // 5
    white = 255 if picture.mode == "L" else (255,) * len(picture.getbands())
    black = 0 if picture.mode == "L" else (0,) * len(picture.getbands())
    draw = ImageDraw.Draw(picture)
    strip_top = picture.height - (bottom - top) - 2 * pad
    draw.rectangle((0, strip_top, picture.width, picture.height), fill=black)
    draw.text(((picture.width - (right - left)) / 2 - left, strip_top + pad - top), mark, fill=white, font=font)
    return picture


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
