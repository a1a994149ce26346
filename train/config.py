"""A dataclass is the command line, and the same dataclass is the config.json saved with the run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from medgen.errors import MedgenError

ConfigType = TypeVar("ConfigType", bound="Config")


def option(default: Any, text: str) -> Any:
    """A dataclass field with a help text."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Config:
    """What every training run can be told. All counts are of images, so that a run means the same at any batch."""

    name: str = option("", "name of the model; also of its folder under checkpoints/ and runs/")
    data: tuple[str, ...] = option(
        ("kermany_cxr_128",), "data sets, keys of medgen.data.DATASETS; their train splits are used together"
    )
    out: str = option("", "folder of the run; default runs/NAME")
    images: int = option(200_000, "training images to see in all")
    batch: int = option(16, "images a process and pass")
    accumulate: int = option(1, "passes before each update; batch x accumulate x processes images an update")
    rate: float = option(2e-4, "learning rate after warm-up")
    schedule: str = option("cosine", "learning rate over the run: cosine (to a hundredth) or constant")
    warmup: int = option(1_000, "images over which the learning rate rises from zero")
    precision: str = option("auto", "auto (bf16 where the hardware multiplies it, else no), no (float32), bf16 or fp16")
    clip: float = option(0.0, "largest gradient norm; 0 = no clipping")
    ema: int = option(5_000, "half-life of the averaged weights, in images; shorter early in the run; 0 = no averaging")
    checkpointing: bool = option(False, "recompute activations in the backward pass: less memory, more time")
    find_batch_size: bool = option(False, "halve batch and double accumulate until a pass fits into memory")
    seed: int = option(0, "of weights, order of the data and noise")
    save_every: int = option(10_000, "images between saved states")
    validate_every: int = option(20_000, "images between validations on the val split")
    sample_every: int = option(20_000, "images between sample grids of fixed seeds")
    keep_best: int = option(2, "how many of the best averaged weights to keep, by the validation metric")
    patience: int = option(0, "stop after so many validations without improvement; 0 = never")
    minutes: float = option(0.0, "save and stop after so many minutes, to be resumed; 0 = no limit")
    threads: int = option(0, "CPU threads; 0 = as torch chooses")
    cpu: bool = option(False, "train on the CPU even where there is a GPU")
    resume: bool = option(False, "go on from the state in the folder of the run")
    dry_run: bool = option(False, "print the plan, try one update, write nothing")
    export: bool = option(False, "at the end write checkpoints/NAME from the best weights")

    def validated(self) -> None:
        """Refuses values that cannot work.

        Raises:
            MedgenError: names the option and what it may be.
        """
        self.at_least_one("images", "batch", "accumulate", "save_every", "validate_every", "sample_every")
        choices = {"precision": ("auto", "no", "bf16", "fp16"), "schedule": ("cosine", "constant")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise MedgenError(f"--{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")
        if not self.data or len(set(self.data)) < len(self.data):
            raise MedgenError("--data must name one data set or several different ones.")
        if not self.name or Path(self.name).name != self.name:
            raise MedgenError("--name must be a plain name such as ddpm-cxr-128.")

    def at_least_one(self, *names: str) -> None:
        """Refuses counts below 1.

        Raises:
            MedgenError: names the option.
        """
        for name in names:
            if getattr(self, name) < 1:
                raise MedgenError(f"--{name.replace('_', '-')} must be at least 1.")

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.out or f"runs/{self.name}")


@dataclass(frozen=True)
class ConditionalConfig(Config):
    """Options of a model that is told what to show."""

    autoencoder: str = option(
        "", "a run of train.latent, or a latent model of checkpoints/: the model then works on its latents"
    )
    init: str = option("", "a model of checkpoints/ whose weights to start from; conditions are matched by name")
    rarest: int = option(50, "labels of fewer patients in the train split are not told to the model")
    label_dropout: float = option(0.1, "fraction of pictures of which the model is told nothing, for guidance")
    attribute_dropout: float = option(0.2, "fraction of the others for which age, sex, view or cohort is kept back")

    def validated(self) -> None:
        """As every run, and fractions between 0 and 1."""
        super().validated()
        self.at_least_one("rarest")
        for name in ("label_dropout", "attribute_dropout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise MedgenError(f"--{name.replace('_', '-')} must be from 0 to 1, not {getattr(self, name)}.")


def parse(
    kind: type[ConfigType], presets: dict[str, dict[str, Any]], argv: list[str] | None, description: str
) -> ConfigType:
    """A `kind` from the command line: defaults, then `--preset`, then the other flags; with `--resume` the saved run.

    Raises:
        MedgenError: a value is not allowed, or there is no run to resume.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--preset", choices=sorted(presets), default=next(iter(presets)), help="a set of defaults")
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        _add_flag(parser, item, hints[item.name])
    given = vars(parser.parse_args(argv))
    preset = given.pop("preset")
    base = kind(**{**presets[preset], **given})
    if base.resume:
        base = kind(**{**_saved(kind, base.folder), **given})
    base.validated()
    return base


def _add_flag(parser: argparse.ArgumentParser, item: dataclasses.Field[Any], hint: Any) -> None:
    flag = "--" + item.name.replace("_", "-")
    text = f"{item.metadata.get('help', '')} [{item.default}]"
    if hint is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
    elif typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        cast = (lambda word: word.lower() in ("1", "true", "yes")) if inner is bool else inner
        parser.add_argument(flag, nargs="+", type=cast, default=argparse.SUPPRESS, help=text)
    else:
        assert not isinstance(hint, types.UnionType), f"{item.name}: one plain type a flag"
        parser.add_argument(flag, type=hint, default=argparse.SUPPRESS, help=text)


def _saved(kind: type[Config], folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MedgenError(
            f"There is no run to resume in {folder}: {path.name} cannot be read; leave out --resume."
        ) from error
    known = {item.name for item in dataclasses.fields(kind)}
    if not isinstance(values, dict) or not set(values) <= known:
        raise MedgenError(f"{path} is not the config of such a run; resume with the script that wrote it.")
    if isinstance(values.get("data"), str):  # runs of the time when there was one data set a run
        values["data"] = [values["data"]]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
