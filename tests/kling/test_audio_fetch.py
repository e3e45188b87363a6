"""Audio that the worker itself fetches, to measure it: from nowhere that a clip may not come from either."""

from __future__ import annotations

import base64
import io
import socket

import pytest
from fake_vendor import FakeVendor, Reply
from network_kit import raw_server
from requests import Response

from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules
from airflow_provider_kling_avatar.kling.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    LandingError,
    MediaError,
)
from airflow_provider_kling_avatar.kling.media import fetch_url, sources
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.submission.request import prepare

MIB = 2**20
ELSEWHERE = AddressRules("https://api.example.com")


@pytest.fixture(scope="module")
def running_site():
    site = FakeVendor()
    yield site
    site.close()


@pytest.fixture
def site(running_site, voice):
    """Serves two and a half seconds of silence."""
    running_site.answers(Reply(base64.b64decode(voice), headers={"Content-Type": "audio/wav"}))
    yield running_site
    running_site.forget()


@pytest.fixture
def prepare_for(site, config_of, vendor):
    """Prepare a clip for an API that bills by the length of the audio, and so has it measured."""

    def build(host, path="/voice.wav", **extra):
        config = config_of(host, "generations", **extra)
        request = AvatarRequest(image="https://pictures.test/face.png", audio=site.url + path)
        return prepare(request, config.dialect, address_rules=config.address_rules)

    return build


def test_a_private_address_is_refused_and_the_way_out_is_named(prepare_for, site, vendor):
    with pytest.raises(InvalidRequestError, match=r"private network.*allow_private_addresses") as caught:
        prepare_for(vendor.url)
    assert "audio" in str(caught.value)
    assert not isinstance(caught.value, LandingError)
    assert site.seen == []


def test_without_a_word_on_it_only_public_addresses_are_asked(site):
    with pytest.raises(MediaError, match="private network"):
        fetch_url(site.url, max_bytes=MIB)
    assert site.seen == []


@pytest.mark.parametrize("allowed", ["by the extra", "as the connection's own host"])
def test_a_private_address_is_asked_where_it_is_allowed(allowed, prepare_for, site, vendor):
    if allowed == "by the extra":
        prepared = prepare_for(vendor.url, allow_private_addresses=True)
    else:
        prepared = prepare_for(site.url)
    assert prepared.audio_seconds == pytest.approx(2.5)
    assert len(site.seen) == 1


def test_a_name_that_leads_home_is_refused_before_a_byte_is_sent(site, monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda host, *rest, **options: real("127.0.0.1" if host == "sounds.test" else host, *rest, **options),
    )
    with pytest.raises(MediaError, match=r"sounds\.test \(127\.0\.0\.1\)"):
        fetch_url(site.url.replace("127.0.0.1", "sounds.test"), max_bytes=MIB, address_rules=ELSEWHERE)
    assert site.seen == []


@pytest.mark.parametrize(
    "target",
    ["http://10.0.0.7/x", "http://169.254.169.254/latest/meta-data", "http://localhost:1/", "another port"],
)
def test_a_redirect_into_a_private_network_is_not_followed(target, site, vendor):
    target = vendor.url if target == "another port" else target
    site.answers(Reply("", 302, {"Location": target}))
    with pytest.raises(MediaError, match="private network"):
        fetch_url(site.url, max_bytes=MIB, address_rules=AddressRules(site.url))
    assert vendor.seen == []


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/", "ftp://a/b", "/voice.wav"], ids=["in", "ftp", "loop"]
)
def test_a_redirect_that_is_not_followed_says_nothing_of_a_clip(target, site):
    """No clip was ordered yet: none is safe at the vendor."""
    site.answers(Reply(status=302, headers={"Location": target}))
    with pytest.raises(MediaError, match=r"redirects|leads to") as caught:
        fetch_url(f"{site.url}/voice.wav", max_bytes=MIB, address_rules=AddressRules(site.url))
    assert "paid" not in str(caught.value)


def test_a_length_of_thousands_of_digits_is_no_length():
    answer = Response()
    answer.status_code, answer.headers["content-length"], answer.raw = 200, "9" * 5000, io.BytesIO(b"sound")
    assert sources._body(answer, MIB) == b"sound"


def test_the_page_of_a_redirect_is_not_read(site):
    def talk(connection):
        connection.recv(65536)
        head = f"HTTP/1.1 302 Found\r\nLocation: {site.url}\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode())
        connection.recv(1)  # the page never comes

    with raw_server(talk) as (port, _):
        address_rules = AddressRules("", private=True)
        fetch_url(
            f"http://127.0.0.1:{port}", max_bytes=MIB, address_rules=address_rules, timeout_seconds=(10, 10)
        )
    assert len(site.seen) == 1


def test_nobodys_login_is_sent_along(site, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    fetch_url(site.url, max_bytes=MIB, address_rules=AddressRules(site.url))
    assert "authorization" not in site.seen[0].headers


def test_the_proxy_of_the_environment_is_used(site, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", site.url)
    monkeypatch.setenv("http_proxy", site.url)
    fetch_url("http://sounds.test/voice.wav", max_bytes=MIB, address_rules=ELSEWHERE)
    assert site.seen[0].path == "http://sounds.test/voice.wav"


@pytest.mark.parametrize("act", ["close", "reset", "cut"])
def test_a_connection_that_breaks_may_hold_next_time(act, site):
    site.answers(Reply("x" * 1000, act=act))
    with pytest.raises(ConnectionFailedError) as caught:
        fetch_url(f"{site.url}/?signature=secret", max_bytes=MIB, address_rules=AddressRules(site.url))
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None  # whose frames hold the whole URL


def test_a_file_of_authorities_that_is_not_there_is_no_fault_of_the_url(tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(ConnectionFailedError, match="OSError"):
        fetch_url("https://sounds.test/", max_bytes=MIB)
