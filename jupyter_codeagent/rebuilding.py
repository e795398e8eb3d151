"""Dataclasses, rebuilt from plain data that may be anything: each type is checked, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any, TypeVar

MOST_DEPTH = 100  # lists and dicts within each other, in what has no type of its own
MOST_WHOLE = 2**63  # a whole number beyond it was never written by us

T = TypeVar("T")


def rebuild(kind: type[T], data: Any, place: str = "") -> T:
    """Return a dataclass made of `data`, as `dataclasses.asdict` and JSON leave it.

    Fields that `kind` does not know are passed over, so that a later release may add some.

    Parameters
    ----------
    kind : type
        A dataclass whose fields have types of JSON, are dataclasses, or tuples, lists or dicts of such.
    data : object
        What was read.
    place : str
        Where it stands, for the message.

    Raises
    ------
    ValueError
        If a value is missing or of another type; the message names its place.
    """
    return typing.cast(T, _dataclass(kind, data, place))


def _dataclass(kind: Any, data: Any, place: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{place or 'it'} is {_told(data)} and not an object")
    hints, given = _hints(kind), {}
    for field in dataclasses.fields(kind):
        where = f"{place}.{field.name}" if place else field.name
        if field.name in data:
            given[field.name] = _value(hints[field.name], data[field.name], where)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where!r} is missing")
    return kind(**given)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(kind: Any, data: Any, place: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (other,) = (i for i in inner if i is not type(None))  # only "or None" stands in our types
        return None if data is None else _value(other, data, place)
    if origin in (list, tuple):
        if not isinstance(data, list | tuple):
            raise ValueError(f"{place!r} is {_told(data)} and not a list")
        items = [_value(inner[0], item, f"{place}[{n}]") for n, item in enumerate(data)]
        return items if origin is list else tuple(items)
    if origin is dict:
        if not isinstance(data, dict):
            raise ValueError(f"{place!r} is {_told(data)} and not an object")
        return {str(name): _value(inner[1], value, f"{place}.{str(name)[:40]}") for name, value in data.items()}
    if kind is Any:
        return _plain(data, place, MOST_DEPTH)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, place)
    return _scalar(kind, data, place)


def _scalar(kind: Any, data: Any, place: str) -> Any:
    fits = type(data) in ((int, float) if kind is float else (kind,))
    if fits and kind is float:
        fits = math.isfinite(data)
    if fits and type(data) is int:
        fits = abs(data) < MOST_WHOLE
    if not fits:
        raise ValueError(f"{place!r} is {_told(data)}, which is no {_NAMES.get(kind, kind)}")
    return data


_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _plain(data: Any, place: str, deep: int) -> Any:
    """Return `data` if all that works on it by recursion can."""
    if deep == 0:
        raise ValueError(f"{place!r} is nested more than {MOST_DEPTH} levels deep")
    if isinstance(data, dict):
        return {name: _plain(value, place, deep - 1) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_plain(value, place, deep - 1) for value in data)
    return data


def _told(data: Any) -> str:
    return f"{str(data)[:40]!r}" if isinstance(data, str | int | float | bool) else type(data).__name__
