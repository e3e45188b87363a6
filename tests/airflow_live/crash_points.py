"""
Stops a task at an exact point, so that it can be killed there.

The Dag file of the crash matrix imports this and calls `arm`, which wraps the calls that the points lie at; the test
places orders. A task that comes to a point for which there is an order writes down its process id and does not go
on. Knows how requests, Airflow's stores and the operators are called; touches nothing of what they do.
"""

from __future__ import annotations

import functools
import http.client
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER_VARIABLE = "CRASH_ORDERS"

BEFORE_REQUEST = "before_request"
"""The paid request has not left."""
BEFORE_ANSWER = "before_answer"
"""The paid request has left; its answer has not been read."""
BEFORE_STATE_STORE = "before_state_store"
"""The answer is there; the id is not yet in the task state store (Airflow 3.3)."""
BEFORE_XCOM = "before_xcom"
"""The id is not yet in XCom."""
BEFORE_DEFER = "before_defer"
"""The id is in XCom; the task does not wait in the triggerer yet."""
BEFORE_COMPLETE = "before_complete"
"""The trigger has fired and a worker has the task again; `execute_complete` has not begun."""
IN_COMPLETE = "in_complete"
"""`execute_complete` has done everything but return."""
BEFORE_LANDING = "before_landing"
"""The clip is known to be ready; nothing of it has been fetched."""
IN_DOWNLOAD = "in_download"
"""The first bytes of the clip are on the worker's disk."""
IN_UPLOAD = "in_upload"
"""The clip is whole on the worker; its first bytes are about to go to S3."""


@dataclass(frozen=True)
class Orders:
    """
    Where a task is to stop, as files in a folder that test and tasks share.

    :param folder: the folder.
    """

    folder: Path

    def announce(self) -> None:
        """Have tasks that start from now on heed orders, where they ask `wanted`."""
        (self.folder / "wanted").touch()

    def place(self, run_id: str, task_id: str, point: str) -> None:
        """Have the next try of a task that comes to this point stop there; only that one."""
        self._file(run_id, task_id, point).touch()

    def take(self, run_id: str, task_id: str, point: str) -> bool:
        """Tell whether there is such an order, and if so, answer it with our process id."""
        order = self._file(run_id, task_id, point)
        try:
            order.unlink()  # of two that come at once only one succeeds
        except FileNotFoundError:
            return False
        answer = order.with_suffix(".writing")
        answer.write_text(str(os.getpid()))
        answer.replace(order.with_suffix(".pid"))
        return True

    def pid(self, run_id: str, task_id: str, point: str) -> int | None:
        """Return the process that stands still there, ``None`` if none does yet."""
        try:
            return int(self._file(run_id, task_id, point).with_suffix(".pid").read_text())
        except FileNotFoundError:
            return None

    def _file(self, run_id: str, task_id: str, point: str) -> Path:
        return self.folder / f"{run_id}.{task_id}.{point}.order"


def wanted() -> bool:
    """Tell whether orders have been announced."""
    return Path(os.environ[FOLDER_VARIABLE], "wanted").exists()


def stop_if_ordered(point: str) -> None:
    """Stand still for ever, if the running task has been ordered to at this point."""
    from airflow.providers.common.compat.sdk import get_current_context

    try:
        ti = get_current_context()["ti"]
    except Exception:  # noqa: BLE001  # a different class in each Airflow: no task runs here
        return
    if Orders(Path(os.environ[FOLDER_VARIABLE])).take(ti.run_id, ti.task_id, point):
        print(f"standing still at {point}", flush=True)  # noqa: T201  # for the task's log
        while True:
            time.sleep(60)


def always(*_: object, **__: object) -> bool:
    """Be true of any call."""
    return True


def stop_before(owner: type, name: str, point: str, only_if: Callable[..., bool] = always) -> None:
    """Put a point before each call of a method."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def stopping(*args: Any, **kwargs: Any) -> Any:
        if only_if(*args, **kwargs):
            stop_if_ordered(point)
        return original(*args, **kwargs)

    setattr(owner, name, stopping)


def stop_after(owner: type, name: str, point: str) -> None:
    """Put a point between the end of a method and its return to the caller."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def stopping(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        stop_if_ordered(point)
        return result

    setattr(owner, name, stopping)


@functools.cache  # once for each process, however often the Dag file is read
def arm() -> None:
    """Put the points where they belong."""
    from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
    from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

    # The only POST of these tasks is the paid one.
    connection = http.client.HTTPConnection
    stop_before(connection, "putrequest", BEFORE_REQUEST, lambda _, method, *__, **___: method == "POST")
    stop_before(connection, "getresponse", BEFORE_ANSWER, lambda self: self._method == "POST")
    _stop_at_the_stores()
    for waiting in (KlingAvatarOperator, KlingAvatarSensor):
        stop_before(waiting, "defer", BEFORE_DEFER)
        stop_before(waiting, "execute_complete", BEFORE_COMPLETE)
        stop_after(waiting, "execute_complete", IN_COMPLETE)


def _stop_at_the_stores() -> None:
    def is_task_id(_: object, key: str, *__: object, **___: object) -> bool:
        return key == "task_id"

    def holds_task_id(_: object, __: str, value: Any, **___: object) -> bool:
        return isinstance(value, dict) and bool(value.get("task_id"))

    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance as TaskInstance
    except ImportError:  # Airflow 2
        from airflow.models.taskinstance import TaskInstance
    stop_before(TaskInstance, "xcom_push", BEFORE_XCOM, is_task_id)
    try:
        from airflow.sdk.execution_time.context import TaskStateStoreAccessor
    except ImportError:  # before 3.3
        return
    stop_before(TaskStateStoreAccessor, "set", BEFORE_STATE_STORE, holds_task_id)


@functools.cache
def arm_landing() -> None:
    """Put the points of the landing where they belong."""
    from aiobotocore.client import AioBaseClient

    from airflow_provider_kling_avatar.kling.download.http import _Transfer
    from airflow_provider_kling_avatar.landing import Landing

    def uploads(_: object, operation: str, *__: object) -> bool:
        return operation in {"PutObject", "UploadPart"}

    stop_before(Landing, "land", BEFORE_LANDING)
    stop_after(_Transfer, "write", IN_DOWNLOAD)
    stop_before(AioBaseClient, "_make_api_call", IN_UPLOAD, uploads)
