"""
Runs Dags and tasks for tests, by ``dag.test()``, in a database that was made for it.

Airflow reads which database it has when it is imported, which a test module does before any fixture runs. So Airflow
is told another one for as long as a test takes, and then gets its own back: that is neither read nor written, whatever
it is.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from airflow.models.dagrun import DagRun
    from airflow.providers.common.compat.sdk import DAG, BaseOperator

BUNDLE = "kling-avatar-testing"
"""What Airflow 3 calls a place that Dags come from; ours is an empty folder."""
CONNECT_ARGS: dict[str, Any] = {}
"""What our database is connected with: nothing that was set for another one. Airflow takes an import path for it only,
and adds what SQLite needs."""


class DagRunResult:
    """
    How a run ended. Can be asked as long as the test runs.

    :param run: Airflow's own record of it.
    :param errors: what failed tasks raised, see there.
    """

    def __init__(self, run: DagRun, errors: dict[str, BaseException | str]) -> None:
        self._run = run
        self.state = str(run.state)
        """``success`` or ``failed``."""
        self.states: dict[str, str] = {_name(ti): str(ti.state) for ti in run.get_task_instances()}
        """Task id -> ``success``, ``failed``, ``upstream_failed`` and so on. Row 0 of a mapped task is ``clip[0]``."""
        self.errors = errors
        """Task id -> what its last failed try raised; without an entry, no try failed."""

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """
        Return what a task has left in XCom, or ``None``.

        :param task_id: of a row of a mapped task, ``clip[0]``.
        :param key: what it was pushed under; a task's result by default.
        """
        from airflow_provider_kling_avatar.compat import stored_xcom

        name, _, index = task_id.removesuffix("]").partition("[")
        return stored_xcom(self._run, name, int(index or -1), key)

    def __repr__(self) -> str:
        return f"DagRunResult(state={self.state!r}, states={self.states!r}, errors={self.errors!r})"


class DagRunner:
    """
    Runs whole Dags. Called as the fixture ``kling_run_dag``.

    :param folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self,
        dag: DAG | str | Path,
        *,
        dag_id: str | None = None,
        conf: Mapping[str, Any] | None = None,
        logical_date: datetime | None = None,
    ) -> DagRunResult:
        """
        Run a Dag to its end, in this process. Triggers run inline, and retries wait for nothing.

        :param dag: a Dag, or the path of the file it is in.
        :param dag_id: which one, if the file has several.
        :param conf: of the run, overrides the Dag's params.
        :param logical_date: of the run; now, if left out.
        :raises ValueError: there is no such Dag in the file, or the file cannot be imported.
        """
        from airflow_provider_kling_avatar.compat import run_dag_for_test

        if isinstance(dag, str | Path):
            dag = _dag_in(Path(dag), dag_id)
        with _listening() as errors:
            run = run_dag_for_test(dag, BUNDLE, self._folder, logical_date, dict(conf or {}))
        return DagRunResult(run, errors)


class TaskRunner:
    """Runs single tasks. Called as the fixture ``kling_run_task``."""

    def __init__(self, run_dag: DagRunner) -> None:
        self._run_dag = run_dag

    def __call__(self, task: BaseOperator, **options: Any) -> DagRunResult:
        """
        Run one task.

        :param task: an operator or sensor that is in no Dag yet.
        :param options: ``conf`` and ``logical_date``, see `DagRunner`.
        :raises ValueError: it is in a Dag.
        """
        from airflow.providers.common.compat.sdk import DAG

        if task.has_dag():
            raise ValueError(f"task {task.task_id} is in Dag {task.dag.dag_id}: give that to kling_run_dag")
        dag = DAG(f"only_{task.task_id}", schedule=None)
        dag.add_task(task)
        return self._run_dag(dag, **options)


def create_database(path: Path) -> Path:
    """
    Create an Airflow database without a run in it.

    :param path: of the SQLite file, which is not there yet.
    """
    with _airflow_on(path):
        from airflow.utils.db import initdb

        initdb()
    return path


def leave_out_secrets_backends(patch: pytest.MonkeyPatch) -> None:
    """Have Airflow look for connections and variables only in the environment and in its database."""
    from airflow import configuration

    for name in ("SECRETS__BACKEND", "WORKERS__SECRETS_BACKEND"):
        patch.setenv(f"AIRFLOW__{name}", "")
    patch.setattr(configuration, "secrets_backend_list", configuration.initialize_secrets_backends())


