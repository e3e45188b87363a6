"""
Sends calls: `KlingClient` with requests for workers, `AsyncKlingClient` with aiohttp for triggers.

Same calls, same reading of answers (`kling.calls`); only the sending differs. Neither ever follows a redirect or
repeats a paid call that the vendor may have taken. Both libraries are imported on first use.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import random
import re
import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from airflow_provider_kling_avatar import __version__
from airflow_provider_kling_avatar.kling.calls import MAX_ANSWER_BYTES, MAX_PAGE_SIZE, Call, Calls
from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    KlingError,
    NotFoundError,
    RefusedError,
    TokenTimeError,
    UnreadableAnswerError,
    UnsupportedError,
    WrongRouteError,
    bare,
)
from airflow_provider_kling_avatar.kling.responses.answer import Answer
from airflow_provider_kling_avatar.kling.responses.errors import missing_is_certain, route_is_right
from airflow_provider_kling_avatar.kling.responses.page import Page
from airflow_provider_kling_avatar.kling.responses.tasks import read_speech, read_task, read_task_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import aiohttp
    import requests

    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import EndpointName, Speech, VideoTask
    from airflow_provider_kling_avatar.kling.transport import Session

log = logging.getLogger(__name__)

T = TypeVar("T")

USER_AGENT = f"airflow-provider-kling-avatar/{__version__}"
LONGEST_PAUSE_SECONDS = 30.0
"""A worker does not sit out a longer `Retry-After`; it fails the try, and Airflow's retry_delay takes over."""
LONGEST_OWN_PAUSE_SECONDS = 10.0
"""Where the vendor says nothing; they begin with one second at most."""
_ODD_IN_A_PATH = re.compile(r"[/\\%]|^\.+$")
"""Many servers unpack these before they route: "not found" would then be said of another name."""
LONGEST_ASYNC_CALL_SECONDS = 30.0
"""In the triggerer, where thousands may wait for an answer or for their turn, none may take longer."""
DOUBTFUL = (NotFoundError, InvalidRequestError, RefusedError)
"""What a query may be answered with where the vendor has no such task; only some of it is certain."""
PAGES_SEARCHED = 10
"""How many pages of 500 tasks are searched for a name: the newest 5,000 tasks of the account."""


