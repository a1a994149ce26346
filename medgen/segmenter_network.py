"""The network of `medgen.segmenter`."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import DynUNet
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import nn


def build(net: dict[str, Any]) -> nn.Module:
    """An untrained network: MONAI's DynUNet (the U-Net of nnU-Net, arXiv:1809.10486) on folded voxels.

    Args:
        net: `classes` (count), `channels` of each level, the finest first, and `fold`: voxels along an edge that are
            folded into channels in front and unfolded at the end, 1 = none; 2 makes a volume about 4 times cheaper.

    Returns:
        A module from `(N, 1, X, Y, Z)` in [-1, 1] to `(N, classes, X, Y, Z)` logits.
    """
    fold, levels = net["fold"], len(net["channels"])
    network: nn.Module = DynUNet(
        3, fold**3, net["classes"] * fold**3, kernel_size=[3] * levels, strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1), filters=list(net["channels"]),
    )  # fmt: skip
    _name_once(network)
    if fold > 1:
        network.register_forward_pre_hook(lambda _, inputs: (pixelunshuffle(inputs[0], 3, fold),))
        network.register_forward_hook(lambda _, inputs, output: pixelshuffle(output, 3, fold))
    return network


def _name_once(network: nn.Module) -> None:
    """Keeps every weight once in the state of `network`: DynUNet knows each of its blocks by two names."""
    first: dict[int, str] = {}
    again: dict[str, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        kept = first.setdefault(id(parameter), name)
        if kept != name:
            again[name] = kept

    def saved(_: Any, state: dict[str, Any], prefix: str, __: Any) -> None:
        for name in again:
            state.pop(prefix + name)

    def loading(_: Any, state: dict[str, Any], prefix: str, *__: Any) -> None:
        for name, kept in again.items():
            if prefix + kept in state:
                state.setdefault(prefix + name, state[prefix + kept])

    network.register_state_dict_post_hook(saved)
    network.register_load_state_dict_pre_hook(loading)
