"""
What is asked and how an answer is read, for both transports alike. Pure: builds calls, sends nothing.

A call knows whether it costs money, and so which of its failures may be tried again without asking first.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_kling_avatar.kling.errors import (
    Accepted,
    ConnectionFailedError,
    ConnectionLostError,
    InvalidRequestError,
    KlingError,
    NotFoundError,
    RateLimitedError,
    UnavailableError,
    UnreadableAnswerError,
)
from airflow_provider_kling_avatar.kling.redact import public_url
from airflow_provider_kling_avatar.kling.responses.error_codes import (
    KLING_HAS_NO_SUCH_THING,
    KLING_REFUSES_A_VALUE,
)
from airflow_provider_kling_avatar.kling.responses.errors import VENDOR_SAYS, Answer, asked_for, read_json
from airflow_provider_kling_avatar.kling.responses.page import Page
from airflow_provider_kling_avatar.kling.responses.tasks import (
    read_created,
    read_speech,
    read_task,
    read_task_list,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import EndpointName, Speech, VideoTask

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

    def may_repeat(self, error: BaseException) -> bool:
        """Tell whether the call can be sent again at once: never, if the vendor may have taken a paid one."""
        if not isinstance(error, TRANSIENT):
            return False
        return not self.paid or error.accepted is Accepted.NO

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
    Builds every call of one account.

    :param config: the account.
    """

    def __init__(self, config: KlingConfig) -> None:
        self.config = config
        self._dialect = config.dialect

    def _url(self, path: str) -> str:
        return self.config.base_url + path

    def submit(self, endpoint: EndpointName, body: Mapping[str, Any]) -> Call[VideoTask]:
        """Create a video task. Costs money."""
        url = self._url(self._dialect.create_path(endpoint))
        return Call("POST", url, lambda answer: read_created(answer, read_task), body=body, paid=True)

    def synthesize(self, body: Mapping[str, Any]) -> Call[Speech]:
        """Speak a text. Costs money."""
        url = self._url(self._dialect.create_path("speech"))
        return Call("POST", url, lambda answer: read_created(answer, read_speech), body=body, paid=True)

    def get_task(self, endpoint: EndpointName, task_id: str) -> Call[VideoTask]:
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
        return Call("GET", self._task_url(endpoint, task_id), lambda answer: read_task(answer, task_id))

    def _task_url(self, endpoint: EndpointName, task_id: str) -> str:
        return self._url(self._dialect.query_path(endpoint, task_id))

    def list_tasks(self, endpoint: EndpointName, page: int, page_size: int) -> Call[list[VideoTask]]:
        """
        List the account's tasks, the newest first.

        :param page: 1 to 1000.
        :param page_size: 1 to 500.
        """
        return self._page(endpoint, page, page_size, read_task_list)

    def list_page(self, endpoint: EndpointName, page: int, page_size: int) -> Call[Page]:
        """
        List the account's tasks, the newest first, as far as those need who wait for some of them.

        :param page: 1 to 1000.
        :param page_size: 1 to 500.
        """
        return self._page(endpoint, page, page_size, Page)

    def _page(
        self, endpoint: EndpointName, page: int, page_size: int, read: Callable[[Answer], T]
    ) -> Call[T]:
        for name, value, most in (("page", page, MAX_PAGE), ("page_size", page_size, MAX_PAGE_SIZE)):
            if not 1 <= value <= most:
                raise InvalidRequestError(f"{name} must be from 1 to {most}, not {value}", field=name)
        url = self._url(self._dialect.list_path(endpoint))
        return Call("GET", url, read, params={"pageNum": page, "pageSize": page_size})

    def pings(self) -> tuple[Call[bool] | None, Call[bool]]:
        """Build calls that cost nothing and need a valid key: the shortest list, and a task that cannot exist."""
        unlikely = Call(
            "GET",
            self._url(self._dialect.query_path("avatar", UNLIKELY_TASK)),
            lambda answer: _is_good(answer, UNLIKELY_TASK),
        )
        if not self._dialect.endpoints["avatar"].list_path:
            return None, unlikely
        url = self._url(self._dialect.list_path("avatar"))
        return Call("GET", url, _is_good, params={"pageNum": 1, "pageSize": 1}), unlikely


def _is_good(answer: Answer, wanted: str | None = None) -> bool:
    with asked_for(wanted, answer):
        read_json(answer)
    return True


def missing_is_certain(error: KlingError) -> bool:
    """
    Tell whether "not found" came from Kling itself, which knows a task by its id and by ours.

    A gateway's own word is about the ids it gave itself, and a bare HTTP 404 may mean that it has no such route:
    then nothing is known of a task of our name.
    """
    return isinstance(error, NotFoundError) and error.code in (KLING_REFUSES_A_VALUE, KLING_HAS_NO_SUCH_THING)


def route_is_right(error: KlingError) -> bool:
    """Tell whether "not found" came from something that keeps tasks, and not from a missing route."""
    words = error.message.rpartition(VENDOR_SAYS)[2]  # gateways without a code say it in words
    return (
        missing_is_certain(error)
        or error.code in ("task_not_exist", "task_not_found")
        or bool(re.search(r"(?i)\btask\b.{0,30}\bnot?\b.{0,10}\b(found|exists?)\b", words))
    )
