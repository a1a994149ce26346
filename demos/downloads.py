"""What a run leaves behind: one ZIP, the manifests, the animation; and a form filled again from them."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demos import look, walk
from demos.form import ANY_LABEL, IMAGES, MAX_FRAMES, MAX_IMAGES, WALK, Form, counts_on
from demos.runner import Result
from medgen import MedgenError, ModelCard, Request, backend
from medgen.atomic import replacing, write_json
from medgen.files import zip_writer
from medgen.provenance import NOTICE, read_manifest, requests_of

Manifest = dict[str, Any]
_UNASKED = ("severity", "age", "sex", "view", "cohort", "region")
"""Fields of `Request` that the Generate form does not have."""


def parts(result: Result) -> Iterator[tuple[Any, Request]]:
    """The images of each request of `result`."""
    start = 0
    for request in result.requests:
        end = start + len(request.seeds)
        yield result.images.take(range(start, end)), request
        start = end


def pack(
    results: list[Result],
    place: Path,
    format: str = "png",
    columns: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> tuple[Path, dict[str, Manifest]]:
    """Writes clean pixels, labels.csv and manifest.json of every model into one ZIP, one folder a model.

    Args:
        results: what the models have finished, at least one.
        place: folder to write into.
        format: one of `medgen.files.formats` of all their cards.
        columns: model name -> more cells of labels.csv, one mapping from column to text a picture.
        more: name in the ZIP -> content of other files.

    Returns:
        The ZIP, and model name -> its manifest.

    Raises:
        MedgenError: the modality cannot be written in this format, or the disk is full.
    """
    manifests: dict[str, Manifest] = {}
    seeds = results[0].requests[0].seeds
    path = place / f"medgen-{'-'.join(r.card.name for r in results)[:80]}-seed{seeds[0]}-{format}.zip"
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for result in results:
            inside = zip_writer(result.card, place / f".{result.card.name}.zip", format)
            with backend.using(result.runtime), inside as writer:
                cells = iter(columns[result.card.name] if columns else ())
                for images, request in parts(result):
                    writer.add(images, request, columns=list(islice(cells, len(images))) if columns else None)
                manifests[result.card.name] = writer.finish(seconds=result.seconds, peak_mb=result.peak_mb)
            inner_path = place / f".{result.card.name}.zip"
            with zipfile.ZipFile(inner_path) as inner:
                for info in inner.infolist():
                    name = f"{result.card.name}/{info.filename}"
                    archive.writestr(name, inner.read(info), compress_type=info.compress_type)
            inner_path.unlink()
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return path, manifests


def bare_png(picture: np.ndarray) -> bytes:
    """A PNG that claims nothing, of uint8 or uint16 `(H, W)`: neither an upload nor a mask is a synthetic image."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    return content.getvalue()


def manifest_files(manifests: dict[str, Manifest], place: Path) -> list[Path]:
    """Each manifest as a file of its own."""
    paths = [place / f"{name}.manifest.json" for name in manifests]
    for path, manifest in zip(paths, manifests.values(), strict=True):
        write_json(path, manifest)
    return paths


def animation(results: list[Result], place: Path) -> Path | None:
    """The walk of all models side by side, there and back, as a marked GIF; None for plain images.

    A GIF because it plays in slides; its 256 colours hold 8-bit grey without loss.
    """
    if results[0].requests[0].towards is None:
        return None
    frames = look.side_by_side([look.pictures(result.images) for result in results])
    path = place / "latent-walk.gif"
    with replacing(path) as temporary:
        round_trip = [*frames, *frames[-2:0:-1]]
        first, *rest = round_trip
        first.save(
            temporary, "GIF", save_all=True, append_images=rest, duration=walk.FRAME_MS, loop=0, comment=NOTICE.encode()
        )
    return path


def read_manifests(path: Path) -> dict[str, Manifest]:
    """Model name -> manifest, from a manifest.json or from a ZIP that this app wrote.

    Raises:
        MedgenError: neither of the two, or damaged.
    """
    if not zipfile.is_zipfile(path):
        manifest = read_manifest(path)
        return {manifest["model"]: manifest}
    found = {}
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as scratch:
            for name in archive.namelist():
                if Path(name).name == "manifest.json" and archive.getinfo(name).file_size < 2**24:
                    copy = Path(scratch) / "manifest.json"
                    copy.write_bytes(archive.read(name))
                    manifest = read_manifest(copy)
                    found[manifest["model"]] = manifest
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise MedgenError(f"{path.name} is a damaged ZIP ({error}): take a whole copy of it.") from error
    if not found:
        raise MedgenError(f"{path.name} holds no manifest.json: give the ZIP or the manifest of a saved set.")
    return found


