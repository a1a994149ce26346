"""How much of a held-out volume survives an autoencoder: PSNR and SSIM in 3D, beside those of the mean train volume."""

from __future__ import annotations

from typing import Any

import numpy as np

from eval.bootstrap import mean_interval
from eval.volumes import similarity
from medgen import registry
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import Generator
from medgen.image import ImageSet


def behind(model: Generator) -> Generator | None:
    """Whose autoencoder is behind `model`: its own, or that of the model its card names; None where there is none."""
    name = autoencoder_name(model.card)
    found = model
    if name and model.card.net.get("method") != "vae":
        try:
            found = registry.load(name)
        except MedgenError:
            return None
    return found if found.card.net.get("method") == "vae" else None


def reconstructed(model: Any, images: ImageSet) -> np.ndarray:
    """Volumes there and back through the mean of their latents: `(N, 1, X, Y, Z)` float32 in [0, 1].

    Args:
        model: a `medgen.volume_models` of method "vae", or anything with a `reconstruct`.
        images: real volumes.
    """
    if hasattr(model, "reconstruct"):
        found: np.ndarray = model.reconstruct(images).unit_range()
        return found
    import torch

    from medgen import runtime

    coder = model.network.autoencoder
    latents = runtime.evaluate(coder.encode, torch.from_numpy(2.0 * images.unit_range() - 1.0))
    voxels: np.ndarray = runtime.evaluate(coder.decode, latents).numpy()
    return np.clip((voxels + 1.0) / 2.0, 0.0, 1.0)


def autoencoder_name(card: ModelCard) -> str:
    """What the card calls the autoencoder behind the model; "" where it names none."""
    facts = card.trained.get("autoencoder")
    return str(card.parts.get("autoencoder") or (facts.get("name") if isinstance(facts, dict) else facts) or "")


def autoencoder(model: Generator, test: ImageSet, train: ImageSet) -> dict[str, Any]:
    """The part "autoencoder" of a report.

    Args:
        model: any generator.
        test: held-out real volumes.
        train: of the model.
    """
    network = behind(model)
    if network is None:
        named = autoencoder_name(model.card)
        return {"reason": f"{named} is not in checkpoints/" if named else "the model has no autoencoder"}
    real, made = test.unit_range(), reconstructed(network, test)
    mean = np.broadcast_to(train.unit_range().mean(axis=0), real.shape)
    found: dict[str, Any] = {"model": network.card.name, "weights": dict(network.card.weights)}
    for name, metric in (("psnr", similarity.psnr), ("ssim", similarity.ssim)):
        values = metric(real=real, fake=made)
        low, high = mean_interval(values, subjects=test.subjects) or (None, None)
        found[name] = {"value": float(values.mean()), "low": low, "high": high, "n": len(values)}
        found[f"{name}_of_mean"] = float(metric(real=real, fake=mean).mean())
    return found
