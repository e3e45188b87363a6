"""The tools of the crash matrix do what it relies on; without Airflow, and without PostgreSQL and Redis."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from crash_network import Wire
from crash_points import Orders
from crash_services import find_services
from processes import free_ports


@pytest.fixture
def answering_port():
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def ask(wire, timeout=60.0):
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"http://127.0.0.1:{wire.port}", timeout=timeout).status_code


def test_a_wire_that_refuses_works_again_once_it_is_whole(answering_port):
    with Wire(answering_port) as wire:
        assert ask(wire) == 204

        wire.cut("refused", seconds=None)

        assert not wire.whole.is_set()
        with pytest.raises(requests.ConnectionError):
            ask(wire)
        wire.mend()
        assert wire.whole.is_set()
        assert ask(wire) == 204


def test_a_wire_mends_by_itself(answering_port):
    with Wire(answering_port) as wire:
        wire.cut("refused", seconds=0.05)

        assert wire.whole.wait(60)
        assert ask(wire) == 204


def test_a_silent_wire_keeps_the_question_and_passes_it_on_later(answering_port):
    with Wire(answering_port) as wire:
        begin = time.monotonic()
        wire.cut("silent", seconds=1)

        assert ask(wire) == 204
        assert time.monotonic() - begin >= 1


def test_a_wire_to_nobody_breaks_the_connection():
    with Wire(free_ports(1)[0]) as wire, pytest.raises(requests.ConnectionError):
        ask(wire)


def test_an_order_is_taken_once_and_answered_with_the_process_that_stands_still(tmp_path):
    orders = Orders(tmp_path)
    orders.place("run", "clip", "before_defer")

    assert orders.pid("run", "clip", "before_defer") is None
    assert not orders.take("run", "clip", "before_request")
    assert orders.take("run", "clip", "before_defer")
    assert not orders.take("run", "clip", "before_defer")
    assert orders.pid("run", "clip", "before_defer") == os.getpid()


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("TEST_POSTGRES_URL", "postgresql://postgres@{}/postgres"),
        ("TEST_REDIS_URL", "redis://{}/0"),
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_a_missing_service_is_said_loudly_and_fails_where_it_is_required(
    variable, url, required, monkeypatch
):
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv(variable, url.format(nowhere))
    monkeypatch.setenv("REQUIRE_SERVICES", "1" if required else "0")
    # If this machine has no PostgreSQL, that is said, since it is asked first.
    told = rf"\((TEST_POSTGRES_URL|{variable})\)"
    if required:
        with pytest.raises(pytest.fail.Exception, match=rf"REQUIRE_SERVICES=1, but there is .*{told}"):
            find_services()
    else:
        with pytest.raises(
            pytest.skip.Exception, match=rf"KILLING AIRFLOW WAS NOT TESTED: there is .*{told}"
        ):
            find_services()
