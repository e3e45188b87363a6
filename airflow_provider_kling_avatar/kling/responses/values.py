"""Reads single values out of loosely typed JSON: ids, texts, numbers, times, addresses, or nothing at all."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
_T = TypeVar("_T")

_MILLISECONDS_FROM = 1e11
"""A time above this many seconds (the year 5138) is in milliseconds."""


def read_json_text(text: str | bytes) -> object:
    """
    Return what a JSON text holds.

    :raises ValueError: it is no JSON.
    :raises RecursionError: it is nested too deeply.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # a number with more digits than Python makes a number of: all of them as texts then
        return json.loads(text, parse_int=str)


def first(layers: list[Json], keys: tuple[str, ...], read: Callable[[object], _T | None]) -> _T | None:
    """Return the first value that can be read, layer by layer, in each key by key."""
    for layer in layers:
        for key in keys:
            value = read(layer.get(key))
            if value is not None:
                return value
    return None


def at(layer: Json, *path: str) -> object:
    """Return what lies at a path, or ``None``."""
    value: object = layer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def dicts(value: object) -> list[Json]:
    """Return the objects of a list; an empty list where there is none."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def normal(word: str) -> str:
    """Write a word as the tables have it: lower case, underscores."""
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def as_text(value: object) -> str | None:
    """Read a text that is not blank."""
    if not isinstance(value, str):
        return None
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")  # JSON can hold half a character
    return value.strip() or None


def as_name(value: object) -> str | None:
    """Read an id or a short word; gateways send numbers where Kling sends text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        value = str(value)
    return as_text(value)


def as_number(value: object) -> float | None:
    """Read a finite number, also from text."""
    if type(value) is float and isfinite(value):  # nearly always
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def as_seconds(value: object) -> float | None:
    """Read a time in Unix seconds, from seconds or milliseconds."""
    number = as_number(value)
    if not number or number < 0:
        return None
    return number / 1000 if number > _MILLISECONDS_FROM else number


def as_url(value: object) -> str | None:
    """Read an http(s) address."""
    text = as_text(value)
    return text if text and text.lower().startswith(("http://", "https://")) else None
