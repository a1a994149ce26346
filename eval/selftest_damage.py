"""Known damage to real images, in graded strengths, and what each metric should make of it.

The expected directions were written down before anything was measured. Only metrics that are made for a kind of damage
are expected to answer to it: the others are measured all the same, and not judged.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from medgen.errors import MedgenError
from medgen.image import ImageSet

UP, DOWN = "up", "down"
_FURTHER = {"fid": UP, "kid": UP, "mifid": UP}
_WORSE = {**_FURTHER, "precision": DOWN, "recall": DOWN, "density": DOWN, "coverage": DOWN}
_NARROWER = {**_FURTHER, "recall": DOWN, "coverage": DOWN, "vendi": DOWN, "ms_ssim": UP}


@dataclass(frozen=True, eq=False)
class Base:
    """What is damaged.

    Args:
        test: real images of the test split.
        rows: which of them are the base; the others, of other patients, are the real side.
        train: real images of the train split, which copies are taken from.
    """

    test: ImageSet
    rows: np.ndarray
    train: ImageSet

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def images(self) -> ImageSet:
        """Undamaged."""
        return self.test.take(self.rows)

    def at(self, rows: np.ndarray) -> Damaged:
        """Images that are there already: row i below `len(test)` is a test image, from there on a train image."""
        n = len(self.test)
        pixels = np.concatenate([self.test.pixels[rows[rows < n]], self.train.pixels[rows[rows >= n] - n]])
        order = np.argsort(np.concatenate([np.flatnonzero(rows < n), np.flatnonzero(rows >= n)]))
        names = [*(self.test.subjects or ()), *(self.train.subjects or ())]
        subjects = tuple(names[row] for row in rows.tolist()) if names else None
        return Damaged(replace(self.test, pixels=pixels[order], labels=None, subjects=subjects, attributes=None), rows)


@dataclass(frozen=True, eq=False)
class Damaged:
    """A damaged set.

    Args:
        images: the set.
        rows: see `Base.at`: its features are known; None = the pixels are new.
    """

    images: ImageSet
    rows: np.ndarray | None = None


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Args:
        title: a few words.
        unit: of the strengths.
        strengths: growing, 0 = none.
        expected: metric -> which way it should go as the strength grows.
        make: the base and a strength -> the damaged set; what is drawn is drawn alike for each strength.
        paints: it changes pixels, not which images are there.
    """

    title: str
    unit: str
    strengths: tuple[float, ...]
    expected: dict[str, str]
    make: Callable[[Base, float], Damaged]
    paints: bool = False

    def of(self, base: Base, strength: float) -> Damaged:
        """The damaged set; undamaged pixels are those of the base, whose features are known."""
        return base.at(base.rows) if self.paints and strength == 0 else self.make(base, strength)


def blur(base: Base, sigma: float) -> Damaged:
    """Gaussian blur of `sigma` pixels."""
    images = base.images
    return Damaged(replace(images, pixels=gaussian_filter(images.pixels, (0, 0, sigma, sigma), mode="nearest")))


def noise(base: Base, levels: float) -> Damaged:
    """White noise with a standard deviation of `levels` of 255 grey levels, clipped to black and white."""
    images = base.images
    low, high = images.window
    grain = np.random.default_rng(0).normal(size=images.pixels.shape).astype(np.float32)
    pixels = images.pixels + grain * np.float32(levels * (high - low) / 255.0)
    return Damaged(replace(images, pixels=np.clip(pixels, low, high)))


def jpeg(base: Base, loss: float) -> Damaged:
    """JPEG of quality 100 - `loss`, channel by channel."""
    images = base.images
    low, high = images.window
    coded = images.uint8()
    for picture in coded.reshape(-1, *coded.shape[2:]):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=round(100 - loss))
        with Image.open(buffer) as opened:
            picture[:] = np.asarray(opened)
    pixels = coded.astype(np.float32) / np.float32(255.0) * np.float32(high - low) + np.float32(low)
    return Damaged(replace(images, pixels=pixels))


def fewer_patients(base: Base, dropped: float) -> Damaged:
    """All images of a share of the patients dropped, those of the others repeated in turn: lost modes at equal n.

    Raises:
        MedgenError: nobody is left, or the data name no patients.
    """
    subjects = base.images.subjects
    if subjects is None:
        raise MedgenError("The images name no patients, so that none can be dropped; choose another protocol.")
    names = np.unique(subjects)
    order = np.random.default_rng(0).permutation(len(names))
    kept = set(names[order[: max(1, round((1.0 - dropped) * len(names)))]])
    rows = base.rows[[subject in kept for subject in subjects]]
    return base.at(np.resize(rows, len(base)))


def one_class(base: Base, share: float) -> Damaged:
    """A share of all other images replaced by images of the commonest class; at 1 every other class is gone.

    No image twice: n is the number of images of that class, at every strength.

    Raises:
        MedgenError: the data have no labels, or one alone.
    """
    labels = np.asarray(base.images.labels if base.images.labels is not None else ())
    words, counts = np.unique(labels, return_counts=True)
    if len(words) < 2:
        raise MedgenError("The images have fewer than two labels, so that none can prevail; choose another protocol.")
    random, n = np.random.default_rng(0), int(counts.max())
    common = labels == words[counts.argmax()]
    ours, others = (random.permutation(np.flatnonzero(side)) for side in (common, ~common))
    left = min(len(others), round((1.0 - share) * n * (1.0 - n / len(labels))))
    return base.at(base.rows[np.concatenate([ours[: n - left], others[:left]])])


def copies(base: Base, share: float) -> Damaged:
    """A share of the images replaced by exact copies of train images."""
    random, n = np.random.default_rng(0), round(share * len(base))
    if n > len(base.train):
        raise MedgenError(f"{n} copies cannot be taken from {len(base.train)} train images: lower --n.")
    rows = random.permutation(base.rows)
    return base.at(np.concatenate([len(base.test) + random.permutation(len(base.train))[:n], rows[n:]]))


DAMAGES: dict[str, Damage] = {
    "blur": Damage("Gaussian blur", "sigma in pixels", (0, 0.5, 1, 2), {**_WORSE, "spectrum_distance": UP}, blur, True),
    "noise": Damage(
        "White noise", "standard deviation in grey levels of 255", (0, 5, 15, 40),
        {**_WORSE, "spectrum_distance": UP, "histogram_distance": UP}, noise, True,
    ),
    "jpeg": Damage("JPEG", "100 - quality", (0, 50, 80, 95), {**_WORSE, "spectrum_distance": UP}, jpeg, True),
    "mode_dropping": Damage(
        "Fewer patients, repeated", "share of patients dropped", (0, 0.5, 0.75, 0.9), _NARROWER, fewer_patients
    ),
    "class_imbalance": Damage(
        "The commonest class in place of the others", "share of the others replaced", (0, 0.33, 0.67, 1), _NARROWER,
        one_class,
    ),
    "memorised_copies": Damage(
        "Training images among held-out ones", "share of copies", (0, 0.1, 0.25, 0.5, 1),
        {"mifid": UP, "authenticity": DOWN, "c_t": DOWN}, copies,
    ),
}  # fmt: skip
