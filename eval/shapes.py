"""Whether JSON values are what a file promises: a shape is written like the file itself.

A shape is a type, `NUMBER` (a finite number, or null), `[shape]` for a list of it, `{"*": shape}` for an object of
any keys, `{key: shape}` for an object that has at least these keys, and `(shape, None)` where null may stand in its
place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eval.report import is_number_or_none, read_object
from medgen.errors import MedgenError

NUMBER = "number or null"


def read_shaped(
    path: Path,
    shape: Mapping[str, Any],
    again: str,
    name: str,
    *,
    where: str | None = None,
    more: Callable[[dict[str, Any]], str | None] | None = None,
) -> dict[str, Any]:
    """The JSON object in `path`, which is of `shape`.

    Args:
        path: of the file.
        shape: of the whole.
        again: what to do where it is broken, as a message says it.
        name: of the whole, the beginning of the path of what is wrong.
        where: the file as a message names it; None = with its folder.
        more: looks at what the shape cannot say, once that is right; returns the path of what is wrong, or None.

    Raises:
        MedgenError: it cannot be read, lacks a key or holds something else in its place.
    """
    values = read_object(path, again)
    if wrong := misfit(values, dict(shape), name) or (more and more(values)):
        raise MedgenError(_broken(where or f"{path.parent.name}/{path.name}", wrong, again))
    return values


def _broken(where: str, wrong: str, again: str) -> str:
    return f"{where}: {wrong} is missing or of the wrong type; {again}."


def well_formed(
    path: Path,
    values: dict[str, Any],
    shape: Mapping[str, Any],
    parts: Mapping[str, Any],
    extra: tuple[str, ...],
    again: str,
) -> dict[str, Any]:
    """The content of a report of `shape`, whose `parts` hold either all of their keys or a `reason` for having none.

    Args:
        path: of the file, for the message.
        values: its content.
        shape: of the whole.
        parts: key -> shape of a part that may be missing.
        extra: keys of numbers that may be missing.
        again: what to do where it is broken, as a message says it.

    Raises:
        MedgenError: it lacks a key or holds something else where a number belongs.
    """
    wrong = misfit(values, dict(shape), "report")
    for part, own in parts.items():
        asked = {"reason": str} if wrong or "reason" in values[part] else own
        wrong = wrong or misfit(values[part], asked, part)
    if not wrong and not all(is_number_or_none(values.get(key)) for key in extra):
        wrong = " or ".join(extra)
    if wrong:
        raise MedgenError(_broken(f"{path.parent.name}/{path.name}", wrong, again))
    return values


def misfit(value: Any, shape: Any, path: str) -> str | None:
    """The path of the first value that is not of `shape`, beginning with `path`; None where all are."""
    if isinstance(shape, tuple):
        return None if value is None else misfit(value, shape[0], path)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return path
        pairs = [(key, shape["*"]) for key in value] if "*" in shape else list(shape.items())
        found = (misfit(value.get(key), inner, f"{path}.{key}") for key, inner in pairs)
        return next((wrong for wrong in found if wrong), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return path
        found = (misfit(item, shape[0], f"{path}[{i}]") for i, item in enumerate(value))
        return next((wrong for wrong in found if wrong), None)
    return None if _is(value, shape) else path


def _is(value: Any, kind: Any) -> bool:
    if kind == NUMBER:
        return is_number_or_none(value)
    if kind is float:
        return value is not None and is_number_or_none(value)
    if kind is int:
        return type(value) is int and value >= 0
    return isinstance(value, kind)
