"""Keeps secrets out of what people read: keys, signed URLs and base64 payloads become short placeholders."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

MAX_TEXT = 500
"""Characters of a vendor's text that an error message quotes."""

_REPLACEMENTS = (
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=|-]+"), "Bearer ***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "***"),
    (re.compile(r"\bsk-[\w-]{6,}"), "sk-***"),
    (re.compile(r"(https?://[^\s\"'<>?#]+)[?#][^\s\"'<>]*"), r"\1?***"),
    (re.compile(r"(https?://)[^\s/@\"'<>]+@"), r"\1***@"),
    (re.compile(r"[A-Za-z0-9+/]{200,}={0,2}"), "<base64>"),
)


def redact(text: object) -> str:
    """
    Return a vendor's text fit for a log: no secrets, no control characters, at most `MAX_TEXT` characters.

    :param text: anything; turned into text first.
    """
    clean = str(text).encode("utf-8", "replace").decode("utf-8")
    for pattern, replacement in _REPLACEMENTS:
        clean = pattern.sub(replacement, clean)
    clean = "".join(c if c.isprintable() else " " for c in clean).strip()
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


def public_url(url: str) -> str:
    """Return a URL without user, query and fragment: what may be shown."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "<unreadable URL>"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
