"""The downloads of the Volume tab: one volume as NIfTI, a whole run as a ZIP, and the form filled again from it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gradio as gr

from demos import downloads, scratch, widgets
from demos.downloads import Manifest, asked_of, number_text, read_manifests, shared
from demos.form import counts_on
from demos.runner import Result
from demos.volume_columns import Made
from demos.volume_form import MAX_COUNT, MAX_FRAMES, VOLUMES_MODE, WALK, VolumeForm
from medgen import MedgenError, ModelCard, Request
from medgen.atomic import write_bytes
from medgen.provenance import mark
from medgen.volume import Volume
from medgen.write_volume import nifti_bytes

FORMAT = "nii"
_TOO_MUCH = "This manifest asks for more than the form can: remake it with python -m medgen.sample --manifest FILE."
_ASKED = {"seeds", "steps", "guidance", "quantity", "towards", "mix"}


def nifti(result: Result, index: int, place: Path) -> Path:
    """Writes one volume of `result` into `place`, with all that remakes it inside the file.

    Raises:
        MedgenError: the volume is NaN, or the disk is full.
    """
    asked = [replace(request, seeds=(seed,)) for request in result.requests for seed in request.seeds][index]
    number = "" if asked.quantity is None else f"-{result.card.quantity.get('unit', '')}{asked.quantity:g}"
    path = place / f"{result.card.name}-seed{asked.seeds[0]}{number}.nii.gz"
    write_bytes(path, nifti_bytes(Volume.of(result.images, index, synthetic=True), mark(result.card, asked, 0)))
    return path


def pack(session: str, made: Made | None, expected: dict[str, Manifest]) -> list[Any]:
    """All of a run as one ZIP with manifest.json and labels.csv of every model: `[button, verdict]`."""
    if made is None or not made.results:
        return [gr.update(value=None, interactive=False), ""]
    name = {result.card.name: result.card.quantity.get("name", "quantity") for result in made.results}
    cells = {
        model: [{} if one is None else {f"{name[model]} measured mm3": f"{one.mm3:.1f}"} for one in found]
        for model, found in made.measured.items()
    }
    try:
        path, manifests = downloads.pack(list(made.results), scratch.DOWNLOADS.folder(session), FORMAT, cells)
    except MedgenError as error:
        raise widgets.toast(error) from error
    verdict = downloads.verdict(manifests, expected or {}).replace(" pictures equal", " volumes equal")
    return [gr.update(value=str(path), interactive=True), verdict.replace("pixel by pixel", "voxel by voxel")]


def read(path: str, cards: dict[str, ModelCard]) -> tuple[dict[str, Manifest], VolumeForm]:
    """The manifests in a file that this tab wrote, and the form that asks for the same again.

    Raises:
        MedgenError: no such file, a model is missing or has other weights, or the form cannot ask this question.
    """
    manifests = read_manifests(Path(path))
    return manifests, form_of(manifests, cards)


def form_of(manifests: dict[str, Manifest], cards: dict[str, ModelCard]) -> VolumeForm:
    """The form that asks for what `manifests` recorded.

    Raises:
        MedgenError: a model is missing or has other weights, or the form cannot ask this question.
    """
    asked = asked_of(manifests, cards)
    if any(len(card.shape) != 4 for card, _ in asked):
        raise MedgenError("This manifest is of pictures, not of volumes: load it in the tab that made it.")
    first = asked[0][1]
    walk = first[0].towards is not None
    for _, requests in asked:
        _require_one_question(requests, first, walk)
    return VolumeForm(
        models=list(manifests),
        mode=WALK if walk else VOLUMES_MODE,
        seed=str(first[0].seeds[0]),
        count=len(first[0].seeds),
        towards=str(first[0].towards if walk else 1),
        frames=len(first) if walk else 12,
        quantity=number_text(_quantity(asked)),
        steps=number_text(shared(asked, "steps")),
        guidance=number_text(shared(asked, "guidance")),
        previews=False,
    )


def _quantity(asked: list[tuple[ModelCard, list[Request]]]) -> float | None:
    values = {requests[0].quantity for card, requests in asked if "quantity" in card.controls}
    if len(values) > 1:
        raise MedgenError("The models of this ZIP were asked for different numbers: load their manifests one by one.")
    return next(iter(values), None)


def _require_one_question(requests: list[Request], first: list[Request], walk: bool) -> None:
    one = requests[0]
    if walk:
        mixes = [i / (len(requests) - 1) for i in range(len(requests))] if len(requests) > 1 else []
        fits = len(one.seeds) == 1 and len(requests) <= MAX_FRAMES and [r.mix for r in requests] == mixes
    else:
        fits = len(requests) == 1 and len(one.seeds) <= MAX_COUNT and counts_on(one.seeds)
    same = {**asdict(one), "mix": None}
    fits = fits and all({**asdict(r), "mix": None} == same for r in requests)
    fits = fits and not any(value for name, value in asdict(one).items() if name not in _ASKED)
    agrees = (one.seeds, one.towards, len(requests)) == (first[0].seeds, first[0].towards, len(first))
    if not (fits and agrees):
        raise MedgenError(_TOO_MUCH)
