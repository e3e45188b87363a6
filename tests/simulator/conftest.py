"""A running simulator, somebody to talk to it, and media small enough to send a hundred times."""

from __future__ import annotations

import base64
import io
import wave
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from PIL import Image

from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import Account, SimulatorSettings

AVATAR = "/v1/videos/avatar/image2video"


def picture(width: int = 320, height: int = 320, kind: str = "PNG") -> str:
    target = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 160)).save(target, kind)
    return base64.b64encode(target.getvalue()).decode()


def sound(seconds: float = 2.5) -> str:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * int(8000 * seconds)))
    return base64.b64encode(target.getvalue()).decode()


@dataclass
class Caller:
    """Sends requests to one simulator with one key."""

    base: str
    key: str = "sk-simulator"
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.headers["Authorization"] = f"Bearer {self.key}"

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.session.post(self.base + path, json=body, timeout=20, allow_redirects=False, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else self.base + path
        return self.session.get(url, timeout=20, allow_redirects=False, **options)

    def avatar(self, path: str = AVATAR, **changes: Any) -> requests.Response:
        body = {"image": picture(), "sound_file": sound(), "mode": "std", "prompt": "."} | changes
        return self.post(path, {name: value for name, value in body.items() if value is not None})


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def make_sound():
    return sound


@pytest.fixture(scope="session")
def running_simulator():
    with SimulatorServer(SimulatorSettings(queue_seconds=10, render_seconds=40)) as server:
        yield server


@pytest.fixture
def sim(running_simulator):
    """A simulator that has seen nothing yet; its clock may have been moved by earlier tests."""
    running_simulator.reset()
    return running_simulator


@pytest.fixture
def caller(sim):
    with requests.Session() as session:
        yield Caller(sim.url, session=session)


@pytest.fixture
def run():
    """Start simulators with other settings: `with run(slots=1) as (sim, caller)`."""

    @contextmanager
    def start(key: str = "sk-simulator", **settings: Any):
        settings = {"queue_seconds": 10, "render_seconds": 40} | settings
        with SimulatorServer(SimulatorSettings(**settings)) as server, requests.Session() as session:
            yield server, Caller(server.url, key, session)

    return start


@pytest.fixture
def other_account():
    return Account(name="other", api_key="sk-other", access_key="ak-other", secret_key="s" * 40)
