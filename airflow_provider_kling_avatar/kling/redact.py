"""
Keeps secrets out of what people read: keys, signed URLs and base64 payloads become short placeholders.

Also in the log lines of the libraries that fetch and sign our links: urllib3 writes each request's path with its query
at DEBUG, botocore what it signs and the signature. This is the one thing of ours that reaches into what belongs to the
whole process: a filter on these loggers, which alters only what is logged within `hidden_links`, and of that only what
holds a link.
"""

from __future__ import annotations

import contextlib
import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING
from unicodedata import category
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

MAX_TEXT = 500
"""Characters of a vendor's text that an error message quotes."""

_LONGEST_TEXT = 10 * MAX_TEXT
"""Characters that are looked at: enough for what is quoted, and no work for a server that sends megabytes."""

LONGEST_NAME = 255
"""Characters. A longer text that names no file may be base64; and may be a payload, so it is never shown."""

_KEYS = (
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=|-]+"), "Bearer ***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "***"),
    (re.compile(r"\bsk-[\w-]{6,}"), "sk-***"),
)
_PAYLOAD = re.compile(r"[A-Za-z0-9+/_-]{200,}={0,2}")

_URL = re.compile(
    r"([a-z][a-z0-9+.-]{0,30}:\\?/\\?/)"  # a scheme, the slashes perhaps escaped as in JSON
    r"([^\s\"'<>/?#]*@)?"  # an account
    r"([^\s\"'<>?#;]*)"
    r"([?#;][^\s\"'<>]+)?",  # query, fragment, parameters of the path: wherever vendors put signatures
    re.IGNORECASE,
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_QUERY = re.compile(r"\?[\w.~%-]{1,100}=[^\s\"'<>]+")
"""Of a URL whose beginning is missing."""


def mask_links(text: str) -> str:
    """
    Return a text with the permissions in its URLs left out: what follows ``?``, ``#`` or ``;``, and accounts.

    :param text: may hold any number of URLs, also inside JSON, and none.
    """
    return _QUERY.sub("?***", _URL.sub(_masked, text))


def _masked(url: re.Match[str]) -> str:
    scheme, account, place, rest = url.groups(default="")
    # A bare name before a bucket is the id of an Airflow connection and worth showing.
    if ":" in account or (account and scheme.lower().startswith("http")):
        account = "***@"
    return f"{scheme}{account}{place}{'?***' if rest else ''}"


def redact(text: object) -> str:
    """
    Return a vendor's text fit for a log: no secrets, no control characters, at most `MAX_TEXT` characters.

    :param text: anything; turned into text first.
    """
    clean = str(text)[:_LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
    # Before anything is looked for: an invisible character inside would hide a key from the patterns.
    clean = "".join(c if c.isprintable() else "" if category(c) == "Cf" else " " for c in clean)
    for pattern, replacement in _KEYS:
        clean = pattern.sub(replacement, clean)
    clean = _PAYLOAD.sub("<base64>", mask_links(clean)).strip()
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


def public_url(url: str) -> str:
    """Return a URL without user, query, fragment and parameters of its path: what may be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable URL>"
    return _bare(parts, parts.netloc.rpartition("@")[2])


def scheme_of(place: str) -> str:
    """Return the scheme of a URI in lower case; an empty text for a path, or anything else."""
    match = _SCHEME.match(place)
    return match[1].lower() if match else ""


def public_source(source: str) -> str:
    """Name a place in a message: as `public_url`, with a connection's id; nothing at all if it is too long."""
    if scheme_of(source):
        try:
            parts = urlsplit(source)
        except ValueError:
            return "the address"
        account, _, host = parts.netloc.rpartition("@")
        is_connection = account and ":" not in account and not parts.scheme.startswith("http")
        source = _bare(parts, parts.netloc if is_connection else host)
    source = mask_links(source)
    return source if len(source) <= LONGEST_NAME else f"a name of {len(source)} characters"


def _bare(parts: SplitResult, host: str) -> str:
    return urlunsplit((parts.scheme, host, parts.path.partition(";")[0], "", ""))


# ------------------------------------------------------------------ others' log lines

_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
    "botocore.auth",
)
"""A logger's filter sees only what is logged to that very logger, not what its children pass on."""

_PERMISSIONS = (
    (re.compile(r"[?#;]\S+"), "?***"),
    (re.compile(r"(?s)(?<=:)\n.+"), " ***"),  # botocore: "Signature:\n...", "CanonicalRequest:\n..."
)

_is_ours: ContextVar[bool] = ContextVar("kling_hidden_links", default=False)
"""Whether what runs is a request of ours: as long as this thread, or the coroutines that it has started, are in it."""


class _HideLinks(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _is_ours.get():
            text = said = record.getMessage()
            for pattern, replacement in _PERMISSIONS:
                text = pattern.sub(replacement, text)
            if text != said:
                record.msg, record.args = text, None
                record.exc_info = record.exc_text = (
                    None  # of headers that cannot be read, which may hold a link
                )
        return True


_FILTER = _HideLinks()


@contextlib.contextmanager
def hidden_links() -> Iterator[None]:
    """Keep links out of the log while a link is made or asked."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)  # only once, however often
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)
