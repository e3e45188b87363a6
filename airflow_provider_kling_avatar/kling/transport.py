"""
The worker's HTTP session: requests, with connections that note when a request begins to leave this machine.

What requests and urllib3 raise does not tell it: a `ProxyError` may be a proxy that is down, or an answer that was lost
behind it. So it is noted where it happens, and never guessed from an exception. Knows nothing of what is sent.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import PoolManager
    from urllib3.connectionpool import HTTPConnectionPool

FAILURES: tuple[type[Exception], ...] = (requests.RequestException, HTTPError, OSError, ValueError)
"""What sending a request, and reading its answer, may raise."""


class Progress(threading.local):
    """How far the request has come that this thread sends; who sends one begins with ``restart``."""

    begun = False
    """Its first byte may have left: connection, tunnel and TLS stand. Before that nobody can have taken it."""
    forwarded = False
    """It went to a proxy that reads it, and may answer it by itself."""

    def restart(self) -> None:
        """Forget the last request."""
        self.begun = self.forwarded = False


class Session(requests.Session):
    """
    Sends each request once and follows no redirect.

    :param sign: puts the key to a request. As `auth`, not as a header: a .netrc entry for the host would replace that.
    """

    def __init__(self, sign: Callable[[requests.PreparedRequest], requests.PreparedRequest]) -> None:
        super().__init__()
        self.progress = Progress()
        self.auth = sign
        adapter = _NotingAdapter(self.progress)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return nothing: even when told not to follow, requests reads where it leads, and the whole page with it."""


class _NotingConnection(HTTPConnection):
    """Mixed into every kind of connection, straight or through a proxy; a request for a tunnel does not pass here."""

    progress: Progress

    def endheaders(self, *args: Any, **options: Any) -> None:
        if self.sock is None:
            self.connect()  # as http.client would, a little later
        self.progress.begun = True
        self.progress.forwarded = self.proxy is not None and self._tunnel_host is None
        super().endheaders(*args, **options)


class _NotingAdapter(HTTPAdapter):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self._prepare(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> PoolManager:
        known = proxy in self.proxy_manager
        manager: PoolManager = super().proxy_manager_for(proxy, **options)
        if not known:
            self._prepare(manager)
        return manager

    def _prepare(self, manager: PoolManager) -> None:
        # From the manager's own classes: those for SOCKS connect in another way.
        manager.pool_classes_by_scheme = {
            scheme: self._noting(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
        }

    def _noting(self, pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        connection = type(
            "NotingConnection", (_NotingConnection, pool.ConnectionCls), {"progress": self._progress}
        )
        return type("NotingPool", (pool,), {"ConnectionCls": connection})
