"""Fetching a clip: streamed, resumed, renewed, and never from where it must not be."""

from __future__ import annotations

import hashlib
import socket

import pytest
from film_server import FilmServer, film

from airflow_provider_kling_avatar.kling.download.http import ATTEMPTS, Clip
from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules, is_public
from airflow_provider_kling_avatar.kling.errors import (
    DamagedVideoError,
    DownloadError,
    ForbiddenAddressError,
    VideoTooLargeError,
)

CONTENT = film(size=3_000_000)
SECRET = "sig=S3CR3T"


@pytest.fixture
def server():
    with FilmServer(CONTENT) as running:
        yield running


@pytest.fixture
def no_pauses():
    return []


@pytest.fixture
def clip_of(server, no_pauses):
    def build(path="/film.mp4?" + SECRET, *, base=None, refreshed=(), **options):
        links = iter(refreshed)
        address_rules = AddressRules(base or server.url, private=options.pop("private", False))
        url = path if "://" in path else server.url + path
        return Clip(
            url,
            refresh=lambda: server.url + next(links),
            address_rules=address_rules,
            sleep=no_pauses.append,
            **options,
        )

    return build


@pytest.fixture
def target(tmp_path):
    with (tmp_path / "clip").open("w+b", buffering=0) as file:
        yield file


def content(file):
    file.seek(0)
    return file.read()


def test_a_clip_comes_whole_with_its_hash(server, clip_of, target):
    fetched = clip_of().fetch(target)

    assert content(target) == CONTENT
    assert (fetched.size, len(server.seen)) == (len(CONTENT), 1)
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_after_a_cut_only_the_rest_is_asked_for(server, clip_of, target, no_pauses):
    server.cut(after=1_000_000)
    server.cut(after=500_000)

    fetched = clip_of().fetch(target)

    assert content(target) == CONTENT
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert [(seen.get("range"), seen.get("if-range")) for seen in server.seen] == [
        (None, None),
        ("bytes=1000000-", '"one"'),
        ("bytes=1500000-", '"one"'),
    ]
    assert len(no_pauses) == 2
    assert all(pause >= 1 for pause in no_pauses)


def test_a_server_without_ranges_gives_it_from_the_beginning(server, clip_of, target):
    server.cut(after=1_000_000)
    server.ignore_ranges()

    assert clip_of().fetch(target).sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert content(target) == CONTENT


def test_a_clip_that_changed_during_a_cut_is_not_glued_together(server, clip_of, target):
    other = film(size=3_000_000, fill=b"\x11")

    def cut_and_change(request):
        server.serve(request, cut_after=1_000_000)
        server.content, server.etag = other, '"two"'

    server.script.append(cut_and_change)

    assert clip_of().fetch(target).sha256 == hashlib.sha256(other).hexdigest()
    assert content(target) == other


def test_without_an_etag_or_a_date_a_cut_means_starting_over(server, clip_of, target):
    server.etag = None
    server.cut(after=1_000_000)

    assert clip_of().fetch(target).size == len(CONTENT)
    assert [seen.get("range") for seen in server.seen] == [None, None]


def test_a_server_that_always_cuts_is_given_up_and_the_message_holds_no_signature(server, clip_of, target):
    for _ in range(ATTEMPTS):
        server.cut(after=10)

    with pytest.raises(DownloadError, match=r"film\.mp4 .*bytes|cut off") as raised:
        clip_of().fetch(target)

    assert len(server.seen) == ATTEMPTS
    assert "S3CR3T" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert "pays nothing" in str(raised.value)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 400])
def test_an_expired_link_is_renewed_by_asking_the_vendor(server, clip_of, target, status):
    server.answer(status)

    fetched = clip_of(refreshed=["/film.mp4?sig=fresh"]).fetch(target)

    assert fetched.size == len(CONTENT)
    assert server.seen[-1][":path"].endswith("fresh")


def test_a_link_that_expires_in_the_middle_goes_on_where_it_was(server, clip_of, target):
    server.cut(after=1_000_000)
    server.answer(403)

    assert clip_of(refreshed=["/film.mp4?sig=fresh"]).fetch(target).size == len(CONTENT)
    assert server.seen[-1]["range"] == "bytes=1000000-"
    assert content(target) == CONTENT


