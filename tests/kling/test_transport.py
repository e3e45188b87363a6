"""What really crosses the socket: how often, with which key, and what a broken connection is taken for."""

from __future__ import annotations

import importlib
import ssl
from urllib.parse import unquote

import pytest
from fake_vendor import Reply
from network_kit import closed_port, raw_server, server_tls, write_certificate

from airflow_provider_kling_avatar.kling import client as client_module
from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
from airflow_provider_kling_avatar.kling.errors import Accepted

KEY = "sk-0123456789abcdefghij"
GOOD = {"code": 0, "message": "SUCCEED", "data": {"task_id": "t-1", "task_status": "processing"}}
BODY = {"image": "https://pictures.test/face.png", "audio_id": "1", "mode": "std", "prompt": "日本 é"}


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory):
    """A certificate that nobody trusts."""
    return server_tls(write_certificate(tmp_path_factory.mktemp("tls") / "server.pem", "localhost"))


async def both_fail(client_of, ask_async, host, kind, **options):
    """Let a paid call, a question and a trigger's question fail, and return their errors."""
    client = client_of(host, attempts=1, **options)
    failures = []
    for send in (lambda: client.submit("avatar", BODY), lambda: client.get_task("t-1")):
        with pytest.raises(kind) as caught:
            send()
        failures.append(caught.value)
    with pytest.raises(kind) as caught:
        await ask_async(host, **options)
    failures.append(caught.value)
    for error in failures:
        assert type(error) is kind
        assert KEY not in f"{error} {error!r}"
        assert not error.permanent
    return failures


# ------------------------------------------------------- nothing can have been sent


async def test_a_refused_connection_has_sent_nothing(client_of, ask_async):
    host = f"http://127.0.0.1:{closed_port()}"
    for error in await both_fail(client_of, ask_async, host, e.ConnectionFailedError):
        assert error.accepted is Accepted.NO
        assert host in str(error)


async def test_a_name_that_does_not_resolve_has_sent_nothing(client_of, ask_async):
    host = "http://no-such-host.invalid"
    for error in await both_fail(client_of, ask_async, host, e.ConnectionFailedError):
        assert error.accepted is Accepted.NO


async def test_a_certificate_that_is_not_trusted_has_sent_nothing(client_of, ask_async, self_signed):
    def talk(connection):
        with self_signed.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)

    with raw_server(talk) as (port, count):
        for error in await both_fail(
            client_of, ask_async, f"https://localhost:{port}", e.ConnectionFailedError
        ):
            assert error.accepted is Accepted.NO
        assert len(count) == 3


