"""
Images and audio on their way to a vendor: opened, measured, checked against its rules, encoded.

It knows files, storage URIs, URLs and media formats. It must not know requests, tasks or which API is called:
the rules come in as data, and storage is opened by the caller, who holds the credentials.
Pillow and requests are imported where they are used: this module is imported at Dag-parse time.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import MediaError
from airflow_provider_kling_avatar.kling.media.audio import measure_audio
from airflow_provider_kling_avatar.kling.media.encode import (
    Payload,
    SignedUrl,
    Transcoded,
    digested,
)
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

__all__ = [
    "AudioInfo",
    "ImageInfo",
    "MediaRules",
    "Opener",
    "Payload",
    "PreparedMedia",
    "SignedUrl",
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
    with _blaming(field, rules):
        text = _given(source)
        if is_url(text):
            _need("url", rules)
            return PreparedMedia(check_url(text), None)
        if "base64" not in rules.accepts and signer and is_storage(text):
            return _linked(text, rules, field, opener, signer)
        _need("base64", rules)
        encoded = inline_base64(text)
        if rules.kind == "audio":
            return _sound(text, encoded, rules, field, opener, transcode=transcode)
        data = _read(text, encoded, opener, rules.max_bytes)
        info = measure_image(data)
        warnings = tuple(check(info, rules, field))
        # Measured first: what is refused was not worth encoding.
        return PreparedMedia(_payload(data, encoded), info, warnings)


def _read(text: str, encoded: str | None, opener: Opener | None, max_bytes: int | None) -> bytes:
    return read_source(text, opener, max_bytes) if encoded is None else decode(encoded, max_bytes)


def _payload(data: bytes, encoded: str | None) -> Payload:
    return Payload.of(data) if encoded is None else Payload(encoded)


def _linked(text: str, rules: MediaRules, field: str, opener: Opener | None, signer: Signer) -> PreparedMedia:
    """Measure and check a file where it lies; hand over a link to it."""
    link = sign_source(text, signer)  # before anything is read: most that cannot be linked says so at once
    data = read_source(text, opener, rules.max_bytes or LARGEST_LINKED_BYTES)
    info = measure_image(data) if rules.kind == "image" else measure_audio(data)
    return PreparedMedia(SignedUrl.of(link, data), info, tuple(check(info, rules, field)))


def _sound(
    text: str,
    encoded: str | None,
    rules: MediaRules,
    field: str,
    opener: Opener | None,
    *,
    transcode: bool,
) -> PreparedMedia:
    """Read a voice; re-encode it where that was asked for and is needed, offer it where it would help."""
    from airflow_provider_kling_avatar.kling.media import transcode as transcoding

    if not transcode:
        with transcoding.offered():
            data = _read(text, encoded, opener, rules.max_bytes)
            info = measure_audio(data)
            return PreparedMedia(_payload(data, encoded), info, tuple(check(info, rules, field)))
    data = _read(text, encoded, opener, transcoding.LARGEST_SOURCE_BYTES)
    if not transcoding.is_needed(data, rules):
        info = measure_audio(data)
        return PreparedMedia(_payload(data, encoded), info, tuple(check(info, rules, field)))
    smaller = transcoding.transcode(data, rules)
    info = measure_audio(smaller)
    warnings = tuple(check(info, rules, field))
    return PreparedMedia(Transcoded.of_source(smaller, data), info, warnings)


@contextmanager
def _blaming(field: str, rules: MediaRules) -> Iterator[None]:
    """Name the field in errors from functions that do not know for which field they work."""
    try:
        yield
    except MediaError as error:
        if error.field:
            raise
        raise MediaError(f"{field}: {error.message}", field=field, source=rules.source) from error.__cause__


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
