"""A latent walk on the page: one slider scrubs the frames of every model at once, without asking the server.

The galleries already hold the frames. A style sheet puts them on top of each other and leaves one visible; the
slider rewrites that style sheet in the browser.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

FRAME_MS = 120
_PLAY, _PAUSE = "Play", "Pause"


def only(frame: int | str) -> str:
    """The style sheet that leaves frame `frame`, counted from 1, visible in every gallery."""
    return (
        "<style>.columns .grid-container { grid-template-columns: 1fr !important; } "
        ".columns .gallery-item { grid-area: 1 / 1; visibility: hidden; } "
        f".columns .gallery-item:nth-child({frame}) {{ visibility: visible; }}</style>"
    )


_ON_SCRUB = "(frame) => `" + only("${frame}") + "`"
# There and back again. The button's own word is the state, so that a new run stops the play by writing "Play".
_ON_PLAY = f"""(word) => {{
  clearInterval(window.medgenWalk);
  if (word === "{_PAUSE}") return "{_PLAY}";
  let way = 1;
  window.medgenWalk = setInterval(() => {{
    const range = document.querySelector("#frame input[type=range]");
    const button = document.querySelector("#play");
    if (!range || !button || button.textContent.trim() !== "{_PAUSE}") return clearInterval(window.medgenWalk);
    if (Number(range.value) >= Number(range.max)) way = -1;
    if (Number(range.value) <= Number(range.min)) way = 1;
    range.value = Number(range.value) + way;
    range.dispatchEvent(new Event("input", {{ bubbles: true }}));
  }}, {FRAME_MS});
  return "{_PAUSE}";
}}"""


def components() -> list[gr.blocks.Block]:
    """Creates the slider, hidden: `[row, slider, play, style]`, the order of the functions below."""
    with gr.Row(visible=False) as row:
        slider = gr.Slider(1, 2, 1, step=1, label="Frame", buttons=[], elem_id="frame", scale=6)
        play = gr.Button(_PLAY, elem_id="play", scale=1, min_width=120)
    style = gr.HTML(elem_classes="unseen")
    # always_last: the frame where the hand came to rest must not be dropped
    slider.input(None, slider, style, js=_ON_SCRUB, trigger_mode="always_last", api_visibility="private")
    play.click(None, play, play, js=_ON_PLAY, api_visibility="private")
    return [row, slider, play, style]


def closed() -> list[Any]:
    """There is no walk: every picture is visible."""
    return [gr.update(visible=False), gr.skip(), _PLAY, ""]


def at(frame: int) -> list[Any]:
    """The walk has come to `frame`, the newest that every model has finished."""
    slider = gr.update(maximum=max(frame, 2), value=frame)
    return [gr.update(visible=frame > 1), slider, _PLAY, only(frame)]
