"""Made-up heads without any tumour, and translators whose keeping, losing, moving and inventing is known.

The target is 255 - source inside the head. The patients have the names of the published splits, so that the pairs can
be written as the archive is.
"""

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from conftest import webp
from PIL import Image
from scipy import ndimage
from translation_fakes import card

from medgen import ImageSet, ModelCard, Request
from medgen.paired import PairedSet, image_set, splits

DATA = "brain_t1_flair_128"
SIZE = 128
MM = 2.0
PATIENTS, SLICES = 6, 16
"""Of the test split; lesions lie in the upper 55 % of the slices."""
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
INSIDE = ((ROWS - 64) / 56) ** 2 + ((COLUMNS - 64) / 46) ** 2 < 1


def smooth_noise(seed, sigma=4.0):
    """`(H, W)` with standard deviation 1, correlated over some millimetres, the same everywhere."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), sigma, mode="wrap")
    return noise / noise.std()


def slice_of(seed):
    return np.where(INSIDE, np.clip(110 + 12 * smooth_noise(seed), 70, 160), 0).round().astype(np.float32)


def inverse(source):
    return np.where(INSIDE, 255 - source, 0)


def names():
    return sorted(name for name, side in splits(DATA).items() if side == "test")[:PATIENTS]


def pair_set(per_patient=SLICES):
    source = np.stack([slice_of(i) for i in range(PATIENTS * per_patient)])
    subjects = [name for name in names() for _ in range(per_patient)]
    facts = tuple({"slice": str(i % per_patient), "tumor_px": "0"} for i in range(len(source)))
    target = np.stack([inverse(one) for one in source])
    return PairedSet(image_set(source, "t1", subjects), image_set(target, "flair", subjects), facts)


def archive(folder, pairs):
    """The pairs as brain_t1_flair_128.zip."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("file", "patient", "slice", "tumor_px"))
    with zipfile.ZipFile(folder / f"{DATA}.zip", "w") as file:
        for i, (subject, own) in enumerate(zip(pairs.subjects, pairs.facts, strict=True)):
            rows.writerow((f"{i}.webp", subject, own["slice"], own["tumor_px"]))
            for word, side in (("t1", pairs.source), ("flair", pairs.target)):
                file.writestr(f"{word}/{i}.webp", webp(Image.fromarray(side.uint8()[i, 0])))
        file.writestr("labels.csv", text.getvalue())


Draw = Callable[[np.ndarray, int], np.ndarray]
"""A source of grey levels `(H, W)` and a seed -> the translation."""


@dataclass
class Fake:
    """A translator that draws each picture by a function."""

    draw: Draw
    method: str = "unet"
    name: str = "fake-t1-flair-128"
    asked: list[Request] = field(default_factory=list)
    breaks_after: int | None = None

    @property
    def card(self) -> ModelCard:
        return card(self.name, method=self.method)

    def sample(self, request, on_step=None):
        request = request.checked(self.card)
        self.asked.append(request)
        if self.breaks_after is not None and len(self.asked) > self.breaks_after:
            raise KeyboardInterrupt
        source = request.source
        pictures = np.broadcast_to(source.pixels[:, 0], (len(request.seeds), SIZE, SIZE))
        made = [self.draw(one.astype(np.float64), seed) for one, seed in zip(pictures, request.seeds, strict=True)]
        return ImageSet(np.clip(np.stack(made)[:, None], 0, 255).astype(np.float32), "MR", "au", (0.0, 255.0))


def perfect(source, seed):
    return inverse(source)


def mean_picture(source, seed):
    return inverse(np.full_like(source, 110.0))


def blurred(source, seed):
    """Everything finer than some 80 mm is gone."""
    return inverse(ndimage.gaussian_filter(np.where(INSIDE, source, 110.0), 20))


def shifted(source, seed):
    """By 10 mm to the right."""
    return inverse(np.roll(source, round(10 / MM), axis=1))


def key_of(source):
    return int.from_bytes(hashlib.sha256(np.round(source).tobytes()).digest()[:4], "big")


def inventing(source, seed):
    """Faithful, but for a bright disc of 10 mm radius somewhere, which any change of the source sends elsewhere."""
    row, column = np.random.default_rng(key_of(source)).integers(40, 90, size=2)
    disc = (ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= (10 / MM) ** 2
    return inverse(source) + np.where(disc, 60.0, 0.0)


def unrelated(source, seed):
    """Texture that any change of the source replaces, and of the source nothing: a response is pure chance."""
    return np.where(INSIDE, 128 + 20 * smooth_noise(key_of(source)), 0)


def keeps_by_seed(source, seed):
    """Forgets what is unusual for every other seed."""
    return perfect(source, seed) if seed // 1_000_000 % 2 == 0 else mean_picture(source, seed)


def grainy(source, seed):
    """Faithful below a grain that the seed alone decides."""
    return inverse(source) + np.where(INSIDE, 25 * np.random.default_rng(seed).normal(size=source.shape), 0)


def with_pairs(monkeypatch, pairs):
    """Makes `eval.hallucination` see `pairs`."""
    from eval import lesion_task

    monkeypatch.setattr(lesion_task, "_pairs", lambda root, name, split, direction: pairs)
    return pairs
