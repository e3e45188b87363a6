"""
The simulator without its socket, and the bad line to it: what `requests` gets when a request meets a fate.

Knows how a broken connection looks from the client's side. Accounts, contracts, the rule for taken names, tasks and
the ledger are the simulator's own; knows nothing of tries or of how a clip is found again.
"""

from __future__ import annotations

import io
import tempfile
from functools import cache
from http.client import RemoteDisconnected
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from starlette.requests import Request
from urllib3 import HTTPResponse
from urllib3.exceptions import (
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from airflow_provider_kling_avatar.kling.client import KlingClient
from airflow_provider_kling_avatar.kling.config import KlingConfig
from airflow_provider_kling_avatar.kling.transport import Progress
from airflow_provider_kling_avatar.simulator.accounts import Accounts
from airflow_provider_kling_avatar.simulator.clock import Clock
from airflow_provider_kling_avatar.simulator.desk import Desk
from airflow_provider_kling_avatar.simulator.dialects import DIALECTS
from airflow_provider_kling_avatar.simulator.dialects.kling import kling_error
from airflow_provider_kling_avatar.simulator.ledger import Ledger
from airflow_provider_kling_avatar.simulator.links import Links
from airflow_provider_kling_avatar.simulator.media import MediaCupboard
from airflow_provider_kling_avatar.simulator.refusals import Refusal
from airflow_provider_kling_avatar.simulator.routes import Counter
from airflow_provider_kling_avatar.simulator.settings import (
    DEFAULT_ACCOUNT,
    DEFAULT_API_KEY,
    Account,
    DuplicatePolicy,
    SimulatorSettings,
)
from airflow_provider_kling_avatar.simulator.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from chaos_fates import Fate

    from airflow_provider_kling_avatar.kling.transport import Session
    from airflow_provider_kling_avatar.simulator.contracts import MediaField
    from airflow_provider_kling_avatar.simulator.dialects import Dialect
    from airflow_provider_kling_avatar.simulator.faults import Fault
    from airflow_provider_kling_avatar.simulator.store import TaskRow

HOST = "http://kling.test"
OTHER_HOST = "http://kling-elsewhere.test"
"""Where the other account is too; one vendor serves both, so that one ledger counts what is billed."""
OTHERS = Account(name="others", api_key="sk-others-0123456789")
"""A second account."""
PREFIXES = {"relay": "/relay/kling", "relay-v3": "/relay/v3/kling"}
"""Where a dialect is served; `relay-v3` is a relay that forgets our name for a task as soon as it has taken it."""
QUEUE_SECONDS, RENDER_SECONDS = 4.0, 8.0
BEGINNING = 1_800_000_000.0
"""Unix seconds at which every schedule begins."""
_READER = HTTPAdapter()
_NOBODY: Any = None
"""urllib3 wants to name a pool in its errors; there is none."""
_WORD = b"upstream error"
_PAGE = b"<!DOCTYPE html><html><body><h1>Something is not right</h1></body></html>"


class Killed(BaseException):
    """kill -9: the process is gone, and only what it had stored elsewhere is left."""


class StandingClock(Clock):
    """A clock that moves only when it is told to: the same schedule always tells the same story."""

    def __init__(self) -> None:
        super().__init__()
        self.time = BEGINNING

    def now(self) -> float:
        """Return Unix seconds."""
        return self.time

    def advance(self, seconds: float) -> float:
        """Move on by `seconds`; return the new time."""
        self.time += seconds
        return self.time


class RememberingCupboard(MediaCupboard):
    """Judges the same picture or sound once: to decode it anew for each schedule would be most of the time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fetch_remote=False)
        self._judged: dict[tuple[str, str], tuple[str, Decimal]] = {}

    def take(self, field: MediaField) -> tuple[str, Decimal]:
        """Return what the simulator makes of a media field."""
        key = (field.name, field.value)
        if key not in self._judged:
            self._judged[key] = super().take(field)
        return self._judged[key]


class LateDesk(Desk):
    """A desk that shows a new task by our name, and in the list, only after a while; by its own id at once."""

    late_seconds = 0.0

    def find(self, dialect: Dialect, endpoint: str, account: str, wanted: str) -> TaskRow:
        """Find a task, if it may be seen yet."""
        row = super().find(dialect, endpoint, account, wanted)
        if wanted != row.task_id and self._is_hidden(row):
            raise self.no_such_task(wanted)
        return row

    def page(self, dialect: Dialect, endpoint: str, account: str, number: int, size: int) -> list[TaskRow]:
        """List the tasks that may be seen."""
        rows = super().page(dialect, endpoint, account, number, size)
        return [row for row in rows if not self._is_hidden(row)]

    def _is_hidden(self, row: TaskRow) -> bool:
        return self._clock.now() < row.created_at + self.late_seconds


class Vendor:
    """
    One dialect of the simulator, called as a function.

    :param api: name of the dialect, or of a variant of it.
    :param duplicates: what a taken name gets.
    """

    def __init__(self, api: str, duplicates: DuplicatePolicy) -> None:
        settings = SimulatorSettings(
            queue_seconds=QUEUE_SECONDS,
            render_seconds=RENDER_SECONDS,
            slots=1000,
            duplicate_external_id=duplicates,
            public_url=HOST,
            accounts=(DEFAULT_ACCOUNT, OTHERS),
        )
        prefix = PREFIXES.get(api, "")
        self._media = tempfile.TemporaryDirectory(prefix="chaos-")
        self.clock = StandingClock()
        self.store = Store(Path(":memory:"))
        self.desk = LateDesk(
            settings, self.store, self.clock, RememberingCupboard(Path(self._media.name)), Links("chaos")
        )
        self.ledger = Ledger(self.store, self.clock, 0)
        dialect = next(
            d for d in DIALECTS if d.name == dialect_of(api) and d.paths["avatar"].startswith(prefix)
        )
        self._path = dialect.paths["avatar"]
        self._lists = dialect.lists
        self._counter = Counter(dialect, "avatar", Accounts(settings.accounts), self.desk, HOST, lambda: None)

    def open(self, late_seconds: float) -> None:
        """Forget all tasks; from now on show new ones so many seconds late."""
        self.store.forget_tasks()
        self.clock.time = BEGINNING
        self.desk.late_seconds = late_seconds

    def answer(self, request: requests.PreparedRequest, fault: Fault | None) -> tuple[int, bytes]:
        """Carry a request out; return the HTTP status and the body."""
        parts = urlsplit(str(request.url))
        scope: dict[str, Any] = {
            "type": "http",
            "method": request.method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(b"authorization", request.headers["Authorization"].encode())],
            "state": {"fault": fault},
        }
        asked, counter = Request(scope), self._counter
        if request.method == "POST" and parts.path == self._path:
            body = request.body if isinstance(request.body, bytes) else str(request.body).encode()
            given = counter.answer("create", lambda: counter.create(asked, body))
        elif parts.path == self._path and self._lists:
            given = counter.answer("query", lambda: counter.page(asked))
        elif parts.path == self._path:
            wrong_method = Refusal(1202)  # as the simulator's `app` answers where nothing is listed
            return wrong_method.status, dumps(kling_error(wrong_method)).encode()
        elif parts.path.startswith(f"{self._path}/"):
            wanted = unquote(parts.path.removeprefix(f"{self._path}/"))
            given = counter.answer("query", lambda: counter.query(asked, wanted))
        else:
            raise AssertionError(f"the client asked for {request.method} {parts.path}, which is not there")
        return given.status_code, bytes(given.body)


def dialect_of(api: str) -> str:
    """Return the dialect that an api or a variant of it speaks."""
    return "relay" if api.startswith("relay") else api


@cache
def vendor_of(api: str, duplicates: DuplicatePolicy) -> Vendor:
    """Return this process's vendor of a kind; its tasks are forgotten before each schedule."""
    return Vendor(api, duplicates)


@cache
def config_of(api: str, changed: str = "") -> KlingConfig:
    """
    Return the account on a dialect.

    :param changed: ``key`` or ``host``, where the connection leads elsewhere.
    """
    extra = {"api": dialect_of(api)} | ({"path_prefix": PREFIXES[api]} if api in PREFIXES else {})
    return KlingConfig.build(
        host=OTHER_HOST if changed == "host" else HOST,
        login=None,
        password=OTHERS.api_key if changed else DEFAULT_API_KEY,
        extra=extra,
    )


def _beyond_proxy(reason: Exception) -> requests.exceptions.ProxyError:
    told = ProxyError("Unable to connect to proxy", reason)
    return requests.exceptions.ProxyError(MaxRetryError(_NOBODY, HOST, told))


_BREAKS: dict[str, Callable[[], requests.RequestException]] = {
    "no connection": lambda: requests.ConnectionError(
        MaxRetryError(_NOBODY, HOST, NewConnectionError(_NOBODY, "Connection refused"))
    ),
    "no tunnel": lambda: _beyond_proxy(ConnectionRefusedError(111, "refused")),
    "dropped by proxy": lambda: _beyond_proxy(RemoteDisconnected("closed connection without response")),
    "dropped": lambda: requests.ConnectionError(
        ProtocolError("Connection aborted.", ConnectionResetError(104, "reset by peer"))
    ),
    "silence": lambda: requests.ReadTimeout(ReadTimeoutError(_NOBODY, HOST, "Read timed out.")),
}
"""
What `requests` raises where there is no answer: of a lost one behind a proxy it says the same as of a proxy that is
down.
"""


class BadLine:
    """
    What a client opens in place of a session: it ends at the vendor, and breaks as `requests` breaks.

    Preparing a request as `requests` does would be a third of the time, and is tested elsewhere, over sockets.

    :param vendor: at the other end.
    :param next_fate: says what becomes of the next request; called as it leaves.
    :param later: takes what the vendor will get only after the client has given up.
    """

    def __init__(
        self,
        vendor: Vendor,
        next_fate: Callable[[str, str], Fate],
        later: Callable[[Callable[[], Any]], None],
    ) -> None:
        self.auth: Callable[[requests.PreparedRequest], requests.PreparedRequest]
        self.progress = Progress()
        self._vendor = vendor
        self._next_fate = next_fate
        self._later = later

    def request(
        self, method: str, url: str, *, params: dict[str, Any], data: bytes | None = None, **_: Any
    ) -> requests.Response:
        """Send one request to its fate."""
        request = requests.PreparedRequest()
        request.method, request.url = method, f"{url}?{urlencode(params)}" if params else url
        request.headers = CaseInsensitiveDict()
        request.body = data or b""
        self.auth(request)
        fate = self._next_fate(method, urlsplit(request.url).path)
        self.progress.begun = fate.ending not in ("no connection", "no tunnel")
        self._vendor.clock.advance(0.2)
        status, body = 200, b""
        if fate.effect == "now":
            status, body = self._vendor.answer(request, fate.fault)
        elif fate.effect == "later":
            self._later(lambda: self._vendor.answer(request, fate.fault))
        return self._ending(request, fate, status, body)

    def close(self) -> None:
        """Close what was never opened."""

    def _ending(
        self, request: requests.PreparedRequest, fate: Fate, status: int, body: bytes
    ) -> requests.Response:
        """Give the client what it gets, or raise what it would see."""
        half = body[: len(body) // 2]
        match fate.ending:
            case "answer":
                return self._response(request, status, body)
            case "half":
                return self._response(request, status, half)
            case "cut":
                return self._response(request, status, half, promised=len(body))
            case "proxy":
                return self._response(request, fate.status, _WORD, kind="text/plain")
            case "page":
                return self._response(request, fate.status, _PAGE, kind="text/html")
            case "killed":
                raise Killed(fate.name)
        error = _BREAKS[fate.ending]()
        error.request = request
        raise error

    def _response(
        self,
        request: requests.PreparedRequest,
        status: int,
        body: bytes,
        *,
        kind: str = "application/json",
        promised: int | None = None,
    ) -> requests.Response:
        """Return an answer; `promised` bytes that do not come break the connection while it is being read."""
        length = str(len(body) if promised is None else promised)
        raw = HTTPResponse(
            io.BytesIO(body),
            headers={"content-type": kind, "content-length": length},
            status=status,
            preload_content=False,
            enforce_content_length=True,
        )
        return _READER.build_response(request, raw)


class LineClient(KlingClient):
    """The worker's own client, plugged into a bad line."""

    open_line: Callable[[], BadLine]

    def _open_session(self) -> Session:
        if self._session is None:
            line = self.open_line()
            line.auth = self._sign
            self._session = cast("Session", line)
        return self._session
