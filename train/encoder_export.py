"""From a finished run of `train.encoder` to a folder of checkpoints/, measured on the val splits."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medgen import weights
from medgen.atomic import write_json
from medgen.encoder import Encoder, EncoderCard
from medgen.registry import checkpoints_dir
from train.encoder_data import Pictures
from train.encoder_views import nt_xent, top1
from train.export import best_state, curves, take_place, training_facts
from train.run import Run

if TYPE_CHECKING:
    from train.encoder import EncoderConfig

LIMITS = (
    "Research and teaching only, not for clinical use. It says how alike two pictures of the kind it learned from look "
    "to it, and nothing of a disease. It learned to overlook small moves and turns, brightness, slight blur and slight "
    "noise: what differs in these alone, it hardly tells apart."
)
_PREFIX = "encoder."


def export(run: Run, shown: Tensor, known: Pictures) -> EncoderCard:
    """Writes checkpoints/NAME from the best averaged weights; measured are the weights as exported, in 8 bits.

    Args:
        run: the finished run.
        shown: `(2N, 1, H, W)` in [-1, 1], two views of each val picture, all first ones first.
        known: what it learned from.
    """
    config: EncoderConfig = run.config  # type: ignore[assignment]
    state, chosen = best_state(run, "network")
    own = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    folder = run.folder / "export"
    shutil.rmtree(folder, ignore_errors=True)
    facts = training_facts(run, "network", chosen, None)
    # what was learned from share-alike or non-commercial data is passed on as they are
    licence = next((one for one in known.licences if "NC" in one or "SA" in one), "MIT")
    card = EncoderCard(
        name=config.name, title=f"Encoder: {' + '.join(config.names)}", data="+".join(config.names),
        modality=known.modality, shape=(1, config.size, config.size), net=config.net,
        weights=weights.save(own, folder, int8=True), validation={}, limits=LIMITS, folder=folder,
        licence=f"{licence} (weights); data {'; '.join(known.licences)}",
        trained={
            **facts,
            "parameters": sum(value.numel() for value in run.averages["network"].encoder.parameters()),
            "method": "SimCLR, arXiv:2002.05709; no labels",
            "data": run.split.counts,
            "citation": " + ".join(known.citations),
        },
    )  # fmt: skip
    card = replace(card, validation=measured(card, run.averages["network"].head, shown, config.temperature))
    # not the folder of the run: a path of this machine
    write_json(folder / "config.json", asdict(replace(config, out="", resume=False)))
    curves(run, folder / "log.jsonl")
    card.save(folder)
    take_place(folder, checkpoints_dir() / card.name)
    return card


@torch.no_grad()
def measured(card: EncoderCard, head: Any, shown: Tensor, temperature: float) -> dict[str, Any]:
    """`EncoderCard.validation`: loss and retrieval of the other view, on `shown` as `export` has it."""
    device = shown.device
    vectors = torch.from_numpy(Encoder(card).features(((shown + 1.0) / 2.0).cpu().numpy())).to(device)
    projected = F.normalize(head(vectors), dim=1)
    small = F.adaptive_avg_pool2d(shown, 32).flatten(1)
    return {
        "n": len(shown) // 2,
        "nt_xent": round(float(nt_xent(projected, temperature)), 5),
        "top1": round(top1(vectors), 5),
        "top1_pixels": round(top1(small - small.mean(dim=1, keepdim=True)), 5),
        "temperature": temperature,
    }
