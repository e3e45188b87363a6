"""The vendors' HTTP surface: one create, and for films one list and one query route, per dialect.

It knows how to read a request and which of the desk's verbs it means. It must not know what a body may
contain or how answers are worded.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from airflow_provider_kling_avatar.simulator.desk import Desk, Order
from airflow_provider_kling_avatar.simulator.dialects import DIALECTS, Dialect
from airflow_provider_kling_avatar.simulator.envelopes import Answer
from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.simulator.accounts import Accounts
    from airflow_provider_kling_avatar.simulator.envelopes import Action, KlingEnvelope
    from airflow_provider_kling_avatar.simulator.faults import Fault

Handler = Callable[[Request], Awaitable[JSONResponse]]

_PAGE_NUMBERS = range(1, 1001)
_LONGEST_NUMBER = 6
_PAGE_SIZES = range(1, 501)
_GATEWAY_TROUBLE = 5000


@dataclass(frozen=True)
class Counter:
    """One endpoint of one dialect, as a set of request handlers."""

    dialect: Dialect
    endpoint: str
    accounts: Accounts
    desk: Desk
    public_url: str | None
    booked: Callable[[], None]
    """Called after each accepted task; callbacks may be due."""

    def create(self, request: Request, body: bytes) -> Answer:
        """Accept a task."""
        fault = fault_of(request)
        if fault is not None and not fault.takes_effect:
            raise_if_refusing(fault)
        account = self._account(request)
        order = Order(self.dialect, self.endpoint, account, _object(body), self._base_url(request), fault)
        view = self.desk.accept(order)
        self.booked()
        raise_if_refusing(fault)
        answer = self._envelope.spoken if self.endpoint == "speech" else self._envelope.created
        return _recoded(fault, answer(view))

    def query(self, request: Request, wanted: str) -> Answer:
        """Tell about one task."""
        account, with_url = self._account(request), self._show_url(request)
        fault = fault_of(request)
        if fault is not None and fault.kind == "not_found":
            raise self.desk.no_such_task(wanted)
        row = self.desk.find(self.dialect, self.endpoint, account, wanted)
        view = self.desk.look_at(row, self._base_url(request), with_url=with_url)
        return _recoded(fault, self._envelope.one(view))

    def page(self, request: Request) -> Answer:
        """List tasks."""
        account, with_url = self._account(request), self._show_url(request)
        number = _whole(request, "pageNum", 1, _PAGE_NUMBERS)
        size = _whole(request, "pageSize", 30, _PAGE_SIZES)
        lag = self.desk.lists.view.lag_seconds
        rows = self.desk.page(self.dialect, self.endpoint, account, number, size)
        look = partial(
            self.desk.look_at, base_url=self._base_url(request), with_url=with_url, lag_seconds=lag
        )
        return _recoded(fault_of(request), self._envelope.many([look(row) for row in rows]))

    def answer(self, action: Action, work: Callable[[], Answer]) -> JSONResponse:
        """Carry out `work` and word whatever comes of it."""
        try:
            given = work()
        except (Refusal, UnicodeEncodeError) as error:
            # JSON can spell half a character, which nothing can store.
            refusal = (
                error if isinstance(error, Refusal) else Refusal(1200, "The request is not valid Unicode")
            )
            given = self._envelope.refused(refusal, "speech" if self.endpoint == "speech" else action)
        return JSONResponse(given.body, given.status, given.headers)

    @property
    def _envelope(self) -> KlingEnvelope:
        other = self.dialect.speech_envelope
        return other if other is not None and self.endpoint == "speech" else self.dialect.envelope

    def _account(self, request: Request) -> str:
        signed = self.dialect.signed_tokens
        name = self.accounts.of(request.headers.get("authorization"), signed_tokens=signed).name
        note_account(request, name)
        return name

    def _base_url(self, request: Request) -> str:
        return self.public_url or str(request.base_url).rstrip("/")

    def _show_url(self, request: Request) -> bool:
        fault = fault_of(request)
        raise_if_refusing(fault)
        return fault is None or fault.kind != "no_url"


def vendor_routes(
    accounts: Accounts, desk: Desk, public_url: str | None, booked: Callable[[], None]
) -> APIRouter:
    """Make the routes of every dialect."""
    router = APIRouter(redirect_slashes=False)
    for dialect in DIALECTS:
        for endpoint, path in dialect.paths.items():
            counter = Counter(dialect, endpoint, accounts, desk, public_url, booked)
            router.add_api_route(path, _creator(counter), methods=["POST"], response_model=None)
            if endpoint == "speech":
                continue  # done when it is answered: no page has a query for it
            if dialect.lists:
                router.add_api_route(path, _lister(counter), methods=["GET"], response_model=None)
            router.add_api_route(f"{path}/{{wanted}}", _finder(counter), methods=["GET"], response_model=None)
    return router


def fault_of(request: Request) -> Fault | None:
    """Answer the fault that hit this request, if its carrying out is left to us."""
    fault: Fault | None = getattr(request.state, "fault", None)
    return fault


def raise_if_refusing(fault: Fault | None) -> None:
    """Refuse, if the fault is one of the vendor's own error codes, or a gateway's word."""
    if fault is None or fault.kind != "error_code":
        return
    code, slug = (fault.code, "") if isinstance(fault.code, int) else (_GATEWAY_TROUBLE, str(fault.code))
    message = fault.message or slug or None
    raise Refusal(code, message, status=fault.status, slug=slug, retry_after=fault.retry_after)


def note_account(request: Request, name: str) -> None:
    """Write into the request log who it was."""
    record = getattr(request.state, "record", None)
    if record is not None:
        record.account = name


def _creator(counter: Counter) -> Handler:
    async def create(request: Request) -> JSONResponse:
        body = await request.body()
        return await run_in_threadpool(counter.answer, "create", lambda: counter.create(request, body))

    return create


def _finder(counter: Counter) -> Handler:
    async def find(request: Request) -> JSONResponse:
        wanted = request.path_params["wanted"]
        return await run_in_threadpool(counter.answer, "query", lambda: counter.query(request, wanted))

    return find


def _lister(counter: Counter) -> Handler:
    async def page(request: Request) -> JSONResponse:
        return await run_in_threadpool(counter.answer, "query", lambda: counter.page(request))

    return page


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refusal(1200, "The request body is not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(1200, "The request body is not a JSON object")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _recoded(fault: Fault | None, answer: Answer) -> Answer:
    """Put the fault's success code on a good answer."""
    if fault is None or fault.kind != "success_code":
        return answer
    body = answer.body if "data" in answer.body else {"data": answer.body}
    return Answer(fault.status or answer.status, body | {"code": fault.code})


def _whole(request: Request, name: str, default: int, allowed: range) -> int:
    text = request.query_params.get(name, str(default))
    if len(text) > _LONGEST_NUMBER or not text.isdecimal() or int(text) not in allowed:
        raise Refusal(1201, f"{name} must be from {allowed.start} to {allowed.stop - 1}")
    return int(text)
