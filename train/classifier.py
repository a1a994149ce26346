"""Trains an independent classifier of chest X-rays, and the border baseline beside it.

python -m train.classifier --name classifier-kermany-128 --data kermany_cxr_128
python -m train.classifier --name classifier-nih-128 --data nih_cxr_128 --start classifier-kermany-128

Only the train split teaches, the val split picks the epoch, and the test split is measured once, at the end, with the
exported weights. A run takes minutes on one core; it is begun again rather than resumed.
"""

from __future__ import annotations

import copy
import json
import math
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from medgen import data, weights
from medgen.atomic import write_bytes
from medgen.auc import auc_entry, truth_table
from medgen.classifier import ClassifierCard, build, load_classifier
from medgen.errors import MedgenError
from medgen.image import ImageSet
from train.augment import augment, draws
from train.border import fit_border
from train.classifier_config import ClassifierConfig
from train.classifier_export import export
from train.config import parse
from train.data import Order, count_words, generator
from train.launch import start
from train.run import hardware

SPLITS = ("train", "val", "test")


def train(config: ClassifierConfig) -> ClassifierCard:
    """One whole run: learn, choose, export to checkpoints/NAME, measure.

    Raises:
        MedgenError: no such data or nothing to learn from it, the loss is not finite, or several processes.
    """
    accelerator = Accelerator(mixed_precision=config.precision, cpu=config.cpu)
    if accelerator.num_processes > 1:
        raise MedgenError("A classifier trains in one process: run python -m train.classifier without accelerate.")
    if config.threads:
        torch.set_num_threads(config.threads)
    started = time.monotonic()
    torch.manual_seed(config.seed)
    sets = {split: data.real(config.data, split) for split in SPLITS}
    labels = labels_with(sets, config.data, config.patients)
    truths = {split: truth_table(images.labels or (), labels) for split, images in sets.items()}
    net = config.net(sets["train"].pixels.shape[-1], len(labels))
    network = build(net)
    if config.start:
        take_features(network, config.start)
    fit_border(network, sets, truths, config.frame, config.pool)
    chosen = learn(Loop(network, sets, truths, config, accelerator), labels)
    chosen |= {"seconds": round(time.monotonic() - started), "hardware": hardware(accelerator.device)}
    chosen |= {"patients": len(set(sets["train"].subjects or ()))}
    return export(network, net, sets["test"], labels, config, chosen)


def labels_with(sets: dict[str, ImageSet], name: str, patients: int) -> tuple[str, ...]:
    """The labels of data set `name` that at least so many patients of all splits have, in the catalogue's order.

    Raises:
        MedgenError: no label is left, or one that all or none of the train pictures have.
    """
    counts = [count_words(images, [name]) for images in sets.values()]
    # no patient is in two splits, so the sum counts each once
    total = {label: sum(c[label]["patients"] for c in counts if label in c) for label in data.DATASETS[name].labels}
    labels = tuple(label for label, number in total.items() if number >= patients)
    truth = truth_table(sets["train"].labels or (), labels)
    if not labels or (truth.all(axis=0) | ~truth.any(axis=0)).any():
        raise MedgenError(f"{name} has no labels with and without in {patients} patients; choose another --patients.")
    return labels


def take_features(network: nn.Module, name: str) -> None:
    """Fills all of `network` but its last layer and its baseline with the weights of classifier `name`.

    Raises:
        MedgenError: there is none, or it is of another shape.
    """
    state = weights.read(load_classifier(name).card.as_model())
    own = {key for key in network.state_dict() if key.startswith("features.")}
    try:
        if own - set(state):
            raise RuntimeError
        network.load_state_dict({key: state[key] for key in own}, strict=False)
    except RuntimeError as error:
        raise MedgenError(f"{name} has another shape; start with its --features, --growth and --blocks.") from error


