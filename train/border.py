"""Fits the border baseline of a classifier: what pixels at the edge of the film alone can tell."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from medgen.auc import auc_entry
from medgen.border import border_features
from medgen.image import ImageSet

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse L2 penalties to choose from, by the AUC on the val split."""


def fit_border(
    network: nn.Module, sets: dict[str, ImageSet], truths: dict[str, np.ndarray], frame: int, pool: int
) -> None:
    """One L2-regularised logistic regression a label, learned on "train", its penalty chosen on "val".

    Args:
        network: of `medgen.classifier.build`; the coefficients go into its buffers.
        sets: the pictures of "train" and "val".
        truths: `(N, L)` bool for each.
        frame: width of what it sees, in pixels.
        pool: side of the squares it averages, in pixels.
    """
    seen = {s: border_features(sets[s].unit_range(), frame, pool).astype(np.float64) for s in ("train", "val")}
    mean, spread = seen["train"].mean(axis=0), seen["train"].std(axis=0) + 1e-3
    for index in range(truths["train"].shape[1]):
        best = -1.0
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
            model.fit((seen["train"] - mean) / spread, truths["train"][:, index])
            weight = model.coef_[0] / spread
            area = auc_entry(seen["val"] @ weight, truths["val"][:, index], repeats=0)["value"]
            if (area or 0.0) > best:
                best = area or 0.0
                network.border_weight[index] = torch.from_numpy(weight)
                network.border_bias[index] = float(model.intercept_[0] - weight @ mean)
