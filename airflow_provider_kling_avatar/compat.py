"""
The one place that knows how Airflow 2.11 to 3.3 differ.

What `airflow.providers.common.compat` evens out is only re-exported here; the rest is evened out below.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
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
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS
from airflow.triggers.base import BaseTrigger, TriggerEvent

try:
    from airflow.triggers.base import BaseEventTrigger
except ImportError:  # Airflow 2
    BaseEventTrigger = BaseTrigger  # type: ignore[misc,assignment]

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from airflow.models.dagrun import DagRun
    from airflow.providers.common.compat.sdk import DAG, Context
    from fsspec import AbstractFileSystem

T = TypeVar("T")

HAS_EVENT_TRIGGERS = BaseEventTrigger is not BaseTrigger
"""Whether a trigger can start a Dag by an asset: since Airflow 3.0."""

SETTLE_SECONDS = 10.0
"""
No trigger of ours reports sooner after its task was deferred. Airflow (seen in 3.0.6 and 3.3.2) fails a task that is
queued again before its scheduler has heard that the worker let it go, which takes 5 s and more on a busy machine:
https://github.com/apache/airflow/issues/67287 and 72716.
"""

HAS_REACT_APPS = AIRFLOW_V_3_1_PLUS
"""Whether a plugin can add pages to the UI: since Airflow 3.1."""
CLIP_PAGE = "kling-clip"
"""The last part of the address of a clip's page in Airflow's UI."""

__all__ = [
    "CLIP_PAGE",
    "HAS_EVENT_TRIGGERS",
    "HAS_REACT_APPS",
    "SETTLE_SECONDS",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseEventTrigger",
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
    "change_xcom_from_trigger",
    "clip_page",
    "conf",
    "context_merge",
    "dag_bag",
    "get_async_connection",
    "get_async_extra_dejson",
    "get_fs",
    "is_asked_anew",
    "is_inline",
    "is_left_over",
    "load_of_watcher",
    "note_deferral",
    "own_xcom",
    "round_of",
    "run_dag_for_test",
    "save_of_watcher",
    "state_store",
    "stored_xcom",
    "task_listeners",
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


def get_fs(scheme: str, conn_id: str | None) -> AbstractFileSystem:
    """Return a new file system of a storage: `ObjectStoragePath` has one for as long as the process lives."""
    try:
        from airflow.sdk.io import get_fs as new_file_system
    except ImportError:  # before Airflow 3.1
        from airflow.io import get_fs as new_file_system  # type: ignore[attr-defined,no-redef]
    return new_file_system(scheme, conn_id)


def own_xcom(context: Context, key: str) -> Any:
    """Return what this task instance has left in XCom, or ``None``. A new try starts with nothing in it."""
    ti = context["ti"]
    map_index = -1 if ti.map_index is None else ti.map_index
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=map_index)


async def change_xcom_from_trigger(
    trigger: BaseTrigger, key: str, change: Callable[[Any], dict[str, Any] | None]
) -> None:
    """
    Change what the task that a trigger waits for has left in XCom; does nothing before Airflow 3.1, nor inline.

    :param change: returns the new value for the old one, which is ``None`` if there is none; ``None`` to leave it.
    """
    ti = trigger.task_instance
    if not HAS_REACT_APPS or ti is None:
        return
    where = {
        "key": key,
        "dag_id": ti.dag_id,
        "task_id": ti.task_id,
        "run_id": ti.run_id,
        "map_index": -1 if ti.map_index is None else ti.map_index,
    }

    def read_and_write() -> None:  # Airflow's own calls for this wait for their answer
        if (value := change(XCom.get_one(**where))) is not None:
            XCom.set(value=value, **where)

    # A thousand clips begin together: they leave the loop's threads to others.
    async with _one_at_a_time(asyncio.get_running_loop()):
        await _in_thread(read_and_write)


@cache
def _one_at_a_time(_loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
    return asyncio.Lock()


def clip_page(ti: Any) -> str | None:
    """Return the address of the page about a task instance's clip in Airflow's UI; ``None`` before Airflow 3.1."""
    if not HAS_REACT_APPS:
        return None
    base = conf.get("api", "base_url", fallback="/").rstrip("/")
    dag_id, run_id, task_id = (quote(part, safe="") for part in (ti.dag_id, ti.run_id, ti.task_id))
    row = "" if ti.map_index in (None, -1) else f"/mapped/{ti.map_index}"
    return f"{base}/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{row}/plugin/{CLIP_PAGE}"


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
    return getattr(trigger, "trigger_id", 0) is None  # unknown to a future Airflow: take it for a triggerer


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


async def load_of_watcher(trigger: BaseTrigger, key: str) -> list[Any]:
    """
    Return what a trigger of an asset watcher has noted in an earlier life: none, one, or two that may differ.

    :param trigger: its notes are in an Airflow variable and, from Airflow 3.3, in the state store of its asset. The
        store is not enough: it has none where several assets share the trigger, and Airflow empties it when no Dag
        names the asset for a moment.
    :param key: of the note, and the variable's name.
    """
    notes = []
    if (store := getattr(trigger, "asset_state_store", None)) is not None:
        with contextlib.suppress(ValueError):  # several assets
            notes.append(await store.aget(key))
    notes.append(await _in_thread(_read_variable, key))
    return [note for note in notes if note is not None]


async def save_of_watcher(trigger: BaseTrigger, key: str, value: dict[str, Any]) -> None:
    """Note something for a later life of a trigger, see `load_of_watcher`."""
    from airflow.sdk import Variable

    try:
        if (store := getattr(trigger, "asset_state_store", None)) is not None:
            with contextlib.suppress(ValueError):  # several assets
                await store.aset(key, value)
    finally:  # also if the store is out of order
        await _in_thread(Variable.set, key, json.dumps(value), "Which Kling clips were told of")


def _read_variable(key: str) -> Any:
    """
    Return the JSON of an Airflow variable, its text if it is none; ``None`` only if it is certain that there is none.

    Not by `Variable.get`: from Airflow 3.1 it also says that there is none if it could not ask.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer: Any = SUPERVISOR_COMMS.send(GetVariable(key=key))
    if not isinstance(answer, ErrorResponse):
        try:
            return json.loads(answer.value)
        except (TypeError, ValueError):
            return str(answer.value)
    if answer.error != ErrorType.VARIABLE_NOT_FOUND:
        raise AirflowRuntimeError(answer)
    return None


