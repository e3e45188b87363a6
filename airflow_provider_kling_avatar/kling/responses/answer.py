"""
What a transport brought back, parsed once, and how to find something in it: layers of objects, single values.

Gateways mix the shapes, so values are looked for in every layer, and read from whatever type they have. Knows nothing
of what they mean. Whatever the bytes, nothing in here raises.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from airflow_provider_kling_avatar.kling.redact import public_url, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from airflow_provider_kling_avatar.kling.auth import Credentials

Json = dict[str, Any]
_T = TypeVar("_T")

OK_CODES = frozenset({"", "0", "200", "success", "succeed", "ok", "none"})
"""What `code` says when all is well: 0 at Kling, "success" at new-api, 200 at others."""

SHORTEST_SECRET = 8
"""Characters. A shorter one would be found by chance in good answers."""

MAX_DEPTH = 4
"""How many `data` a gateway may wrap around Kling's own answer."""

_MILLISECONDS_FROM = 1e11
"""A time above this many seconds (the year 5138) is in milliseconds."""
_MOST_DIGITS = 100
"""A longer number stays text: Python refuses to make one of thousands of digits."""
_REQUEST_ID_IN_TEXT = re.compile(r"request[ _-]?id:?\s*([\w-]{6,})", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """
    What a transport brought back.

    :param status: HTTP status.
    :param body: the bytes as they came. Not in the repr, nor the headers: vendors repeat keys in them.
    :param headers: names in lower case.
    :param url: where it was asked, for messages.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = ""

    @property
    def is_error(self) -> bool:
        """HTTP 4xx or 5xx."""
        return self.status >= 400

    @property
    def is_server_error(self) -> bool:
        """HTTP 5xx: nobody knows how far the request came."""
        return self.status >= 500

    @property
    def where(self) -> str:
        """Who answered, for messages."""
        return public_url(self.url) or "the vendor"

    @cached_property
    def json(self) -> object:
        """What the body holds; ``None`` if it is no JSON."""
        return parsed(self.body)

    @cached_property
    def layers(self) -> list[Json]:
        """See `layers_of`; empty if the body is no JSON object."""
        return layers_of(self.json) if isinstance(self.json, dict) else []

    @property
    def request_id(self) -> str | None:
        """The vendor's id of the request."""
        return self.request_id_in(self.layers)

    def request_id_in(self, layers: list[Json]) -> str | None:
        """Find the vendor's id of the request: in a field, in the words of a message, or in a header."""
        texts = (as_text(layer.get("message")) or "" for layer in layers)
        found = (
            first(layers, ("request_id",), as_name)
            or next((match[1] for text in texts if (match := _REQUEST_ID_IN_TEXT.search(text))), None)
            or self.headers.get("x-request-id")
        )
        return redact(found) if found else None

    def without(self, credentials: Credentials) -> Answer:
        """Return the answer with `***` in the place of our keys; the very same if it holds none."""
        answer = self
        for secret in _written(credentials.secrets()):
            if len(secret) >= SHORTEST_SECRET and answer.holds(secret):
                headers = {name: value.replace(secret, "***") for name, value in answer.headers.items()}
                body = answer.body.replace(secret.encode(), b"***")
                answer = replace(answer, body=body, headers=headers)
        return answer

    def holds(self, text: str) -> bool:
        """Tell whether a text is in the body or a header."""
        return text.encode() in self.body or any(text in value for value in self.headers.values())


def _written(secrets: Iterable[str]) -> Iterator[str]:
    """Give each secret in the ways in which an answer may repeat it: as it is, in JSON, in an address."""
    for secret in secrets:
        yield from dict.fromkeys(
            (
                secret,
                secret.replace("/", r"\/"),
                quote(secret),
                quote(secret).replace("/", r"\/"),
                quote(secret, safe=""),
            )
        )


def parsed(text: str | bytes) -> object:
    """Read JSON; ``None`` if it is none. A number that is longer than any real one stays the text that it is."""
    try:
        return json.loads(
            text, parse_int=lambda digits: int(digits) if len(digits) < _MOST_DIGITS else digits
        )
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------------- layers


def layers_of(body: object) -> list[Json]:
    """
    Return the objects that may speak of the task, outermost first.

    A gateway wraps Kling's answer in `data` (several deep), in `error`, or as JSON text in one of these or a message.
    """
    found: list[Json] = []
    frontier: list[object] = [body]
    for _ in range(MAX_DEPTH):
        following: list[object] = []
        for item in frontier:
            if isinstance(item, list) and len(item) == 1:
                item = item[0]  # noqa: PLW2901  # a query by a list of one id answers a list of one
            if isinstance(item, dict):
                found.append(item)
                following += [_opened(item.get(key)) for key in ("data", "error", "message", "msg")]
        frontier = following
    return found


def _opened(value: object) -> object:
    """Return what is inside of a text that holds JSON, and anything else as it is."""
    if not isinstance(value, str):
        return value
    return parsed(value[value.index("{") : value.rfind("}") + 1]) if "{" in value else None


def records_of(layers: list[Json]) -> list[Json]:
    """Return the layers that describe the task; the envelope around them only describes the answer."""
    return [layer for layer in layers if not _is_envelope(layer)]


def _is_envelope(layer: Json) -> bool:
    if "data" not in layer or "task_id" in layer:
        return False
    # Some say in `status` that the call went well, where others say how the task stands.
    is_of_the_call = str(layer.get("status")).lower() in OK_CODES and bool(at(layer, "data", "task_status"))
    return "code" in layer or is_of_the_call


def is_task(layers: list[Json]) -> bool:
    """Tell whether any layer speaks of a task."""
    return any(
        as_name(layer.get("task_id"))
        or as_name(layer.get("task_status"))
        or (as_name(layer.get("id")) and "status" in layer)
        for layer in layers
    )


def first(layers: list[Json], keys: tuple[str, ...], read: Callable[[object], _T | None]) -> _T | None:
    """Return the first value that can be read, layer by layer, in each key by key."""
    values = (read(layer.get(key)) for layer in layers for key in keys)
    return next((value for value in values if value is not None), None)


def at(layer: Json, *path: str) -> object:
    """Return what lies at a path, or ``None``."""
    value: object = layer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def dicts(value: object) -> list[Json]:
    """Return the objects of a list; an empty list where there is none."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


# ---------------------------------------------------------------------- values


def normal(word: str) -> str:
    """Write a word as the tables have it: lower case, underscores."""
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def as_text(value: object) -> str | None:
    """Read a text that is not blank; without NUL, which PostgreSQL keeps in no text."""
    if not isinstance(value, str):
        return None
    value = value.replace("\0", " ")
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
