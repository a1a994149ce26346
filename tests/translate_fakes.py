"""What the tests of the Translate tab share: translators that need no weights, and small heads in files."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from demos.slice_phantom import phantom
from medgen import ImageSet, MedgenError, ModelCard, Request, registry
from medgen.generator import OnStep
from medgen.volume import Volume
from medgen.write_volume import dicom_series

CT, MR = {"modality": "CT", "unit": "HU", "window": [-1024, 1976]}, {"modality": "MR", "unit": "au", "window": [0, 255]}
KINDS = {"t1": ("T1", MR), "t2": ("T2", MR), "flair": ("FLAIR", MR), "mr": ("MR", MR), "ct": ("CT", CT)}


class FakeTranslator:
    """The source in grey, plus `net["add"]` in the card's unit, plus noise of `net["noise"]` where it takes steps.

    A step lasts `net["pace"]` seconds.
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        request, source, wanted = request.checked(self.card), request.source, self.card.translates
        assert (
            source is not None and source.pixels.shape[1:] == self.card.shape and len(source) in (1, len(request.seeds))
        )
        assert (source.modality, source.unit) == (wanted["modality"], wanted["unit"])
        if "fails" in self.card.net:
            raise MedgenError("The weights are damaged: fetch them again.")
        low, high = self.card.window
        made = np.repeat(source.unit_range(), len(request.seeds) // len(source), axis=0) * (high - low) + low
        made = made + self.card.net.get("add", 0.0)
        for i, seed in enumerate(request.seeds if "steps" in self.card.controls else ()):
            made[i] += np.random.default_rng(seed).normal(0.0, self.card.net.get("noise", 5.0), made[i].shape)
        made = np.clip(made, low, high).astype(np.float32)
        if "nan" in self.card.net:
            made[:] = np.nan
        images = ImageSet(made, self.card.modality, self.card.unit, self.card.window)
        total = request.steps or 1
        for done in range(total):
            time.sleep(self.card.net.get("pace", 0.0))
            if on_step is not None:
                on_step(done + 1, total, lambda: images)
        return images


def load(card: ModelCard) -> FakeTranslator:
    """What the registry calls."""
    return FakeTranslator(card)


def make_card(method: str, direction: str, side: int = 256, **other: Any) -> ModelCard:
    (source, wanted), (target, made) = (KINDS[word] for word in direction.split("-"))
    steps = other.pop("steps", 3 if method == "diffusion" else None)
    return ModelCard(
        f"{method}-{direction}-{side}", "fake", method.title(), made["modality"], made["unit"], tuple(made["window"]),
        (1, side, side), "MIT", "A fake.", (256.0 / side,) * 2, {"method": method, **other.pop("net", {})},
        controls=("source", "steps") if steps else ("source",), steps=steps,
        translates={"direction": direction, "source": source, "target": target, **wanted}, **other,
    )  # fmt: skip


def register(place: Path, patch: pytest.MonkeyPatch, cards: list[ModelCard]) -> None:
    """Makes `cards` all the models there are."""
    patch.setitem(registry.FAMILIES, "fake", "translate_fakes")
    patch.setenv("MEDGEN_CHECKPOINTS", str(place))
    patch.delenv("MEDGEN_DATA", raising=False)
    for card in cards:
        card.save(place / card.name)


def save(path: Path, volume: Volume, code: int = 1) -> Path:
    """A NIfTI file as others write it: no mark of ours."""
    image = nib.Nifti1Image(volume.array, volume.affine)
    image.set_sform(volume.affine, code)
    image.set_qform(volume.affine, code, strip_shears=True)
    image.to_filename(path)
    return path


def coarse(contrast: str, step: int = 2) -> Volume:
    """The drawn head, every n-th voxel of it."""
    head = phantom(contrast)
    affine = head.affine @ np.diag([step, step, step, 1.0])
    return Volume(np.ascontiguousarray(head.array[::step, ::step, ::step]), affine, head.modality, head.unit)


def series_zip(path: Path, volumes: list[Volume]) -> Path:
    """DICOM series in one ZIP, without extensions, as a hospital would send them: not synthetic."""
    with zipfile.ZipFile(path, "w") as archive:
        for n, volume in enumerate(volumes):
            for k, content in enumerate(dicom_series(volume, {"Synthetic": "true"})):
                ds = pydicom.dcmread(io.BytesIO(content))
                del ds.SyntheticData
                ds.SeriesDescription = f"series {n}"
                buffer = io.BytesIO()
                ds.save_as(buffer)
                archive.writestr(f"{n}/IM{k:03d}", buffer.getvalue())
    return path
