"""
Who waits: ours, the peers and the two limits, each driven in its own default way.

Knows how each is told where the vendor is, how one waiting task is made, and which event means that it saw the end.
Every module of a waiter is imported in its `prepare`, in the process that measures it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.vendor_answers import BASE_ID, task_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FAR_AWAY = 86_400.0
"""Seconds; deadlines are not what is measured here."""


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

    @property
    def polls(self) -> dict[str, Any]:
        """Return our trigger's argument for the interval."""
        return {} if self.interval is None else {"poll_interval": self.interval}


@dataclass(frozen=True)
class Waiter:
    """
    One who waits.

    :param title: for people.
    :param package: whose version is worth telling; empty for the limits.
    :param connections: Airflow connections, as a function of the vendor's address.
    :param prepare: imports what is needed and returns a function from a task's index to its waiting: a trigger, or
        for the limits something that can be awaited.
    :param good: tells whether an event says that the task succeeded.
    """

    title: str
    package: str
    connections: Callable[[str], dict[str, dict[str, Any]]]
    prepare: Callable[[Setting], Callable[[int], Trigger | Awaitable[bool]]]
    good: Callable[[Any], bool] = bool

    def environment(self, url: str) -> dict[str, str]:
        """Return the environment variables through which Airflow gets the connections."""
        return {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection)
            for name, connection in self.connections(url).items()
        }


# ------------------------------------------------------------------------------------------------- ours


def _kling(**extra: Any) -> Callable[[str], dict[str, dict[str, Any]]]:
    return lambda url: {
        "kling_bench": {
            "conn_type": "kling_avatar",
            "host": url,
            "password": "sk-benchmark",
            "extra": {"api": "kling", **extra},
        }
    }


def _ours(setting: Setting) -> Callable[[int], Trigger]:
    from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

    return lambda index: KlingAvatarTrigger(
        kling_task_id=task_id(index),
        kling_conn_id="kling_bench",
        deadline=setting.begin + FAR_AWAY,
        since=setting.begin - 60,  # deferred a while ago: ours settles for ten seconds after a deferral
        **setting.polls,
    )


# ------------------------------------------------------------------------------------------------- peers


def _http(setting: Setting) -> Callable[[int], Trigger]:
    from airflow.providers.http.triggers.http import HttpEventTrigger

    return lambda index: HttpEventTrigger(
        response_check_path="benchmarks.response_check.has_succeeded",
        http_conn_id="http_bench",
        endpoint=f"/v1/videos/avatar/image2video/{task_id(index)}",
        poll_interval=5.0 if setting.interval is None else setting.interval,
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
        conn_id="dbt_bench",
        run_id=BASE_ID + index,
        end_time=setting.begin + FAR_AWAY,
        poll_interval=setting.interval,
        account_id=1,
    )


def _llm(setting: Setting) -> Callable[[int], Trigger]:
    from airflow.providers.common.ai.triggers.llm_batch import LLMBatchTrigger

    return lambda index: LLMBatchTrigger(
        llm_conn_id="llm_bench",
        adapter="openai",
        batch_id=f"batch_{task_id(index)}",
        poll_interval=setting.interval,
        end_time=setting.begin + FAR_AWAY,
        cancel_on_kill=False,
        cancel_on_timeout=False,
    )


def _openai(setting: Setting) -> Callable[[int], Trigger]:
    from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

    return lambda index: OpenAIBatchTrigger(
        conn_id="openai_bench",
        batch_id=f"batch_{task_id(index)}",
        poll_interval=setting.interval,
        timeout=FAR_AWAY,
    )


def _says(status: str) -> Callable[[Any], bool]:
    return lambda payload: bool(payload["status"] == status)


# ------------------------------------------------------------------------------------------------ limits


def _bare_list(setting: Setting) -> Callable[[int], Awaitable[bool]]:
    from benchmarks.bare import ListLimit

    limit = ListLimit(setting.url, setting.interval or 5.0)
    return lambda index: limit.wait(task_id(index))


def _bare_single(setting: Setting) -> Callable[[int], Awaitable[bool]]:
    from benchmarks.bare import SingleLimit

    limit = SingleLimit(setting.url, setting.interval or 5.0)
    return lambda index: limit.wait(task_id(index))


def _bare_spread(setting: Setting) -> Callable[[int], Awaitable[bool]]:
    from benchmarks.bare import SingleLimit

    limit = SingleLimit(setting.url, setting.interval or 5.0, spread=True)
    return lambda index: limit.wait(task_id(index))


def _no_connections(url: str) -> dict[str, dict[str, Any]]:
    del url
    return {}


def _ends_with_success(payload: Any) -> bool:
    return bool(payload["verdict"] == "succeeded")


OURS = "airflow-provider-kling-avatar"

WAITERS: dict[str, Waiter] = {
    "ours-list": Waiter("ours, list", OURS, _kling(), _ours, _ends_with_success),
    "ours-single": Waiter("ours, no list", OURS, _kling(list_path=False), _ours, _ends_with_success),
    "bare-list": Waiter("bare limit, list", "", _no_connections, _bare_list),
    "bare-single": Waiter("bare limit, single GETs", "", _no_connections, _bare_single),
    "bare-spread": Waiter(
        "bare limit, single GETs spread over the interval", "", _no_connections, _bare_spread
    ),
    "http": Waiter(
        "`HttpEventTrigger`",
        "apache-airflow-providers-http",
        lambda url: {"http_bench": {"conn_type": "http", "host": url}},
        _http,
        _says("success"),
    ),
    "dbt": Waiter(
        "`DbtCloudRunJobTrigger`",
        "apache-airflow-providers-dbt-cloud",
        lambda url: {
            "dbt_bench": {"conn_type": "dbt_cloud", "host": url.partition("://")[2], "password": "x"}
        },
        _dbt,
        _says("success"),
    ),
    "llm": Waiter(
        "`LLMBatchTrigger`",
        "apache-airflow-providers-common-ai",
        lambda url: {"llm_bench": {"conn_type": "pydanticai", "host": f"{url}/v1", "password": "x"}},
        _llm,
        _says("success"),
    ),
    "openai": Waiter(
        "`OpenAIBatchTrigger`",
        "apache-airflow-providers-openai",
        lambda url: {"openai_bench": {"conn_type": "openai", "host": f"{url}/v1", "password": "x"}},
        _openai,
        _says("success"),
    ),
}
"""By the name on the command line."""
