"""
What is asked and how an answer is read, for both clients alike. Pure: builds calls, sends nothing.

A call knows whether it costs money, and so which of its failures may be tried again without asking first.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from airflow_provider_kling_avatar.kling.errors import (
    Accepted,
    ConnectionFailedError,
    ConnectionLostError,
    InvalidRequestError,
    KlingError,
    RateLimitedError,
    UnavailableError,
    UnreadableAnswerError,
    bare,
)
from airflow_provider_kling_avatar.kling.models import VideoTask
from airflow_provider_kling_avatar.kling.redact import public_url
from airflow_provider_kling_avatar.kling.responses.errors import about_task, read_json
from airflow_provider_kling_avatar.kling.responses.tasks import read_created, read_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_kling_avatar.kling.auth import Credentials
    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import EndpointName
    from airflow_provider_kling_avatar.kling.responses.answer import Answer

T = TypeVar("T")

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""An answer longer than this is no status of anything: a page of 500 tasks is far below."""
MAX_PAGE = 1000
MAX_PAGE_SIZE = 500
"""https://klingai.com/document-api/api/video/avatar"""

UNLIKELY_TASK = "connection-test"
"""Nobody has a task of this id."""

TRANSIENT = (
    ConnectionFailedError,
    ConnectionLostError,
    RateLimitedError,
    UnavailableError,
    UnreadableAnswerError,
)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """
    One request and the way to read its answer.

    :param method: HTTP method.
    :param url: the whole address.
    :param read: turns a good answer into what was asked for, or raises one of our errors.
    :param params: the query.
    :param body: sent as JSON.
    :param paid: True if the vendor bills for it.
    """

    method: str
    url: str
    read: Callable[[Answer], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    paid: bool = False

    def may_repeat(self, error: KlingError) -> bool:
        """Tell whether the call can be sent again at once: never, if the vendor may have taken a paid one."""
        return isinstance(error, TRANSIENT) and (not self.paid or error.accepted is Accepted.NO)

    def read_as(self, credentials: Credentials, answer: Answer) -> T:
        """
        Read an answer, the key taken out of it first: vendors repeat it, in errors and in reasons.

        :param credentials: who has asked.
        :raises KlingError: what `read` raises, without the frames, which hold payloads and links of the answer.
        """
        clean = answer.without(credentials)
        try:
            if clean is answer:
                return self.read(answer)
            return _with_addresses(self.read(clean), self.read(answer))
        except KlingError as error:
            problem = bare(error)
        raise problem

    # ------------------------------------------------------- what may go wrong on the way

    def failed_before_sending(self, error: BaseException) -> ConnectionFailedError:
        """Build the error for a connection that was never made."""
        return ConnectionFailedError(
            f"no connection to {public_url(self.url)} ({_kind(error)}): {_remedy(error)}"
        )

    def refused_by_proxy(self, status: int) -> ConnectionFailedError:
        """Build the error for a proxy that answers in the vendor's place and passes nothing on."""
        return ConnectionFailedError(
            f"no connection to {public_url(self.url)}: {_refused_by_proxy(status)}", http_status=status
        )

    def failed_after_sending(self, error: BaseException) -> ConnectionLostError:
        """Build the error for a connection that broke, or stayed silent, after the request had left."""
        return ConnectionLostError(
            f"the connection to {public_url(self.url)} broke before the answer ({_kind(error)})"
        )

    def too_long(self) -> UnreadableAnswerError:
        """Build the error for an answer without end."""
        return UnreadableAnswerError(f"{public_url(self.url)} answered more than {MAX_ANSWER_BYTES} bytes")


def _with_addresses(shown: T, whole: T) -> T:
    """Return what was read without the key, with the addresses of results as the vendor wrote them."""
    if isinstance(shown, VideoTask) and isinstance(whole, VideoTask):
        return msgspec.structs.replace(shown, videos=whole.videos)
    if isinstance(shown, list) and isinstance(whole, list):
        return [_with_addresses(*pair) for pair in zip(shown, whole, strict=True)]  # type: ignore[return-value]
    return whole


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it came from, the root last. What was being handled before is no cause of it."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KlingError) and cause not in causes:
        causes.append(cause)
        inside = next((part for part in cause.args if isinstance(part, BaseException)), None)
        cause = cause.__cause__ or cause.__context__ or inside
    return causes


def _kind(error: BaseException) -> str:
    """Name an error and its root by their types: their texts hold addresses with keys in them."""
    causes = _causes(error)
    return " from ".join(dict.fromkeys(type(cause).__name__ for cause in (causes[0], causes[-1])))


def _remedy(error: BaseException) -> str:
    """Say what to do about a connection that was not made: advice, and nothing is decided by it."""
    causes = _causes(error)
    texts = " ".join(str(cause) for cause in causes)
    if refused := re.search(r"Tunnel connection failed: (\d{3})\b", texts):
        return _refused_by_proxy(int(refused[1]))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_message"):
            return (
                f"its certificate, or the proxy's, is not trusted ({cause.verify_message}): if it is the right one, "
                "let REQUESTS_CA_BUNDLE (on workers) and SSL_CERT_FILE (on triggerers) name a file that holds the "
                "authority which signed it"
            )
    if "TLS CA certificate bundle" in texts:
        return "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names a file that is not there: correct or remove it"
    if any("Proxy" in type(cause).__name__ for cause in causes):
        return "check the proxy that HTTPS_PROXY or HTTP_PROXY names; hosts in NO_PROXY are asked without it"
    return "check the connection's host, the network, and the proxy if there is one"


def _refused_by_proxy(status: int) -> str:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return (
            f"the proxy answered HTTP {status}: it wants a login, so put that into its address "
            "(http://user:password@host:port in HTTPS_PROXY or HTTP_PROXY)"
        )
    return (
        f"the proxy answered HTTP {status} and opens no tunnel: ask its owner to allow this host, or put the host into "
        "NO_PROXY"
    )


class Calls:
    """
    Builds every call of one account. What the parameters mean is told by the clients' methods.

    :param config: the account.
    """

    def __init__(self, config: KlingConfig) -> None:
        self.base_url = config.base_url
        self.dialect = config.dialect

    def create(self, endpoint: EndpointName, body: Mapping[str, Any], read: Callable[[Answer], T]) -> Call[T]:
        """Make something. Costs money."""
        url = self.base_url + self.dialect.create_path(endpoint)
        return Call("POST", url, lambda answer: read_created(answer, read), body=body, paid=True)

    def task(self, endpoint: EndpointName, task_id: str) -> Call[VideoTask]:
        """
        Ask for one task.

        :raises InvalidRequestError: the id is empty.
        """
        if not isinstance(task_id, str) or not task_id.strip() or task_id.strip().lower() == "none":
            raise InvalidRequestError(
                "the id of the Kling task is empty: if it comes from an upstream task, that task returned nothing",
                field="task_id",
            )
        if not task_id.strip("."):
            raise InvalidRequestError(f"{task_id!r} cannot be the id of a task", field="task_id")
        url = self.base_url + self.dialect.query_path(endpoint, task_id)
        return Call("GET", url, lambda answer: read_task(answer, task_id))

    def page(self, endpoint: EndpointName, page: int, page_size: int, read: Callable[[Answer], T]) -> Call[T]:
        """List the account's tasks, the newest first."""
        for name, value, most in (("page", page, MAX_PAGE), ("page_size", page_size, MAX_PAGE_SIZE)):
            if not 1 <= value <= most:
                raise InvalidRequestError(f"{name} must be from 1 to {most}, not {value}", field=name)
        url = self.base_url + self.dialect.list_path(endpoint)
        return Call("GET", url, read, params={"pageNum": page, "pageSize": page_size})

    def pings(self) -> Iterator[Call[object]]:
        """Build calls that cost nothing and need a valid key: the shortest list, and a task that cannot exist."""
        if self.dialect.endpoints["avatar"].list_path:
            yield self.page("avatar", 1, 1, read_json)

        def read(answer: Answer) -> object:
            try:
                return read_json(answer)
            except KlingError as error:
                raise about_task(UNLIKELY_TASK, error, answer) from None

        yield Call("GET", self.base_url + self.dialect.query_path("avatar", UNLIKELY_TASK), read)
