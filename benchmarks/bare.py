"""
The two limits: what waiting costs if nothing is done but what cannot be left out.

No Airflow, no errors, no deadlines, no log: one shared session, an answer read as JSON, futures set. Nobody could
wait like this in earnest; it is what the others are measured by.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import aiohttp

PATH = "/v1/videos/avatar/image2video"
PAGE_SIZE = 500
HEADERS = {"Authorization": "Bearer sk-benchmark"}


class ListLimit:
    """
    One sweep of the list at each interval answers for all.

    :param url: the vendor.
    :param interval: seconds between two sweeps' beginnings.
    """

    def __init__(self, url: str, interval: float) -> None:
        self._url, self._interval = url, interval
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def wait(self, task_id: str) -> bool:
        """Return when the task has ended."""
        self._waiting[task_id] = future = asyncio.get_running_loop().create_future()
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_on())
        await future
        return True

    async def _sweep_on(self) -> None:
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            due = loop.time()
            while self._waiting:
                await self._sweep(session)
                due += self._interval
                if self._waiting:
                    await asyncio.sleep(due - loop.time())
        self._sweeping = None

    async def _sweep(self, session: aiohttp.ClientSession) -> None:
        missing = set(self._waiting)
        number = 0
        while missing:
            number += 1
            page = {"pageNum": str(number), "pageSize": str(PAGE_SIZE)}
            async with session.get(self._url + PATH, params=page) as response:
                rows = json.loads(await response.read())["data"]
            for row in rows:
                missing.discard(row["task_id"])
                if row["task_status"] == "succeed" and (future := self._waiting.pop(row["task_id"], None)):
                    future.set_result(None)
            if len(rows) < PAGE_SIZE:
                return


class SingleLimit:
    """
    One GET per task and interval, all over one session.

    :param url: the vendor.
    :param interval: seconds between two questions about a task.
    :param spread: begin at a random moment of the first interval, so that not all ask at once ever after.
    """

    def __init__(self, url: str, interval: float, *, spread: bool = False) -> None:
        self._url, self._interval, self._spread = url, interval, spread
        self._session: aiohttp.ClientSession | None = None
        self._users = 0

    async def wait(self, task_id: str) -> bool:
        """Return when the task has ended."""
        self._users += 1
        if self._session is None:
            # Without a limit on connections, as each of the peers' triggers has its own.
            self._session = aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=0))
        try:
            if self._spread:
                await asyncio.sleep(random.uniform(0, self._interval))  # noqa: S311 - nothing to be kept secret
            while not await self._has_ended(self._session, task_id):  # noqa: ASYNC110 - asking is the point
                await asyncio.sleep(self._interval)
        finally:
            self._users -= 1
            if not self._users:
                session, self._session = self._session, None
                await session.close()
        return True

    async def _has_ended(self, session: aiohttp.ClientSession, task_id: str) -> bool:
        async with session.get(f"{self._url}{PATH}/{task_id}") as response:
            answer: dict[str, Any] = json.loads(await response.read())
        return bool(answer["data"]["task_status"] == "succeed")
