"""Keeps secrets out of what people read: keys, signed URLs and base64 payloads become short placeholders."""

from __future__ import annotations

import re
from unicodedata import category
from urllib.parse import urlsplit, urlunsplit

MAX_TEXT = 500
"""Characters of a vendor's text that an error message quotes."""

_LONGEST_TEXT = 10 * MAX_TEXT
"""Characters that are looked at: enough for what is quoted, and no work for a server that sends megabytes."""

LONGEST_NAME = 255
"""Characters. A longer text that names no file may be base64; and may be a payload, so it is never shown."""

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
    clean = str(text)[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
    # Before anything is looked for: an invisible character inside would hide a key from the patterns.
    clean = "".join(c if c.isprintable() else "" if category(c) == "Cf" else " " for c in clean)
    for pattern, replacement in _REPLACEMENTS:
        clean = pattern.sub(replacement, clean)
    clean = clean.strip()
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


def public_url(url: str) -> str:
    """Return a URL without user, query and fragment: what may be shown."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "<unreadable URL>"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def shown(source: str) -> str:
    """Name a place in a message: without a query (signatures) and without a password; nothing at all if too long."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source):
        try:
            parts = urlsplit(source)
        except ValueError:
            return "the address"
        account, _, host = parts.netloc.rpartition("@")
        if ":" in account:  # a bare name is Airflow's connection id and worth showing
            account = ""
        netloc = f"{account}@{host}" if account else host
        source = urlunsplit((parts.scheme, netloc, parts.path, "", ""))
    return source if len(source) <= LONGEST_NAME else f"a name of {len(source)} characters"
