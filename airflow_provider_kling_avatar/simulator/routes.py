"""The vendors' HTTP surface: for each dialect one create, for films one list and one query route, and its pages.

It knows how to read a request and which of the desk's verbs it means. It must not know what a body may
contain or how answers are worded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from airflow_provider_kling_avatar.simulator.desk import Desk, Order
from airflow_provider_kling_avatar.simulator.dialects import DIALECTS
from airflow_provider_kling_avatar.simulator.dialects.base import Answer, Dialect
from airflow_provider_kling_avatar.simulator.dialects.kling import kling_error
from airflow_provider_kling_avatar.simulator.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.simulator.accounts import Accounts
    from airflow_provider_kling_avatar.simulator.dialects.base import Action
    from airflow_provider_kling_avatar.simulator.faults import Fault
    from airflow_provider_kling_avatar.simulator.ledger import Ledger

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
        fault = _fault_of(request)
        if fault is not None and not fault.takes_effect:
            _raise_if_refusing(fault)
        account = _account(request, self.accounts, self.dialect)
        order = Order(self.dialect, self.endpoint, account, _object(body), self._base_url(request), fault)
        view = self.desk.accept(order)
        self.booked()
        _raise_if_refusing(fault)
        answer = self.dialect.spoken if self.endpoint == "speech" else self.dialect.created
        return _good(fault, answer(view))

    def query(self, request: Request, wanted: str) -> Answer:
        """Tell about one task."""
        account, with_url = _account(request, self.accounts, self.dialect), self._show_url(request)
        fault = _fault_of(request)
        if fault is not None and fault.kind == "not_found":
            raise self.desk.no_such_task(wanted)
        row = self.desk.find(self.dialect, self.endpoint, account, wanted)
        view = self.desk.look_at(row, self._base_url(request), with_url=with_url)
        return _good(fault, self.dialect.one(view))

    def page(self, request: Request) -> Answer:
        """List tasks."""
        account, with_url = _account(request, self.accounts, self.dialect), self._show_url(request)
        number = _whole(request, "pageNum", 1, _PAGE_NUMBERS)
        size = _whole(request, "pageSize", 30, _PAGE_SIZES)
        lag = self.desk.lists.view.lag_seconds
        rows = self.desk.page(self.dialect, self.endpoint, account, number, size)
        look = partial(
            self.desk.look_at, base_url=self._base_url(request), with_url=with_url, lag_seconds=lag
        )
        return _good(_fault_of(request), self.dialect.many([look(row) for row in rows]))

    async def handle_create(self, request: Request) -> JSONResponse:
        """Carry out a request to accept a task."""
        body = await request.body()
        return await run_in_threadpool(self.answer, "create", lambda: self.create(request, body))

    def handle_query(self, request: Request) -> JSONResponse:
        """Carry out a request to tell about one task."""
        return self.answer("query", lambda: self.query(request, request.path_params["wanted"]))

    def handle_page(self, request: Request) -> JSONResponse:
        """Carry out a request to list tasks."""
        return self.answer("query", lambda: self.page(request))

    def answer(self, action: Action, work: Callable[[], Answer]) -> JSONResponse:
        """Carry out `work` and word whatever comes of it."""
        try:
            given = work()
        except (Refusal, UnicodeEncodeError) as error:
            # JSON can spell half a character, which nothing can store.
            refusal = (
                error if isinstance(error, Refusal) else Refusal(1200, "The request is not valid Unicode")
            )
            given = self.dialect.refused(refusal, "speech" if self.endpoint == "speech" else action)
        return JSONResponse(given.body, given.status, given.headers)

    def _base_url(self, request: Request) -> str:
        return self.public_url or str(request.base_url).rstrip("/")

    def _show_url(self, request: Request) -> bool:
        fault = _fault_of(request)
        _raise_if_refusing(fault)
        return fault is None or fault.kind != "no_url"


def vendor_routes(
    accounts: Accounts, desk: Desk, ledger: Ledger, public_url: str | None, booked: Callable[[], None]
) -> APIRouter:
    """Make the routes of every dialect."""
    router = APIRouter(redirect_slashes=False)
    for dialect in DIALECTS:
        for path in dialect.pages:
            show = _shower(dialect, accounts, ledger)
            router.add_api_route(path, show, methods=["GET"], response_model=None)
        for endpoint, path in dialect.paths.items():
            counter = Counter(dialect, endpoint, accounts, desk, public_url, booked)
            router.add_api_route(path, counter.handle_create, methods=["POST"], response_model=None)
            if endpoint == "speech":
                continue  # done when it is answered: no page has a query for it
            if dialect.lists:
                router.add_api_route(path, counter.handle_page, methods=["GET"], response_model=None)
            query = f"{path}/{{wanted}}"
            router.add_api_route(query, counter.handle_query, methods=["GET"], response_model=None)
    return router


def _shower(dialect: Dialect, accounts: Accounts, ledger: Ledger) -> Callable[[Request], JSONResponse]:
    def show(request: Request) -> JSONResponse:
        try:
            _raise_if_refusing(_fault_of(request))
            account = _account(request, accounts, dialect)
            return JSONResponse(dialect.pages[request.url.path](account, ledger, request.query_params))
        except Refusal as refusal:
            return JSONResponse(kling_error(refusal), refusal.status)  # no other vendor has such pages

    return show


def _account(request: Request, accounts: Accounts, dialect: Dialect) -> str:
    """Recognise the caller, and write into the request log who it was."""
    name = accounts.of(request.headers.get("authorization"), signed_tokens=dialect.signed_tokens).name
    record = getattr(request.state, "record", None)
    if record is not None:
        record.account = name
    return name


def _fault_of(request: Request) -> Fault | None:
    """Answer the fault that hit this request, if its carrying out is left to us."""
    fault: Fault | None = getattr(request.state, "fault", None)
    return fault


def _raise_if_refusing(fault: Fault | None) -> None:
    """Refuse, if the fault is one of the vendor's own error codes, or a gateway's word."""
    if fault is None or fault.kind != "error_code":
        return
    code, slug = (fault.code, "") if isinstance(fault.code, int) else (_GATEWAY_TROUBLE, str(fault.code))
    message = fault.message or slug or None
    raise Refusal(code, message, status=fault.status, slug=slug, retry_after=fault.retry_after)


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


def _good(fault: Fault | None, body: dict[str, Any]) -> Answer:
    """Answer well, if need be with the fault's success code."""
    if fault is None or fault.kind != "success_code":
        return Answer(200, body)
    return Answer(fault.status or 200, (body if "data" in body else {"data": body}) | {"code": fault.code})


def _whole(request: Request, name: str, default: int, allowed: range) -> int:
    text = request.query_params.get(name, str(default))
    if len(text) > _LONGEST_NUMBER or not text.isdecimal() or int(text) not in allowed:
        raise Refusal(1201, f"{name} must be from {allowed.start} to {allowed.stop - 1}")
    return int(text)
