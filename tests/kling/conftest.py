"""One fake vendor, and clients that never really sleep."""

from __future__ import annotations

import pytest
from desk import Desk, Notebook
from fake_vendor import FakeVendor
from media_kit import inline, picture, sound

from airflow_provider_kling_avatar.kling.client import AsyncKlingClient, KlingClient
from airflow_provider_kling_avatar.kling.config import KlingConfig
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.submission.request import prepare

KEY = "sk-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    """What is tested talks to this machine alone."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def face():
    """A picture that every vendor takes, as bare base64."""
    return inline(picture())


@pytest.fixture(scope="session")
def voice():
    """Two and a half seconds of silence, as bare base64."""
    return inline(sound())


@pytest.fixture
def config_of():
    """Build an account from what a connection holds."""

    def build(host, api="kling", *, login=None, password=KEY, **extra):
        return KlingConfig.build(host=host, login=login, password=password, extra={"api": api, **extra})

    return build


@pytest.fixture(scope="session")
def running_vendor():
    vendor = FakeVendor()
    yield vendor
    vendor.close()


@pytest.fixture
def vendor(running_vendor):
    """A vendor that answers what it is told."""
    yield running_vendor
    running_vendor.forget()


@pytest.fixture
def client_of(config_of, pauses):
    """Make blocking clients that note their pauses in place of sleeping."""
    opened = []

    def build(host, api="kling", attempts=3, **options):
        client = KlingClient(config_of(host, api, **options), attempts=attempts)
        opened.append(client)
        return client

    yield build
    for client in opened:
        client.close()


@pytest.fixture
def ask_async(config_of):
    """Ask once with the triggerer's client."""

    async def ask(host, task_id="t-1", api="kling", endpoint="avatar", **options):
        async with AsyncKlingClient(config_of(host, api, **options)) as client:
            return await client.get_task(task_id, endpoint)

    return ask


@pytest.fixture
def desk(sim, client_of, face, voice):
    def build(api="kling", *, store=False, relay=None, **changes):
        prefix = {"path_prefix": f"/relay/{relay}/kling"} if relay else {}
        if api == "relay" and not relay:
            prefix = {"path_prefix": "/relay/kling"}
        client = client_of(sim.url, api, password="sk-simulator", **prefix)
        dialect = client.config.dialect
        sound = voice if dialect.accepts_files("avatar", "audio") else "https://sounds.test/voice.mp3"
        picture = face if dialect.accepts_files("avatar", "image") else "https://pictures.test/face.png"
        fields = {"image": picture, "audio": sound, "audio_duration_seconds": 12} | changes
        request = AvatarRequest(**{name: value for name, value in fields.items() if value is not None})
        return Desk(sim, client, prepare(request, dialect), Notebook() if store else None)

    return build
