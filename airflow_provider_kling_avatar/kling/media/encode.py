"""
A file as it travels inside JSON: base64, megabytes of it.

It knows how such a text keeps from showing itself, and how to tell it from another one by a few characters. It must
not know what the file is or where it goes.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    if isinstance(value, Payload | SignedUrl):
        return value.digest()
    if isinstance(value, dict):
        return {key: digested(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [digested(entry) for entry in value]
    return value
