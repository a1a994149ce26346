"""The download of a translated slice: PNG with manifests, and the values in their unit at their place as NIfTI."""

from __future__ import annotations

import csv
import io
from typing import Any

import gradio as gr
import numpy as np

from demos import downloads, scratch, widgets
from demos.translate_run import Answer, Translated
from medgen import MedgenError
from medgen.disagreement import disagreement
from medgen.pair_metrics import HEAD
from medgen.provenance import mark
from medgen.volume import Volume
from medgen.write_volume import nifti_bytes

HU_OFFSET = 1024
"""Added to the HU of `source.png`, which 16 bits without a sign hold."""


def pack(session: str, done: Translated | None) -> Any:
    """The download of a run: the ZIP button.

    Of each model a folder: its pictures on its own grid with manifest.json and labels.csv; `source.png`, exactly the
    pixels whose SHA-256 the manifest names; `slice.nii.gz`, the first picture on the grid of the source; and
    `disagreement.nii.gz` where there are several.
    """
    if done is None or not done.answers:
        return gr.update(value=None, interactive=False)
    try:
        more: dict[str, bytes] = {"scores.csv": _scores(done)} if done.truth is not None else {}
        for answer in done.answers:
            more |= _beside(answer, done)
        place = scratch.DOWNLOADS.folder(session)
        columns = {answer.card.name: _cells(answer) for answer in done.answers}
        path, _ = downloads.pack([answer.result for answer in done.answers], place, "png", columns, more)
    except MedgenError as error:
        raise widgets.toast(error) from error
    return gr.update(value=str(path), interactive=True)


def _beside(answer: Answer, done: Translated) -> dict[str, bytes]:
    """What a folder holds beside the set of pictures: name -> content."""
    card, request = answer.card, answer.result.requests[0]
    source = request.source
    assert source is not None
    levels = source.pixels[0, 0] + (HU_OFFSET if source.unit == "HU" else 0)
    bits = np.uint16 if source.unit == "HU" else np.uint8
    said = mark(card, request, 0)
    result = slice_volume(done, answer.samples[0], card.modality, card.unit, card.window)
    found = {
        f"{card.name}/source.png": downloads.bare_png(levels.astype(bits)),
        f"{card.name}/slice.nii.gz": nifti_bytes(result, said),
    }
    if len(answer.samples) > 1:
        spread = disagreement(answer.samples)
        window = (0.0, max(float(spread.max()), 1e-3))
        apart = slice_volume(done, spread, card.modality, card.unit, window)
        found[f"{card.name}/disagreement.nii.gz"] = nifti_bytes(apart, said)
    return found


def slice_volume(done: Translated, pixels: np.ndarray, modality: str, unit: str, window: tuple[float, float]) -> Volume:
    """Values on the grid of the slice, `(H, W)` float32, as a volume of one slice at its place."""
    array = np.ascontiguousarray(pixels.T[:, :, None], np.float32)
    return Volume(array, done.affine, modality, unit, window, done.oriented, synthetic=True)


def _cells(answer: Answer) -> list[dict[str, str]]:
    """More cells of labels.csv, one mapping a picture: only the first was held against the truth."""
    one = answer.agreement
    first = {} if one is None else {name: _number(getattr(one, name)) for name in ("ssim", "psnr_db", "mae")}
    return [first, *({} for _ in answer.samples[1:])]


def _scores(done: Translated) -> bytes:
    """The agreement of every model with the truth as CSV; n is one slice."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("model", "picture", "ssim", "psnr_db", "mae", "unit", "pixels", "slices", "where"))
    for answer in done.answers:
        count = len(answer.samples)
        for what, one in (("first", answer.agreement), (f"mean of {count}", answer.mean_agreement)):
            if one is not None:
                numbers = (_number(value) for value in (one.ssim, one.psnr_db, one.mae))
                rows.writerow((answer.card.name, what, *numbers, answer.card.unit, one.n_pixels, 1, HEAD))
    return table.getvalue().encode()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
