"""Made-up pairs whose truth is known by a formula, and translators that follow it, forget the tumours or guess.

FLAIR is 255 - T1 inside the head, but for the tumours, which T1 does not show. As a family, this module makes of the
card's `net["makes"]`: "inverse", "copy", "noise" (the inverse, grainy by the seed) or "nan".
"""

import csv
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from medgen import ImageSet, ModelCard, Request
from medgen.paired import CT_WINDOW, MR_WINDOW, PairedSet, image_set, splits

DATA = "brain_t1_flair_128"
SIZE = 128
SLICES = (2, 5, 1, 3, 2, 4)
"""Of six test patients."""
TUMOUR_RADIUS = 9
_GRAIN = 25.0


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A T1 slice and its inside."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = ((rows - 64) / 55) ** 2 + ((columns - 64) / 45) ** 2 < 1
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), 5)
    t1 = np.clip(130 + 35 * field / field.std(), 60, 200)
    return np.where(inside, t1, 0).round().astype(np.float32), inside


def tumour() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (rows - 55) ** 2 + (columns - 75) ** 2 <= TUMOUR_RADIUS**2


def flair(t1: np.ndarray, *, ill: bool) -> np.ndarray:
    made = np.where(t1 > 0, 255 - t1, 0)
    return np.where(tumour(), 250, made) if ill else made


def pair_set(patients: dict[str, int], first: int = 0) -> PairedSet:
    """Patients with so many slices each, drawn with the seeds from `first` on; every other slice has a tumour."""
    names = [name for name, n in patients.items() for _ in range(n)]
    t1 = np.stack([head(first + i)[0] for i in range(len(names))])
    truth = np.stack([flair(one, ill=i % 2 == 0) for i, one in enumerate(t1)])
    facts = tuple({"slice": str(i), "tumor_px": str(4 * int(tumour().sum()) * (i % 2 == 0))} for i in range(len(names)))
    return PairedSet(image_set(t1, "t1", names), image_set(truth, "flair", names), facts)


def archive(folder: Path) -> None:
    """brain_t1_flair_128.zip with six test, two val and two train patients of the published splits."""
    sides = splits(DATA)
    of = {side: sorted(name for name, own in sides.items() if own == side) for side in ("train", "val", "test")}
    patients = dict(zip(of["test"], SLICES, strict=False)) | dict.fromkeys(of["val"][:2], 3)
    patients |= dict.fromkeys(of["train"][:2], 12)
    pairs, text = pair_set(patients), io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("file", "patient", "slice", "tumor_px"))
    with zipfile.ZipFile(folder / f"{DATA}.zip", "w") as file:
        for i, (subject, own) in enumerate(zip(pairs.subjects, pairs.facts, strict=True)):
            rows.writerow((f"{i}.webp", subject, own["slice"], own["tumor_px"]))
            for word, side in (("t1", pairs.source), ("flair", pairs.target)):
                content = io.BytesIO()
                Image.fromarray(side.uint8()[i, 0]).save(content, "webp", lossless=True)
                file.writestr(f"{word}/{i}.webp", content.getvalue())
        file.writestr("labels.csv", text.getvalue())


def card(
    name: str, *, makes: str = "inverse", method: str = "unet", direction: str = "t1-flair", **changed
) -> ModelCard:
    """A translator's card; method and direction as its name would say."""
    source, target = direction.split("-")
    window = CT_WINDOW if target == "ct" else MR_WINDOW
    seen = {"modality": "CT" if source == "ct" else "MR", "unit": "HU" if source == "ct" else "au"}
    values = {
        "name": name, "family": "translator", "title": f"Title of {name}", "modality": "CT" if target == "ct" else "MR",
        "unit": "HU" if target == "ct" else "au", "window": window, "shape": (1, SIZE, SIZE), "licence": "MIT",
        "limits": "None.", "net": {"method": method, "makes": makes}, "weights": {"model.safetensors": name * 3},
        "steps": 4 if method == "diffusion" else None, "data": DATA, "spacing_mm": (2.0, 2.0),
        "controls": ("source", "steps") if method == "diffusion" else ("source",),
        "translates": {"direction": direction, "source": source.upper(), "target": target.upper(),
                       **seen, "window": list(CT_WINDOW if source == "ct" else MR_WINDOW)},
        "trained": {"images_seen": 1000, "parameters": 1_500_000, "seconds": 120, "hardware": "CPU"},
    }  # fmt: skip
    return ModelCard(**(values | changed))


class Fake:
    """Follows the formula; remembers what it was asked."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.asked: list[Request] = []

    def sample(self, request: Request, on_step=None) -> ImageSet:
        self.asked.append(request)
        source = request.source
        grey = source.unit_range()[:, 0] * 255
        makes = self.card.net["makes"]
        made = grey if makes == "copy" else np.where(grey > 0, 255 - grey, 0)
        if makes == "nan":
            made = made * np.nan
        if makes == "noise":
            grain = [np.random.default_rng(seed).normal(0, _GRAIN, made.shape[1:]) for seed in request.seeds]
            made = np.where(grey > 0, np.clip(made + np.stack(grain), 0, 255), 0)
        low, high = self.card.window
        pixels = (made[:, None] / 255 * (high - low) + low).astype(np.float32)
        return replace(source, pixels=pixels, modality=self.card.modality, unit=self.card.unit, window=self.card.window)


def load(card: ModelCard) -> Fake:
    return Fake(card)
