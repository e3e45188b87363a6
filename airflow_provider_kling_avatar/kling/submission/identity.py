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
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

MAX_LENGTH = 60
"""Characters of a name. The vendors give no limit; this is short enough for any console or path."""

NOT_AN_INPUT = frozenset({"external_task_id", "callback_url"})
"""Fields of a body that change nothing in the video."""

_SIGNED = re.compile(
    r"(?i)^(x-(amz|goog|oss|tos|cos|obs|ms|bce)-(?!process$).*|q-(sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|"
    r"signature)|awsaccesskeyid|googleaccessid|ossaccesskeyid|signature|x-signature|x-expires|key-pair-id|"
    r"security-token|auth_key|hdnts|hdnea|hdntl|tempauth|authorization|api_key|apikey)$"
)
"""Query fields that cannot be taken for anything but a permission to read a file (AWS, Google, Azure, Alibaba, Tencent,
Huawei, ByteDance, Akamai, Backblaze, SharePoint): they differ at each signing while the file stays the same.
``x-oss-process`` and its like are none: they say what is cut out of it."""

_SIGNED_TOGETHER = (frozenset({"sig", "se"}), frozenset({"sig", "sv"}), frozenset({"ex", "is", "hm"}))
"""The same, only where all of them stand together (Azure, Discord)."""

_BESIDE_A_SIGNATURE = re.compile(
    r"(?i)^(token|access_token|accesskeyid|sign|sig|policy|expires?|exp|e|t|ts|time|timestamp|nonce|md5|"
    r"se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks|skv|ex|is|hm)$"
)
"""Fields that belong to a signature only where there is one: alone, ``token=A`` may say which file is meant."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """
    What is paid for, as two hashes.

    :param media: of the endpoint and the media: bytes of files, host and path of links. Other media is another clip.
    :param everything: of all that is paid for, prompts, texts and queries of links included, which may change from try
        to try although nobody wants another clip: a link that is signed anew, a time in a prompt.
    """

    media: str
    everything: str

    def __str__(self) -> str:
        """Return both in one word, as records have it."""
        return f"{self.media}-{self.everything}"

    @classmethod
    def from_text(cls, text: str) -> Fingerprint:
        """Read what `__str__` wrote."""
        media, _, everything = text.partition("-")
        return cls(media, everything)


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """
    One task instance of one run: what stays the same over retries.

    :param dag_id: of the Dag.
    :param task_id: of the Airflow task.
    :param run_id: of the run.
    :param map_index: -1 for a task that is not mapped.
    :param conn_id: who pays: the connection's id.
    """

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    conn_id: str

    def name(self, fingerprint: Fingerprint, number: int = 0) -> str:
        """
        Return the vendor-side name of one submission of this work.

        :param fingerprint: of everything that is paid for, see `fingerprint`.
        :param number: how many submissions of the same work ended before this one.
        """
        return f"{self.name_prefix}{fingerprint.media[:8]}{fingerprint.everything[:8]}-{number}"

    @property
    def name_prefix(self) -> str:
        """What the names of all submissions of this work begin with, whatever their inputs."""
        digest = _joined(self.dag_id, self.task_id, self.run_id, str(self.map_index), self.conn_id)[:14]
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{self.dag_id}-{self.task_id}").strip("-")
        return f"{readable[: MAX_LENGTH - 36]}-{digest}-"

    def has_media_of(self, name: str, fingerprint: Fingerprint) -> bool:
        """Tell whether a submission of this work, known by its name alone, was made from the same media."""
        return name.startswith(self.name_prefix + fingerprint.media[:8])

    def key_hash(self, secrets: tuple[str, ...]) -> str:
        """Return a short hash by which this work knows the key again, and nobody finds the key."""
        return _joined(self.name_prefix, *secrets)[:12]


def _joined(*parts: str) -> str:
    """Hash parts so that no two lists of them are taken for each other."""
    return _hash("\0".join(f"{len(part)}:{part}" for part in parts))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(body: Mapping[str, Any], media: Collection[str] = (), endpoint: str = "") -> Fingerprint:
    """
    Hash everything in a body that the vendor is paid for.

    URLs lose their signatures: the same file signed anew is the same input.

    :param media: fields that hold media.
    :param endpoint: what is made of it.
    """
    inputs = {key: value for key, value in body.items() if key not in NOT_AN_INPUT}
    only_media = {key: value for key, value in inputs.items() if key in media}
    return Fingerprint(
        _joined(endpoint, _written(_each_link(only_media, _without_query)))[:16],
        _joined(endpoint, _written(_each_link(inputs, _unsigned)))[:32],
    )


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _is_url(value: str) -> bool:
    return value[:8].lower().startswith(("http://", "https://"))


def _each_link(value: Any, change: Callable[[SplitResult], SplitResult]) -> Any:
    """Return a value with its links changed."""
    if isinstance(value, dict):
        return {key: _each_link(entry, change) for key, entry in value.items()}
    if isinstance(value, list):
        return [_each_link(entry, change) for entry in value]
    if isinstance(value, str) and _is_url(value):
        try:
            return urlunsplit(change(urlsplit(value)))
        except ValueError:
            return value
    return value


def _without_query(link: SplitResult) -> SplitResult:
    return link._replace(query="", fragment="")


def _unsigned(link: SplitResult) -> SplitResult:
    query = parse_qsl(link.query, keep_blank_values=True)
    names = {name.lower() for name, _ in query}
    is_signed = any(map(_SIGNED.match, names)) or any(group <= names for group in _SIGNED_TOGETHER)
    if is_signed:
        query = [
            (name, value)
            for name, value in query
            if not _SIGNED.match(name) and not _BESIDE_A_SIGNATURE.match(name)
        ]
    return link._replace(query=urlencode(query))
