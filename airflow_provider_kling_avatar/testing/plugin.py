"""
The pytest plugin: fixtures for tests of Dags, against a simulator in place of the vendor.

pytest loads this at every start, wherever the package is installed. So it imports nothing but pytest, and does nothing
until a test asks for one of its fixtures.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from airflow_provider_kling_avatar.simulator.server import SimulatorServer
    from airflow_provider_kling_avatar.testing.runs import DagRunner, TaskRunner

CONN_ID = "kling_avatar_default"
_PATH_PREFIXES = {"relay": "/relay/kling"}
"""Where on the simulator an API lives, if not where its dialect says."""


@pytest.fixture
def kling_api() -> str:
    """Return the API that the connection names: ``kling``, unless a test is parametrized with others."""
    return "kling"


@pytest.fixture
def kling_settings() -> dict[str, Any]:
    """
    Return the settings of the simulator, fields of `simulator.settings.SimulatorSettings`.

    By default a clip is ready at the first look. A test, or a fixture of this name, may give others.
    """
    return {}


@pytest.fixture
def kling_simulator(kling_settings: Mapping[str, Any]) -> Iterator[SimulatorServer]:
    """Run a simulator on a free port: its clock, faults and ledger are methods of it. It has seen nothing yet."""
    try:
        from airflow_provider_kling_avatar.simulator.server import SimulatorServer
        from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings
    except ModuleNotFoundError as error:
        raise pytest.UsageError(
            f"kling_simulator needs {error.name}: pip install 'airflow-provider-kling-avatar[testing]'"
        ) from error
    settings = {"queue_seconds": 0.0, "render_seconds": 0.0, "port": 0, **kling_settings}
    with SimulatorServer(SimulatorSettings(**settings)) as server:
        yield server


@pytest.fixture
def kling_connection(
    kling_simulator: SimulatorServer, kling_api: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """
    Make the connection ``kling_avatar_default`` lead to the simulator while the test runs; return its id.

    No secrets backend is asked meanwhile: one that knows a real key would be asked first, and clips be paid for.
    """
    from airflow_provider_kling_avatar.testing.runs import leave_out_secrets_backends

    leave_out_secrets_backends(monkeypatch)
    extra = {"api": kling_api}
    if kling_api in _PATH_PREFIXES:
        extra["path_prefix"] = _PATH_PREFIXES[kling_api]
    connection = {
        "conn_type": "kling_avatar",
        "host": kling_simulator.url,
        "password": kling_simulator.settings.accounts[0].api_key,
        "extra": extra,
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(connection))
    for name in ("NO_PROXY", "no_proxy"):  # a company's proxy does not know this machine's ports
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"])))
    return CONN_ID


@pytest.fixture(scope="session")
def _kling_empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an Airflow database in which nothing has happened yet, to be copied."""
    from airflow_provider_kling_avatar.testing.runs import create_database

    return create_database(tmp_path_factory.mktemp("airflow") / "empty.db")


@pytest.fixture
def kling_run_dag(
    _kling_empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DagRunner]:
    """
    Run a Dag here and now by ``dag.test()``: see `testing.runs.DagRunner`.

    While a test has this fixture, Airflow's database is a new one of its own.
    """
    from airflow_provider_kling_avatar.testing.runs import airflow_of_its_own

    with airflow_of_its_own(_kling_empty_database, tmp_path_factory.mktemp("airflow")) as runner:
        yield runner


@pytest.fixture
def kling_run_task(kling_run_dag: DagRunner) -> TaskRunner:
    """Run one task, in a Dag that has no other: see `testing.runs.TaskRunner`."""
    from airflow_provider_kling_avatar.testing.runs import TaskRunner

    return TaskRunner(kling_run_dag)