class Loop:
    """The network, what it learns from, and what updates it."""

    def __init__(
        self, network: nn.Module, sets: dict[str, ImageSet], truths: dict[str, np.ndarray], config: ClassifierConfig,
        accelerator: Accelerator,
    ) -> None:  # fmt: skip
        self.config, self.accelerator, self.device = config, accelerator, accelerator.device
        self.pixels = {s: torch.from_numpy(sets[s].uint8()).to(self.device) for s in ("train", "val")}
        self.truth = {s: torch.from_numpy(truths[s]).float().to(self.device) for s in ("train", "val")}
        self.count = len(self.truth["train"])
        self.updates = -(-self.count // config.batch)
        self.order = Order(self.count, config.batch, 1, 1, config.seed)
        # channels last: 1.5 times faster on a CPU
        self.network = network.to(self.device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=config.decay, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.rate, total_steps=config.epochs * self.updates, pct_start=0.1
        )
        self.optimizer = accelerator.prepare(optimizer)
        # as if with and without were equally frequent
        self.balance = self.count / self.truth["train"].sum(dim=0) - 1.0

    def loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Mean binary cross-entropy of all labels."""
        return F.binary_cross_entropy_with_logits(logits.float(), truth, pos_weight=self.balance)

    def epoch(self, number: int) -> float:
        """One pass over the train split; the mean loss."""
        self.network.train()
        total = torch.zeros((), device=self.device)
        p = torch.tensor(self.config.augment, device=self.device)
        for step in range((number - 1) * self.updates, number * self.updates):
            index = self.order.indices(step).to(self.device)
            random = generator(self.device, self.config.seed, step, "augment")
            # (B, 1, H, W) uint8 -> float32 in [-1, 1]
            picture = self.pixels["train"][index].float() / 127.5 - 1.0
            picture = augment(picture, p, draws(len(index), random, self.device))
            with self.accelerator.autocast():
                logits = self.network(picture.contiguous(memory_format=torch.channels_last))
            loss = self.loss(logits, self.truth["train"][index])
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            total += loss.detach() / self.updates
        if not math.isfinite(float(total)):
            raise MedgenError(f"The loss of epoch {number} is not finite: lower --rate or use --precision no.")
        return float(total)

    @torch.no_grad()
    def validation(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Loss and AUC on the val split.

        Raises:
            MedgenError: no label has pictures with and without.
        """
        self.network.eval()
        logits = torch.cat([self.network(part.float() / 127.5 - 1.0) for part in self.pixels["val"].split(64)])
        scores, truth = logits.float().cpu().numpy(), self.truth["val"].cpu().numpy() > 0
        areas = [auc_entry(scores[:, i], truth[:, i], repeats=0)["value"] for i in range(len(labels))]
        known = [area for area in areas if area is not None]
        if not known:
            raise MedgenError("The val split has no label with and without: it cannot pick an epoch.")
        return {
            "val_loss": float(self.loss(logits, self.truth["val"])),
            "val_auc_mean": float(np.mean(known)),
            "val_auc": dict(zip(labels, areas, strict=True)),
        }


def learn(loop: Loop, labels: tuple[str, ...]) -> dict[str, Any]:
    """All epochs. Leaves the network with the weights of the best mean val AUC, and says which they are."""
    config, started = loop.config, time.monotonic()
    log = config.folder / "log.jsonl"
    write_bytes(log, b"")
    best: dict[str, Any] = {}
    kept: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        row = {"epoch": epoch, "images": epoch * loop.updates * config.batch, "loss": loop.epoch(epoch)}
        row |= {**loop.validation(labels), "seconds": round(time.monotonic() - started, 1)}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"epoch {epoch}: loss {row['loss']:.4f}, val AUC {row['val_auc_mean']:.4f}", flush=True)
        if not best or row["val_auc_mean"] > best["val_auc_mean"]:
            best, kept = row, copy.deepcopy(loop.network.state_dict())
    loop.network.load_state_dict(kept)
    return {
        "images": loop.count,
        "images_seen": config.epochs * loop.updates * config.batch,
        "epochs": config.epochs,
        "chosen_by": f"mean AUC of the val split {best['val_auc_mean']:.4f}",
        "weights_after_images": best["images"],
        "val_auc": best["val_auc"],
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    card = train(parse(ClassifierConfig, {"default": {}}, argv, __doc__ or ""))
    print(f"{card.name}: AUC on the test split (95 % interval over patients); border baseline")
    for label in card.labels:
        print(f"{label:22} {card.auc[label]}; {card.border_auc[label]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(start("train.classifier", main))
