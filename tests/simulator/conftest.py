"""Somebody to talk to the simulator, and media small enough to send a hundred times."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import media_kit
import pytest
import requests

from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import Account, SimulatorSettings

AVATAR = "/v1/videos/avatar/image2video"


def picture(width: int = 320, height: int = 320, kind: str = "PNG") -> str:
    return media_kit.inline(media_kit.picture(width, height, kind))


def sound(seconds: float = 2.5) -> str:
    return media_kit.inline(media_kit.sound(seconds))


PATIENCE = 120.0  # seconds: a busy machine is no failure


@dataclass
class Caller:
    """Sends requests to one simulator with one key."""

    base: str
    key: str = "sk-simulator"
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.headers["Authorization"] = f"Bearer {self.key}"

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.session.post(
            self.base + path, json=body, timeout=PATIENCE, allow_redirects=False, **options
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        url = path if path.startswith("http") else self.base + path
        return self.session.get(url, timeout=PATIENCE, allow_redirects=False, **options)

    def avatar(self, path: str = AVATAR, **changes: Any) -> requests.Response:
        body = {"image": picture(), "sound_file": sound(), "mode": "std", "prompt": "."} | changes
        return self.post(path, {name: value for name, value in body.items() if value is not None})


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def make_sound():
    return sound


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
