"""Whether JSON values are what a file promises: a shape is written like the file itself.

A shape is a type, `NUMBER` (a finite number, or null), `[shape]` for a list of it, `{"*": shape}` for an object of
any keys, `{key: shape}` for an object that has at least these keys, and `(shape, None)` where null may stand in its
place.
"""

from __future__ import annotations

from typing import Any

from eval.report import is_number_or_none

NUMBER = "number or null"


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
