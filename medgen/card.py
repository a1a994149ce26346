"""ModelCard <-> checkpoints/*/card.json: all there is to know of a model without loading it."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from medgen.atomic import write_json
from medgen.conditions import is_number
from medgen.errors import MedgenError


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what rebuilds it, what it may be asked, and what must not be concluded from it.

    Args:
        name: `method-subject-size`, the name of its folder.
        family: a key of `registry.FAMILIES`.
        title: a few words for a column heading.
        modality: DICOM modality code.
        unit: physical unit of the pixels.
        window: `(low, high)` in `unit`.
        shape: `(C, H, W)` or `(C, X, Y, Z)` of one image.
        spacing_mm: size of a pixel along each spatial axis; None where unknown (rescaled X-rays).
        net: keyword arguments that rebuild the network; `conditions` among them names what it is told of a picture, as
            `medgen.conditions.Conditions` does.
        weights: file name -> sha256 of each safetensors shard; "OTHER/file" is a file of the model OTHER.
        parts: submodule of the network -> the model whose weights it has, which are kept only once.
        controls: names of the `Request` fields the model answers to; the app shows a widget for each.
        labels: the words `Request.label` may hold.
        steps: default network evaluations; None for one-pass models.
        guidance: default guidance; None where there is none.
        data: key of `data.DATASETS` it was trained on; None for the untrained.
        trained: how: images seen, seconds, hardware, precision, commit, ... as the training script wrote it.
        licence: of the weights.
        paper: source of the method.
        translates: of a translator: `direction` ("t1-t2"), `source` and `target` contrast, and the `modality`, `unit`
            and `window` of the picture it wants; empty for others.
        quantity: a number the model may be asked for: its `name` ("hippocampal volume") and `unit` ("mm3"), the `low`
            and `high` it may have and the `step` of a slider; empty for others.
        limits: one or two sentences: what it cannot do, what must not be concluded.
        folder: where the card was read from; not part of the file.
    """

    name: str
    family: str
    title: str
    modality: str
    unit: str
    window: tuple[float, float]
    shape: tuple[int, ...]
    licence: str
    limits: str
    spacing_mm: tuple[float, ...] | None = None
    net: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    controls: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    steps: int | None = None
    guidance: float | None = None
    data: str | None = None
    trained: dict[str, Any] = field(default_factory=dict)
    translates: dict[str, Any] = field(default_factory=dict)
    quantity: dict[str, Any] = field(default_factory=dict)
    paper: str = ""
    folder: Path | None = field(default=None, compare=False)

    def save(self, folder: str | Path) -> Path:
        """Writes `folder/card.json` and returns its path."""
        values = asdict(self)
        del values["folder"]
        path = Path(folder) / "card.json"
        write_json(path, values)
        return path

    @classmethod
    def read(cls, path: str | Path) -> ModelCard:
        """Reads a card.json.

        Raises:
            MedgenError: not JSON, an unknown key, a missing key or a value of the wrong type; says which.
        """
        path = Path(path)
        where = f"{path.parent.name}/{path.name}"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MedgenError(f"{where} cannot be read as JSON ({error}); restore it or delete its folder.") from error
        if not isinstance(values, dict):
            raise MedgenError(f"{where} must hold one JSON object.")
        known = {f.name: f for f in fields(cls) if f.name != "folder"}
        if unknown := sorted(set(values) - set(known)):
            raise MedgenError(f"{where} has the unknown key {unknown[0]!r}; known keys: {', '.join(known)}.")
        required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
        if missing := sorted(required - set(values)):
            raise MedgenError(f"{where} lacks the key {missing[0]!r}.")
        for name, value in values.items():
            expected = _JSON_TYPES[name]
            if not isinstance(value, expected) or isinstance(value, bool):
                allowed = " or ".join(_WORDS[kind] for kind in expected)
                raise MedgenError(f"{where}: {name} must be {allowed}, not {value!r}.")
            items = value if isinstance(value, list) else []
            if name in _ITEM_TYPES and not all(isinstance(item, _ITEM_TYPES[name]) for item in items):
                raise MedgenError(f"{where}: {name} holds an item of the wrong type: {value!r}.")
        if len(values["window"]) != 2:
            raise MedgenError(f"{where}: window must be two numbers, not {values['window']!r}.")
        _check_quantity(values.get("quantity") or {}, tuple(values.get("controls") or ()), where)
        tuples = {n: tuple(v) for n, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **tuples, "folder": path.parent})


def _check_quantity(quantity: dict[str, Any], controls: tuple[str, ...], where: str) -> None:
    """Raises:
    MedgenError: a quantity that nobody could ask for, or be asked for.
    """
    if bool(quantity) != ("quantity" in controls):
        raise MedgenError(f"{where}: controls and quantity must both name a quantity, or neither.")
    if not quantity:
        return
    words, numbers = ("name", "unit"), ("low", "high", "step")
    right = set(quantity) == {*words, *numbers} and all(isinstance(quantity[key], str) for key in words)
    if not (right and all(is_number(quantity[key]) for key in numbers)):
        raise MedgenError(f"{where}: quantity must hold the texts name and unit and the numbers low, high and step.")
    if not (quantity["low"] < quantity["high"] and quantity["step"] > 0):
        raise MedgenError(f"{where}: quantity must have low < high and a step above 0: {quantity!r}.")


_NONE = type(None)
_WORDS = {str: "text", list: "a list", dict: "an object", int: "a whole number", float: "a number", _NONE: "null"}
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "family", "title", "modality", "unit", "licence", "limits", "paper"), (str,)),
    **dict.fromkeys(("window", "shape", "controls", "labels"), (list,)),
    **dict.fromkeys(("net", "weights", "parts", "trained", "translates", "quantity"), (dict,)),
    "spacing_mm": (list, _NONE),
    "steps": (int, _NONE),
    "guidance": (int, float, _NONE),
    "data": (str, _NONE),
}
_ITEM_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("window", "spacing_mm"), (int, float)),
    **dict.fromkeys(("controls", "labels"), (str,)),
    "shape": (int,),
}
