"""
A file as it travels inside JSON: base64, megabytes of it.

It knows how to handle such a text without copying it more often than the wire needs: it is known to hold nothing
that JSON escapes, and it never shows itself. It must not know what the file is or where it goes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Payload(str):
    """
    The base64 of a file: letters, digits, ``+``, ``/`` and ``=``, nothing else.

    Who quotes a value in a message writes it out first, and the checker of schemas does that for every rule it tries:
    so it shows its length alone.
    """

    __slots__ = ()

    @classmethod
    def of(cls, data: bytes) -> Payload:
        """Encode a file."""
        return cls(base64.b64encode(data).decode("ascii"))

    def __repr__(self) -> str:
        return f"<base64, {len(self)} characters>"

    def __rich_repr__(self) -> Iterator[str]:
        """Keep rich, which cuts a string itself, from showing its beginning: it prints the locals of tracebacks."""
        yield f"{len(self)} characters"

    def digest(self) -> str:
        """Return a text that is the same for the same file only, and short."""
        return f"sha256:{hashlib.sha256(self.encode('ascii')).hexdigest()}"


class Transcoded(Payload):
    """A file that was re-encoded here. It is known by its source: another encoder writes other bytes of it."""

    __slots__ = ("source",)
    source: str

    @classmethod
    def of_source(cls, data: bytes, source: bytes) -> Transcoded:
        """
        Encode a file.

        :param source: the file that it was made from.
        """
        payload = cls(base64.b64encode(data).decode("ascii"))
        payload.source = hashlib.sha256(source).hexdigest()
        return payload

    def digest(self) -> str:
        """Return a text that is the same for the same source only, and short."""
        return f"transcoded-from-sha256:{self.source}"


class SignedUrl(str):
    """
    A link to a file in a storage. It is known by the file's content: each signing makes another link.

    Never shows itself: who has it has the file.
    """

    __slots__ = ("content",)
    content: str

    @classmethod
    def of(cls, url: str, data: bytes) -> SignedUrl:
        """
        Keep a link together with what it leads to.

        :param data: the whole file.
        """
        link = cls(url)
        link.content = hashlib.sha256(data).hexdigest()
        return link

    def __repr__(self) -> str:
        return f"<signed link of {len(self)} characters>"

    def __rich_repr__(self) -> Iterator[str]:
        """As `Payload.__rich_repr__`."""
        yield f"{len(self)} characters"

    def digest(self) -> str:
        """Return a text that is the same for the same file only, and short."""
        return f"linked-sha256:{self.content}"


def digested(value: Any) -> Any:
    """Return a value with every payload in it, also inside lists and dicts, replaced by its digest."""
    return _replace(value, lambda payload: payload.digest(), (Payload, SignedUrl))


def to_json(value: Any) -> bytes:
    """
    Write a body as JSON, payloads as they are: to search one for what must be escaped costs more than to send it.

    :raises ValueError: it holds a number that JSON does not have.
    :raises TypeError: it holds something that is no JSON at all.
    """
    payloads: list[Payload] = []
    mark = secrets.token_hex(16)

    def lay_aside(payload: Payload) -> str:
        payloads.append(payload)
        return mark

    first, *rest = json.dumps(_replace(value, lay_aside), allow_nan=False).split(mark)
    pieces = [first.encode()]
    for payload, text in zip(payloads, rest, strict=True):
        pieces += [payload.encode("ascii"), text.encode()]
    return b"".join(pieces)


def _replace(value: Any, by: Callable[[Any], str], kinds: tuple[type, ...] = (Payload,)) -> Any:
    if isinstance(value, kinds):
        return by(value)
    if isinstance(value, dict):
        return {key: _replace(entry, by, kinds) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_replace(entry, by, kinds) for entry in value]
    return value
