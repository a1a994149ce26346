"""A look ahead on a latent walk: a slider moves, and the picture at that point of the way is drawn at once.

Only for models that are fast enough to follow a hand: one pass, or a student of a few steps. What it shows is in no
download; Generate makes the walk itself.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from demos import lane, look, runner, widgets
from demos.form import WALK, Form, problems, request
from medgen import MedgenError, ModelCard

MAX_STEPS = 4
"""Network evaluations of a picture that still follow a hand."""
MAX_SHOWN = 3
"""Models beside each other: each costs the hand its share of the time."""
_QUIET: Any = {"show_progress": "hidden", "api_visibility": "private"}


def fast(models: Iterable[str]) -> list[ModelCard]:
    """Those of `models` that can walk and follow a hand, at most `MAX_SHOWN`."""
    chosen = set(models)
    known = [card for name, card in widgets.known_cards().items() if name in chosen]
    return [card for card in known if "towards" in card.controls and (card.steps or 1) <= MAX_STEPS][:MAX_SHOWN]


def on_choice(models: list[str], mode: str) -> list[Any]:
    """Whether there is a slider: `[row, pictures]`; the pictures of other models go."""
    return [gr.update(visible=mode == WALK and bool(fast(models))), ""]


def on_move(part: float, *values: Any) -> Any:
    """The pictures of the fast models at `part` percent of the way, as HTML.

    Args:
        part: 0 to 100.
        values: the fields of `Form`, in order; while one of them is wrong nothing changes, Generate says what it is.
    """
    form = Form(*values)
    if form.mode != WALK or set(problems(form)) - {"frames", "steps", "guidance"}:
        return gr.skip()
    # a model's own steps and guidance: the field's may be too many to follow a hand
    asked = replace(form, steps="", guidance="")
    try:
        figures = [_figure(card, asked, part) for card in fast(form.models)]
    except MedgenError as error:
        raise widgets.toast(error) from error
    return f"<div class='figures newest'>{''.join(figures)}</div>"


def _figure(card: ModelCard, form: Form, part: float) -> str:
    question = replace(request(form, card), towards=int(form.towards), mix=part / 100.0)
    (picture,) = look.pictures(runner.model(card).sample(question))
    seed = question.seeds[0]
    alt = f"{card.name}, seed {seed} to {question.towards}, {part:.0f}% of the way, synthetic"
    title = escape(card.title)
    return (
        f"<figure><img src='{_data_url(picture)}' alt='{escape(alt, quote=True)}'>"
        f"<figcaption><span>{title}</span></figcaption></figure>"
    )


def _data_url(picture: Image.Image) -> str:
    """`picture` inside the page's own text: a file of it would cost the browser a second question."""
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def create(models: gr.CheckboxGroup, mode: gr.Radio, fields: list[gr.blocks.Block]) -> None:
    """Puts slider and pictures here; they are seen while a walk is chosen and a model is fast.

    Args:
        models: which are chosen.
        mode: images or a walk.
        fields: one component a field of `Form`, in its order.
    """
    with gr.Column(visible=False) as row:
        slider = gr.Slider(
            0, 100, 0, step=1, label="Look ahead: how far from seed to seed, %", buttons=[], elem_id="ahead"
        )
        pictures = gr.HTML(elem_id="preview", padding=False)
    gr.on([models.change, mode.input], on_choice, [models, mode], [row, pictures], **_QUIET)
    # always_last: of what came while one picture was drawn, the point where the hand came to rest counts
    slider.input(
        on_move, [slider, *fields], pictures, trigger_mode="always_last", concurrency_id=lane.LANE,
        concurrency_limit=1, **_QUIET,
    )  # fmt: skip
