"""
A connection to the simulator, and the little that a running task is given.

The vendor is the simulator over real HTTP; of Airflow only the database and the supervisor are stood in for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import media_kit
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "sk-simulator"
CONNECTION = "AIRFLOW_CONN_KLING_AVATAR_DEFAULT"


# ---------------------------------------------------------------------------------------------- the vendor


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
def pauses(pauses, monkeypatch) -> list[float]:
    """Nor between attempts to land a clip; here nobody sleeps who is not asked to."""
    from airflow_provider_kling_avatar.landing import Landing

    monkeypatch.setitem(Landing.__init__.__kwdefaults__, "sleep", pauses.append)
    return pauses


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
    def make(name: str = "face.png", **options: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(media_kit.picture(**options))
        return path

    return make


@pytest.fixture
def make_sound(tmp_path) -> Callable[..., Path]:
    def make(name: str = "voice.wav", **options: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(media_kit.sound(**options))
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
