"""Options of `python -m train.classifier`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medgen.errors import MedgenError
from train.config import option


@dataclass(frozen=True)
class ClassifierConfig:
    """Options of a classifier."""

    resume: ClassVar[bool] = False  # what `parse` asks of every config; a classifier is not resumed

    name: str = option("", "name of the classifier; also of its folder under checkpoints/ and runs/")
    data: str = option("kermany_cxr_128", "data set, a key of medgen.data.DATASETS")
    out: str = option("", "folder of the run; default runs/NAME")
    start: str = option("", "a classifier whose features to start from, for small data sets; default: from scratch")
    patients: int = option(50, "a label needs so many patients in the whole data set to be learned")
    epochs: int = option(12, "passes over the train split")
    batch: int = option(32, "images an update")
    rate: float = option(2e-3, "highest learning rate; it rises over a tenth of the run, then falls to zero")
    decay: float = option(0.05, "weight decay")
    dropout: float = option(0.1, "fraction of features dropped after each layer")
    augment: float = option(0.5, "probability of each augmentation: shift, zoom, tilt, brightness, contrast; no flips")
    features: int = option(32, "channels of the first layer")
    growth: int = option(16, "channels each layer adds")
    blocks: tuple[int, ...] = option((3, 6, 12, 8), "layers of each dense block")
    frame: int = option(8, "border the baseline sees, in pixels")
    pool: int = option(4, "side of the squares it averages, in pixels")
    precision: str = option("no", "no (float32), bf16 or fp16")
    seed: int = option(0, "of weights, order of the data and augmentation")
    threads: int = option(0, "CPU threads; 0 = as torch chooses")
    cpu: bool = option(False, "train on the CPU even where there is a GPU")

    def validated(self) -> None:
        """Refuses values that cannot work.

        Raises:
            MedgenError: names the option and what it may be.
        """
        if not self.name or Path(self.name).name != self.name:
            raise MedgenError("--name must be a plain name such as classifier-kermany-128.")
        for name in ("patients", "epochs", "batch", "features", "growth", "frame", "pool"):
            if getattr(self, name) < 1:
                raise MedgenError(f"--{name} must be at least 1.")
        if self.frame % self.pool:
            raise MedgenError(f"--frame must be a multiple of --pool, which is {self.pool}.")
        if self.precision not in ("no", "bf16", "fp16"):
            raise MedgenError(f"--precision must be one of no, bf16, fp16, not {self.precision!r}.")

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.out or f"runs/{self.name}")

    def net(self, size: int, labels: int) -> dict[str, Any]:
        """What `medgen.classifier.build` needs for pictures of `size` pixels."""
        return {
            "size": size, "labels": labels, "init_features": self.features, "growth_rate": self.growth,
            "block_config": list(self.blocks), "dropout": self.dropout, "frame": self.frame, "pool": self.pool,
        }  # fmt: skip