async def test_a_server_without_tls_has_been_sent_nothing(client_of, ask_async):
    def talk(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with raw_server(talk) as (port, _):
        for error in await both_fail(
            client_of, ask_async, f"https://127.0.0.1:{port}", e.ConnectionFailedError
        ):
            assert error.accepted is Accepted.NO


async def test_a_connection_closed_while_tls_is_set_up_has_sent_nothing(client_of, ask_async):
    with raw_server(lambda connection: connection.recv(10)) as (port, _):
        client = client_of(f"https://127.0.0.1:{port}", attempts=1)
        with pytest.raises(e.ConnectionFailedError) as caught:
            client.submit("avatar", BODY)
    assert caught.value.accepted is Accepted.NO


def test_a_paid_call_that_never_left_is_tried_again(client_of, pauses):
    client = client_of(f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(e.ConnectionFailedError):
        client.submit("avatar", BODY)
    assert len(pauses) == 2


# ------------------------------------------------------------ nobody knows what was taken


@pytest.mark.parametrize("act", ["close", "reset", "cut"])
async def test_a_connection_that_breaks_after_the_request_was_read_leaves_doubt(
    vendor, client_of, ask_async, act
):
    vendor.answers(Reply(GOOD, act=act))
    client = client_of(vendor.url)
    for send in (lambda: client.submit("avatar", BODY), lambda: client.synthesize({"text": "x"})):
        vendor.seen.clear()
        with pytest.raises(e.ConnectionLostError) as caught:
            send()
        assert caught.value.accepted is Accepted.MAYBE
        assert vendor.methods() == ["POST"]
    vendor.seen.clear()
    with pytest.raises(e.ConnectionLostError):
        client.get_task("t-1")
    assert vendor.methods() == ["GET"] * 3
    with pytest.raises(e.ConnectionLostError) as caught:
        await ask_async(vendor.url)
    assert caught.value.accepted is Accepted.MAYBE


async def test_an_answer_that_does_not_come_in_time_leaves_doubt(vendor, client_of, ask_async):
    vendor.answers(Reply(act="hang"))
    with pytest.raises(e.ConnectionLostError) as caught:
        client_of(vendor.url, read_timeout=0.1).submit("avatar", BODY)
    assert caught.value.accepted is Accepted.MAYBE
    vendor.wait_for_one()
    assert vendor.methods() == ["POST"]
    with pytest.raises(e.ConnectionLostError):
        await ask_async(vendor.url, read_timeout=0.1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_no_http_leaves_doubt(client_of, ask_async, garbage):
    def talk(connection):
        connection.recv(65536)
        connection.sendall(garbage)

    with raw_server(talk) as (port, count):
        for error in await both_fail(client_of, ask_async, f"http://127.0.0.1:{port}", e.ConnectionLostError):
            assert error.accepted is Accepted.MAYBE
        assert len(count) >= 2  # a repeated question may use the same connection


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_what_was_sent_over_tls_and_broke_then_leaves_doubt(
    client_of, self_signed, monkeypatch, tmp_path_factory
):
    def talk(connection):
        with self_signed.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            connection.close()

    original = ssl.SSLContext.wrap_socket

    def trusting(context, *args, **kwargs):
        # The only way to be trusted by a library that brings its own list of authorities.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return original(context, *args, **kwargs)

    with raw_server(talk) as (port, count):
        client = client_of(f"https://localhost:{port}")
        monkeypatch.setattr(
            ssl.SSLContext,
            "wrap_socket",
            lambda context, *a, **k: (original if k.get("server_side") else trusting)(context, *a, **k),
        )
        with pytest.raises(e.ConnectionLostError) as caught:
            client.submit("avatar", BODY)
    assert caught.value.accepted is Accepted.MAYBE
    assert len(count) == 1


# ---------------------------------------------------------------------- size and route


async def test_an_answer_without_end_is_refused(vendor, client_of, ask_async, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 100_000)
    vendor.answers(Reply(b" " * 100_001))
    with pytest.raises(e.UnreadableAnswerError, match="more than") as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.accepted is Accepted.MAYBE
    assert vendor.methods() == ["POST"]
    with pytest.raises(e.UnreadableAnswerError, match="more than"):
        await ask_async(vendor.url)
    vendor.answers(Reply(b'{"code": 0, "data": {"task_id": "t-1"}}'.ljust(100_000)))
    assert client_of(vendor.url).get_task("t-1").task_id == "t-1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(vendor, client_of, ask_async, status):
    vendor.answers(Reply(b"x" * 100, status, {"Location": f"{vendor.url}/stolen?key=1"}))
    client = client_of(vendor.url)
    for send in (lambda: client.submit("avatar", BODY), lambda: client.get_task("t-1")):
        with pytest.raises(e.WrongRouteError, match="redirects to") as caught:
            send()
        assert "key=1" not in str(caught.value)
    with pytest.raises(e.WrongRouteError):
        await ask_async(vendor.url)
    assert [request.path for request in vendor.seen if "stolen" in request.path] == []
    assert len(vendor.seen) == 3


def test_a_redirects_page_is_limited_as_well(vendor, client_of, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1000)
    vendor.answers(Reply(b"x" * 2000, 301, {"Location": "/a"}))
    with pytest.raises(e.UnreadableAnswerError):
        client_of(vendor.url).get_task("t-1")


# ------------------------------------------------------------------------- what is sent


async def test_both_clients_send_the_key_and_say_who_they_are(vendor, client_of, ask_async):
    vendor.answers(GOOD)
    client = client_of(vendor.url)
    client.submit("avatar", BODY)
    client.get_task("a/b c?d=é")
    await ask_async(vendor.url, "a/b c?d=é")
    posted, asked, triggered = vendor.seen
    assert (posted.method, posted.path, posted.body) == ("POST", "/v1/videos/avatar/image2video", BODY)
    assert posted.headers["content-type"] == "application/json"
    assert asked.path == "/v1/videos/avatar/image2video/a%2Fb%20c%3Fd%3D%C3%A9"
    assert unquote(triggered.path) == unquote(asked.path)
    assert "?" not in triggered.path
    assert triggered.path.count("/") == asked.path.count("/")
    for request in vendor.seen:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["user-agent"].startswith("airflow-provider-kling-avatar/")


async def test_a_netrc_of_the_machine_does_not_replace_the_key(
    vendor, client_of, ask_async, tmp_path, monkeypatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    vendor.answers(GOOD)
    client_of(vendor.url).get_task("t-1")
    await ask_async(vendor.url)
    assert {request.headers["authorization"] for request in vendor.seen} == {f"Bearer {KEY}"}


async def test_both_clients_go_through_the_proxy_of_the_environment(
    vendor, client_of, ask_async, monkeypatch
):
    vendor.answers(GOOD)
    for proxy in (vendor.url, vendor.url.removeprefix("http://")):
        monkeypatch.setenv("http_proxy", proxy)
        client_of("http://gate.test").get_task("t-1")
        await ask_async("http://gate.test")
    monkeypatch.setenv("no_proxy", "gate.test")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    for host in ("http://gate.test", "http://other.test"):
        with pytest.raises(e.ConnectionFailedError) as caught:
            client_of(host, attempts=1).submit("avatar", BODY)
        assert caught.value.accepted is Accepted.NO
        with pytest.raises(e.ConnectionFailedError):
            await ask_async(host)
    assert len(vendor.seen) == 4
    for request in vendor.seen:
        assert request.path == "http://gate.test/v1/videos/avatar/image2video/t-1"
        assert request.headers["authorization"] == f"Bearer {KEY}"


def test_every_request_of_a_signed_key_carries_a_token_of_its_own_time(vendor, client_of):
    client = client_of(vendor.url, login="ak", password="s" * 32)
    times = iter([1000.0, 2000.0])
    client.config.credentials.clock = lambda: next(times)
    vendor.answers(GOOD)
    client.get_task("t-1")
    client.get_task("t-1")
    first, second = (request.headers["authorization"] for request in vendor.seen)
    assert first != second
    assert first.startswith("Bearer ey")


async def test_no_key_is_in_anything_an_error_carries(vendor, client_of, ask_async):
    vendor.answers(Reply(f"<html>{KEY}</html>", 500))
    errors = []
    with pytest.raises(e.KlingError) as caught:
        client_of(vendor.url, attempts=1).submit("avatar", BODY)
    errors.append(caught.value)
    vendor.answers(Reply(act="close"))
    with pytest.raises(e.KlingError) as caught:
        client_of(vendor.url, attempts=1).submit("avatar", BODY)
    errors.append(caught.value)
    with pytest.raises(e.KlingError) as caught:
        await ask_async(vendor.url)
    errors.append(caught.value)
    for error in errors:
        while error is not None:
            assert KEY not in f"{error} {error!r} {getattr(error, '__dict__', '')}"
            error = error.__cause__ or error.__context__  # noqa: PLW2901  # the chain is printed too


def test_a_closed_client_opens_anew(vendor, client_of):
    vendor.answers(GOOD)
    with client_of(vendor.url) as client:
        client.get_task("t-1")
    client.close()
    assert client.get_task("t-1").task_id == "t-1"


async def test_the_triggers_client_says_how_it_wants_to_be_used(config_of):
    with pytest.raises(RuntimeError, match="context manager"):
        await AsyncKlingClient(config_of(None)).get_task("t-1")


def test_the_triggers_client_cannot_pay():
    paying = {"submit", "synthesize"}
    assert not paying & set(dir(AsyncKlingClient))
    assert paying <= set(dir(importlib.import_module(client_module.__name__).KlingClient))


def test_trouble_at_many_hosts_is_never_answered_by_handing_the_key_around(vendor, client_of):
    vendor.answers(Reply({"code": 1002, "message": "no"}, 401))
    assert client_of(vendor.url).region_of_key() is None
    assert vendor.seen == []
