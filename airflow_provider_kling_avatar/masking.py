"""
Keeps payloads out of the rendered-template view, which Airflow stores and shows in the clear.

Inline media and URLs with permissions in them are wrapped while templates render, and unwrapped when the task runs.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_kling_avatar.kling.redact import mask_links

INLINE_FROM = 256
"""Characters of base64 from which a text counts as a file."""

_BASE64 = re.compile(r"[A-Za-z0-9+/\s_-]+={0,2}\s*")
_BASE64_WITHIN = re.compile(
    rf"(?<![\w@:/.+-])(?:data:[\w./+;=-]*,)?[A-Za-z0-9+/_-]{{{INLINE_FROM},}}={{0,2}}"
)


class Hidden:
    """
    A value that is used but not shown.

    :param value: the real one.
    :param shown: stands for it in the UI and in logs.
    """

    __slots__ = ("shown", "value")

    def __init__(self, value: Any, shown: str) -> None:
        self.value = value
        self.shown = shown

    def __repr__(self) -> str:
        return self.shown

    __str__ = __repr__


def mask(value: Any) -> Any:
    """
    Wrap what must not be shown: texts, bytes, and what holds them; the rest stays as it is.

    Lists, tuples and the values of dicts are wrapped one by one; a set, or a dict with such a key, as a whole.
    """
    if isinstance(value, str):
        shown = _shown(value)
        return value if shown == value else Hidden(value, shown)
    if isinstance(value, bytes | bytearray | memoryview):
        return Hidden(value, f"<{len(value)} bytes, not shown>")
    if isinstance(value, dict):
        hidden = {key: mask(entry) for key, entry in value.items()}
        shown = ", ".join(f"{mask(key)!r}: {entry!r}" for key, entry in hidden.items())
        return hidden if _is_same(list(value)) else Hidden(value, f"{{{shown}}}")
    if type(value) in (list, tuple):
        return type(value)(mask(entry) for entry in value)
    if isinstance(value, list | tuple | set | frozenset):
        brackets = "{}" if isinstance(value, set | frozenset) else "()"
        shown = ", ".join(repr(mask(entry)) for entry in value)
        return value if _is_same(list(value)) else Hidden(value, brackets[0] + shown + brackets[1])
    return value


def _is_same(entries: list[Any]) -> bool:
    """Tell whether there is nothing to mask in any of them."""
    return repr(mask(entries)) == repr(entries)


def _shown(text: str) -> str:
    """Return what may be shown of a text: all of it, if there is neither a payload nor a permission in it."""
    bare = text.strip()
    if bare[:5].lower() == "data:" and "," in bare:
        return (
            f"<{bare[5:].partition(',')[0].partition(';')[0] or 'data'}, {len(text)} characters, not shown>"
        )
    if len(text) >= INLINE_FROM:
        if _BASE64.fullmatch(text) and " " not in bare:
            return f"<base64, {len(text)} characters, not shown>"
        # JSON, as structures are written in templates.
        text = _BASE64_WITHIN.sub(lambda found: f"<base64, {len(found[0])} characters, not shown>", text)
    return mask_links(text)


def unmask(value: Any) -> Any:
    """Return the real value, also inside lists, tuples (which become lists) and dicts."""
    if isinstance(value, Hidden):
        return value.value
    if isinstance(value, dict):
        return {key: unmask(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return [unmask(entry) for entry in value]
    return value
