"""Cards of the networks that measure and make nothing: classifiers, segmenters, encoders.

Each lies in a folder of `checkpoints/` as one JSON file beside its weights. None is a generator: the registry does not
list them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, get_origin, get_type_hints

from medgen.atomic import write_json
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.registry import checkpoints_dir

CardType = TypeVar("CardType", bound="InstrumentCard")
_SHARED = ("name", "title", "shape", "net", "weights", "data", "licence", "limits", "folder")


@dataclass(frozen=True)
class InstrumentCard:
    """Reads and writes the card of one kind; a kind adds its fields, `name` and `folder` among them.

    Attributes:
        KIND: what it is, as a message says it.
        FILE: name of its JSON file.
    """

    KIND: ClassVar[str]
    FILE: ClassVar[str]

    def model_card(self, **own: Any) -> ModelCard:
        """The part of it that `medgen.weights` and `medgen.runtime` know how to load.

        Args:
            own: what differs by kind: `modality`, and `labels` or `window` where they are not the usual ones.
        """
        card: Any = self
        same = {name: getattr(card, name) for name in _SHARED}
        return ModelCard(**{"family": self.KIND, "unit": "au", "window": (0.0, 255.0), **same, **own})

    def save(self, folder: str | Path) -> None:
        """Writes `folder/FILE`."""
        values = asdict(self)
        del values["folder"]
        write_json(Path(folder) / self.FILE, values)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Reads the file of a card.

        Raises:
            MedgenError: not JSON, an unknown or missing key, or a value that cannot be; says which.
        """
        path = Path(path)
        where = f"{path.parent.name}/{path.name}"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MedgenError(f"{where} cannot be read as JSON ({error}); fetch the checkpoint again.") from error
        keys = {item.name for item in fields(cls)} - {"folder"}
        if not isinstance(values, dict) or set(values) != keys:
            odd = sorted(set(values) ^ keys) if isinstance(values, dict) else ["no object at all"]
            raise MedgenError(f"{where} must hold {', '.join(sorted(keys))} and nothing else; wrong: {odd[0]}.")
        if wrong := cls._wrong_type(values) or cls.wrong_value(values):
            article = "an" if cls.KIND[0] in "aeiou" else "a"
            raise MedgenError(
                f"{where}: {wrong} is not what {article} {cls.KIND} has there; fetch the checkpoint again."
            )
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        made: dict[str, Any] = {**values, **tuples, "folder": path.parent}
        return cls(**made)

    @classmethod
    def wrong_value(cls, values: dict[str, Any]) -> str | None:
        """The first key whose value this kind cannot have, the types being right; None where all is well."""
        raise NotImplementedError

    @classmethod
    def _wrong_type(cls, values: dict[str, Any]) -> str | None:
        """The first key whose value is not the JSON of its field's type: tuples are lists, the rest is itself."""
        hints = get_type_hints(cls)
        kinds = {name: get_origin(hint) or hint for name, hint in hints.items()}
        return next((n for n, v in values.items() if not isinstance(v, list if kinds[n] is tuple else kinds[n])), None)


def is_picture(shape: list[Any]) -> bool:
    """Whether `shape` is that of a grey picture, `(1, H, W)`."""
    return len(shape) == 3 and all(type(side) is int and side > 0 for side in shape) and shape[0] == 1


def are_weights(weights: dict[str, Any]) -> bool:
    """Whether `weights` names at least one file, each with its sha256."""
    return bool(weights) and all(isinstance(one, str) for one in weights.values())


def listed(kind: type[CardType]) -> dict[str, CardType]:
    """Every card of `kind` by name, sorted.

    Raises:
        MedgenError: a file is broken, or its name is not that of its folder.
    """
    found: dict[str, CardType] = {}
    for path in sorted(checkpoints_dir().glob(f"*/{kind.FILE}")):
        card: Any = kind.read(path)
        if card.name != path.parent.name:
            raise MedgenError(f"The {kind.KIND} in {path.parent.name}/ is named {card.name!r}; the two must be equal.")
        found[card.name] = card
    return found


def named(kind: type[CardType], name: str) -> CardType:
    """The card of `kind` called `name`.

    Raises:
        MedgenError: there is none, or a file is broken.
    """
    known = listed(kind)
    if name not in known:
        raise MedgenError(f"There is no {kind.KIND} {name!r}; there are: {', '.join(known) or 'none yet'}.")
    return known[name]
