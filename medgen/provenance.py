"""Where a picture comes from: the SYNTHETIC mark of one file, and the manifest that remakes a whole set."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import medgen
from medgen import backend
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Request

NOTICE = "Research and teaching only. Synthetic images. Not for clinical use."
PARTLY_NOTICE = (
    "Research and teaching only. Partly synthetic images: a model made one region, the rest is an uploaded picture. "
    "Not for clinical use."
)
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for "made by a trained model"."""
PARTLY_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a picture of which a trained model made a part."""
PARTLY = "partly"
"""What `Synthetic` says, instead of "true", of a picture of which a part is no model's."""
MAX_MANIFEST_BYTES = 512 * 2**20

_LIBRARIES = ("torch", "diffusers", "openvino", "monai", "safetensors", "PIL", "pydicom", "nibabel")
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "seeds": (list,),
    "steps": (int,),
    "guidance": (int, float),
    "label": (str,),
    "towards": (int,),
    "mix": (int, float),
    "severity": (int, float),
    "age": (int, float),
    "quantity": (int, float),
    "source_synthetic": (bool,),
    **dict.fromkeys(("sex", "view", "cohort"), (str,)),
}


def software() -> str:
    """Name and version of this program, as written into files."""
    return f"medgen {medgen.__version__}"


def mark(card: ModelCard, request: Request, index: int) -> dict[str, str]:
    """What file `index` of a set says about itself: the words for `files.png_bytes` and `files.dicom_bytes`.

    The request in it holds this picture's seed alone, so that one file found without its manifest can be remade.
    """
    alone = explicit(card, replace(request, seeds=(request.seeds[index],)))
    partly = request.keeps_upload()
    words = {
        "Synthetic": PARTLY if partly else "true",
        "Source type": PARTLY_SOURCE_TYPE if partly else SOURCE_TYPE,
        "Disclaimer": PARTLY_NOTICE if partly else NOTICE,
        "Software": software(),
        "Model": card.name,
        "Weights": json.dumps(card.weights),
        "Seed": str(request.seeds[index]),
        "Request": json.dumps(alone.to_json(), ensure_ascii=False),
    }
    # "Label", "Region label", "Severity", "Quantity"
    said = {name.replace("_", " ").capitalize(): str(value) for name, value in request.shows(card).items()}
    return {**words, **said}


def explicit(card: ModelCard, request: Request) -> Request:
    """`request` with the card's defaults written out, so that a card with other defaults remakes the same pixels.

    Unlike `Request.checked` it names only what the model takes, so that the result can be asked again.
    """
    steps, guidance = request.steps, request.guidance
    if steps is None and "steps" in card.controls:
        steps = card.steps
    if guidance is None and "guidance" in card.controls:
        guidance = card.guidance
    return replace(request, steps=steps, guidance=guidance)


def pixels_sha256(picture: np.ndarray) -> str:
    """SHA-256 of the raw uint8 or uint16 pixels, row by row: the same for a PNG and a DICOM of one picture."""
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()


def manifest(
    card: ModelCard,
    request: Request | Sequence[Request],
    files: list[dict[str, Any]],
    *,
    seconds: float,
    peak_mb: float | None = None,
) -> dict[str, Any]:
    """All that is needed to remake `files`, as plain JSON values.

    Args:
        card: the model.
        request: what was asked; several where a set holds several labels.
        files: one `{file, seed, label, pixels_sha256}` a picture, and `region_label`, `severity` and
            `quantity` where `Request.shows` has them, in the order of the requests' seeds.
        seconds: wall-clock time of the generation.
        peak_mb: peak memory in MiB; None where nobody measured.

    Returns:
        `request` in it is one object, or a list of objects where several were asked; `requests_of` reads both.
        `synthetic` is true where all or a part of each picture is. `runtime` is the one in force, which made them.
    """
    asked = [request] if isinstance(request, Request) else list(request)
    as_json = [explicit(card, one).to_json() for one in asked]
    return {
        "synthetic": True,
        "notice": PARTLY_NOTICE if any(one.keeps_upload() for one in asked) else NOTICE,
        "model": card.name,
        "licence": card.licence,
        "weights": dict(card.weights),
        "runtime": backend.name(),
        "request": as_json[0] if len(as_json) == 1 else as_json,
        "files": files,
        "seconds": round(seconds, 3),
        "peak_mb": None if peak_mb is None else round(peak_mb, 1),
        **stamp(),
    }


