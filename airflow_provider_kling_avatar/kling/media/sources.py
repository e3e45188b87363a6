"""
Where media comes from: a path, a storage URI, a URL, or the text itself. Every read is bounded.

It knows how to get bytes and how to name a place without giving a secret away. It must not know what is in them.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias
from urllib.parse import urlsplit

from airflow_provider_kling_avatar.kling.errors import (
    ConnectionFailedError,
    DownloadError,
    KlingError,
    MediaError,
)
from airflow_provider_kling_avatar.kling.local_paths import local_path
from airflow_provider_kling_avatar.kling.media.rules import misfit, too_large
from airflow_provider_kling_avatar.kling.redact import LONGEST_NAME, public_source, scheme_of

if TYPE_CHECKING:
    import requests

    from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules

Opener: TypeAlias = Callable[[str], BinaryIO]
"""Opens a storage URI (``s3://``, ``gs://``) for reading; comes from the caller, who holds the credentials."""

Signer: TypeAlias = Callable[[str, int], str]
"""
Makes an http(s) link to a file in a storage that lives for some seconds; comes from the caller, as above.

Raises ``NotImplementedError`` for a storage that cannot.
"""

SIGNED_URL_SECONDS = 48 * 3600
"""How long a signed link lives. The vendor fetches the file when the clip's turn has come: a task may first wait 24 h
for a slot, and then for hours in the vendor's queue. S3 and Google take seven days at most."""

_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
"""What the libraries of S3 and Google raise where nothing is there to sign with."""
_CHUNK = 1 << 18
_HTTP = ("http", "https")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+[=\s]*")


def is_url(source: str) -> bool:
    """Tell whether a source is an http(s) URL."""
    return scheme_of(source) in _HTTP


def is_storage(source: str) -> bool:
    """Tell whether a source is a URI of a storage, not of this machine."""
    return scheme_of(source) not in ("", "file", *_HTTP)


def sign_source(source: str, signer: Signer) -> str:
    """
    Return a link to a file in a storage, for a vendor that takes only URLs.

    :raises MediaError: the storage cannot sign links, or does not let us.
    """
    remedy = (
        "upload the file to where the vendor can fetch it and give that URL, or use a connection whose api takes "
        "files: kling, cometapi, relay"
    )
    try:
        link = signer(source, SIGNED_URL_SECONDS)
    except Exception as error:
        kind = type(error).__name__
        if isinstance(error, NotImplementedError | AttributeError | ValueError | ImportError):
            problem = f"{public_source(source)} lies in a storage that cannot sign links ({kind}): {remedy}"
        elif kind in _NO_CREDENTIALS:
            problem = (
                f"no link to {public_source(source)} can be signed without credentials ({kind}): give the storage "
                f"connection a key, or {remedy}"
            )
        else:
            raise
        # `from None`: the text of the error may hold what it was signed with.
        raise MediaError(f"this API takes only http(s) URLs, and {problem}") from None
    if not is_url(link):
        raise MediaError(
            f"{public_source(source)} lies in a storage whose links are no http(s) URLs: {remedy}"
        )
    return link


def check_url(url: str) -> str:
    """
    Return a URL as it came.

    :raises MediaError: it names no host, or has blanks in it.
    """
    if not _host(url) or any(character.isspace() for character in url):
        raise MediaError(
            f"{public_source(url)} is not a complete URL; give it as https://host/path, blanks as %20"
        )
    return url


def read_source(source: str, opener: Opener | None, max_bytes: int | None) -> bytes:
    """
    Read a path, a ``file://`` URI, or a storage URI.

    :param opener: opens storage URIs.
    :param max_bytes: never more than one byte beyond this is read.
    :raises MediaError: there is no such file, it cannot be read, or it is too large. Trouble on the way to a
        storage (throttling, a lost connection) is not the file's fault and is raised as it came: it may pass.
    """
    scheme = scheme_of(source)
    if scheme in ("", "file"):
        return _read_file(source, max_bytes)
    if opener is None or scheme in _HTTP:
        raise MediaError(
            f"{public_source(source)} cannot be opened: there is no storage for {scheme}:// here; "
            "give a path, or a storage URI such as s3:// or gs:// with its connection set up"
        )
    try:
        with closing(opener(source)) as stream:
            return _read(stream, max_bytes)
    except FileNotFoundError as error:
        raise MediaError(f"{public_source(source)} does not exist; check bucket and key") from error
    except IsADirectoryError as error:
        raise MediaError(f"{public_source(source)} is a directory; name one file in it") from error
    except PermissionError as error:
        raise MediaError(
            f"{public_source(source)} may not be read; check the rights of the storage connection"
        ) from error
    except (ValueError, ImportError, NotImplementedError) as error:
        raise MediaError(
            f"{public_source(source)} cannot be opened ({type(error).__name__}); "
            f"check that {scheme}:// is a storage this installation has a provider for"
        ) from error


def _read_file(source: str, max_bytes: int | None) -> bytes:
    name = public_source(source)
    try:
        path = Path(_local_path(source))
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError(f"{name} is a directory; name one file in it")
        if not stat.S_ISREG(status.st_mode):  # a pipe would block for ever, a device would never end
            raise MediaError(f"{name} is a device or a pipe; name a regular file")
        if max_bytes is not None and status.st_size > max_bytes:
            raise misfit(f"{name} {too_large(status.st_size, max_bytes)}")
        with path.open("rb") as stream:
            return _read(stream, max_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(
            f"{name} does not exist on the machine that runs this task; "
            "check the path, or put the file where every worker reads it (a shared folder, s3://, gs://)"
        ) from None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        # `from None`: the text of the error holds the whole name, which may be a mistaken payload.
        raise MediaError(f"{name} cannot be read ({reason}); check its name and its rights") from None


def _local_path(source: str) -> str:
    if not scheme_of(source):
        return os.path.expanduser(source)  # noqa: PTH111 - Path.expanduser raises where nobody is called so
    try:
        return local_path(source)
    except ValueError as error:
        raise MediaError(f"{public_source(source)} {error}") from None


def _read(stream: BinaryIO, max_bytes: int | None) -> bytes:
    """Ask for everything at once, so that a storage is asked once; what gives less is asked again."""
    pieces = []
    left = -1 if max_bytes is None else max_bytes + 1
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left = max(left - len(piece), 0) if left > 0 else left
    if not left:
        raise misfit(f"the file {too_large(None, max_bytes or 0)}")
    return b"".join(pieces)


def inline_base64(source: str) -> str | None:
    """
    Return the bare base64 in a source that is the media itself, or ``None`` for one that names a place.

    :raises MediaError: a ``data:`` string without base64 in it.
    """
    if source[:5].lower() == "data:":
        head, comma, body = source.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise MediaError(
                "a data: string must be of the form data:image/png;base64,...; encode it as base64"
            )
        return "".join(body.split())
    if len(source) > LONGEST_NAME and _BASE64.fullmatch(source) and not os.path.exists(source):  # noqa: PTH110 - Path.exists raises for a name that long
        return "".join(source.split())
    return None


def decode(encoded: str, max_bytes: int | None) -> bytes:
    """
    Decode bare base64.

    :raises MediaError: it is not base64, or the file in it is too large (found out before decoding).
    """
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    if max_bytes is not None and size > max_bytes:
        raise misfit(f"the file {too_large(size, max_bytes)}")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError(
            f"the text of {len(encoded)} characters is neither the name of a file nor whole base64; "
            "check where it was cut off, or give a path"
        ) from None


def fetch_url(
    url: str,
    *,
    max_bytes: int,
    address_rules: AddressRules | None = None,
    timeout_seconds: tuple[float, float] = (10, 60),
) -> bytes:
    """
    Download a file over http(s), from where clips may come from too.

    :param max_bytes: never much more than this is read.
    :param address_rules: which addresses may be asked; only public ones if left out.
    :param timeout_seconds: to connect, and between two pieces of the answer.
    :raises MediaError: the URL is wrong, leads where it must not, or holds too large a file.
    :raises ConnectionFailedError: its host cannot be reached or has trouble: trying again may help.
    """
    from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules, GuardedSession

    try:
        with (
            GuardedSession(address_rules or AddressRules("")) as http,
            http.fetch(url, {}, timeout_seconds) as answer,
        ):
            return _body(answer, max_bytes)
    except DownloadError as error:  # which would say that a clip was made
        problem: KlingError = MediaError(error.finding)
    except (OSError, ValueError) as error:
        problem = (MediaError if isinstance(error, ValueError) else ConnectionFailedError)(
            f"{public_source(url)} cannot be fetched ({type(error).__name__}); check that it opens from this machine"
        )
    # Not inside of `except`: texts and frames of such errors hold the URL with its signature.
    raise problem


def _body(answer: requests.Response, max_bytes: int) -> bytes:
    from airflow_provider_kling_avatar.kling.download.ssrf import announced_bytes

    if answer.status_code != HTTPStatus.OK:
        passing = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS or answer.status_code >= 500
        raise (ConnectionFailedError if passing else MediaError)(
            f"{public_source(answer.url)} answered HTTP {answer.status_code}; check that the link is right "
            "and not expired"
        )
    size = announced_bytes(answer) or 0
    data = bytearray()
    if size <= max_bytes:
        for chunk in answer.iter_content(_CHUNK):
            data += chunk
            if len(data) > max_bytes:
                break
    if max(size, len(data)) > max_bytes:
        raise MediaError(f"the file at {public_source(answer.url)} {too_large(size or None, max_bytes)}")
    return bytes(data)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
