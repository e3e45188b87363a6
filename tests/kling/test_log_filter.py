"""No signed link of ours in any log, whichever library writes it; and nobody else's line is touched."""

from __future__ import annotations

import logging

import pytest
import urllib3
from film_server import FilmServer, film

from airflow_provider_kling_avatar.kling.download.http import Clip
from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules
from airflow_provider_kling_avatar.kling.redact import hidden_links

SECRET = "S3CR3T"
THEIRS = "/theirs?X-Amz-Signature=not-ours;a#b"


@pytest.fixture
def server():
    with FilmServer(film()) as running:
        yield running


class Everything(logging.Handler):
    """Keeps what every handler of the process would get, and what it would write."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.text = ""

    def emit(self, record):
        self.records.append(record)
        self.text += self.format(record) + "\n"


@pytest.fixture
def logged():
    """All records of the process, at the lowest level."""
    root, handler = logging.getLogger(), Everything()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def fetch(server, link, tmp_path, refreshed="/fresh.mp4?sig=" + SECRET):
    clip = Clip(
        server.url + link,
        refresh=lambda: server.url + refreshed,
        address_rules=AddressRules(server.url),
        sleep=lambda seconds: None,
    )
    with (tmp_path / "clip").open("w+b", buffering=0) as file:
        clip.fetch(file)


@pytest.mark.parametrize(
    "link",
    [
        f"/film.mp4?X-Amz-Signature={SECRET}",
        f"/film.mp4?a=1&sig=%2f{SECRET}",  # urllib3 writes it as %2F
        f"/film.mp4?sig='{SECRET}",
        f"/film.mp4?sig=a b {SECRET}",
        f"/film.mp4;sig={SECRET}",
        f"/film.mp4#sig={SECRET}",
    ],
)
def test_no_line_of_a_download_holds_the_links_signature(server, logged, tmp_path, link):
    fetch(server, link, tmp_path)

    assert SECRET not in logged.text
    assert '"GET /film.mp4' in logged.text, "the line itself stays, for who looks for trouble"


def test_neither_redirects_nor_refusals_nor_cuts_write_a_link(server, logged, tmp_path):
    server.answer(302, location=f"/elsewhere.mp4?sig={SECRET}")
    server.answer(403)
    server.cut(after=100)
    server.answer(503, Retry_After="1")

    fetch(server, f"/film.mp4?sig={SECRET}", tmp_path)

    assert len(server.seen) == 5
    assert SECRET not in logged.text
    for path in ("/film.mp4?***", "/elsewhere.mp4?***", "/fresh.mp4?***"):
        assert f'"GET {path} HTTP/1.1"' in logged.text


def test_headers_that_cannot_be_read_are_not_written_with_the_link(server, logged, tmp_path):
    def answer(request):
        head = f"HTTP/1.1 302 Found\r\nbroken\r\nLocation: /elsewhere.mp4?sig={SECRET}\r\nContent-Length: 0\r\n\r\n"
        request.wfile.write(head.encode())
        request.close_connection = True

    server.script.append(answer)

    with pytest.raises(Exception, match="HTTP 302"):
        fetch(server, f"/film.mp4?sig={SECRET}", tmp_path)

    assert "Failed to parse headers" in logged.text
    assert SECRET not in logged.text


def test_behind_a_proxy_no_line_holds_a_link(server, logged, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")

    fetch(server, f"/film.mp4?sig={SECRET}", tmp_path)

    assert server.seen[0][":path"].startswith("http://")
    assert SECRET not in logged.text


def test_what_others_ask_meanwhile_is_logged_as_it_is(server, logged, tmp_path):
    def ask_too(request):  # in the server's thread, while the clip's answer is waited for
        urllib3.PoolManager().request("GET", server.url + THEIRS).close()
        server.serve(request)

    server.script.append(ask_too)

    fetch(server, f"/film.mp4?sig={SECRET}", tmp_path)

    (theirs,) = [record for record in logged.records if "theirs" in record.getMessage()]
    address = ("http", "127.0.0.1", server.port)
    assert theirs.args[:6] == (*address, "GET", THEIRS.partition("#")[0], "HTTP/1.1")
    assert theirs.msg == '%s://%s:%s "%s %s %s" %s %s'


def test_once_a_download_is_over_nothing_of_the_same_thread_is_altered(server, logged, tmp_path):
    fetch(server, f"/film.mp4?sig={SECRET}", tmp_path)

    urllib3.PoolManager().request("GET", server.url + THEIRS).close()

    assert "/theirs?X-Amz-Signature=not-ours;a" in logged.text


def test_a_line_without_a_link_is_left_alone_during_a_download(logged):
    logger = logging.getLogger("urllib3.connectionpool")
    arguments = (1, "cdn.test", "443")

    with hidden_links():
        logger.debug("Starting new HTTPS connection (%d): %s:%s", *arguments)

    assert logged.records[-1].args == arguments


def test_the_logging_set_up_of_the_process_stays(server, tmp_path):
    def state():
        loggers = [
            logging.getLogger(name) for name in ("", "urllib3", "urllib3.connectionpool", "botocore.auth")
        ]
        factory = (logging.getLogRecordFactory(), logging.getLoggerClass())
        return factory, [
            (logger.level, logger.handlers[:], logger.propagate, logger.disabled) for logger in loggers
        ]

    before = state()
    for _ in range(3):
        fetch(server, f"/film.mp4?sig={SECRET}", tmp_path)

    assert state() == before
    assert len(logging.getLogger("urllib3.connectionpool").filters) == 1
