"""
Images and audio on their way to a vendor: opened, measured, checked against its rules, encoded.

It knows files, storage URIs, URLs and media formats. It must not know requests, tasks or which API is called:
the rules come in as data, and storage is opened by the caller, who holds the credentials.
Pillow and requests are imported where they are used: this module is imported at Dag-parse time.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.kling.errors import MediaError
from airflow_provider_kling_avatar.kling.media.audio import measure_audio
from airflow_provider_kling_avatar.kling.media.image import measure_image
from airflow_provider_kling_avatar.kling.media.rules import (
    AudioInfo,
    ImageInfo,
    MediaRules,
    check,
    without_padding,
)
from airflow_provider_kling_avatar.kling.media.sources import (
    Opener,
    Signer,
    check_url,
    decode,
    fetch_url,
    inline_base64,
    is_storage,
    is_url,
    read_source,
    sign_source,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = [
    "AudioInfo",
    "ImageInfo",
    "MediaRules",
    "Opener",
    "Payload",
    "PreparedMedia",
    "Signer",
    "check",
    "digested",
    "fetch_url",
    "is_url",
    "measure_audio",
    "measure_image",
    "prepare_media",
    "read_source",
    "without_padding",
]

LARGEST_LINKED_BYTES = 50 * 1024 * 1024
"""Of a file that is measured where it lies, if the vendor names no limit: protects the worker."""

LARGEST_TRANSCODED_BYTES = 100 * 1024 * 1024
"""Of a voice that is re-encoded. Five minutes of 24-bit stereo at 48 kHz are 86 MB."""

_OFFER = (
    "; or set transcode_audio=True to have it re-encoded to fit, if its length is right "
    "(needs pip install 'airflow-provider-kling-avatar[media]')"
)


class Payload(str):
    """
    A file as it stands in a request: its base64, or a link to it that a storage has signed.

    Never shows itself, since it is megabytes long or opens the file to whoever has it: who quotes a value in a message
    writes it out first, and the checker of schemas does that for every rule it tries.

    :param text: the base64 without ``data:``, or the link.
    :param digest: a short text that is the same for the same file only; the hash of ``text`` if left out.
    """

    __slots__ = ("digest",)
    digest: str

    def __new__(cls, text: str, digest: str = "") -> Self:
        """Make one."""
        digest = digest or f"sha256:{_sha256(text.encode())}"  # before there is a second copy of the text
        payload = super().__new__(cls, text)
        payload.digest = digest
        return payload

    @classmethod
    def of(cls, data: bytes, digest: str = "") -> Self:
        """Encode a file."""
        return cls(base64.b64encode(data).decode("ascii"), digest)

    def __repr__(self) -> str:
        return f"<media, {len(self)} characters>"

    def __rich_repr__(self) -> Iterator[str]:
        """Keep rich, which cuts a string itself, from showing its beginning: it prints the locals of tracebacks."""
        yield f"{len(self)} characters"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digested(value: Any) -> Any:
    """Return a value with every payload in it, also inside lists and dicts, replaced by its digest."""
    if isinstance(value, Payload):
        return value.digest
    if isinstance(value, dict):
        return {key: digested(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [digested(entry) for entry in value]
    return value


@dataclass(frozen=True, slots=True)
class PreparedMedia:
    """
    One image or audio in the form that goes on the wire.

    :param value: the URL itself, or bare base64 (never ``data:``) as a `Payload`. Not in the repr: long, or signed.
    :param info: what was measured; ``None`` for a URL, which the vendor fetches and we do not.
    :param warnings: what may go wrong although no certain rule is broken.
    """

    value: str = field(repr=False)
    info: ImageInfo | AudioInfo | None
    warnings: tuple[str, ...] = ()


def prepare_media(
    source: str,
    rules: MediaRules,
    *,
    field: str,
    opener: Opener | None = None,
    signer: Signer | None = None,
    transcode: bool = False,
) -> PreparedMedia:
    """
    Turn what a Dag author gave into what the vendor takes, and refuse for free what the vendor would refuse.

    A URL passes through as it is. Everything else is read once, measured, checked and encoded once; or, where only
    URLs are taken, read, measured, checked and handed over as a link that the storage signs.

    :param source: an http(s) URL, a path, a ``file://`` or storage URI, a base64 ``data:`` string or bare base64.
    :param rules: of the field the media is for.
    :param field: the field's name in the Dag author's vocabulary, for messages.
    :param opener: opens storage URIs for reading.
    :param signer: makes links to files in a storage, for fields that take only URLs.
    :param transcode: re-encode sound that is too large, or of a format that is not taken.
    :raises MediaError: the source is missing, unreadable or outside the rules.
    """
    takes_files, is_sound = "base64" in rules.accepts, rules.kind == "audio"
    offer = _OFFER if is_sound and takes_files and not transcode else ""
    with _blaming(field, rules, offer):
        text = _given(source)
        if is_url(text):
            _need("url", rules)
            return PreparedMedia(check_url(text), None)
        if not takes_files and signer and is_storage(text):
            # Before anything is read: most that cannot be linked says so at once.
            link = sign_source(text, signer)
            data = read_source(text, opener, rules.max_bytes or LARGEST_LINKED_BYTES)
            # Known by the file's content: each signing makes another link.
            return _measured(Payload(link, f"linked-sha256:{_sha256(data)}"), data, rules, field)
        _need("base64", rules)
        encoded = inline_base64(text)
        most = LARGEST_TRANSCODED_BYTES if transcode and is_sound else rules.max_bytes
        data = read_source(text, opener, most) if encoded is None else decode(encoded, most)
        try:
            return _measured(encoded, data, rules, field)
        except MediaError as error:
            if not (transcode and is_sound and error.encoding_helps):
                raise
        from airflow_provider_kling_avatar.kling.media.transcode import transcode as encode_anew

        smaller = encode_anew(data, rules)
        # Known by what it was made from: another encoder writes other bytes of it.
        payload = Payload.of(smaller, f"transcoded-from-sha256:{_sha256(data)}")
        return _measured(payload, smaller, rules, field)


def _measured(value: str | None, data: bytes, rules: MediaRules, field: str) -> PreparedMedia:
    """
    Measure a file and check it; encode it only then, since what is refused was not worth it.

    :param value: how it goes on the wire, if it is encoded already.
    """
    info = measure_image(data) if rules.kind == "image" else measure_audio(data)
    warnings = tuple(check(info, rules, field))
    if not isinstance(value, Payload):
        value = Payload.of(data) if value is None else Payload(value)
    return PreparedMedia(value, info, warnings)


@contextmanager
def _blaming(field: str, rules: MediaRules, offer: str) -> Iterator[None]:
    """Name the field in errors from functions that do not know for which they work, and what else would help."""
    try:
        yield
    except MediaError as error:
        if error.field and not (offer and error.encoding_helps):
            raise
        message = error.message if error.field else f"{field}: {error.message}"
        told = MediaError(
            message + (offer if error.encoding_helps else ""),
            field=field,
            source="" if error.source else rules.source,
        )
        told.source = rules.source
        raise told from error.__cause__


def _given(source: object) -> str:
    if source is None or (isinstance(source, str) and source.strip().casefold() in ("", "none")):
        # "None" is what a template renders when an upstream task pushed nothing.
        raise MediaError(
            f"came empty ({source!r}), probably from an upstream task that returned nothing; "
            "look at that task's XCom, or give a path, a URL or a storage URI"
        )
    if not isinstance(source, str):
        raise MediaError(
            f"came as {type(source).__name__}, not as a string, probably from an upstream task that returned "
            "nothing or something else; give a path, a URL or a storage URI as a string"
        )
    return source.strip()


def _need(form: str, rules: MediaRules) -> None:
    if form in rules.accepts:
        return
    if form == "url":
        raise MediaError(
            "this API takes only the file itself, not a URL; download it first and give its path"
        )
    raise MediaError(
        "this API takes only http(s) URLs, not files or base64; upload the file to where the vendor can fetch it "
        "and give that URL, put it into storage that can sign links (s3://, gs://) and give its URI, "
        "or use a connection whose api takes files: kling, cometapi, relay"
    )
