"""What becomes of a paid call on every way to the vendor: repeated only where it certainly was not sent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fake_vendor import FakeVendor, Reply
from network_kit import ConnectProxy, closed_port, raw_server, server_tls, write_certificate

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.errors import Accepted

GOOD = {
    "code": 0,
    "message": "SUCCEED",
    "data": {"task_id": "t-1", "task_status": "processing", "task_result": {"audios": [{"id": "a-1"}]}},
}
LARGE = {"image": "A" * (8 << 20)}
"""More than the buffers of all sockets on the way take."""
HOST = "vendor.test"
"""A name that only a proxy can reach."""
PAID = {
    "submit": lambda client: client.submit("avatar", LARGE),
    "synthesize": lambda client: client.synthesize(LARGE),
}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return SimpleNamespace(
        good=write_certificate(folder / "good.pem", HOST, "localhost"),
        other=write_certificate(folder / "other.pem", "elsewhere.test"),
    )


@pytest.fixture(scope="session")
def running_tls_vendor(certificates):
    vendor = FakeVendor(server_tls(certificates.good))
    yield vendor
    vendor.close()


@pytest.fixture
def tls_vendor(running_tls_vendor):
    yield running_tls_vendor
    running_tls_vendor.forget()


@pytest.fixture
def open_proxy(tls_vendor):
    """Open proxies that tunnel to the vendor that speaks TLS."""
    opened = []

    def build(answer=None, tls=None):
        proxy = ConnectProxy(tls_vendor.server.server_port, tls)
        proxy.answer = answer
        opened.append(proxy)
        return proxy

    yield build
    for proxy in opened:
        proxy.close()


@pytest.fixture
def way(vendor, tls_vendor, open_proxy, certificates, monkeypatch):
    """Lay one of the ways to a vendor: the address that a client is given, and the vendor at its end."""

    def lay(name):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.good))
        match name:
            case "http":
                return vendor.url, vendor
            case "https":
                return tls_vendor.url, tls_vendor
            case "forwarding proxy":  # which plays the vendor as well: it is the one that answers
                monkeypatch.setenv("HTTP_PROXY", vendor.url)
                monkeypatch.setenv("http_proxy", vendor.url)
                return f"http://{HOST}", vendor
            case "tunnel":
                monkeypatch.setenv("HTTPS_PROXY", open_proxy().url)
            case "tunnel from a TLS proxy":
                monkeypatch.setenv("HTTPS_PROXY", open_proxy(tls=server_tls(certificates.good)).url)
        return f"https://{HOST}", tls_vendor

    return lay


WAYS = ["http", "https", "forwarding proxy", "tunnel", "tunnel from a TLS proxy"]


@pytest.mark.parametrize("name", WAYS)
def test_a_paid_call_comes_through_once_on_every_way(name, way, client_of):
    host, vendor = way(name)
    vendor.answers(GOOD)
    assert client_of(host).submit("avatar", LARGE).task_id == "t-1"
    assert vendor.methods() == ["POST"]
    assert vendor.seen[0].body == LARGE


@pytest.mark.parametrize("paid", PAID)
@pytest.mark.parametrize("act", ["close", "reset", "cut", "hang", "interrupt"])
@pytest.mark.parametrize("name", WAYS)
def test_what_may_have_arrived_is_unknown_and_sent_once(name, act, paid, way, client_of, pauses):
    host, vendor = way(name)
    vendor.answers(Reply(GOOD, act=act))
    with pytest.raises(e.ConnectionLostError) as caught:
        PAID[paid](client_of(host, read_timeout=0.3 if act == "hang" else 60))
    assert caught.value.accepted is Accepted.MAYBE
    vendor.wait_for_one()
    assert vendor.methods() == ["POST"]
    assert pauses == []


CONNECT_ANSWERS = {
    "407": (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "HTTP 407.*user:password@"),
    "403": (b"HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP 403.*NO_PROXY"),
    "502": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP 502.*NO_PROXY"),
    "nothing": (b"", "proxy"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "no connection"),
}


@pytest.mark.parametrize("paid", PAID)
@pytest.mark.parametrize("said", CONNECT_ANSWERS)
async def test_a_tunnel_that_is_refused_has_sent_nothing(
    said, paid, tls_vendor, open_proxy, client_of, ask_async, pauses, monkeypatch
):
    answer, words = CONNECT_ANSWERS[said]
    proxy = open_proxy(answer)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(e.ConnectionFailedError, match=words) as caught:
        PAID[paid](client_of(f"https://{HOST}"))
    assert caught.value.accepted is Accepted.NO
    assert len(proxy.asked) == 3
    assert len(pauses) == 2
    assert tls_vendor.seen == []
    with pytest.raises((e.ConnectionFailedError, e.ConnectionLostError)):
        await ask_async(f"https://{HOST}")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("paid", PAID)
async def test_a_proxy_that_is_down_has_sent_nothing(paid, scheme, client_of, ask_async, pauses, monkeypatch):
    proxy = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv(f"{scheme}_proxy", proxy)
    for send in (PAID[paid], lambda client: client.get_task("t-1")):
        with pytest.raises(e.ConnectionFailedError, match="NO_PROXY") as caught:
            send(client_of(f"{scheme}://{HOST}"))
        assert caught.value.accepted is Accepted.NO
    assert len(pauses) == 4
    with pytest.raises(e.ConnectionFailedError, match="NO_PROXY"):
        await ask_async(f"{scheme}://{HOST}")


async def test_a_forwarding_proxy_that_wants_a_login_has_sent_nothing(way, client_of, ask_async, pauses):
    host, proxy = way("forwarding proxy")
    proxy.answers(
        Reply("<html>login</html>", 407, {"Proxy-Authenticate": "Basic", "Content-Type": "text/html"})
    )
    for send in PAID.values():
        with pytest.raises(e.ConnectionFailedError, match=r"HTTP 407.*user:password@") as caught:
            send(client_of(host))
        assert caught.value.accepted is Accepted.NO
        assert caught.value.http_status == 407
    assert len(pauses) == 4
    with pytest.raises(e.ConnectionFailedError, match="user:password@"):
        await ask_async(host)


def test_a_407_that_no_proxy_of_ours_gave_is_the_vendors_word(way, client_of):
    host, vendor = way("http")
    vendor.answers(Reply({"code": 1, "message": "login"}, 407))
    with pytest.raises(e.RefusedError):
        client_of(host).submit("avatar", LARGE)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_forwarding_proxys_word_about_the_vendor_is_unknown(status, way, client_of):
    host, proxy = way("forwarding proxy")
    proxy.answers(Reply("<html>upstream</html>", status, {"Content-Type": "text/html"}))
    for send in PAID.values():
        proxy.seen.clear()
        with pytest.raises(e.UnavailableError) as caught:
            send(client_of(host))
        assert caught.value.accepted is Accepted.MAYBE
        assert proxy.methods() == ["POST"]


TLS_TROUBLE = {
    "a certificate that nobody vouches for": (
        "https",
        "missing",
        "other",
        "is not trusted.*REQUESTS_CA_BUNDLE",
    ),
    "one of another name": ("https", "mismatch", "good", "is not trusted"),
    "a file of authorities that is not there": ("https", "no file", "good", "names a file that is not there"),
    "a file of authorities that is none": ("https", "no authorities", "good", "no connection"),
    "behind a tunnel": ("tunnel", "missing", "other", "is not trusted.*REQUESTS_CA_BUNDLE"),
    "of the proxy": ("tunnel from a TLS proxy", "missing", "other", "is not trusted.*REQUESTS_CA_BUNDLE"),
}


@pytest.mark.parametrize("paid", PAID)
@pytest.mark.parametrize("trouble", TLS_TROUBLE)
async def test_tls_that_cannot_be_set_up_has_sent_nothing(
    trouble, paid, way, tls_vendor, client_of, ask_async, certificates, monkeypatch, tmp_path, pauses
):
    name, kind, trusted, words = TLS_TROUBLE[trouble]
    host, _ = way(name)
    bundle = getattr(certificates, trusted)
    if kind == "mismatch":
        host = host.replace("localhost", "127.0.0.1")
    elif kind == "no file":
        bundle = tmp_path / "none.pem"
    elif kind == "no authorities":
        bundle = tmp_path / "empty.pem"
        bundle.write_text("nothing")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(e.ConnectionFailedError, match=words) as caught:
        PAID[paid](client_of(host))
    assert caught.value.accepted is Accepted.NO
    assert len(pauses) == 2
    with pytest.raises(e.ConnectionFailedError, match="is not trusted"):
        await ask_async(host)
    assert tls_vendor.seen == []


def test_a_proxy_that_never_answers_has_sent_nothing(client_of, monkeypatch, pauses):
    with raw_server(lambda connection: connection.recv(65536) and connection.recv(1)) as (port, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(e.ConnectionFailedError) as caught:
            client_of(f"https://{HOST}", connect_timeout=0.1).submit("avatar", LARGE)
        assert caught.value.accepted is Accepted.NO
        assert len(pauses) == 2


@pytest.mark.parametrize("names", ["localhost", "localhost,vendor.test", "*"])
async def test_what_no_proxy_names_is_asked_straight(names, vendor, client_of, ask_async, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", names)
    vendor.answers(GOOD)
    host = vendor.url.replace("127.0.0.1", "localhost")
    assert client_of(host).submit("avatar", LARGE).task_id == "t-1"
    await ask_async(host)
    assert [request.path[0] for request in vendor.seen] == ["/", "/"]


def test_a_kept_connection_that_breaks_is_told_as_broken(client_of):
    def talk(connection):
        body = b'{"code": 0, "data": {"task_id": "t-1", "task_status": "processing"}}'
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        connection.recv(65536)

    with raw_server(talk) as (port, count):
        client = client_of(f"http://127.0.0.1:{port}", attempts=1)
        client.get_task("t-1")
        with pytest.raises(e.ConnectionLostError):
            client.get_task("t-1")
    assert len(count) == 1


def test_no_address_of_a_proxy_with_its_password_is_in_an_error(client_of, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{closed_port()}")
    with pytest.raises(e.ConnectionFailedError) as caught:
        client_of(f"https://{HOST}", attempts=1).submit("avatar", LARGE)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"