async def _in_thread(ask: Callable[..., T], *args: Any) -> T:
    """
    Let Airflow ask its supervisor, by a call that waits for the answer, without blocking a triggerer's loop.

    By asgiref, not by `asyncio.to_thread`: Airflow 3.0 and 3.1 then ask from the triggerer's own loop. From any other
    the answers cross, which ends the triggerer; so does who is cancelled before he has his answer.
    """
    from asgiref.sync import sync_to_async

    return await asyncio.shield(sync_to_async(ask)(*args))


# ---------------------------------------------------------------- for tests of Dags, see `testing.runs`


def dag_bag(path: Path) -> Any:
    """Return the Dags in a file or folder, as Airflow's ``DagBag``."""
    return _dag_bag_module().DagBag(str(path), safe_mode=False)


def run_dag_for_test(
    dag: DAG, bundle: str, empty_folder: Path, logical_date: datetime | None, conf: dict[str, Any]
) -> DagRun:
    """
    Run a Dag by ``dag.test()``, also one that is in no Dag folder: it is stored beforehand as if it were.

    :param bundle: name of a bundle of Airflow's options (3.x), in which it is said to be.
    :param empty_folder: without Dags, to begin with.
    :param logical_date: now, if ``None``.
    """
    bag = dag_bag(empty_folder)
    bag.dags[dag.dag_id] = dag
    if _is_airflow_2():
        bag.sync_to_db()
    else:
        _store_dags(bag, bundle)
    dates = {"execution_date" if _is_airflow_2() else "logical_date": logical_date} if logical_date else {}
    test: Any = dag.test
    run: DagRun = test(run_conf=conf, **dates)
    return run


def _store_dags(bag: Any, bundle: str) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    if hasattr(bag, "sync_to_db"):  # 3.0, which relies on what it sets on the Dags of files
        for dag in bag.dags.values():
            dag.relative_fileloc = dag.relative_fileloc or dag.fileloc
        bag.sync_to_db(bundle, None)
        return
    _dag_bag_module().sync_bag_to_db(bag, bundle, None)


def stored_xcom(run: DagRun, task_id: str, map_index: int, key: str) -> Any:
    """Return what a task of a run has left in XCom, read from the database, or ``None``."""
    from airflow.models import xcom

    where = {"run_id": run.run_id, "task_id": task_id, "map_index": map_index, "key": key}
    if _is_airflow_2():
        return xcom.XCom.get_one(dag_id=run.dag_id, **where)
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        row = session.scalar(select(xcom.XComModel).filter_by(dag_id=run.dag_id, **where))
        return None if row is None else XCom.deserialize_value(row)


def task_listeners() -> Any:
    """Return the plugin manager whose hooks are called for what happens to tasks."""
    module = _first_of("airflow.sdk.listener", "airflow.listeners.listener")  # since 3.2, before
    return module.get_listener_manager().pm


def _dag_bag_module() -> Any:
    return _first_of("airflow.dag_processing.dagbag", "airflow.models.dagbag")  # since 3.2, before


def _first_of(newer: str, older: str) -> Any:
    """Return the newer of two modules, if this Airflow has it."""
    try:
        return import_module(newer)
    except ModuleNotFoundError:
        return import_module(older)


def _is_airflow_2() -> bool:
    from airflow import __version__

    return __version__.startswith("2.")