@contextmanager
def airflow_of_its_own(empty: Path, folder: Path) -> Iterator[DagRunner]:
    """
    Have Airflow use a new database for a while, and let no waiting be longer than it must.

    :param empty: a database to start with, which is copied.
    :param folder: an empty one, for the copy.
    :returns: what runs Dags in it.
    """
    with pytest.MonkeyPatch.context() as patch, _airflow_on(Path(shutil.copy(empty, folder / "airflow.db"))):
        from airflow.models.taskinstance import TaskInstance

        patch.setattr(TaskInstance, "next_retry_datetime", lambda ti: ti.end_date)
        for module in ("kling_avatar", "kling_slot"):  # there is no scheduler that could be overtaken
            patch.setattr(f"airflow_provider_kling_avatar.triggers.{module}.SETTLE_SECONDS", 0.0)
        patch.setattr("airflow_provider_kling_avatar.kling.polling.wait.FIRST_LOOK_SECONDS", 0.0)
        yield DagRunner(folder / "dags")


@contextmanager
def _airflow_on(database: Path) -> Iterator[None]:
    """
    Have Airflow use this database for a while, whatever it is set to.

    :raises RuntimeError: Airflow does not take it. Nothing was done to any other.
    """
    settings: Any = import_module("airflow.settings")
    its_own = dict(vars(settings))
    dags = database.parent / "dags"
    dags.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _options(database, dags).items():
            patch.setenv(f"AIRFLOW__{name}", value)
        patch.delenv("_AIRFLOW_SKIP_DB_TESTS", raising=False)
        try:
            settings.configure_vars()
            settings.configure_orm()
            if settings.engine is None or settings.engine.url.database != str(database):
                raise RuntimeError(
                    f"Airflow keeps to its database in place of {database}, which was made for this test: nothing is "
                    "run. Look for what sets [database] sql_alchemy_conn, an airflow_local_settings.py for example"
                )
            yield
        finally:
            if settings.Session is not its_own["Session"]:
                settings.Session.remove()
                settings.engine.dispose()
            vars(settings).update(its_own)


def _options(database: Path, dags: Path) -> dict[str, str]:
    """Return Airflow's options as environment variables, which win over any file of options."""
    bundle = {
        "name": BUNDLE,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(dags)},
    }
    return {
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"sqlite+aiosqlite:///{database}",
        "DATABASE__SQL_ALCHEMY_CONNECT_ARGS": f"{__name__}.CONNECT_ARGS",
        "DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": f"{__name__}.CONNECT_ARGS",
        "DATABASE__SQL_ALCHEMY_ENGINE_ARGS": "{}",
        "DATABASE__SQL_ALCHEMY_SCHEMA": "",
        "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
    }


@contextmanager
def _listening() -> Iterator[dict[str, BaseException | str]]:
    """Collect what tasks fail with, as a listener, Airflow's own way of telling."""
    from airflow.listeners import hookimpl

    from airflow_provider_kling_avatar.compat import task_listeners

    errors: dict[str, BaseException | str] = {}

    class Listener:
        @hookimpl
        def on_task_instance_failed(self, task_instance: Any, error: BaseException | str | None) -> None:
            errors[_name(task_instance)] = error or "unknown"

    listeners, listener = task_listeners(), Listener()
    listeners.register(listener)
    try:
        yield errors
    finally:
        listeners.unregister(listener)


def _dag_in(file: Path, dag_id: str | None) -> DAG:
    from airflow_provider_kling_avatar.compat import dag_bag

    if not file.is_file():
        raise ValueError(f"there is no Dag file {file.absolute()}: give its path, or the Dag itself")
    bag = dag_bag(file)
    if bag.import_errors:
        raise ValueError(f"{file} cannot be imported: {next(iter(bag.import_errors.values()))}")
    names = sorted(bag.dags)
    if not names:
        raise ValueError(f"there is no Dag in {file}")
    if dag_id is None and len(names) != 1:
        raise ValueError(f"{file} has {len(names)} Dags ({', '.join(names)}): say which one by dag_id")
    if dag_id is not None and dag_id not in names:
        raise ValueError(f"{file} has no Dag {dag_id}, but {', '.join(names)}")
    dag: DAG = bag.dags[dag_id or names[0]]
    return dag


def _name(ti: Any) -> str:
    return str(ti.task_id) if ti.map_index in (None, -1) else f"{ti.task_id}[{ti.map_index}]"
