"""
An Airflow of its own for these tests, a vendor to talk to, and the little that a running task is given.

The environment is set before Airflow is imported anywhere: it reads its home and its mode at import. (What is
imported here, the core and the simulator, does not know Airflow.) The vendor is the simulator over real HTTP; of
Airflow only the database and the supervisor are stood in for.
"""

from __future__ import annotations

import atexit
import base64
import io
import json
import os
import shutil
import tempfile
import wave
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from PIL import Image

from airflow_provider_kling_avatar.kling.client import KlingClient
from airflow_provider_kling_avatar.kling.submission.submit import Submitter
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


KEY = "sk-simulator"
CONNECTION = "AIRFLOW_CONN_KLING_AVATAR_DEFAULT"


# ---------------------------------------------------------------------------------------------- the vendor


@pytest.fixture(scope="session")
def running_simulator():
    with SimulatorServer(SimulatorSettings(queue_seconds=10, render_seconds=40, slots=50)) as server:
        yield server


@pytest.fixture
def sim(running_simulator):
    """The vendor, with nothing ordered yet. A task takes 50 s of the clock that `advance` moves."""
    running_simulator.reset()
    return running_simulator


@pytest.fixture
def start_vendor():
    """Start further vendors with settings of their own; all are stopped at the end."""
    servers = []

    def start(**settings: Any) -> SimulatorServer:
        server = SimulatorServer(SimulatorSettings(**settings))
        server.__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def connect(monkeypatch, sim) -> Callable[..., None]:
    """Set the default connection: to the simulator unless told otherwise; ``extra`` is what is left over."""

    def set_connection(
        *, host: str | None = None, password: str | None = KEY, login: str | None = None, **extra
    ) -> None:
        connection = {
            "conn_type": "kling_avatar",
            "host": sim.url if host is None else host,
            "password": password,
            "login": login,
            "extra": extra,
        }
        monkeypatch.setenv(CONNECTION, json.dumps({k: v for k, v in connection.items() if v is not None}))

    set_connection()
    return set_connection


@pytest.fixture
def no_connection(monkeypatch):
    monkeypatch.delenv(CONNECTION, raising=False)


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """Nobody sleeps between attempts; what would have been slept is listed."""
    from airflow_provider_kling_avatar.landing import Landing

    slept: list[float] = []
    monkeypatch.setitem(KlingClient.__init__.__kwdefaults__, "sleep", slept.append)
    monkeypatch.setitem(Submitter.__init__.__kwdefaults__, "sleep", slept.append)
    monkeypatch.setitem(Landing.__init__.__kwdefaults__, "sleep", slept.append)
    return slept


@pytest.fixture(autouse=True)
def events_at_once(monkeypatch):
    """Triggers report at once: there is no scheduler here that could be overtaken."""
    for module in ("kling_avatar", "kling_slot"):
        monkeypatch.setattr(f"airflow_provider_kling_avatar.triggers.{module}.SETTLE_SECONDS", 0.0)


@pytest.fixture
def sessions(monkeypatch):
    """The HTTP sessions that are opened from now on."""
    opened = []
    make = aiohttp.ClientSession.__init__

    def note(session, *arguments, **options):
        opened.append(session)
        make(session, *arguments, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", note)
    return opened


# ---------------------------------------------------------------------------------------------- the task


@dataclass
class StandInTaskInstance:
    """What our code uses of a running task instance; writes down what is pushed, in order."""

    events: list[tuple[Any, ...]]
    task_id: str = "clip"
    dag_id: str = "news"
    run_id: str = "manual__1"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)
    first_reschedule: Any = None

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.events.append(("xcom", key))
        self.xcoms[key] = value

    def xcom_pull(self, task_ids: Any = None, key: str = "return_value", **_: Any) -> Any:
        return self.xcoms.get(key)

    def get_first_reschedule_date(self, context: Any) -> Any:
        return self.first_reschedule


@dataclass
class StandInStateStore:
    """Airflow 3.3's task state store, as far as we use it."""

    events: list[tuple[Any, ...]]
    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any, **_: Any) -> None:
        json.dumps(value)
        self.events.append(("store", key, dict(value)))
        self.values[key] = value


@pytest.fixture
def events() -> list[tuple[Any, ...]]:
    """Everything that a task stored, in order."""
    return []


@pytest.fixture
def make_context(events) -> Callable[..., dict[str, Any]]:
    """Make the context of one try; ``store=True`` for an Airflow that has a task state store."""
    store = StandInStateStore(events)

    def make(*, store_there: bool = False, **changes: Any) -> dict[str, Any]:
        ti = StandInTaskInstance(events, **changes)
        context: dict[str, Any] = {"ti": ti, "task_instance": ti, "run_id": ti.run_id, "params": {}}
        if store_there:
            context["task_state_store"] = store
        return context

    return make


@pytest.fixture
def context(make_context) -> dict[str, Any]:
    return make_context()


# ---------------------------------------------------------------------------------------------- media


@pytest.fixture
def make_picture(tmp_path) -> Callable[..., Path]:
    def make(name: str = "face.png", width: int = 320, height: int = 320, kind: str = "PNG") -> Path:
        path = tmp_path / name
        Image.new("RGB", (width, height), (90, 120, 160)).save(path, kind)
        return path

    return make


@pytest.fixture
def make_sound(tmp_path) -> Callable[..., Path]:
    def make(name: str = "voice.wav", seconds: float = 2.5) -> Path:
        path = tmp_path / name
        target = io.BytesIO()
        with wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * int(8000 * seconds)))
        path.write_bytes(target.getvalue())
        return path

    return make


@pytest.fixture
def face(make_picture) -> str:
    return str(make_picture())


@pytest.fixture
def voice(make_sound) -> str:
    return str(make_sound())


@pytest.fixture(scope="module")
def running_bucket(request):
    """Of a connection for each module: Airflow keeps a storage by its connection for as long as the process lives."""
    import s3_kit  # heavy: moto

    bucket = s3_kit.start_bucket(f"{request.module.__name__}_s3")
    yield bucket
    bucket.server.stop()


@pytest.fixture
def bucket(running_bucket, monkeypatch):
    """An empty bucket on a real S3 server, and the connection to it."""
    import s3_kit

    s3_kit.connect(running_bucket, monkeypatch)
    for key in running_bucket.names():
        running_bucket.client.delete_object(Bucket=running_bucket.name, Key=key)
    return running_bucket