def test_links_that_are_refused_fresh_end_it(server, clip_of, target):
    for _ in range(3):
        server.answer(403)

    with pytest.raises(DownloadError, match=r"HTTP 403, and so did 2 new links") as raised:
        clip_of(refreshed=["/a?sig=S3CR3T", "/b?sig=S3CR3T", "/c"]).fetch(target)

    assert len(server.seen) == 3
    assert raised.value.http_status == 403
    assert "S3CR3T" not in str(raised.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_asked_again(server, clip_of, target, status):
    server.answer(status)

    clip_of().fetch(target)

    assert content(target) == CONTENT
    assert len(server.seen) == 2


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json"])
def test_a_page_with_status_200_is_no_clip(server, clip_of, target, kind):
    server.answer(200, b"<html>sorry</html>", Content_Type=kind)

    with pytest.raises(DamagedVideoError, match=kind.partition(";")[0]):
        clip_of().fetch(target)


def test_an_empty_answer_has_no_bytes(server, clip_of, target):
    server.answer(200, b"", Content_Type="video/mp4")

    assert clip_of().fetch(target).size == 0  # `check_film` says what is wrong with it


def test_a_clip_that_announces_too_much_is_refused_before_it_comes(clip_of, target):
    with pytest.raises(VideoTooLargeError, match="1000 are allowed"):
        clip_of().fetch(target, max_bytes=1000)

    assert content(target) == b""


def test_the_announced_length_is_told_before_a_byte_is_kept(clip_of, target):
    def refuse(size):
        raise LookupError(size)

    with pytest.raises(LookupError, match=str(len(CONTENT))):
        clip_of().fetch(target, check_announced=refuse)

    assert content(target) == b""


def test_a_clip_that_announces_nothing_is_stopped_at_the_limit(server, clip_of, target):
    def endless(request):
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        while True:
            request.wfile.write(bytes(1 << 16))

    server.script.append(endless)

    with pytest.raises(VideoTooLargeError):
        clip_of().fetch(target, max_bytes=1_000_000)

    assert len(content(target)) <= 1_000_000


def test_a_server_that_drips_is_given_up_after_the_time_for_all(server, clip_of, target):
    now = [0.0]

    def clock():
        now[0] += 20
        return now[0]

    with pytest.raises(DownloadError, match="did not come within 30 s"):
        clip_of(clock=clock, max_seconds=30).fetch(target)


HUGE = "9" * 5000
"""Python refuses to make a number of so many digits."""


@pytest.mark.parametrize("length", [HUGE, "-1", "1e999", "nan", "\xb2", "12 34"])
def test_an_announced_length_that_is_none_is_passed_over(server, clip_of, target, length):
    def announce(request):
        request.send_response(200)
        request.send_header("Content-Length", length)
        request.end_headers()
        request.wfile.write(CONTENT)
        request.close_connection = True

    server.script.append(announce)

    assert clip_of().fetch(target).size == len(CONTENT)
    assert content(target) == CONTENT


@pytest.mark.parametrize(
    "stretch", [f"bytes {HUGE}-{HUGE}/{HUGE}", f"bytes 0-1/{HUGE}", f"bytes 0-{HUGE}/1", "bytes -1-9/9"]
)
def test_a_stretch_that_is_none_does_not_go_on_with_a_clip(server, clip_of, target, stretch):
    server.cut(after=1_000_000)
    server.answer(206, b"xy", Content_Range=stretch)

    assert clip_of().fetch(target).sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_compressed_answer_is_refused(server, clip_of, target):
    server.answer(200, b"xyz", Content_Encoding="gzip", Content_Type="video/mp4")

    with pytest.raises(DamagedVideoError, match="compressed"):
        clip_of().fetch(target)


def test_a_full_disk_is_the_storages_error_not_the_networks(clip_of):
    with open("/dev/full", "w+b", buffering=0) as full, pytest.raises(OSError, match="No space left"):  # noqa: PTH123
        clip_of().fetch(full)


# ------------------------------------------------------------------------------------------- redirects


def test_redirects_are_followed(server, clip_of, target):
    server.answer(302, location="/elsewhere?sig=1")
    server.answer(307, location=f"{server.url}/further")

    assert clip_of().fetch(target).size == len(CONTENT)
    assert [seen[":path"] for seen in server.seen][1:] == ["/elsewhere?sig=1", "/further"]


def test_redirects_in_a_circle_end(server, clip_of, target):
    for _ in range(6):
        server.answer(302, location="/again")

    with pytest.raises(DownloadError, match="more than 5 times"):
        clip_of().fetch(target)


@pytest.mark.parametrize("where", ["ftp://example.com/x", "file:///etc/passwd", "gopher://127.0.0.1/"])
def test_a_redirect_to_another_scheme_is_not_followed(server, clip_of, target, where):
    server.answer(302, location=where)

    with pytest.raises(ForbiddenAddressError, match="not an http"):
        clip_of().fetch(target)


@pytest.mark.parametrize(
    "where",
    ["http://10.0.0.7/x", "http://169.254.169.254/latest/meta-data", "http://[::1]/x", "http://localhost:1/"],
)
def test_a_redirect_into_a_private_network_is_not_followed(server, clip_of, target, where):
    server.answer(302, location=where)

    with pytest.raises(ForbiddenAddressError, match="private network"):
        clip_of().fetch(target)


def test_https_does_not_become_http_on_the_way():
    address_rules = AddressRules("https://api.test")

    with pytest.raises(ForbiddenAddressError, match="not https any more"):
        address_rules.check_url("http://cdn.test/x", before="https://cdn.test/x")
    address_rules.check_url("https://cdn.test/x", before="http://cdn.test/x")


# ------------------------------------------------------------------------------------------- addresses


def test_a_private_address_is_refused_unless_it_is_the_connections_own(clip_of, target):
    with pytest.raises(ForbiddenAddressError, match="allow_private_addresses"):
        clip_of(base="https://api.example.com").fetch(target)


def test_another_port_of_the_connections_host_is_another_service(server, clip_of, target):
    with pytest.raises(ForbiddenAddressError):
        clip_of(base=f"http://127.0.0.1:{server.port + 1}").fetch(target)


def test_private_addresses_may_be_allowed(clip_of, target):
    assert clip_of(base="https://api.example.com", private=True).fetch(target).size == len(CONTENT)


def test_a_public_name_that_leads_home_is_refused_where_it_is_connected_to(
    server, clip_of, target, monkeypatch
):
    """DNS rebinding: whatever an earlier look-up said, the peer of the connection counts."""
    real = socket.getaddrinfo

    def rebound(host, *arguments, **options):
        return real("127.0.0.1" if host == "cdn.example.com" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)

    with pytest.raises(ForbiddenAddressError, match=r"cdn\.example\.com \(127\.0\.0\.1\)"):
        clip_of(f"http://cdn.example.com:{server.port}/x?{SECRET}").fetch(target)
    assert server.seen == []


def test_behind_a_proxy_the_proxys_address_is_the_peer(server, clip_of, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)

    clip_of("http://cdn.example.com/film.mp4", base="https://api.example.com").fetch(target)

    assert server.seen[0][":path"] == "http://cdn.example.com/film.mp4"


def test_behind_a_proxy_a_private_address_in_the_url_is_refused_all_the_same(
    server, clip_of, target, monkeypatch
):
    monkeypatch.setenv("http_proxy", server.url)

    with pytest.raises(ForbiddenAddressError):
        clip_of("http://192.168.1.1/film.mp4", base="https://api.example.com").fetch(target)
    assert server.seen == []


def test_no_login_of_this_machine_is_sent_along(server, clip_of, target, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))

    clip_of().fetch(target)

    assert "authorization" not in server.seen[0]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2002:5db8:d822::", True),
        ("64:ff9b::5db8:d822", True),
        ("2001:0:5db8:d822:0:0:f5ff:fffe", False),  # Teredo to 10.0.0.1, its bits turned over
        ("168.63.129.16", False),  # Azure's own server, a public address that only its machines reach
        ("::ffff:168.63.129.16", False),
        ("64:ff9b::a83f:8110", False),
        ("192.0.0.192", False),  # Oracle's metadata
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b:1:ffff::1", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("::127.0.0.1", False),
        ("::93.184.216.34", False),
        ("::ffff:0:10.0.0.1", False),
        ("::ffff:0:93.184.216.34", False),
        ("nonsense", False),
    ],
)
def test_what_is_public(address, public):
    assert is_public(address) is public
