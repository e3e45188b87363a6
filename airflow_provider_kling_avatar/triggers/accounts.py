"""
From a connection id to the session with its account that all triggers on an event loop share.

Knows how a connection is looked up without blocking the loop, how seldom that is enough, and when to look again.
"""

from __future__ import annotations

import asyncio
import importlib
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.hooks.kling_avatar import ConnectionUnreadableError, KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import KlingError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from airflow_provider_kling_avatar.kling.polling.watcher import AccountSession

FRESH_SECONDS = 60.0
"""A connection that was read so lately is not read again for another trigger: thousands may start together."""
RETRY_SECONDS = 1.0
"""The same for one that could not be read, or whose key was refused."""


async def session_of(kling_conn_id: str, *, newer_than: float = -inf) -> AccountSession:
    """
    Return the session of the account that a connection leads to.

    :param kling_conn_id: the connection.
    :param newer_than: seconds of the loop's clock; what was read before then is read again.
    :raises KlingError: the connection cannot be used.
    """
    known = _here().known(kling_conn_id)
    if not known.is_fresh(newer_than):
        await known.read(newer_than)
    if isinstance(known.found, KlingError):
        raise known.found
    if known.found is None:
        raise AssertionError("what was read is a session or an error")  # says so to the type checker
    return known.found


class _Known:
    """
    What was last read of one connection.

    :param kling_conn_id: the connection.
    :param sessions: all of the event loop, by account: several connections may lead to the same.
    """

    def __init__(self, kling_conn_id: str, sessions: dict[Hashable, AccountSession]) -> None:
        self.found: AccountSession | KlingError | None = None
        self._kling_conn_id = kling_conn_id
        self._sessions = sessions
        self._read_at = -inf
        self._door = asyncio.Lock()  # the first one reads for all

    def is_fresh(self, newer_than: float) -> bool:
        """Tell whether nobody needs to read it again."""
        age = asyncio.get_running_loop().time() - self._read_at
        is_good = not isinstance(self.found, KlingError) and self._read_at > newer_than
        return self.found is not None and age < (FRESH_SECONDS if is_good else RETRY_SECONDS)

    async def read(self, newer_than: float) -> None:
        """Read it, unless somebody else just has."""
        async with self._door:
            if self.is_fresh(newer_than):
                return
            try:
                self.found = await self._look_up()
            except KlingError as error:
                self.found = error
            self._read_at = asyncio.get_running_loop().time()

    async def _look_up(self) -> AccountSession:
        try:
            # In a thread: the first trigger of a triggerer reads these modules from disk.
            await asyncio.to_thread(
                importlib.import_module, "airflow_provider_kling_avatar.kling.polling.watcher"
            )
            client = await KlingAvatarHook(self._kling_conn_id).get_async_conn()
        except KlingError:
            raise
        except Exception as error:
            raise ConnectionUnreadableError.of(self._kling_conn_id, error) from error
        from airflow_provider_kling_avatar.kling.polling.watcher import AccountSession

        return self._sessions.setdefault(client.config.account_key, AccountSession(client.config))


class _Sessions:
    """The connections and sessions of one event loop."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._sessions: dict[Hashable, AccountSession] = {}

    def known(self, kling_conn_id: str) -> _Known:
        """Return what is known of a connection."""
        known = self._known.get(kling_conn_id)
        if known is None:
            known = self._known[kling_conn_id] = _Known(kling_conn_id, self._sessions)
        return known


# By event loop: who waits on one cannot be woken from another.
_BY_LOOP: dict[asyncio.AbstractEventLoop, _Sessions] = {}


def _here() -> _Sessions:
    loop = asyncio.get_running_loop()
    sessions = _BY_LOOP.get(loop)
    if sessions is None:
        for closed in [other for other in _BY_LOOP if other.is_closed()]:
            del _BY_LOOP[closed]
        sessions = _BY_LOOP[loop] = _Sessions()
    return sessions
