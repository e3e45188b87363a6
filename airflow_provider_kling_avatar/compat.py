"""
The one place that knows how Airflow 2.11 to 3.3 differ.

What `airflow.providers.common.compat` evens out is only re-exported here; the rest is evened out below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseHook,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    ObjectStoragePath,
    PokeReturnValue,
    XCom,
)
from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = [
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "ObjectStoragePath",
    "PokeReturnValue",
    "TriggerEvent",
    "XCom",
    "get_async_connection",
    "get_async_extra_dejson",
    "is_asked_anew",
    "state_store",
]


class StateStore(Protocol):
    """The part of Airflow's task state store that we use: it outlives a try, unlike XCom."""

    def get(self, key: str) -> Any:
        """Return a stored JSON value, or ``None``."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        ...


def is_asked_anew(context: Context, retries: int) -> bool:
    """Tell whether this try was asked for, by a schedule or a person who cleared the task, or is a mere retry."""
    ti = context["ti"]
    # Clearing raises `max_tries` so that the task has all its retries again; Airflow counts the same way.
    first_of_round = ti.max_tries - retries + 1
    return bool(ti.try_number <= first_of_round)


def state_store(context: Context) -> StateStore | None:
    """Return the task's state store, or ``None`` before Airflow 3.3."""
    store: StateStore | None = context.get("task_state_store")
    return store
