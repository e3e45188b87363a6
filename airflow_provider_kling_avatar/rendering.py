"""
Keeps payloads out of the rendered-template view, which Airflow stores and shows in the clear.

Inline media and signed URLs are wrapped while templates render, and unwrapped when the task runs.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_kling_avatar.kling.identity import is_signed_url
from airflow_provider_kling_avatar.kling.redact import public_url

INLINE_FROM = 256
"""Characters of base64 from which a text counts as a file."""

_BASE64 = re.compile(r"[A-Za-z0-9+/\s_-]+={0,2}\s*")


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
    """Wrap a rendered text that must not be shown; anything else stays as it is."""
    if not isinstance(value, str):
        return value
    if value.startswith("data:"):
        return Hidden(value, f"<{value[5:].partition(';')[0] or 'data'}, {len(value)} characters, not shown>")
    if len(value) >= INLINE_FROM and _BASE64.fullmatch(value) and " " not in value.strip():
        return Hidden(value, f"<base64, {len(value)} characters, not shown>")
    if is_signed_url(value):
        return Hidden(value, f"{public_url(value)}?***")
    return value


def reveal(value: Any) -> Any:
    """Return the real value, also inside lists and dicts."""
    if isinstance(value, Hidden):
        return value.value
    if isinstance(value, dict):
        return {key: reveal(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [reveal(entry) for entry in value]
    return value
