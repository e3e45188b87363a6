"""One account on one event loop: its session, opened by the first who waits and closed by the last."""

from __future__ import annotations

import asyncio
import contextlib
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
from airflow_provider_kling_avatar.kling.watcher.board import Board

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import EndpointName

MOST_IN_FLIGHT = 100
"""Requests of one account at a time."""


class Account:
    """
    One account, and a board for each kind of its tasks.

    :param config: the account.
    """

    def __init__(self, config: KlingConfig) -> None:
        self.config = config
        self.turns = asyncio.Semaphore(MOST_IN_FLIGHT)
        self.refused_at = -inf
        """Seconds of the loop's clock when the vendor last refused the key."""
        self._boards: dict[EndpointName, Board] = {}
        self._client: AsyncKlingClient | None = None
        self._opening = asyncio.Lock()

    def board(self, endpoint: EndpointName) -> Board:
        """
        Return the board of one kind of tasks.

        :raises UnsupportedError: this API has no such tasks.
        """
        if endpoint not in self._boards:
            self._boards[endpoint] = Board(self, endpoint)
        return self._boards[endpoint]

    async def client(self) -> AsyncKlingClient:
        """Return the open client."""
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await AsyncKlingClient(self.config).__aenter__()
        return self._client

    async def leave(self) -> None:
        """Say that somebody has left a board; the last one closes the session."""
        is_last = True
        runners = []
        for board in self._boards.values():  # all in one step: who comes from now on starts anew
            if not board.is_empty:
                is_last = False
            elif (runner := board.stop_runner()) is not None:
                runners.append(runner)
        client = None
        if is_last:
            client, self._client = self._client, None
        if runners or client is not None:
            await asyncio.shield(_close(client, runners))


async def _close(client: AsyncKlingClient | None, runners: list[asyncio.Task[None]]) -> None:
    if runners:
        await asyncio.wait(runners)
    if client is not None:
        with contextlib.suppress(Exception):  # closing must not hide the verdict
            await client.__aexit__(None, None, None)