def form_of(manifests: dict[str, Manifest], cards: dict[str, ModelCard]) -> Form:
    """The form that asks for what `manifests` recorded.

    Raises:
        MedgenError: a model is missing or has other weights, or the form cannot ask this question.
    """
    asked = asked_of(manifests, cards)
    first = asked[0][1]
    walk = first[0].towards is not None
    seeds = first[0].seeds
    for _, requests in asked:
        _require_one_question(requests, first, walk)
    quantity = shared(asked, "quantity")
    return Form(
        models=list(manifests),
        mode=WALK if walk else IMAGES,
        seeds=str(seeds[0]) if counts_on(seeds) else ", ".join(map(str, seeds)),
        count=len(seeds),
        towards=str(first[0].towards if walk else 1),
        frames=len(first) if walk else 12,
        label=shared(asked, "label") or ANY_LABEL,
        steps=number_text(shared(asked, "steps")),
        guidance=number_text(shared(asked, "guidance")),
        denoising=False,
        real=False,
        quantity=quantity,
        any_quantity=quantity is None,
    )


def asked_of(manifests: dict[str, Manifest], cards: dict[str, ModelCard]) -> list[tuple[ModelCard, list[Request]]]:
    """Each model of `manifests` with what it was asked.

    Raises:
        MedgenError: a model is missing or has other weights, or was given a picture, which no manifest holds.
    """
    asked = []
    for name, manifest in manifests.items():
        if name not in cards:
            raise MedgenError(f"The model {name} is not here: put its folder into checkpoints/ and reload the page.")
        if manifest["weights"] != cards[name].weights:
            raise MedgenError(f"{name} has other weights than the manifest names: get the checkpoint it was made with.")
        written = manifest["request"] if isinstance(manifest["request"], list) else [manifest["request"]]
        if any(one.get("source_sha256") for one in written):
            raise MedgenError(f"{name} was given a picture that a manifest does not hold: give the model that picture.")
        asked.append((cards[name], requests_of(manifest)))
    return asked


def _require_one_question(requests: list[Request], first: list[Request], walk: bool) -> None:
    one = requests[0]
    same = {**asdict(one), "mix": None}
    if walk:
        mixes = [i / (len(requests) - 1) for i in range(len(requests))] if len(requests) > 1 else []
        fits = len(one.seeds) == 1 and len(requests) <= MAX_FRAMES and [r.mix for r in requests] == mixes
    else:
        fits = len(requests) == 1 and len(one.seeds) <= MAX_IMAGES
    fits = fits and all({**asdict(r), "mix": None} == same for r in requests)
    fits = fits and all(getattr(one, name) is None for name in _UNASKED)
    agrees = (one.seeds, one.towards, len(requests)) == (first[0].seeds, first[0].towards, len(first))
    if not (fits and agrees):
        raise MedgenError(
            "This manifest asks for more than the form can: remake it with python -m medgen.sample --manifest FILE."
        )


def shared(asked: list[tuple[ModelCard, list[Request]]], name: str) -> Any:
    """The one value of a field that all models that take it were given; None where that is each one's default."""
    taken = [
        (getattr(requests[0], name), getattr(card, name, None)) for card, requests in asked if name in card.controls
    ]
    if all(value == default for value, default in taken):
        return None
    if len({value for value, _ in taken}) > 1:
        raise MedgenError(f"The models of this ZIP were given different {name}: load their manifests one at a time.")
    return taken[0][0]


def number_text(value: float | None) -> str:
    """`value` as the text of a field that may be empty, without losing a digit."""
    return "" if value is None else f"{value:g}" if float(f"{value:g}") == value else repr(value)


def verdict(manifests: dict[str, Manifest], expected: dict[str, Manifest]) -> str:
    """Whether a run from a manifest gave the manifest's pixels, as a sentence; "" where it asked something else."""
    said = []
    for name, was in expected.items():
        now = manifests.get(name)
        if now is None or requests_of(now) != requests_of(was):
            continue
        pairs = list(zip(now["files"], was["files"], strict=True))
        equal = sum(a["pixels_sha256"] == b["pixels_sha256"] for a, b in pairs)
        said.append(f"{name}: {equal} of {len(pairs)} pictures equal those of the manifest, pixel by pixel.")
    return " ".join(said)