def stamp() -> dict[str, Any]:
    """What every file of results says of its making: `versions`, `runtime`, `commit`, `created` (the time in UTC)."""
    return {
        "versions": versions(),
        "runtime": backend.name(),
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_manifest(path: str | Path) -> dict[str, Any]:
    """A manifest as `manifest` made it.

    Raises:
        MedgenError: no such file, not JSON (truncated), or not one of our manifests; says which.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise MedgenError(f"{path.name} is too large for a manifest; give the manifest.json of a saved set.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MedgenError(
            f"{path.name} cannot be read ({error.strerror}); give the path of a manifest.json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise MedgenError(f"{path.name} is damaged or no manifest ({error}); take a whole copy of it.") from error
    kinds: dict[str, Any] = {"model": str, "weights": dict, "request": (dict, list), "files": list}
    if not isinstance(values, dict) or values.get("synthetic") is not True:
        raise MedgenError(f"{path.name} is no manifest of medgen; give the manifest.json of a saved set.")
    for key, kind in kinds.items():
        if not isinstance(values.get(key), kind):
            raise MedgenError(f"{path.name} lacks a usable {key!r}; take a whole copy of the manifest.")
    if not values["files"]:
        raise MedgenError(f"{path.name} lists no images; take a whole copy of the manifest.")
    if not all(isinstance(file, dict) and isinstance(file.get("pixels_sha256"), str) for file in values["files"]):
        raise MedgenError(f"{path.name} lists a file without pixels_sha256; take a whole copy of the manifest.")
    runtime_of(values)
    if sum(len(request.seeds) for request in requests_of(values)) != len(values["files"]):
        raise MedgenError(f"{path.name} asks for another number of images than it lists; take a whole copy of it.")
    return values


def runtime_of(values: dict[str, Any]) -> str:
    """The runtime that made the pixels of a manifest; those of before it was written down were all made by torch.

    Raises:
        MedgenError: it names none that could make pixels.
    """
    found = values.get("runtime", backend.TORCH)
    if found not in backend.RUNTIMES or found == backend.AUTO:
        raise MedgenError(f"The manifest names the unknown runtime {found!r}; take a whole copy of it.")
    return str(found)


def requests_of(values: dict[str, Any]) -> list[Request]:
    """The requests of a manifest, in the order of its files.

    Raises:
        MedgenError: a request has a field of the wrong type, an unknown one, or no seeds.
    """
    asked = values["request"] if isinstance(values["request"], list) else [values["request"]]
    for one in asked:
        if not isinstance(one, dict):
            raise MedgenError(f"A request must be a JSON object, not {one!r}.")
        for name, value in one.items():
            kinds = _FIELD_TYPES.get(name)
            if kinds and value is not None and type(value) not in kinds:  # of JSON; a bool is no int here
                raise MedgenError(f"The request of the manifest has a {name} it cannot have: {value!r}.")
        if not isinstance(one.get("seeds"), list):
            raise MedgenError("The request of the manifest has no list of seeds.")
    return [Request.from_json(one) for one in asked]


def versions() -> dict[str, str]:
    """What could change a pixel: this program, Python, the machine and every library that is loaded already."""
    loaded = {name: getattr(sys.modules[name], "__version__", None) for name in _LIBRARIES if name in sys.modules}
    return {
        "medgen": medgen.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        **{name: str(version) for name, version in loaded.items() if version is not None},
    }


@cache
def commit() -> str | None:
    """The git commit this program runs from, with "-dirty" where files were changed; None outside a checkout."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():  # installed somewhere inside another project: its commit says nothing about us
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
