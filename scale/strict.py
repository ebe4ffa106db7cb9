"""Dataclasses from plain JSON values, strictly: nothing unknown and nothing mistyped passes."""

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, Literal


def require(condition: bool, message: str) -> None:
    """Raises ValueError with the message where the condition does not hold."""
    if not condition:
        raise ValueError(message)


def build(kind: type, values: Any, where: str = "") -> Any:
    """A dataclass of type `kind` from nested dictionaries; `where` is the dotted path for messages.

    Raises ValueError that names the dotted key that is unknown or has a wrong type or value.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where or 'config'} must be an object, not {type(values).__name__}")
    types_by_name = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(f"unknown key {where}{key}; known: {', '.join(sorted(known))}")
    return kind(**{k: _value(types_by_name[k], v, f"{where}{k}") for k, v in values.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return build(kind, value, f"{where}.")
    origin = typing.get_origin(kind)
    if origin is Literal:
        options = typing.get_args(kind)
        require(value in options, f"{where} is {value!r}; known: {', '.join(map(str, options))}")
        return value
    if origin is tuple:
        require(isinstance(value, list | tuple), f"{where} must be a list")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = kind if not isinstance(kind, types.UnionType) else typing.get_args(kind)
    wrong = not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool)
    require(not wrong, f"{where} is {value!r}, not {getattr(kind, '__name__', kind)}")
    return value
