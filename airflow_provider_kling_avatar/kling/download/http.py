"""
Brings a finished clip over http(s): streamed, resumed after a cut, hashed on the way, its link renewed when it expires.

It knows HTTP. What the bytes are is for `mp4`, where they go is for the caller; which addresses may be asked is
`ssrf`'s to say. No message holds more of a link than host and path: the rest is a signature.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import urllib3

from airflow_provider_kling_avatar.kling.download import MAX_BYTES
from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules, GuardedSession, announced_bytes
from airflow_provider_kling_avatar.kling.errors import (
    DamagedVideoError,
    DownloadError,
    VideoTooLargeError,
    bare,
)
from airflow_provider_kling_avatar.kling.redact import public_source, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from tenacity import RetryCallState

MAX_SECONDS: Final = 3600.0
"""Of one download, all its attempts together. A server that drips would hold the worker for ever."""

ATTEMPTS: Final = 8
"""How often a download goes on after a cut, or is asked for again."""

REFRESHES: Final = 2
"""How often the vendor is asked for a new link. One that is refused fresh will not work the third time either."""

CHUNK: Final = 1 << 20
"""Bytes read at once. Larger is no faster; a hundred of these would be the memory we may use."""

_EXPIRED: Final = frozenset({400, 401, 403, 404, 410})
"""What storages answer to a link whose time is over (S3 has 400 for an expired token), or whose signature is wrong."""

_PASSING: Final = frozenset({408, 425, 429})

_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")

_NO_FILM: Final = ("text/html", "application/json", "text/plain", "application/xml", "text/xml")


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    What was brought.

    :param size: bytes.
    :param sha256: of them, in hexadecimal digits.
    """

    size: int
    sha256: str


class _TryAgainError(Exception):
    """A download was interrupted and may go on."""


