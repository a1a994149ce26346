"""The generated images nearest to training images, on the Board tab: as numbers, and side by side where data are."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

import medgen
from demos import lane, look, tables, widgets
from eval import memorisation_file, memorisation_tables
from medgen import MedgenError, Request
from medgen.data import available, real
from medgen.registry import checkpoints_dir

NONE = (
    "Not measured yet: <code>python -m eval.run NAME --protocol cxr-128 --extractor all</code> writes "
    "memorisation.json."
)


def draw(model: str | None, space: str | None) -> list[Any]:
    """`[model, space, tables, button, pictures]` for the chosen model and space, or the first.

    Args:
        model: name; None = the first that was measured.
        space: name; None = its first.
    """
    frame, problems = memorisation_file.rows()
    said = "".join(f"<p class='caption warning'>{tables.escape(one)}</p>" for one in problems)
    hidden = gr.update(visible=False)
    if frame.empty:
        return [hidden, hidden, said or f"<p class='caption'>{NONE}</p>", hidden, hidden]
    models = list(dict.fromkeys(frame["model"]))
    model = model if model and model in models else models[0]
    values = _read(model)
    spaces = list(values["spaces"])
    space = space if space and space in spaces else spaces[0]
    here = available(values["data"])
    if not here:
        said += f"<p class='caption'>Pictures are shown where $MEDGEN_DATA holds {tables.escape(values['data'])}.</p>"
    html = (
        tables.plain(memorisation_tables.summary(frame), values["rule"])
        + tables.plain(memorisation_tables.closest(values, space), f"The closest pairs of {model}, seen by {space}.")
        + said
    )
    return [
        gr.update(choices=models, value=model, visible=True),
        gr.update(choices=spaces, value=space, visible=True),
        html,
        gr.update(visible=here),
        gr.update(value=[], visible=False),
    ]


def _read(model: str) -> dict[str, Any]:
    return memorisation_file.read(checkpoints_dir() / model / memorisation_file.FILE)


def pictures(model: str, space: str) -> Any:
    """Each pair side by side: the image is generated again from its seed, the training image is read.

    Raises:
        gr.Error: data or weights are missing, or other images stand in the train split now.
    """
    try:
        values = _read(model)
        pairs = values["spaces"][space]["closest"]
        train = real(values["data"], "train")
        if any(_subject(train, one["train"]) != one["subject"] for one in pairs):
            raise MedgenError(f"The train split of {values['data']} is not the one that was measured: measure again.")
        made = _made(model, pairs)
    except MedgenError as error:
        raise widgets.toast(error) from error
    shown = []
    for pair, picture in zip(pairs, made, strict=True):
        own = look.pictures(picture)[0]
        learned = look.pictures(train.take([pair["train"]]), "REAL")[0]
        both = look.side_by_side([[own.convert("L")], [_like(learned, own)]])[0]
        words = f"seed {pair['seed']}, beside train image {pair['train']} of {pair['subject']}"
        shown.append((both, f"{words}; {pair['percentile']:.1f} % of held-out images are as near to one"))
    return gr.update(value=shown, visible=True)


def _subject(train: medgen.ImageSet, place: int) -> str:
    subjects = train.subjects or ()
    return str(subjects[place]) if place < len(subjects) else ""


def _like(picture: Image.Image, other: Image.Image) -> Image.Image:
    return picture.convert("L").resize(other.size, Image.Resampling.LANCZOS)


def _made(model: str, pairs: list[dict[str, Any]]) -> list[medgen.ImageSet]:
    """The image of each pair's seed and label."""
    generator = medgen.load(model)
    return [generator.sample(Request(seeds=(one["seed"],), label=one["label"])) for one in pairs]


def create(opened: Any) -> None:
    """Puts the section where it is called.

    Args:
        opened: event that draws it.
    """
    with gr.Row():
        model = gr.Dropdown([], label="Model", visible=False, elem_id="pairs-model")
        space = gr.Dropdown([], label="Seen by", visible=False, elem_id="pairs-space")
    shown = gr.HTML(padding=False, elem_id="pairs")
    show = gr.Button("Show the pictures", visible=False, size="md", elem_id="pairs-show")
    gallery = gr.Gallery(label="Closest pairs", format="png", visible=False, object_fit="contain", height="auto",
                         interactive=False, elem_id="pairs-pictures", elem_classes=["results"])  # fmt: skip
    filled = [model, space, shown, show, gallery]
    for trigger in (opened, model.input, space.input):
        trigger(draw, [model, space], filled, show_progress="hidden", api_visibility="private")
    show.click(pictures, [model, space], gallery, concurrency_id=lane.LANE, concurrency_limit=1,
               api_visibility="private")  # fmt: skip