class KlingClient:
    """
    The worker's client: blocking, patient with what passes, careful with what costs.

    :param config: the account.
    :param attempts: how often a call that may be repeated is sent in all.
    :param sleep: how to wait between attempts; replaced in tests.
    """

    def __init__(
        self, config: KlingConfig, *, attempts: int = 3, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.config = config
        self._calls = Calls(config)
        self._attempts = attempts
        self._sleep = sleep
        self._session: Session | None = None

    # --------------------------------------------------------------- methods

    def submit(self, endpoint: EndpointName, body: Mapping[str, Any]) -> VideoTask:
        """
        Create a video task: the one call that costs real money.

        :param endpoint: ``avatar`` or ``image_to_video``.
        :param body: checked and complete, see `submission.request.prepare`.
        :raises KlingError: `error.accepted` tells whether the vendor may have taken it.
        """
        call = self._calls.create(endpoint, body, read_task)
        del body  # a frame that an error carries shows its locals
        return self._call(call)

    def synthesize(self, body: Mapping[str, Any]) -> Speech:
        """
        Speak a text. Costs a little.

        :param body: see `submission.request.speech_body`.
        :raises KlingError: `error.accepted` tells whether the vendor may have taken it.
        """
        call = self._calls.create("speech", body, read_speech)
        del body
        return self._call(call)

    def get_task(
        self, task_id: str, endpoint: EndpointName = "avatar", *, attempts: int | None = None
    ) -> VideoTask:
        """
        Ask for one task.

        :param task_id: the vendor's id, or your ``external_task_id`` where the API can be asked by it.
        :param endpoint: ``avatar`` or ``image_to_video``.
        :param attempts: how often in all, if trouble comes; ``None`` for the client's own number.
        :raises NotFoundError: the vendor does not have it.
        :raises KlingError: anything else that went wrong.
        """
        return self._call(self._calls.task(endpoint, task_id), attempts)

    def list_tasks(
        self,
        endpoint: EndpointName = "avatar",
        *,
        page: int = 1,
        page_size: int = 30,
        attempts: int | None = None,
    ) -> list[VideoTask]:
        """
        List the account's tasks, the newest first.

        :param endpoint: ``avatar`` or ``image_to_video``.
        :param page: 1 to 1000.
        :param page_size: 1 to 500.
        :param attempts: see `get_task`.
        :raises UnsupportedError: this API cannot list; the message names those that can.
        """
        return self._call(self._calls.page(endpoint, page, page_size, read_task_list), attempts)

    def may_ask_by_name(self, external_task_id: str) -> bool:
        """Tell whether the API can be asked by our name for a task, and this one survives in a path."""
        return self.config.dialect.external_id_query and not _ODD_IN_A_PATH.search(external_task_id)

    def find_task(self, external_task_id: str, endpoint: EndpointName = "avatar") -> VideoTask | None:
        """
        Look a task up by our own name for it; ``None`` only if the vendor certainly does not have it.

        :raises KlingError: it could not be found out. Never take this for "not there".
        """
        doubtful: KlingError | None = None
        if self.may_ask_by_name(external_task_id):
            try:
                return self.get_task(external_task_id, endpoint)
            except DOUBTFUL as error:
                if missing_is_certain(error):
                    return None
                doubtful = error
        is_proof = doubtful is None or self.config.dialect.unique_external_id
        try:
            return self._find_in_list(external_task_id, endpoint, empty_is_proof=is_proof)
        except UnsupportedError as error:
            raise doubtful or error from None

    def find_task_by_id(self, task_id: str, endpoint: EndpointName = "avatar") -> VideoTask | None:
        """
        Look a task up by the vendor's id; ``None`` only if the vendor certainly does not have it.

        :raises KlingError: it could not be found out: the answer says nothing, and no list shows the task.
        """
        try:
            return self.get_task(task_id, endpoint)
        except DOUBTFUL as error:
            if missing_is_certain(error):
                return None
            listed = self.find_listed(task_id, endpoint)
            if listed is None:
                raise
            return listed

    def find_listed(self, task_id: str, endpoint: EndpointName = "avatar") -> VideoTask | None:
        """Look for a task in the list. That may lag, be short, or not be there: it can only say "here it is"."""
        with suppress(KlingError):
            return next((task for task in self._listed(endpoint) if task.task_id == task_id), None)
        return None

    def _find_in_list(
        self, external_task_id: str, endpoint: EndpointName, *, empty_is_proof: bool
    ) -> VideoTask | None:
        """
        Search the list of tasks for our name.

        :param empty_is_proof: a list without any task says that this one is not there. Not where that was in doubt and
            sending a name again may pay again: a gateway may answer so for a list that it does not have.
        :raises UnsupportedError: there is no list, or it does not tell: it shows no names, or is longer than it is
            searched.
        :raises UnreadableAnswerError: it does not tell yet.
        """
        others: list[VideoTask] = []
        for task in self._listed(endpoint):
            if task.external_task_id == external_task_id:
                return task
            others.append(task)
        if any(not task.external_task_id and not task.state.is_final for task in others):
            # Some answers leave the name out until the task has ended.
            raise UnreadableAnswerError(
                "the list of tasks shows an unfinished one without its name, which may be the one looked for: "
                "try again when it has ended"
            )
        if others and not any(task.external_task_id for task in others):
            raise UnsupportedError("the list of tasks shows no names")
        if not others and not empty_is_proof:
            raise UnsupportedError("the list of tasks is empty, which may mean that there is no list")
        return None

    def _listed(self, endpoint: EndpointName) -> Iterator[VideoTask]:
        """
        Go through the list of tasks, the newest first.

        :raises UnsupportedError: there is no list, it is longer than it is searched, or it may have pages that it does
            not show.
        """
        seen: set[str] = set()
        for page in range(1, PAGES_SEARCHED + 1):
            tasks = self.list_tasks(endpoint, page=page, page_size=MAX_PAGE_SIZE)
            yield from tasks
            # A short page need not be the last: gateways have limits of their own, and rows that cannot be read.
            if not tasks:
                return
            if seen.issuperset(task.task_id for task in tasks):
                raise UnsupportedError(
                    f"the list of tasks shows the same {len(tasks)} on each page, so it may hide others"
                )
            seen.update(task.task_id for task in tasks)
        raise UnsupportedError(f"the newest {len(seen)} tasks of the list do not show it, and there are more")

    def ping(self) -> None:
        """
        Check host, route and key with a call that costs nothing.

        :raises KlingError: says which of them is wrong.
        """
        problem: KlingError | None = None
        for call in self._calls.pings():  # perhaps only the list is missing: then the other way is asked
            try:
                self._call(call)
            except (InvalidRequestError, RefusedError, WrongRouteError, NotFoundError) as error:
                if route_is_right(error):  # that we are told so is the proof
                    return
                problem = problem or error
            else:
                return
        if problem:
            raise problem

    def region_of_key(self) -> str | None:
        """Return another host of the same vendor that takes this key, if ours is one of the vendor's hosts."""
        regions = self.config.dialect.regions
        if self.config.base_url not in regions:
            # Never hand a key to a host that its owner did not name, unless both are the vendor's.
            return None
        for host in regions:
            if host != self.config.base_url:
                with (
                    KlingClient(replace(self.config, base_url=host), attempts=1) as other,
                    suppress(KlingError),
                ):
                    other.ping()
                    return host
        return None

    def find_problem(self) -> KlingError | None:
        """Return what is wrong with the connection, if anything is, by calls that cost nothing."""
        try:
            self.ping()
        except AuthenticationError as error:
            host = self.region_of_key()
            if host:
                return ConfigurationError(
                    f"wrong region: the key is good on {host}; put that into the connection's host"
                )
            return bare(error).about("wrong key")
        except KlingError as error:
            return bare(error)
        return None

    def test_connection(self) -> tuple[bool, str]:
        """Test the connection for a person, with calls that cost nothing: (works, what is wrong and what to do)."""
        if problem := self.find_problem():
            return False, str(problem)
        return True, f"{self.config.dialect.title} at {self.config.base_url} takes this key"

    # --------------------------------------------------------------- sending

    def _call(self, call: Call[T], attempts: int | None = None) -> T:
        """Send a call, and again after a pause where that may help and cannot pay twice."""
        attempt = 1
        while True:
            try:
                return self._once(call)
            except KlingError as error:
                pause = error.retry_after
                if pause is None:
                    pause = random.uniform(0, min(2.0 ** (attempt - 1), LONGEST_OWN_PAUSE_SECONDS))  # noqa: S311
                is_last = attempt >= (attempts or self._attempts)
                if is_last or not call.may_repeat(error) or pause > LONGEST_PAUSE_SECONDS:
                    raise
                log.warning("%s; trying again in %.1f s", error, pause)
            self._sleep(pause)
            attempt += 1

    def _once(self, call: Call[T]) -> T:
        answer = self._send(call)
        try:
            return call.read_as(self.config.credentials, answer)
        except TokenTimeError:
            # The vendor's clock comes with its answer: sign once more by it. The first call was refused.
            if not self.config.credentials.learn_clock(answer.headers.get("date")):
                raise
        return call.read_as(self.config.credentials, self._send(call))

    def _send(self, call: Call[Any]) -> Answer:
        result = self._exchange(call)
        if isinstance(result, BaseException):
            raise result
        return result

    def _exchange(self, call: Call[Any]) -> Answer | BaseException:
        """Return the answer, or what went wrong: raised here, it would carry frames that hold key and payload."""
        from airflow_provider_kling_avatar.kling.transport import FAILURES

        session = self._open_session()
        session.progress.restart()
        try:
            return self._request(session, call)
        except FAILURES as error:
            begun = session.progress.begun
            return call.failed_after_sending(error) if begun else call.failed_before_sending(error)
        except BaseException as error:  # noqa: BLE001 - given back, and raised by who called
            return bare(error)

    def _request(self, session: Session, call: Call[Any]) -> Answer:
        headers, data = _written(call.body)
        if call.paid:
            # Its connections, not itself: a kept one that the vendor is just closing would leave it unknown who was
            # paid.
            session.close()
        with session.request(
            call.method,
            call.url,
            params=dict(call.params),
            headers=headers,
            data=data,
            timeout=(self.config.connect_timeout, self.config.read_timeout),
            allow_redirects=False,
            stream=True,
        ) as response:
            wants_login = response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
            if wants_login and session.progress.forwarded:
                raise call.refused_by_proxy(response.status_code)
            body = bytearray()
            for chunk in response.iter_content(65536):
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise call.too_long()
            return _answer(response.status_code, bytes(body), response.headers, call.url)

    def _open_session(self) -> Session:
        if self._session is None:
            from airflow_provider_kling_avatar.kling.transport import Session

            self._session = Session(self._sign)
            self._session.headers["User-Agent"] = USER_AGENT
        return self._session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.config.credentials.header()
        return request

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncKlingClient:
    """
    The triggerer's client: only asks, never pays, never blocks the loop, and tries each call once.

    Use as ``async with AsyncKlingClient(config) as client``. Its parameters and errors are those of `KlingClient`.

    :param config: the account.
    """

    def __init__(self, config: KlingConfig) -> None:
        self.config = config
        self._calls = Calls(config)
        self._session: aiohttp.ClientSession | None = None
        self._proxy: str | None = None

    async def get_task(self, task_id: str, endpoint: EndpointName = "avatar") -> VideoTask:
        """Ask for one task; see `KlingClient.get_task`."""
        return await self._once(self._calls.task(endpoint, task_id))

    async def list_tasks(
        self, endpoint: EndpointName = "avatar", *, page: int = 1, page_size: int = 30
    ) -> list[VideoTask]:
        """List the account's tasks, the newest first; see `KlingClient.list_tasks`."""
        return await self._once(self._calls.page(endpoint, page, page_size, read_task_list))

    async def list_page(self, endpoint: EndpointName, *, page: int, page_size: int) -> Page:
        """List as `list_tasks` does, as far as those need who wait for some of the tasks."""
        return await self._once(self._calls.page(endpoint, page, page_size, Page))

    async def _once(self, call: Call[T]) -> T:
        answer = await self._send(call)
        try:
            return call.read_as(self.config.credentials, answer)
        except TokenTimeError:
            if not self.config.credentials.learn_clock(answer.headers.get("date")):
                raise
        return call.read_as(self.config.credentials, await self._send(call))

    async def _send(self, call: Call[Any]) -> Answer:
        if self._session is None:
            raise RuntimeError("use AsyncKlingClient as an async context manager")
        result = await self._exchange(self._session, call)
        if isinstance(result, BaseException):
            raise result
        return result

    async def _exchange(self, session: aiohttp.ClientSession, call: Call[Any]) -> Answer | BaseException:
        """As the worker's, but by what aiohttp raises: nothing is paid here, and its errors tell it well enough."""
        import aiohttp

        try:
            return await self._request(session, call)
        except aiohttp.ClientHttpProxyError as error:
            return call.refused_by_proxy(error.status)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return call.failed_before_sending(error)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return call.failed_after_sending(error)
        except BaseException as error:  # noqa: BLE001 - given back, and raised by who called
            return bare(error)

    async def _request(self, session: aiohttp.ClientSession, call: Call[Any]) -> Answer:
        async with session.request(
            call.method,
            call.url,
            params=dict(call.params),
            headers={"Authorization": self.config.credentials.header()},
            proxy=self._proxy,
            allow_redirects=False,
        ) as response:
            wants_login = response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
            if wants_login and self._proxy is not None and call.url.startswith("http://"):
                raise call.refused_by_proxy(response.status)
            chunks, length = [], 0
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                length += len(chunk)
                if length > MAX_ANSWER_BYTES:
                    raise call.too_long()
            return _answer(response.status, b"".join(chunks), response.headers, call.url)

    async def __aenter__(self) -> Self:
        # Importing aiohttp builds a TLS context, which takes long enough to be seen on the triggerer's loop.
        await asyncio.to_thread(_load, "aiohttp", "jwt")
        import aiohttp

        self._proxy = await asyncio.to_thread(_proxy_of, self.config.base_url)
        # Without `trust_env`: besides the proxy it would read .netrc, on the loop, and refuse or replace our key.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=min(self.config.read_timeout, LONGEST_ASYNC_CALL_SECONDS),
                sock_connect=self.config.connect_timeout,
            ),
            headers={"User-Agent": USER_AGENT},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for a host, as `requests` takes it by itself."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _load(*modules: str) -> None:
    for module in modules:
        importlib.import_module(module)


def _written(body: Mapping[str, Any] | None) -> tuple[dict[str, str], bytes | None]:
    """Return what goes on the wire for a body, and the headers that say so."""
    if body is None:
        return {}, None
    try:
        return {"Content-Type": "application/json"}, json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"the request holds something that JSON cannot: {error}") from None


def _answer(status: int, body: bytes, headers: Mapping[str, str], url: str) -> Answer:
    return Answer(status, body, {name.lower(): value for name, value in headers.items()}, url)
