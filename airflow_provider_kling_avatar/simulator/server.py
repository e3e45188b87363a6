"""Runs the simulator on a socket, in the foreground or in a thread of a test.

It knows uvicorn and how to close a connection under a request. It must not know what is served.

    with SimulatorServer(SimulatorSettings(queue_seconds=0, render_seconds=0)) as sim:
        run_my_dag(base_url=sim.url)
        assert sim.ledger()["total"]["tasks"] == 1
"""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, get_args

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_kling_avatar.simulator.app import create_app
from airflow_provider_kling_avatar.simulator.dialects import CallName
from airflow_provider_kling_avatar.simulator.gate import DROP_EXTENSION
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT, SimulatorSettings

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Self

    from starlette.types import Receive, Scope, Send

    from airflow_provider_kling_avatar.simulator.faults import Fault
    from airflow_provider_kling_avatar.simulator.gate import RequestRecord
    from airflow_provider_kling_avatar.simulator.lists import ListView
    from airflow_provider_kling_avatar.simulator.state import SimulatorState

_START_SECONDS = 30
_STOP_SECONDS = 2


class DroppableProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, whose requests may have their connection closed under them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Offer each request of this connection a way to drop it."""
        super().connection_made(transport)
        app = self.app

        def drop(reset: bool) -> None:
            if reset:
                # Lingering for zero seconds makes the system send RST in place of FIN.
                linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
            else:
                transport.close()

        async def droppable(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[DROP_EXTENSION] = drop
            await app(scope, receive, send)

        self.app = droppable


def bind(settings: SimulatorSettings) -> socket.socket:
    """Take the address the settings name, or raise OSError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio looks at it: only then does it turn off Nagle's algorithm, which holds
    # back the second half of each small answer for 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((settings.host, settings.port))
        taken.listen(128)
    except OSError:
        taken.close()
        raise
    return taken


def uvicorn_server(app: Any) -> uvicorn.Server:
    """Make a server whose connections can be dropped, and that logs no addresses with signatures in them."""
    config = uvicorn.Config(
        app,
        http=DroppableProtocol,
        ws="none",
        loop="asyncio",
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return uvicorn.Server(config)


class SimulatorServer:
    """A simulator in a thread of this process, for tests of Dags and clients. Use it as a context manager.

    Without settings it takes a free port, moves tasks to their end at once, and forgets everything on exit.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        """Take settings; the default port of 8700 is replaced by a free one."""
        chosen = settings or SimulatorSettings(queue_seconds=0, render_seconds=0)
        if chosen.port == SimulatorSettings.port:
            chosen = dataclasses.replace(chosen, port=0)
        self.settings = chosen
        """The settings in force."""
        self.port = 0
        """The TCP port, once started."""
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._simulator: SimulatorState | None = None

    def __enter__(self) -> Self:
        app = create_app(self.settings)
        try:
            taken = bind(self.settings)
        except OSError:
            app.state.simulator.close()
            raise
        self.port = taken.getsockname()[1]
        self._simulator = app.state.simulator
        self._server = uvicorn_server(app)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [taken]}, name="kling-simulator", daemon=True
        )
        self._thread.start()
        patience = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > patience:
                raise RuntimeError("the simulator did not start; its log says why")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()

    @property
    def url(self) -> str:
        """Base URL, to be given to clients."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}"

    @property
    def state(self) -> SimulatorState:
        """The running simulator's parts, for tests that must look inside."""
        if self._simulator is None:
            raise RuntimeError("the simulator is not running: use it in a with statement")
        return self._simulator

    @property
    def requests(self) -> list[RequestRecord]:
        """The API requests so far, oldest first (at most the latest 1000)."""
        return list(self.state.records)

    @property
    def calls(self) -> dict[str, int]:
        """How many requests there were of each call: `create`, `list` (of many tasks) and `query` (for one)."""
        return {name: self.state.calls[name] for name in get_args(CallName)}

    def ledger(self) -> dict[str, Any]:
        """Tell what would have been billed: `entries` and `total`, as at `/simulator/ledger`."""
        return self.state.ledger.report()

    def fault(self, **rule: Any) -> Fault:
        """Make something go wrong: takes the fields of `faults.Fault`, of which `kind` is needed."""
        return self.state.faults.add(**rule)

    def clear_faults(self) -> int:
        """Delete all faults and answer how many there were."""
        return self.state.faults.clear()

    def lists(self, **changes: Any) -> ListView:
        """Change what lists of tasks show: takes some of the fields of `lists.ListView`; answers all of them."""
        return self.state.desk.lists.change(**changes)

    def seed(self, **order: Any) -> list[str]:
        """Make tasks in bulk: takes the fields of `seeding.Seed`, `count` is needed; answers ids, newest first."""
        return self.state.seed(**order)

    def rotate_key(self, api_key: str, account: str = DEFAULT_ACCOUNT.name) -> None:
        """Give an account another API key and refuse the old one."""
        self.state.accounts.rotate(account, api_key)

    def advance(self, seconds: float) -> float:
        """Move the simulator's clock ahead in place of sleeping; answers its new Unix time."""
        return self.state.advance(seconds)

    def reset(self) -> None:
        """Forget tasks, faults and requests, and list as the settings say."""
        self.state.reset()
