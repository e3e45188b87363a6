"""
What every Airflow has in common that is started on this machine and leaves nothing behind.

Runs whichever version (2.11 or 3.x) a given Python environment holds: the components as separate processes, so that
a test can kill one and see what happens. Which components there are, and on which database, subclasses know. Knows
nothing about this provider.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow_api import AirflowApi, ApiError
from airflow_settings import WEBSERVER_CONFIG, airflow_settings, clean_environment
from log_lines import readable
from processes import ManagedProcess, free_ports, signals_held, stop_all, tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FINISHED = frozenset({"success", "failed"})
SQLITE_IS_LOCKED = "database is locked"
PATIENCE = 600.0
"""Seconds to wait for what comes within some on an idle machine: a busy one is no failure."""


class ManagedAirflowError(Exception):
    """Airflow did not do what was asked; the message holds the tail of the logs that may tell why."""


class ManagedAirflow:
    """
    One Airflow; used through a subclass, which names its components.

    .. code-block:: python

        with LocalAirflow(dags=Path("example_dags")) as airflow:
            run_id = airflow.trigger("my_dag", conf={"image": "face.jpg"})
            assert airflow.wait_for_run("my_dag", run_id, timeout=60) == "success"

    :param dags: folder of the Dag files.
    :param python: interpreter of the environment Airflow is installed in; this one by default.
    :param home: ``AIRFLOW_HOME``; a temporary folder, removed in the end, by default.
    :param env: further environment variables of all components, such as ``AIRFLOW_CONN_*``.
    :param parallelism: how many tasks may run at once.
    :param serve_logs: also start the log servers, for somebody who looks at running tasks in the UI.
    :param startup_timeout: seconds ``with`` waits for good health.
    """

    def __init__(
        self,
        dags: Path,
        *,
        python: Path | str = sys.executable,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        parallelism: int = 2,
        serve_logs: bool = False,
        startup_timeout: float = PATIENCE,
    ) -> None:
        self.dags = dags.resolve()
        self.python = Path(python).absolute()  # not resolved: the link is what makes it an environment
        self.home = (
            home.resolve() if home else Path(tempfile.gettempdir(), f"airflow-{uuid.uuid4().hex[:12]}")
        )
        self.startup_timeout = startup_timeout
        self._remove_home = home is None
        self._serve_logs = serve_logs
        self.version = self._installed_version()
        self.major = int(self.version.partition(".")[0])
        port, *log_ports = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self.api = AirflowApi(self.url, self.major)
        settings = airflow_settings(
            major=self.major,
            home=self.home,
            dags=self.dags,
            port=port,
            log_ports=(log_ports[0], log_ports[1]),
            parallelism=parallelism,
        )
        self.env = clean_environment(self.python, settings | self._settings() | dict(env or {}))
        self._migration = self._process("db-migrate", "db", "migrate")
        self.components = {name: self._process(name, *args) for name, args in self._commands().items()}

    def _installed_version(self) -> str:
        """Ask the environment which Airflow it holds."""
        code = "from importlib.metadata import version; print(version('apache-airflow'))"
        answer = subprocess.run(
            [self.python, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        if answer.returncode:
            raise ManagedAirflowError(f"no Airflow in the environment of {self.python}:\n{answer.stderr}")
        return answer.stdout.strip()

    def _settings(self) -> dict[str, str]:
        """Return environment variables that differ from `airflow_settings`."""
        return {}

    def _commands(self) -> dict[str, list[str]]:
        """Return the components of this version: their names, and the arguments of ``airflow`` that start them."""
        raise NotImplementedError

    def _no_log_server(self) -> list[str]:
        """Return the option that keeps a component from starting a log server, unless one is wanted."""
        return [] if self._serve_logs else ["--skip-serve-logs"]

    def _process(self, name: str, *args: str) -> ManagedProcess:
        command = [str(self.python), "-m", "airflow", *args]
        # Airflow notes the user beside each running component: the only way to tell two of a kind apart.
        env = self.env | {"LOGNAME": name}
        return ManagedProcess(name, command, log=self.home / f"{name}.log", env=env, cwd=self.home)

    def __enter__(self) -> Self:
        """Start, and wait until everything is healthy."""
        try:
            self.start()
            self.wait_healthy(self.startup_timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, whatever happened."""
        self.stop()

    def start(self) -> None:
        """
        Create the database and start all components; returns before they are healthy.

        :raises ManagedAirflowError: the database could not be created.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "webserver_config.py").write_text(WEBSERVER_CONFIG)
        self._migration.start()
        if self._migration.wait(self.startup_timeout):
            raise ManagedAirflowError(f"`airflow db migrate` failed\n{self.log_tails('db-migrate')}")
        self._prepare()
        for component in self.components.values():
            component.start()

    def _prepare(self) -> None:
        """Do what is to be done between the making of the database and the start of the components."""

    def wait_healthy(self, timeout: float = PATIENCE) -> None:
        """
        Wait until every component reports good health.

        :param timeout: seconds.
        :raises ManagedAirflowError: a component ended, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            trouble = self._trouble()
            if not trouble:
                return
            if time.monotonic() > deadline:
                raise ManagedAirflowError(
                    f"not healthy after {timeout:.0f} s: {', '.join(trouble)}\n{self.log_tails()}"
                )
            time.sleep(0.3)

    def _trouble(self) -> list[str]:
        """Return what is not healthy yet, in words."""
        try:
            return self.api.unhealthy()
        except ApiError as error:
            return [str(error)]

    def check_alive(self) -> None:
        """
        Look whether every component runs that was not told to end.

        One that ended because SQLite was locked is started again, as whoever supervises it would: two components that
        write at once are enough for that, and Airflow's scheduler does not outlive it.

        :raises ManagedAirflowError: one ended by itself; the message holds the end of its log.
        """
        for name, component in self.components.items():
            if component.running or component.ended_by_us:
                continue
            told = f"the {name} ended with status {component.returncode}\n{self.log_tails(name)}"
            if SQLITE_IS_LOCKED not in told:
                raise ManagedAirflowError(told)
            component.start()

    def log_tails(self, *names: str, lines: int = 40) -> str:
        """Return the end of the named logs, of all components if none is named."""
        return "\n".join(
            f"--- {name}.log ---\n{tail(self.home / f'{name}.log', lines)}"
            for name in names or self.components
        )

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        timeout: float = PATIENCE,
    ) -> str:
        """
        Start a run of a Dag, waiting for the Dag file to have been read.

        :param conf: the run's configuration, which overrides the Dag's ``params``.
        :param run_id: a new one by default.
        :param timeout: seconds to wait for the Dag to appear.
        :returns: the run's id.
        :raises ManagedAirflowError: there is no such Dag, or its file cannot be imported.
        """
        run_id = run_id or f"local-{uuid.uuid4().hex[:8]}"
        deadline = time.monotonic() + timeout
        unanswered = False
        while True:
            try:
                self.api.create_run(dag_id, run_id, dict(conf or {}))
            except ApiError as error:
                if error.status == 409 and unanswered:
                    return run_id  # an earlier request was carried out, only its answer was lost
                if error.status != 404 and not error.may_pass:
                    raise
                unanswered = unanswered or error.may_pass
                broken = self.api.import_errors() if error.status == 404 else ""
                if broken or time.monotonic() > deadline:
                    parser = "dag-processor" if "dag-processor" in self.components else "scheduler"
                    raise ManagedAirflowError(
                        f"Dag {dag_id!r} did not appear\n{broken or self.log_tails(parser)}"
                    ) from None
                time.sleep(0.5)
            else:
                return run_id

    def cli(self, *args: str) -> str:
        """
        Run a command of ``airflow``, as a person would on this machine, and return what it prints.

        :raises ManagedAirflowError: it failed.
        """
        command = [str(self.python), "-m", "airflow", *args]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=self.env
        )
        if done.returncode:
            raise ManagedAirflowError(f"airflow {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def watch(
        self, dag_id: str, run_id: str, timeout: float = PATIENCE
    ) -> Iterator[tuple[str, dict[str, str]]]:
        """
        Yield the state of a run and of its tasks, first at once and then twice a second, until it is over.

        :param timeout: seconds.
        :raises ManagedAirflowError: a component ended, or the time is over.
        """
        deadline = time.monotonic() + timeout
        while True:
            self.check_alive()
            try:
                # The run first: tasks looked at after the end of the run have their final states.
                state, tasks = self.api.run_state(dag_id, run_id), self.task_states(dag_id, run_id)
            except ApiError as error:
                if not error.may_pass:
                    raise
                trouble = str(error)
            else:
                trouble = f"still {state}: {tasks}"
                yield state, tasks
                if state in FINISHED:
                    return
            if time.monotonic() > deadline:
                raise ManagedAirflowError(
                    f"run {run_id} of {dag_id} is not over after {timeout:.0f} s: {trouble}\n{self.log_tails()}"
                )
            time.sleep(0.5)

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = PATIENCE) -> str:
        """Wait for a run to end and return its state, ``success`` or ``failed``; see :meth:`watch`."""
        state = ""
        for state, _tasks in self.watch(dag_id, run_id, timeout):  # noqa: B007 - the last one counts
            pass
        return state

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Return the state of each task, ``none`` if it has none yet; mapped tasks as ``task[0]``."""
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): task["state"]
            or "none"
            for task in self.api.task_instances(dag_id, run_id)
        }

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return what a task pushed under a key, decoded from JSON."""
        return self.api.xcom(dag_id, run_id, task_id, key, map_index)

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """
        Return the log of one try, the worker's and the triggerer's part, in the order in which they were begun.

        Read from disk, so that it also works after the API server or the worker was killed.
        """
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        if map_index >= 0:
            folder /= f"map_index={map_index}"
        files = sorted(folder.glob(f"attempt={try_number}.log*"))
        return "\n".join(
            readable(line) for file in files for line in file.read_text(errors="replace").splitlines()
        )

    def stop(self) -> None:
        """End every process and remove the home if it is temporary. May be called again, and at any moment."""
        with signals_held():
            stop_all([self._migration, *self.components.values()])
            if self._remove_home:
                shutil.rmtree(self.home, ignore_errors=True)

    def survivors(self) -> list[int]:
        """Return the process ids of everything this Airflow started that is still alive."""
        return [
            pid for process in (self._migration, *self.components.values()) for pid in process.survivors()
        ]
