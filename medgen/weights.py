"""Network weights: safetensors in shards, each checked against the sha256 of its card. Pickles are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.atomic import write_bytes
from medgen.card import ModelCard
from medgen.errors import MedgenError

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 16 * 2**20
"""Largest shard: what a Git host and a Space still serve without large-file storage."""
_ENTRY_BYTES = 160
"""Of one tensor in the header of a shard, at most: type, shape and place as JSON."""
_SCALE = ".int8_scale"
"""Of an 8-bit tensor, one number for each first index: the name of the tensor, and this."""
_SMALLEST = 4096
"""Tensors of fewer numbers keep 16 bits: biases and scales, which weigh little and matter much."""


def save(
    state: dict[str, torch.Tensor],
    folder: str | Path,
    shard_bytes: int = SHARD_BYTES,
    parts: Mapping[str, ModelCard] | None = None,
    int8: bool = False,
) -> dict[str, str]:
    """Writes `state` as fp16 safetensors shards of at most `shard_bytes` (a single larger tensor gets its own).

    Integer tensors keep their type.

    Args:
        state: the tensors.
        folder: where to.
        shard_bytes: of one file.
        parts: submodule -> the model that has its weights already; they are named, not written again.
        int8: keep large weights as 8-bit integers with a scale for each output channel, in half the room.

    Returns:
        File name -> sha256: what goes into `ModelCard.weights`.

    Raises:
        MedgenError: a tensor holds NaN or infinity, in fp32 or after rounding to fp16; or the disk is full; or a part
            is not what that model has.
    """
    others: dict[str, str] = {}
    for part, known in (parts or {}).items():
        state = _without(state, part, known)
        others.update({f"{known.name}/{name}": sha256 for name, sha256 in known.weights.items()})
    import torch
    from safetensors.torch import save as to_bytes

    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in (_as_int8(state) if int8 else state).items():
        half = tensor.detach().cpu().to(torch.float16) if tensor.is_floating_point() else tensor.detach().cpu()
        if half.is_floating_point() and not torch.isfinite(half).all():
            raise MedgenError(f"The weight {name} is not finite in fp16: the run has diverged; save an earlier state.")
        tensor_bytes = half.numel() * half.element_size() + _ENTRY_BYTES + len(name)
        if shards[-1] and size + tensor_bytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = half.contiguous()
        size += tensor_bytes
    hashes = {}
    for index, shard in enumerate(shards):
        name = "model.safetensors" if len(shards) == 1 else f"model-{index + 1}-of-{len(shards)}.safetensors"
        content = to_bytes(shard)
        write_bytes(Path(folder) / name, content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes | others


def _as_int8(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` with its large weights as int8, each followed by its scales."""
    import torch

    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        # nothing but weights: the spectrum of a diffusion model, say, spans many orders of magnitude
        large = tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() >= _SMALLEST
        if not large or not name.endswith("weight"):
            found[name] = tensor
            continue
        rows = tensor.detach().cpu().float().flatten(1)
        scale = (rows.abs().amax(dim=1) / 127.0).clamp_min(1e-6).half()
        if not torch.isfinite(rows).all():
            found[name] = tensor  # refused, by its name, with the others
            continue
        whole = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        found[name], found[name + _SCALE] = whole.view(tensor.shape), scale
    return found


def _from_int8(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `_as_int8`, but for the rounding."""
    found = {name: tensor for name, tensor in state.items() if not name.endswith(_SCALE)}
    for name in state.keys() - found.keys():
        owner = name.removesuffix(_SCALE)
        whole = found[owner]
        found[owner] = (whole.float().flatten(1) * state[name].float()[:, None]).view(whole.shape)
    return found


def _without(state: dict[str, torch.Tensor], part: str, known: ModelCard) -> dict[str, torch.Tensor]:
    """`state` less the tensors of its submodule `part`, which must be those of the model `known`."""
    import torch

    theirs = {f"{part}.{name}": tensor for name, tensor in read(known).items()}
    same = all(
        name in state and torch.equal(state[name].detach().cpu().half(), tensor.half())
        for name, tensor in theirs.items()
    )
    if known.parts or not same:
        raise MedgenError(f"The {part} is not that of {known.name}, whose weights it was to share; save it whole.")
    return {name: tensor for name, tensor in state.items() if name not in theirs}


def read(card: ModelCard) -> dict[str, torch.Tensor]:
    """The tensors of all shards of `card`, floating point ones as float32.

    Raises:
        MedgenError: a shard is missing, is not safetensors (a pickle, say) or is not the file the card was written for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    if card.folder is None or not card.weights:
        raise MedgenError(f"{card.name} has no weights: train it, or restore its card.")
    state: dict[str, torch.Tensor] = {}
    prefixes = {model: f"{part}." for part, model in card.parts.items()}
    for name, sha256 in card.weights.items():
        where = f"{card.name}/{name}"
        model, _, file = name.rpartition("/")
        if Path(file).name != file or not file.endswith(".safetensors") or (model and model not in prefixes):
            raise MedgenError(
                f"{where}: weights must be .safetensors files beside the card or of a model that it names as one of "
                "its parts; pickles are never loaded."
            )
        where = name if model else where
        try:
            content = (card.folder.parent / model / file if model else card.folder / file).read_bytes()
        except OSError as error:
            raise MedgenError(f"{where} cannot be read ({error.strerror}); fetch the checkpoint again.") from error
        # a pickle or torch.save ZIP renamed to .safetensors is named for what it is, before any parser sees it;
        # a safetensors file begins with the length of its JSON, whose first bytes may look like either
        if content[8:9] != b"{" and content[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise MedgenError(f"{where} is a pickle (torch.save), which is never loaded: convert it to safetensors.")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise MedgenError(
                f"{where} is not the file its card describes (sha256 differs); fetch the checkpoint again."
                if not model
                else f"{where} is not what {card.name} was made with (sha256 differs): fetch both again, or train "
                f"{card.name} again on the new {model}."
            )
        try:
            state.update({prefixes.get(model, "") + key: tensor for key, tensor in from_bytes(content).items()})
        except SafetensorError as error:
            raise MedgenError(f"{where} is not a safetensors file ({error}); fetch the checkpoint again.") from error
    try:
        state = _from_int8(state)
    except (KeyError, RuntimeError) as error:
        raise MedgenError(f"The 8-bit weights of {card.name} lack a tensor; fetch the checkpoint again.") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def load_into(network: torch.nn.Module, card: ModelCard) -> None:
    """Fills `network` with the weights of `card` and sets it to evaluation mode.

    Raises:
        MedgenError: as `read`, or the tensors do not fit the network that `card.net` describes.
    """
    try:
        network.load_state_dict(read(card))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise MedgenError(f"The weights of {card.name} do not fit the network of its card: {reason}") from error
    network.eval().requires_grad_(False)
