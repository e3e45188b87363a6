"""
The name under which the vendor knows a piece of work, the same on every try.

Pure. Two pieces of work get the same name only if they are the same task of the same run, paid for with the
same account and made from the same inputs. Never looks at the try number: a retry must find its own clip.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LENGTH = 60
"""Characters of a name. The vendors give no limit; this is short enough for any console or path."""

NOT_AN_INPUT = frozenset({"external_task_id", "callback_url"})
"""Fields of a body that change nothing in the video."""

_SIGNING = re.compile(
    r"(?i)^(x-(amz|goog|oss|tos|cos|obs|ms|bce)-.*|q-.*|awsaccesskeyid|googleaccessid|ossaccesskeyid|accesskeyid|"
    r"signature|sign|policy|key-pair-id|sig|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv|token|access_token|"
    r"auth_key|api_key|apikey|hdnts|hdnea|security-token|expires)$"
)
"""Query fields that sign a URL (AWS, Google, Azure, Alibaba, Tencent, Huawei, ByteDance, CDNs): they differ at each
signing while the file stays the same."""

_BESIDE_A_SIGNATURE = frozenset({"e", "t", "ts", "exp", "expire", "time", "timestamp", "nonce"})
"""Fields that belong to a signature only where there is one."""


@dataclass(frozen=True, slots=True)
class Work:
    """
    One task instance of one run: what stays the same over retries.

    :param dag_id: of the Dag.
    :param task_id: of the Airflow task.
    :param run_id: of the run.
    :param map_index: -1 for a task that is not mapped.
    :param account: who pays: the connection's id.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    account: str

    def inputs(self, fingerprint: str) -> str:
        """Return a hash of what is paid for and of who pays; ``fingerprint``: see there."""
        return hashlib.sha256(f"{len(self.account)}:{self.account}\0{fingerprint}".encode()).hexdigest()

    def name(self, fingerprint: str, number: int = 0) -> str:
        """
        Return the vendor-side name of one submission of this work.

        :param fingerprint: of everything that is paid for, see `fingerprint`.
        :param number: how many submissions of the same work ended before this one.
        """
        parts = (
            self.dag_id,
            self.task_id,
            self.run_id,
            str(self.map_index),
            self.account,
            fingerprint,
            str(number),
        )
        digest = hashlib.sha256("\0".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:24]
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{self.dag_id}-{self.task_id}").strip("-")
        return f"{readable[: MAX_LENGTH - len(digest) - 6]}-{digest}-{number}"


def fingerprint(body: Mapping[str, Any]) -> str:
    """
    Hash everything in a body that the vendor is paid for.

    URLs lose their signatures: the same file signed anew is the same input.
    """
    inputs = {key: value for key, value in body.items() if key not in NOT_AN_INPUT}
    text = json.dumps(_unsigned(inputs), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_url(value: str) -> bool:
    return value[:8].lower().startswith(("http://", "https://"))


def _unsigned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unsigned(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_unsigned(entry) for entry in value]
    if isinstance(value, str) and _is_url(value):
        try:
            parts = urlsplit(value)
        except ValueError:
            return value
        query = parse_qsl(parts.query, keep_blank_values=True)
        kept = [(k, v) for k, v in query if not _SIGNING.match(k)]
        if kept != query:
            kept = [(k, v) for k, v in kept if k.lower() not in _BESIDE_A_SIGNATURE]
        return urlunsplit(parts._replace(query=urlencode(kept)))
    return value
