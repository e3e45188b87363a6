"""
Who waits: ours, the peers and the limit, each driven in its own default way.

Knows how each is told where the vendor is, how one waiting task is made, and which event means that it saw the end.
Every module of a waiter is imported in its `prepare`, in the process that measures it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp

from benchmarks.vendor_answers import BASE_ID, TASKS_PATH, task_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FAR_AWAY = 86_400.0
"""Seconds; deadlines are not what is measured here."""
OURS, LIMIT, PEERS = "ours", "bare", ("dbt", "llm")
PAGE_SIZE = 500


class Trigger(Protocol):
    """What Airflow's triggers have in common."""

    def run(self) -> Any:
        """Yield events."""
        ...


@dataclass(frozen=True)
class Setting:
    """
    What one measurement has in common for all its waiting tasks.

    :param url: the vendor.
    :param interval: seconds between two polls; ``None`` for the waiter's own default.
    :param begin: Unix seconds when the waiting begins.
    """

    url: str
    interval: float | None
    begin: float


@dataclass(frozen=True)
class Waiter:
    """
    One who waits.

    :param title: for people.
    :param package: whose version is worth telling; empty for the limit.
    :param connection: the Airflow connection ``bench``, as a function of the vendor's address.
    :param prepare: imports what is needed and returns a function from a task's index to its waiting: a trigger, or
        for the limit something that can be awaited.
    :param good: tells whether an event says that the task succeeded.
    """

    title: str
    package: str
    connection: Callable[[str], dict[str, Any]]
    prepare: Callable[[Setting], Callable[[int], Trigger | Awaitable[bool]]]
    good: Callable[[Any], bool]

    def environment(self, url: str) -> dict[str, str]:
        """Return the environment variable through which Airflow gets the connection."""
        return {"AIRFLOW_CONN_BENCH": json.dumps(self.connection(url))}


def _ours(setting: Setting) -> Callable[[int], Trigger]:
    from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

    interval: dict[str, Any] = {} if setting.interval is None else {"poll_interval": setting.interval}
    return lambda index: KlingAvatarTrigger(
        kling_task_id=task_id(index),
        kling_conn_id="bench",
        deadline=setting.begin + FAR_AWAY,
        since=setting.begin - 60,  # deferred a while ago: ours settles for ten seconds after a deferral
        **interval,
    )


def _dbt(setting: Setting) -> Callable[[int], Trigger]:
    from airflow.providers.dbt.cloud.hooks.dbt import DbtCloudHook
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    def without_tls(
        tenant: str, endpoint: str, include_related: list[str] | None = None, *, api_version: str = "v2"
    ) -> tuple[str, dict[str, Any]]:
        del include_related
        return f"http://{tenant}/api/{api_version}/accounts/{endpoint}", {}

    # It insists on https, with a new connection for each poll: without, it fares better here than in life.
    DbtCloudHook.get_request_url_params = staticmethod(without_tls)
    return lambda index: DbtCloudRunJobTrigger(
        conn_id="bench",
        run_id=BASE_ID + index,
        end_time=setting.begin + FAR_AWAY,
        poll_interval=setting.interval,
        account_id=1,
    )


def _llm(setting: Setting) -> Callable[[int], Trigger]:
    from airflow.providers.common.ai.triggers.llm_batch import LLMBatchTrigger

    return lambda index: LLMBatchTrigger(
        llm_conn_id="bench",
        adapter="openai",
        batch_id=f"batch_{task_id(index)}",
        poll_interval=setting.interval,
        end_time=setting.begin + FAR_AWAY,
        cancel_on_kill=False,
        cancel_on_timeout=False,
    )


class BareList:
    """
    The limit: one session, one look at the list at each interval, JSON, futures, nothing that could be left out.

    No Airflow, no errors, no deadlines, no log. Nobody could wait like this in earnest.

    :param url: the vendor.
    :param interval: seconds between the beginnings of two looks.
    """

    def __init__(self, url: str, interval: float) -> None:
        self._url, self._interval = url, interval
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def wait(self, identifier: str) -> bool:
        """Return when the task has ended."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = future
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_on())
        return await future

    async def _sweep_on(self) -> None:
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer sk-benchmark"}) as session:
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
            async with session.get(self._url + TASKS_PATH, params=page) as response:
                rows = json.loads(await response.read())["data"]
            for row in rows:
                missing.discard(row["task_id"])
                if row["task_status"] == "succeed" and (future := self._waiting.pop(row["task_id"], None)):
                    future.set_result(True)
            if len(rows) < PAGE_SIZE:
                return


def _bare(setting: Setting) -> Callable[[int], Awaitable[bool]]:
    limit = BareList(setting.url, setting.interval or 5.0)
    return lambda index: limit.wait(task_id(index))


WAITERS: dict[str, Waiter] = {
    OURS: Waiter(
        "`KlingAvatarTrigger`",
        "airflow-provider-kling-avatar",
        lambda url: {
            "conn_type": "kling_avatar",
            "host": url,
            "password": "sk-benchmark",
            "extra": {"api": "kling"},
        },
        _ours,
        lambda payload: bool(payload["verdict"] == "succeeded"),
    ),
    LIMIT: Waiter("bare loop over the list", "", lambda url: {"conn_type": "http", "host": url}, _bare, bool),
    "dbt": Waiter(
        "`DbtCloudRunJobTrigger`",
        "apache-airflow-providers-dbt-cloud",
        lambda url: {"conn_type": "dbt_cloud", "host": url.partition("://")[2], "password": "x"},
        _dbt,
        lambda payload: bool(payload["status"] == "success"),
    ),
    "llm": Waiter(
        "`LLMBatchTrigger`",
        "apache-airflow-providers-common-ai",
        lambda url: {"conn_type": "pydanticai", "host": f"{url}/v1", "password": "x"},
        _llm,
        lambda payload: bool(payload["status"] == "success"),
    ),
}
"""By the name on the command line."""
