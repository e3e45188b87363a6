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
    BaseNotifier,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    ObjectStoragePath,
    PokeReturnValue,
    XCom,
    conf,
    context_merge,
)
from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

SETTLE_SECONDS = 10.0
"""
No trigger of ours reports sooner after its task was deferred. Airflow (seen in 3.0.6 and 3.3.2) fails a task that is
queued again before its scheduler has heard that the worker let it go, which takes 5 s and more on a busy machine:
https://github.com/apache/airflow/issues/67287 and 72716.
"""

__all__ = [
    "SETTLE_SECONDS",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "ObjectStoragePath",
    "PokeReturnValue",
    "TriggerEvent",
    "XCom",
    "conf",
    "context_merge",
    "get_async_connection",
    "get_async_extra_dejson",
    "is_asked_anew",
    "is_inline",
    "is_left_over",
    "note_deferral",
    "own_xcom",
    "round_of",
    "state_store",
    "xcoms_of_all_rows",
]


DEFERRAL_XCOM_KEY = "kling_deferred_in_try"


class TaskStateStore(Protocol):
    """The part of Airflow's task state store that we use: it outlives a try, unlike XCom."""

    def get(self, key: str) -> Any:
        """Return a stored JSON value, or ``None``."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        ...


def round_of(context: Context, retries: int) -> int:
    """
    Return what a try has in common with its own retries and with no other round of tries.

    That is how many tries came before the round: clearing a task raises ``max_tries`` so that it has all its retries
    again.
    """
    return max(int(context["ti"].max_tries) - retries, 0)


def is_asked_anew(context: Context, retries: int) -> bool:
    """Tell whether this try was asked for, by a schedule or a person who cleared the task, or is a mere retry."""
    return bool(context["ti"].try_number <= round_of(context, retries) + 1)


def own_xcom(context: Context, key: str) -> Any:
    """Return what this task instance has left in XCom, or ``None``. A new try starts with nothing in it."""
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=map_index)


def xcoms_of_all_rows(context: Context, key: str) -> list[Any]:
    """
    Return what all instances of this mapped task have left in XCom in this run so far, finished or not.

    Leaving out ``map_indexes`` is the one form that means all of them on every version: 3.x asks for one without an
    index if it is ``None``, and 2.11 knows no other default. A single value comes without a list around it.
    """
    ti = context["ti"]
    found = ti.xcom_pull(task_ids=ti.task_id, key=key)
    if found is None:
        return []
    return [found] if isinstance(found, dict | str) else list(found)


def note_deferral(context: Context) -> None:
    """Leave word of the try that is about to be deferred; see `is_left_over`."""
    ti = context["ti"]
    ti.xcom_push(key=DEFERRAL_XCOM_KEY, value=ti.try_number)


def is_inline(trigger: BaseTrigger) -> bool:
    """
    Tell whether a trigger runs in the process of its task, as in ``airflow dags test``.

    A triggerer gives each trigger its id; in a task's process nobody can add what is missing while it waits.
    """
    return getattr(trigger, "trigger_id", None) is None


def is_left_over(context: Context) -> bool:
    """
    Tell whether a task is resumed with what an earlier try was deferred for.

    Airflow 3.0, and 2.11 after a scheduler was lost, start a retry with the event of the try before. From a try of
    its own start, on the other hand, nothing of the try before is in XCom.
    """
    try_number, left = context["ti"].try_number, own_xcom(context, DEFERRAL_XCOM_KEY)
    return bool(try_number > 1 if left is None else int(left) != try_number)


def state_store(context: Context) -> TaskStateStore | None:
    """Return the task's state store, or ``None`` before Airflow 3.3."""
    store: TaskStateStore | None = context.get("task_state_store")
    return store
