"""
A large Airflow on this machine: Celery workers and triggerers of which one can die, on PostgreSQL and Redis.

The two services have to run already; in them it has a database and keys of its own, gone in the end. Knows nothing
about this provider.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_settings import distributed_settings
from managed_airflow import ManagedAirflow
from processes import signals_held

if TYPE_CHECKING:
    import sqlalchemy

WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer-1", "triggerer-2")


class ServicesMissingError(Exception):
    """PostgreSQL or Redis cannot be used; the message says which, and what was tried."""


@dataclass(frozen=True)
class Services:
    """
    The services of this machine that a distributed Airflow needs.

    :param postgres: ``postgresql://user@host:port/database``; the user may create databases.
    :param redis: ``redis://host:port/number``.
    """

    postgres: str
    redis: str

    @classmethod
    def find(cls) -> Services:
        """
        Return the services named by ``TEST_POSTGRES_URL`` and ``TEST_REDIS_URL``, else those at the usual ports.

        :raises ServicesMissingError: one of them does not answer.
        """
        found = cls(
            os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"),
            os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
        )
        found.check()
        return found

    def check(self) -> None:
        """
        Ask both whether they are there.

        :raises ServicesMissingError: one of them does not answer.
        """
        import redis
        import sqlalchemy

        try:
            self.query("select 1")
        except sqlalchemy.exc.OperationalError as error:
            raise ServicesMissingError(f"no PostgreSQL (TEST_POSTGRES_URL): {error.orig}") from None
        try:
            with redis.Redis.from_url(self.redis, socket_connect_timeout=5) as client:
                client.ping()
        except redis.RedisError as error:
            raise ServicesMissingError(f"no Redis (TEST_REDIS_URL): {error}") from None

    def database_url(self, name: str) -> str:
        """Return the URL of another database of the same server."""
        import sqlalchemy

        url = sqlalchemy.engine.make_url(self.postgres).set(database=name)
        return url.render_as_string(hide_password=False)

    def query(self, sql: str, database: str | None = None) -> list[Any]:
        """
        Carry out one statement and return its rows.

        :param database: the one named in the URL by default.
        """
        import sqlalchemy

        url = sqlalchemy.engine.make_url(self.database_url(database) if database else self.postgres)
        engine: sqlalchemy.engine.Engine = sqlalchemy.create_engine(
            url.set(drivername="postgresql+psycopg2"),
            isolation_level="AUTOCOMMIT",  # databases are not created inside a transaction
            poolclass=sqlalchemy.pool.NullPool,
            connect_args={"connect_timeout": 5},
        )
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(sql))
            return [tuple(row) for row in result] if result.returns_rows else []

    def drop(self, name: str) -> None:
        """Drop a database, and delete the keys of Redis that begin with its name."""
        import redis

        self.query(f'drop database if exists "{name}" with (force)')
        with redis.Redis.from_url(self.redis) as client:
            for key in client.scan_iter(match=f"{name}:*"):
                client.delete(key)

    def drop_leftovers(self) -> None:
        """Drop what was left behind by starters that were killed: they are gone, and nobody is connected."""
        abandoned = self.query(
            "select datname from pg_database where datname like 'airflow\\_test\\_%'"
            " and datname not in (select datname from pg_stat_activity where datname is not null)"
        )
        for (name,) in abandoned:
            if not Path("/proc", name.split("_")[2]).exists():
                self.drop(name)


class DistributedAirflow(ManagedAirflow):
    """
    One Airflow with two Celery workers and two triggerers.

    A dead triggerer is noticed after 10 s, a dead worker's tasks after 20 to 35 s.

    :param dags: folder of the Dag files.
    :param services: the PostgreSQL and the Redis to use.
    :param worker_slots: how many tasks each worker runs at once.
    :param options: what `ManagedAirflow` takes.
    """

    def __init__(self, dags: Path, *, services: Services, worker_slots: int = 4, **options: Any) -> None:
        self.services = services
        self.database = f"airflow_test_{os.getpid()}_{uuid.uuid4().hex[:12]}"
        self._worker_slots = worker_slots
        super().__init__(dags, **({"parallelism": worker_slots * len(WORKERS)} | options))

    def _settings(self) -> dict[str, str]:
        """Return the settings for Celery, PostgreSQL and Redis."""
        return distributed_settings(
            major=self.major,
            database=self.services.database_url(self.database),
            broker=self.services.redis,
            prefix=f"{self.database}:",
        )

    def _commands(self) -> dict[str, list[str]]:
        """Return two workers, two triggerers, and one of everything else."""
        quiet = self._no_log_server()
        one_of_each = [["webserver"]] if self.major == 2 else [["api-server"], ["dag-processor"]]
        return (
            {command[0]: command for command in one_of_each}
            | {"scheduler": ["scheduler", *quiet]}
            | {name: ["triggerer", *quiet, "--pid", self._pid_file(name)] for name in TRIGGERERS}
            | {name: self._worker_command(name) for name in WORKERS}
        )

    def _worker_command(self, name: str) -> list[str]:
        slots = str(self._worker_slots)
        command = ["celery", "worker", "--celery-hostname", name, "--concurrency", slots]
        return [*command, *self._no_log_server(), "--pid", self._pid_file(name)]

    def _pid_file(self, name: str) -> str:
        return str(self.home / f"{name}.pid")

    def start(self) -> None:
        """Create the database and start all components; returns before they are healthy."""
        self.services.drop_leftovers()
        self.services.query(f'create database "{self.database}"')
        super().start()

    def _trouble(self) -> list[str]:
        """Add what Airflow's own report leaves out: each triggerer and each worker."""
        trouble = super()._trouble()
        if trouble:
            return trouble
        alive = self.query("select unixname from job where job_type = 'TriggererJob' and state = 'running'")
        missing = set(TRIGGERERS) - {name for (name,) in alive}
        ready = {name for name in WORKERS if f"celery@{name} ready" in self.components[name].log.read_text()}
        return sorted(missing | (set(WORKERS) - ready))

    def query(self, sql: str) -> list[Any]:
        """Carry out one statement on Airflow's database and return its rows."""
        return self.services.query(sql, self.database)

    def triggerer_of(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        """Return the triggerer that a deferred task's trigger is assigned to, ``None`` if it has none right now."""
        for task in self.api.task_instances(dag_id, run_id):
            if task["task_id"] == task_id and task["triggerer_job"]:
                return str(task["triggerer_job"]["unixname"])
        return None

    def has_fresh_heartbeat(self, triggerer: str) -> bool:
        """Tell whether a triggerer has shown life within the last 5 s."""
        alive = self.query(
            "select unixname from job where job_type = 'TriggererJob' and state = 'running' "
            "and latest_heartbeat > now() - interval '5 seconds'"
        )
        return (triggerer,) in alive

    def component_of(self, pid: int) -> str:
        """
        Return the name of the component that a process belongs to.

        :raises ProcessLookupError: there is no such process, or it is not one of ours.
        """
        session = os.getsid(pid)
        for name, component in self.components.items():
            if component.running and component.pid == session:
                return name
        raise ProcessLookupError(f"process {pid} belongs to none of {', '.join(self.components)}")

    def stop(self) -> None:
        """End every process, then drop the database and the keys. May be called again, and at any moment."""
        with signals_held():
            super().stop()
            self.services.drop(self.database)
