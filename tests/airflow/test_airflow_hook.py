"""The hook: from a connection, however it is written, to a client; and what a person learns by testing it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_kling_avatar.hooks.kling_avatar import (
    ConnectionUnreadableError,
    KlingAvatarHook,
    open_storage,
    sign_storage,
)
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.auth import BearerKey, SignedKey
from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.models import AvatarRequest, ImageToVideoRequest, SpeechRequest
from airflow_provider_kling_avatar.simulator.settings import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_SECRET_KEY,
    Account,
)

ENV = "AIRFLOW_CONN_KLING_AVATAR_DEFAULT"


@pytest.fixture
def hook():
    hook = KlingAvatarHook()
    yield hook
    hook.close()


@pytest.fixture
def refused_port():
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# ---------------------------------------------------------------------------------------------- configuration


def test_a_connection_as_json_becomes_an_account(monkeypatch, hook):
    extra = {
        "api": "relay",
        "path_prefix": "gateway/",
        "query_path": "{path}/query/{id}",
        "list_path": False,
        "limits": {"avatar.prompt.maxLength": 500},
        "connect_timeout": 3,
        "read_timeout": "60",
        "task_link": "https://console.example.com/{task_id}",
    }
    connection = {"conn_type": "kling_avatar", "host": "https://gw.example.com", "password": "sk-1"}
    monkeypatch.setenv(ENV, json.dumps(connection | {"extra": extra}))

    config = hook.config

    assert config.dialect.name == "relay"
    assert config.base_url == "https://gw.example.com"
    assert config.credentials == BearerKey("sk-1")
    assert (config.connect_timeout, config.read_timeout) == (3.0, 60.0)
    assert config.task_link == "https://console.example.com/{task_id}"
    assert config.dialect.create_path("avatar") == "/gateway/v1/videos/avatar/image2video"
    assert config.dialect.query_path("avatar", "7") == "/gateway/v1/videos/avatar/image2video/query/7"
    assert config.dialect.schema("avatar")["properties"]["prompt"]["maxLength"] == 500
    with pytest.raises(errors.UnsupportedError):
        config.dialect.list_path("avatar")


@pytest.mark.parametrize(
    ("uri", "base_url", "api"),
    [
        ("kling-avatar://:sk-1@", "https://api-singapore.klingai.com", "kling"),
        ("kling-avatar://:sk-1@gw.example.com", "https://gw.example.com", "kling"),
        ("kling-avatar://:sk-1@gw.example.com:8443/http", "http://gw.example.com:8443", "kling"),
        ("kling-avatar://:sk-1@https%3A%2F%2Fgw.example.com", "https://gw.example.com", "kling"),
        ("kling-avatar://:sk-1@?api=cometapi", "https://api.cometapi.com", "cometapi"),
        ("kling-avatar://:sk-1@/?api=cometapi&connect_timeout=2", "https://api.cometapi.com", "cometapi"),
    ],
)
def test_a_connection_as_uri_becomes_an_account(monkeypatch, hook, uri, base_url, api):
    monkeypatch.setenv(ENV, uri)

    config = hook.config

    assert (config.base_url, config.dialect.name) == (base_url, api)
    assert config.credentials == BearerKey("sk-1")


@pytest.mark.parametrize(
    "value",
    [
        '{"conn_type": "kling_avatar", "password": "sk-SECRETSECRET"',
        "kling-avatar://:sk-SECRETSECRET@host:abc/",
        '{"conn_typ": "kling_avatar", "password": "sk-SECRETSECRET"}',
        "",
    ],
    ids=["torn JSON", "URI with a port that is none", "a field that is not there", "empty"],
)
def test_a_variable_that_is_set_but_cannot_be_read_is_said_to_be_the_mistake(monkeypatch, hook, value):
    monkeypatch.setenv(ENV, value)

    with pytest.raises(ConnectionUnreadableError) as caught:
        hook.get_conn()

    said = str(caught.value)
    assert said.startswith("connection 'kling_avatar_default' cannot be used here (")
    assert f"{ENV} is set but cannot be read: check its quotes and its JSON" in said
    assert "give all processes" not in said
    assert "SECRET" not in said


def test_a_connection_that_is_missing_is_told_with_the_variable_that_would_make_it(monkeypatch, hook):
    monkeypatch.delenv(ENV, raising=False)

    with pytest.raises(
        ConnectionUnreadableError, match=rf"the environment variable {ENV}\. One that is there, but"
    ):
        hook.get_conn()


def test_access_and_secret_key_make_signed_tokens(monkeypatch, hook):
    monkeypatch.setenv(ENV, "kling-avatar://the-access-key:the-secret-key@")

    assert isinstance(hook.config.credentials, SignedKey)
    assert hook.config.credentials.access_key == "the-access-key"


def test_another_connection_can_be_named(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SECOND", "kling-avatar://:sk-2@")

    assert KlingAvatarHook("second").config.credentials == BearerKey("sk-2")


def test_a_connection_without_a_type_is_taken(monkeypatch, hook):
    monkeypatch.setenv(ENV, json.dumps({"password": "sk-1"}))

    assert hook.config.credentials == BearerKey("sk-1")


@pytest.mark.parametrize(
    ("connection", "field", "remedy"),
    [
        ({"password": None}, "no key", "put the API key into password"),
        ({"password": "  "}, "no key", "put the API key into password"),
        ({"password": "sk 1"}, "password", "paste the key anew"),
        ({"password": "sk-ключ"}, "password", "paste the key anew"),
        ({"api": "klong"}, "api is 'klong'", "must be one of kling, kling-broadcast, cometapi"),
        ({"api": "relay", "host": ""}, "host is empty", "put your seller's there"),
        ({"host": "https://gw.example.com/v1"}, "host has a path", "leave only https://gw.example.com"),
        ({"host": "https://gw.example.com?x=1"}, "host has a path", "leave only"),
        ({"host": "https://user:pw@gw.example.com"}, "host holds a user", "put the key into password"),
        ({"host": "ftp://gw.example.com"}, "host is not", "https://api.example.com"),
        ({"host": "https://"}, "host is not", "https://api.example.com"),
        ({"api": "cometapi", "login": "ak"}, "login", "access key and secret key are for kling"),
        ({"path": "/kling"}, "extra has path", "it may hold api, path_prefix"),
        ({"query_path": "tasks/{id}"}, "query_path", "must start with /"),
        ({"query_path": "/tasks"}, "query_path", "needs {id}"),
        ({"list_path": "tasks"}, "list_path", "must start with /"),
        ({"limits": "{"}, "limits must be a JSON object", "not '{'"),
        ({"limits": [1]}, "limits must be a JSON object", "not [1]"),
        ({"limits": {"prompt": 5}}, "limits: 'prompt'", "must start with one of avatar"),
        (
            {"limits": {"avatar.prmpt.maxLength": 5}},
            "limits: 'avatar.prmpt.maxLength'",
            "one of these fields",
        ),
        ({"connect_timeout": "soon"}, "connect_timeout", "number of seconds"),
        ({"read_timeout": 0.0}, "read_timeout", "between 0 and 3600"),
    ],
    ids=str,
)
def test_a_bad_connection_is_said_field_by_field(connect, hook, sim, connection, field, remedy):
    connect(**connection)

    with pytest.raises(errors.ConfigurationError) as caught:
        hook.get_conn()

    assert field in str(caught.value)
    assert remedy in str(caught.value)
    assert "sk-" not in str(caught.value)
    works, message = KlingAvatarHook().test_connection()
    assert (works, message) == (False, str(caught.value))
    assert sim.requests == []


def test_a_connection_of_another_type_is_refused(monkeypatch, hook):
    monkeypatch.setenv(ENV, "postgres://user:pw@host/db")

    with pytest.raises(
        errors.ConfigurationError, match="is of type 'postgres'; make one of type 'kling_avatar'"
    ):
        hook.get_conn()


@pytest.mark.parametrize(
    "uri", ["kling-avatar://:sk-1@gw.example.com/v1/videos", "kling-avatar://:sk-1@gw.example.com/v1"]
)
def test_a_path_in_a_uri_is_said_to_be_one(monkeypatch, hook, uri):
    """Airflow files what stands behind the host in a URI under `schema`."""
    monkeypatch.setenv(ENV, uri)

    with pytest.raises(errors.ConfigurationError, match=r"schema .*v1.* http or https .* path_prefix"):
        hook.get_conn()


@pytest.mark.parametrize("extra", ["[1]", '"text"', "{broken"])
def test_an_extra_that_cannot_be_read_is_never_taken_for_an_empty_one(monkeypatch, hook, sim, extra):
    """With it, the api and so the host would fall back to the official ones, and the key would go there."""
    monkeypatch.setenv(ENV, json.dumps({"conn_type": "kling_avatar", "password": "sk-1", "extra": extra}))

    with pytest.raises((errors.KlingError, AirflowException), match=r"(?i)extra|json|there, but wrong"):
        hook.get_conn()


def test_nothing_is_looked_up_before_it_is_needed(no_connection):
    hook = KlingAvatarHook("not_there")
    hook.close()

    with pytest.raises(Exception, match="not_there"):
        hook.get_conn()


async def test_the_triggerers_client_has_the_same_account(connect, hook):
    connect(api="kling", limits={"avatar.prompt.maxLength": 500})

    client = await hook.get_async_conn()

    assert dataclasses.replace(client.config, dialect=None) == dataclasses.replace(hook.config, dialect=None)
    assert client.config.dialect.limits == {"avatar.prompt.maxLength": 500}


async def test_the_triggerers_client_says_the_same_of_a_bad_connection(connect, hook):
    connect(api="klong")

    with pytest.raises(errors.ConfigurationError, match="api is 'klong'"):
        await hook.get_async_conn()


def test_neither_hook_nor_account_shows_a_key(connect, hook):
    connect(password="sk-very-secret")
    hook.get_conn()

    for thing in (hook, hook.config, hook.get_conn(), vars(hook), hook.config.credentials):
        assert "very-secret" not in repr(thing)


# ---------------------------------------------------------------------------------------------- test_connection


@pytest.mark.parametrize("api", DIALECTS)
def test_the_right_key_is_said_to_work_for_nothing(connect, sim, hook, api):
    connect(api=api)

    works, message = hook.test_connection()

    assert works, message
    assert DIALECTS[api].title in message
    assert sim.url in message
    assert {request.method for request in sim.requests} == {"GET"}
    assert sim.ledger()["total"]["tasks"] == 0


@pytest.mark.parametrize("api", DIALECTS)
def test_a_wrong_key_is_said_to_be_wrong(connect, hook, api):
    connect(api=api, password="sk-wrong-one")

    works, message = hook.test_connection()

    assert not works
    assert message.startswith("wrong key: ")
    assert "wrong-one" not in message


@pytest.mark.parametrize("api", DIALECTS)
def test_a_host_that_refuses_the_connection_is_said_to_be_the_problem(connect, hook, refused_port, api):
    connect(api=api, host=f"http://127.0.0.1:{refused_port}")

    works, message = hook.test_connection()

    assert not works
    assert f"no connection to http://127.0.0.1:{refused_port}" in message
    assert "check the connection's host" in message


@pytest.mark.parametrize("api", DIALECTS)
def test_a_host_of_web_pages_is_said_to_be_one(connect, sim, hook, api):
    sim.fault(kind="html", status=200, times=0)
    connect(api=api)

    works, message = hook.test_connection()

    assert not works
    assert "answered a web page instead of JSON; check the connection's host" in message


@pytest.mark.parametrize("api", [name for name, dialect in DIALECTS.items() if dialect.regions])
def test_a_key_of_the_other_region_is_told_where_it_belongs(
    connect, hook, sim, start_vendor, monkeypatch, api
):
    other = start_vendor(accounts=(Account(name="abroad", api_key="sk-abroad"),))
    dialect = dataclasses.replace(DIALECTS[api], regions=(sim.url, other.url))
    monkeypatch.setitem(DIALECTS, api, dialect)
    connect(api=api, password="sk-abroad")

    works, message = hook.test_connection()

    assert not works
    assert message == f"wrong region: the key is good on {other.url}; put that into the connection's host"


def test_a_key_is_never_tried_on_a_host_its_owner_did_not_name(connect, hook, start_vendor, monkeypatch):
    other = start_vendor(accounts=(Account(name="abroad", api_key="sk-abroad"),))
    dialect = dataclasses.replace(DIALECTS["kling"], regions=(other.url,))
    monkeypatch.setitem(DIALECTS, "kling", dialect)
    connect(password="sk-abroad")

    assert hook.test_connection()[0] is False
    assert other.requests == []


def test_airflows_command_line_prints_the_sentence_to_its_end(sim, tmp_path):
    """In a process of its own: it prints through rich, which takes what is in square brackets for a style."""

    def run(password):
        connection = {"conn_type": "kling_avatar", "host": sim.url, "password": password}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_CONN_")}
        environment = kept | {
            "AIRFLOW_CONN_KLING_AVATAR_DEFAULT": json.dumps(connection),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-m", "airflow", "connections", "test", "kling_avatar_default"]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in said.stdout + said.stderr
        assert "sk-wrong" not in said.stdout + said.stderr
        return " ".join(said.stdout.split())  # it breaks lines wherever they are full

    assert run("sk-simulator").endswith("Testing... Connection success!")
    sentence = run("sk-wrong-one").partition("Connection failed! ")[2]
    assert sentence.startswith(
        "wrong key: the key is not valid on this host: check the connection's password"
    )
    assert re.search(r"\(code 1002, HTTP 401, request id \S+\)$", sentence)


def test_access_and_secret_key_are_tested_too(connect, hook):
    connect(login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)
    assert hook.test_connection()[0]

    connect(login=DEFAULT_ACCESS_KEY, password="not-the-secret-key-that-belongs-to-it")
    assert KlingAvatarHook().test_connection()[0] is False


# ---------------------------------------------------------------------------------------------- the methods


@pytest.fixture
def connected(connect):
    """A good connection."""


def test_an_avatar_can_be_made_by_hand(connected, hook, sim, face, voice):
    task = hook.submit_avatar(AvatarRequest(image=face, audio=voice))
    sim.advance(60)

    seen = hook.get_task(task.task_id)

    assert seen.video.url.startswith(sim.url)
    assert [task.task_id for task in hook.list_tasks()] == [task.task_id]


def test_a_text_is_spoken_first_when_made_by_hand(connected, hook, sim, face):
    text = "Good morning, here is the news of the day."
    hook.submit_avatar(AvatarRequest(image=face, text=text, voice_id="oversea_male1"))

    assert [entry["endpoint"] for entry in sim.ledger()["entries"]] == ["speech", "avatar"]


def test_an_image_to_video_can_be_made_by_hand(connected, hook, sim, face):
    task = hook.submit_image_to_video(ImageToVideoRequest(image=face, prompt="a walk"))
    sim.advance(60)

    assert hook.get_task(task.task_id, "image_to_video").video
    assert len(hook.list_tasks("image_to_video", page=1, page_size=5)) == 1
    assert hook.list_tasks("avatar") == []


def test_a_text_can_be_spoken_by_hand(connected, hook):
    speech = hook.synthesize_speech(SpeechRequest(text="Good morning to you all", voice_id="oversea_male1"))

    assert speech.audio_id
    assert speech.duration > 1


def test_a_request_can_be_checked_for_nothing(connected, hook, sim, face, voice, make_sound):
    prepared = hook.prepare(AvatarRequest(image=face, audio=voice))

    assert prepared.audio_seconds == pytest.approx(2.5, abs=0.01)
    with pytest.raises(errors.MediaError):
        hook.prepare(AvatarRequest(image=face, audio=str(make_sound(seconds=1))))
    assert hook.prepare(AvatarRequest(image=face, audio=str(make_sound(seconds=1))), validate=False)
    assert sim.requests == []


def test_a_task_that_is_not_there_is_said_not_to_be(connected, hook):
    with pytest.raises(errors.NotFoundError):
        hook.get_task("831")


def test_media_may_lie_in_any_storage_airflow_knows(face):
    with open_storage(f"file://{face}") as stream:
        assert stream.read() == Path(face).read_bytes()


@pytest.mark.parametrize(("version", "signature"), [("s3v4", "X-Amz-Signature"), ("s3", "Signature")])
def test_a_link_that_is_signed_can_be_put_together_from_no_log(monkeypatch, caplog, version, signature):
    extra = {
        "region_name": "eu-west-1",
        "endpoint_url": "http://127.0.0.1:9",
        "aws_session_token": "S3SSI0N",
        "config_kwargs": {"signature_version": version},
    }
    connection = {"conn_type": "aws", "login": "AKIA0123", "password": "s3cr3t-s3cr3t", "extra": extra}
    conn_id = f"signing_{version}"
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    with caplog.at_level(logging.DEBUG):
        link = sign_storage(f"s3://{conn_id}@faces/face.png", 60)

    permissions = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert signature in permissions
    assert "StringToSign" in caplog.text, "botocore writes lines at this level"
    for secret in (permissions[signature], "S3SSI0N"):
        assert secret not in caplog.text


def test_a_storage_this_airflow_does_not_know_is_one_clear_error(connected, hook, voice, sim):
    with pytest.raises(errors.MediaError, match=r"nowhere://bucket/face\.png cannot be opened") as caught:
        hook.prepare(AvatarRequest(image="nowhere://bucket/face.png", audio=voice))

    assert caught.value.field == "image"
    assert sim.requests == []


def test_files_may_be_given_as_file_addresses(connected, hook, face, voice):
    assert hook.submit_avatar(AvatarRequest(image=f"file://{face}", audio=f"file://{voice}")).task_id


def test_a_closed_hook_can_be_used_again(connected, hook):
    hook.list_tasks()
    hook.close()
    hook.close()

    assert hook.list_tasks() == []


def test_a_port_beside_a_whole_url_is_not_lost(monkeypatch):
    connection = {
        "conn_type": "kling_avatar",
        "host": "http://gateway.test",
        "port": 8443,
        "password": "sk-x",
    }
    monkeypatch.setenv("AIRFLOW_CONN_WITH_A_PORT", json.dumps(connection))
    assert KlingAvatarHook("with_a_port").config.base_url == "http://gateway.test:8443"


@pytest.mark.parametrize("prefix", ["/a?x=1", "/a b", "#a"])
def test_a_prefix_that_is_no_path_is_refused(connect, prefix):
    connect(host="http://gateway.test", api="relay", path_prefix=prefix)
    with pytest.raises(errors.ConfigurationError, match="path_prefix"):
        KlingAvatarHook().get_conn()


def test_blanks_around_a_host_are_left_out_and_blanks_inside_are_refused(connect):
    connect(host=" http://gateway.test ")
    assert KlingAvatarHook().config.base_url == "http://gateway.test"
    connect(host="http://gate way.test")
    with pytest.raises(errors.ConfigurationError, match="host"):
        KlingAvatarHook().get_conn()


def test_each_link_into_a_storage_is_signed_with_its_connection_however_many_were_before(monkeypatch):
    """With s3fs 2026.3 the second was signed with the worker's own rights, or not at all."""
    connection = {
        "conn_type": "aws",
        "login": "of-the-connection",
        "password": "s",
        "extra": {"region_name": "x"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_PICTURES", json.dumps(connection))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-worker")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-worker")

    links = [sign_storage(f"s3://pictures@faces/{number}.png", 60) for number in range(3)]

    assert [link.count("of-the-connection") for link in links] == [1, 1, 1]


def test_a_connection_that_is_not_there_is_told_with_the_variable_to_set_and_may_be_tried_again(
    no_connection,
):
    with pytest.raises(errors.KlingError, match="AIRFLOW_CONN_KLING_AVATAR_DEFAULT") as caught:
        KlingAvatarHook().get_conn()

    assert caught.value.permanent is False
    assert caught.value.__suppress_context__, "one traceback"
