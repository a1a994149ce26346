"""From a trained classifier to a folder of checkpoints/, measured on the test split."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from medgen import data, provenance, weights
from medgen.atomic import write_json
from medgen.auc import auc_entry, truth_table
from medgen.classifier import Classifier, ClassifierCard
from medgen.image import ImageSet
from medgen.registry import checkpoints_dir
from train.classifier_config import ClassifierConfig

LIMITS = (
    "Research and teaching only, not for clinical use. It learned the habits of one data set, its shortcuts at the "
    "border of the film included: read each score beside that of the border baseline, and ask it about pictures of "
    "that data set's kind alone. Trained as if with and without were equally frequent, so a probability is no "
    "prevalence."
)


def export(
    network: nn.Module, net: dict[str, Any], test: ImageSet, labels: tuple[str, ...], config: ClassifierConfig,
    chosen: dict[str, Any],
) -> ClassifierCard:  # fmt: skip
    """Writes checkpoints/NAME; what is measured are the weights as exported, in fp16.

    classifier.json comes last: with the weights of one run and the numbers of another it would not load.
    """
    source = data.DATASETS[config.data]
    folder = checkpoints_dir() / config.name
    card = ClassifierCard(
        name=config.name, title=f"Classifier: {source.title}", data=config.data, labels=labels,
        shape=tuple(test.pixels.shape[1:]), net=net, weights=weights.save(network.state_dict(), folder), auc={},
        border_auc={}, licence="MIT (weights); data " + source.licence, limits=LIMITS, folder=folder,
        trained={
            **chosen,
            "start": config.start,
            "precision": config.precision,
            "parameters": sum(p.numel() for p in network.parameters()),
            "commit": provenance.commit(),
            "citation": source.citation,
        },
    )  # fmt: skip
    judge, truth = Classifier(card), truth_table(test.labels or (), labels)
    measured = [
        {label: auc_entry(scores[:, i], truth[:, i], test.subjects) for i, label in enumerate(labels)}
        for scores in (judge.probabilities(test), judge.border_probabilities(test))
    ]
    card = replace(card, auc=measured[0], border_auc=measured[1])
    # not the folder of the run: a path of this machine
    write_json(folder / "config.json", asdict(replace(config, out="")))
    shutil.copyfile(config.folder / "log.jsonl", folder / "log.jsonl")
    card.save(folder)
    return card
