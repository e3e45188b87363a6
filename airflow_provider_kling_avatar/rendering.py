"""
Keeps payloads out of the rendered-template view, which Airflow stores and shows in the clear.

Inline media and the queries of URLs are wrapped while templates render, and unwrapped when the task runs.
"""

from __future__ import annotations

import re
from typing import Any

INLINE_FROM = 256
"""Characters of base64 from which a text counts as a file."""

_BASE64 = re.compile(r"[A-Za-z0-9+/\s_-]+={0,2}\s*")
_BASE64_WITHIN = re.compile(
    rf"(?<![\w@:/.+-])(?:data:[\w./+;=-]*,)?[A-Za-z0-9+/_-]{{{INLINE_FROM},}}={{0,2}}"
)
_URL_WITHIN = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s\"'<>\\]+")


class Hidden:
    """
    A value that is used but not shown.

    :param value: the real one.
    :param shown: stands for it in the UI and in logs.
    """

    __slots__ = ("shown", "value")

    def __init__(self, value: str, shown: str) -> None:
        self.value = value
        self.shown = shown

    def __repr__(self) -> str:
        return self.shown

    __str__ = __repr__


def hide(value: Any) -> Any:
    """Wrap every rendered text that must not be shown, also inside lists and dicts; the rest stays as it is."""
    if isinstance(value, str):
        shown = _shown(value)
        return value if shown == value else Hidden(value, shown)
    if isinstance(value, dict):
        return {key: hide(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(hide(entry) for entry in value)
    return value


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
    return _URL_WITHIN.sub(lambda found: _shown_url(found[0]), text)


def _shown_url(url: str) -> str:
    """Leave out what may be a permission: the query, and the account. A bucket's connection id is none."""
    scheme, _, rest = url.partition("://")
    place, query, _ = rest.partition("?")
    account, at, host = place.partition("/")[0].rpartition("@")
    if at and host and (":" in account or scheme.lower() in ("http", "https")):
        place = f"***@{place[len(account) + 1 :]}"
    return f"{scheme}://{place}{'?***' if query else ''}"


def reveal(value: Any) -> Any:
    """Return the real value, also inside lists and dicts."""
    if isinstance(value, Hidden):
        return value.value
    if isinstance(value, dict):
        return {key: reveal(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [reveal(entry) for entry in value]
    return value
