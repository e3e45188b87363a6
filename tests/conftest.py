"""
What all tests share: an Airflow home of their own, the simulator, its further accounts, and nobody who really sleeps.

The environment is set before Airflow is imported anywhere: it reads its home and its mode at import. (What is imported
here, the core and the simulator, does not know Airflow.)
"""

from __future__ import annotations

import atexit
import base64
import logging
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from airflow_provider_kling_avatar.kling.client import KlingClient
from airflow_provider_kling_avatar.kling.submission.submit import Submitter
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOME = tempfile.mkdtemp(prefix="airflow-unit-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": HOME,
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": f"{HOME}/dags",
    "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
    "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
    "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",  # 2.11 warns about its own default
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",  # nothing leaves the machine
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "dev"), str(ROOT)]  # tools and benchmarks; at the end: they must never hide a library

# A slow example is no wrong one, and one that was slowly thought of neither.
settings.register_profile("busy-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start an Airflow: they take longest, and wait while others compute."""
    items.sort(key=lambda item: item.path.parent.name != "airflow_live")


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer(SimulatorSettings(queue_seconds=10, render_seconds=40, slots=50)) as server:
        yield server


@pytest.fixture
def sim(running_simulator: SimulatorServer) -> SimulatorServer:
    """A vendor that has seen nothing yet; a task takes 50 s of its clock, which `sim.advance` moves on."""
    running_simulator.reset()
    return running_simulator


@pytest.fixture
def start_vendor() -> Iterator[Callable[..., SimulatorServer]]:
    """Start further vendors with settings of their own; all are stopped at the end."""
    with ExitStack() as servers:

        def start(**settings: Any) -> SimulatorServer:
            return servers.enter_context(SimulatorServer(SimulatorSettings(**settings)))

        yield start


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps between attempts; what would have been slept is listed."""
    slept: list[float] = []
    monkeypatch.setitem(KlingClient.__init__.__kwdefaults__, "sleep", slept.append)
    monkeypatch.setitem(Submitter.__init__.__kwdefaults__, "sleep", slept.append)
    return slept


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nothing is logged by the package: thousands of clips would say much."""
    logger = logging.getLogger("airflow_provider_kling_avatar")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)