class _ExpiredError(_TryAgainError):
    """The link was refused: the vendor may give a new one."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class Clip:
    """
    One clip at its vendor's.

    :param url: where it can be fetched for now.
    :param refresh: asks the vendor for a new link; called when the old one is refused.
    :param address_rules: which addresses may be asked.
    :param connect_timeout: seconds.
    :param read_timeout: seconds to wait for the next bytes.
    :param max_seconds: seconds for a whole download.
    :param sleep: pauses between attempts, for so many seconds.
    :param clock: tells seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        refresh: Callable[[], str],
        address_rules: AddressRules,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        max_seconds: float = MAX_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._refresh = refresh
        self._refreshes = 0
        self._address_rules = address_rules
        self._timeouts = (connect_timeout, read_timeout)
        self._max_seconds = max_seconds
        self._sleep = sleep
        self._clock = clock

    def fetch(
        self,
        file: BinaryIO,
        max_bytes: int = MAX_BYTES,
        check_announced: Callable[[int], None] = lambda _: None,
    ) -> Fetched:
        """
        Write the clip into a file, from its beginning.

        :param file: open for writing, unbuffered, empty.
        :param max_bytes: the most that it may be.
        :param check_announced: called with the bytes that the vendor's server announces, before the first of them is
            read; what it raises ends the download.
        :raises DownloadError: it cannot be had, now or at all; its children say more.
        :raises OSError: the file cannot be written to.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

        transfer = _Transfer(file, max_bytes, check_announced)
        deadline = self._clock() + self._max_seconds
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential_jitter(initial=1, max=30),
            retry=retry_if_exception_type(_TryAgainError),
            before_sleep=self._prepare_next,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            with GuardedSession(self._address_rules) as session:
                retrying(self._go_on, session, transfer, deadline)
        except _TryAgainError as error:
            status = error.status if isinstance(error, _ExpiredError) else None
            raise DownloadError(f"the clip cannot be fetched: {error}", http_status=status) from None
        return Fetched(transfer.size, transfer.hash.hexdigest())

    def _prepare_next(self, state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        if not isinstance(error, _ExpiredError):
            return
        if self._refreshes >= REFRESHES:
            raise DownloadError(
                f"the clip cannot be fetched: {error}, and so did {self._refreshes} new links that the vendor gave: "
                "look for it in the vendor's console; results are kept for 30 days at most",
                http_status=error.status,
            )
        self._refreshes += 1
        self._url = self._refresh()

    def _go_on(self, session: GuardedSession, transfer: _Transfer, deadline: float) -> None:
        """Fetch what is still missing."""
        with self._ask(session, transfer.range_headers()) as answer:
            transfer.begin(answer)
            while chunk := self._read(answer, deadline):
                transfer.write(chunk)
            transfer.check_end(public_source(self._url))

    def _read(self, answer: requests.Response, deadline: float) -> bytes:
        """Return the next bytes as they come, so that a dripping server is noticed between them."""
        if self._clock() > deadline:
            raise DownloadError(
                f"the clip did not come within {self._max_seconds:.0f} s: its server is too slow"
            )
        try:
            data: bytes = answer.raw.read1(CHUNK, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._interrupted(error) from None
        return data

    def _ask(self, session: GuardedSession, headers: dict[str, str]) -> requests.Response:
        """Return the answer to a GET, without its body."""
        try:
            answer = session.fetch(self._url, headers, self._timeouts)
        except DownloadError as error:
            problem: Exception = bare(error)
        except (OSError, ValueError) as error:
            problem = self._interrupted(error)
        else:
            _check_status(answer, public_source(answer.url))
            return answer
        # Not inside of `except`: the frames of such errors hold the link with its signature.
        raise problem

    def _interrupted(self, error: Exception) -> _TryAgainError:
        # Only its kind: the text of such an error holds the link with its signature.
        return _TryAgainError(
            f"{public_source(self._url)} was cut off or not reached ({type(error).__name__})"
        )


def _check_status(answer: requests.Response, where: str) -> None:
    """Raise unless an answer may hold the clip; and close it then."""
    status = answer.status_code
    if status in (200, 206, 416):
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if status != 416 and kind in _NO_FILM:
            answer.close()
            raise DamagedVideoError(f"{where} answered with {redact(kind)} instead of a video")
        return
    answer.close()
    if status in _EXPIRED:
        raise _ExpiredError(f"{where} answered HTTP {status}", status)
    if status in _PASSING or status >= 500:
        raise _TryAgainError(f"{where} answered HTTP {status}")
    raise DownloadError(f"{where} answered HTTP {status}", http_status=status)


class _Transfer:
    """A clip on its way into a file: how much is there, what the whole should be, and its hash."""

    def __init__(self, file: BinaryIO, max_bytes: int, check_announced: Callable[[int], None]) -> None:
        self.size = 0
        self.hash = hashlib.sha256()
        self._file = file
        self._max_bytes = max_bytes
        self._check_announced = check_announced
        self._total: int | None = None
        self._validator: str | None = None

    def range_headers(self) -> dict[str, str]:
        """Return the headers that ask for what is missing; none if only a whole new beginning is safe."""
        if not self.size or self._validator is None:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._validator}

    def begin(self, answer: requests.Response) -> None:
        """Take the head of an answer: go on where the last one ended, or start over."""
        if answer.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise DamagedVideoError("the clip came compressed, although it was asked for as it is")
        part = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status_code == 206 and self.size and part is not None and int(part[1]) == self.size:
            total = None if part[3] == "*" else int(part[3])
            if self._total is not None and total not in (None, self._total):
                self._start_over()
                raise _TryAgainError("the clip has changed at the vendor while it was fetched")
            return
        if answer.status_code != 200:
            self._start_over()
            raise _TryAgainError(
                f"the vendor's server cannot continue a download (HTTP {answer.status_code})"
            )
        self._start_over()
        self._total = announced_bytes(answer)
        self._validator = _validator(answer)
        if self._total:  # of an empty answer `check_film` says what is wrong with it
            self._check_size(self._total)
            self._check_announced(self._total)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._check_size(self.size + len(chunk))
        self.hash.update(chunk)
        left = memoryview(chunk)
        while left:
            left = left[self._file.write(left) :]
        self.size += len(chunk)

    def check_end(self, where: str) -> None:
        """Raise unless all has come."""
        if self._total is not None and self.size != self._total:
            if self.size > self._total:
                size, total = self.size, self._total
                self._start_over()
                raise DamagedVideoError(f"{where} gave {size} bytes, although it announced {total}")
            raise _TryAgainError(f"{where} ended after {self.size} of {self._total} bytes")

    def _start_over(self) -> None:
        if self.size:
            self._file.seek(0)
            self._file.truncate()
        self.size, self._total, self._validator = 0, None, None
        self.hash = hashlib.sha256()

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise VideoTooLargeError(
                f"the clip has {size} bytes or more, {self._max_bytes} are allowed: raise max_bytes if it is right"
            )


def _validator(answer: requests.Response) -> str | None:
    """Return what tells this very content from another one, for If-Range, which takes no weak ETag."""
    etag = answer.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("last-modified")
