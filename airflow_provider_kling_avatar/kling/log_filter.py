"""
Keeps our signed links out of the log lines of the libraries that fetch and sign them.

urllib3 writes each request's path with its query at DEBUG, botocore what it signs and the signature. This is the one
thing of ours that reaches into what belongs to the whole process: a filter on these loggers, which alters only what is
logged within `hidden_links`, and of that only what holds a link. It knows nothing of links but where permissions stand.
"""

from __future__ import annotations

import contextlib
import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
