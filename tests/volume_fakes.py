"""What the tests of the Volume tab share: models of volumes that need no weights, and the real app on them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medgen import ImageSet, MedgenError, ModelCard, Request, registry
from medgen.generator import OnStep
from medgen.volume import centred_affine

SHAPE = (20, 24, 16)
QUANTITY = {"name": "hippocampal volume", "unit": "mm3", "low": 100.0, "high": 2000.0, "step": 50.0}
METHODS = {"gan": "GAN", "vae": "VAE", "ldm": "Latent diffusion"}


class FakeVolumes:
    """A bright ball of `quantity` mm3, else of a volume of the seed, off the middle to the right, front and head.

    A step lasts `net["pace"]` seconds. What `net["fails"]` says is what is wrong.
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def sample(self, request: Request, on_step: OnStep | None = None) -> ImageSet:
        request = request.checked(self.card)
        total = request.steps or 1
        made = np.stack([self._one(request, seed) for seed in request.seeds])[:, None]
        if self.card.net.get("fails") == "nan":
            made[:] = np.nan
        images = ImageSet(made, self.card.modality, self.card.unit, self.card.window, self._affine())
        for done in range(total):
            time.sleep(self.card.net.get("pace", 0.0))
            if self.card.net.get("fails") == "weights":
                raise MedgenError("The weights are damaged: fetch them again.")
            if on_step is not None:
                on_step(done + 1, total, lambda: images)
        return images

    def _affine(self) -> np.ndarray:
        assert self.card.spacing_mm is not None
        return centred_affine(self.card.shape[1:], self.card.spacing_mm)

    def _one(self, request: Request, seed: int) -> np.ndarray:
        mm3 = request.quantity or self._mm3(seed)
        if request.towards is not None and request.mix is not None:
            mm3 = (1 - request.mix) * mm3 + request.mix * self._mm3(request.towards)
        voxels = np.indices(self.card.shape[1:]).reshape(3, -1).T
        mm = voxels @ self._affine()[:3, :3].T + self._affine()[:3, 3]
        radius = (3 * mm3 / (4 * np.pi)) ** (1 / 3)
        inside = ((mm - 2.0) ** 2).sum(axis=1) <= radius**2
        noise = np.random.default_rng(seed).uniform(0, 40, len(mm))
        return np.where(inside, 220.0, noise).reshape(self.card.shape[1:]).astype(np.float32)

    @staticmethod
    def _mm3(seed: int) -> float:
        return 300.0 + 100.0 * (seed % 10)


def load(card: ModelCard) -> FakeVolumes:
    """What the registry calls."""
    return FakeVolumes(card)


def make_card(method: str, data: str = "hippo_48", **other: Any) -> ModelCard:
    steps = 5 if method == "ldm" else None
    controls = ("towards", *(("steps", "guidance") if steps else ()), *(("quantity",) if "quantity" in other else ()))
    values: dict[str, Any] = {
        "name": f"{method}-{data.split('_')[0]}-48", "family": "fake-volume", "title": METHODS[method],
        "modality": "MR", "unit": "au", "window": (0.0, 255.0), "shape": (1, *SHAPE), "spacing_mm": (1.0, 1.0, 1.0),
        "licence": "MIT", "limits": "A fake.", "controls": controls, "steps": steps, "data": data,
        "guidance": 1.0 if steps else None,
    }  # fmt: skip
    return ModelCard(**{**values, **other, "net": {"method": method, **other.get("net", {})}})


def register(place: Path, patch: pytest.MonkeyPatch, cards: list[ModelCard]) -> None:
    """Makes `cards` all the models there are."""
    patch.setitem(registry.FAMILIES, "fake-volume", "volume_fakes")
    patch.setenv("MEDGEN_CHECKPOINTS", str(place))
    patch.delenv("MEDGEN_DATA", raising=False)
    place.mkdir(exist_ok=True)
    for card in cards:
        card.save(place / card.name)
