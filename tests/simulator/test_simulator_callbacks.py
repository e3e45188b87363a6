from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook

from airflow_provider_kling_avatar.simulator.callbacks import sign

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


@pytest.fixture
def listener():
    """A web server that remembers what was posted to it."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((dict(self.headers), body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.received = received
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def wait_for(listener, count):
    patience = time.monotonic() + 60
    while len(listener.received) < count and time.monotonic() < patience:
        time.sleep(0.01)
    return [json.loads(body) for _, body in listener.received]


def test_the_signature_matches_the_published_vector():
    times = '"create_time":1781080778802,"update_time":1781080794151'
    body = f'{{"id":"1234567890","status":"succeeded","message":"",{times}}}'
    headers = sign(SECRET, "9876543210", datetime.fromtimestamp(1781080794, UTC), body)
    assert headers == {
        "webhook-id": "9876543210",
        "webhook-timestamp": "1781080794",
        "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
    }


def test_every_status_change_is_announced_once_in_the_classic_shape(sim, caller, listener):
    caller.avatar(callback_url=listener.url, external_task_id="mine")
    assert [b["task_status"] for b in wait_for(listener, 1)] == ["submitted"]
    sim.advance(11)
    wait_for(listener, 2)
    sim.advance(60)
    bodies = wait_for(listener, 3)
    assert [b["task_status"] for b in bodies] == ["submitted", "processing", "succeed"]
    assert "code" not in bodies[2]
    assert bodies[2]["task_info"]["external_task_id"] == "mine"
    assert bodies[2]["task_result"]["videos"][0]["url"].startswith(sim.url)
    assert bodies[2]["final_unit_deduction"] == "0.8"
    assert not {"webhook-id", "webhook-signature"} & {name.lower() for name in listener.received[0][0]}


def test_callbacks_are_signed_when_there_is_a_secret(run, listener):
    with run(queue_seconds=0, render_seconds=0, webhook_secret=SECRET) as (_, caller):
        caller.avatar(callback_url=listener.url)
        wait_for(listener, 3)
    for headers, body in listener.received:
        Webhook(SECRET).verify(body, {name.lower(): value for name, value in headers.items()})
    assert len({headers["webhook-id"] for headers, _ in listener.received}) == 3


def test_callbacks_that_became_due_while_the_simulator_was_down_are_sent_on_return(run, listener, tmp_path):
    with run(state_dir=tmp_path) as (_, caller):
        caller.avatar(callback_url=listener.url)
        wait_for(listener, 1)
    with run(state_dir=tmp_path) as (sim, _):
        sim.advance(100)
        bodies = wait_for(listener, 3)
    assert [b["task_status"] for b in bodies] == ["submitted", "processing", "succeed"]


def test_a_callback_to_another_machine_is_not_sent(sim, caller, caplog):
    caller.avatar(callback_url="http://hooks.test/kling?token=secret")
    patience = time.monotonic() + 60
    while "callback_url is not on this machine" not in caplog.text and time.monotonic() < patience:
        time.sleep(0.01)
    assert "callback_url is not on this machine" in caplog.text
    assert "token=secret" not in caplog.text


def test_a_listener_that_is_gone_does_not_stop_the_others(sim, caller, listener):
    caller.avatar(callback_url="http://127.0.0.1:9/")
    caller.avatar(callback_url=listener.url)
    assert wait_for(listener, 1)
    assert sim.ledger()["total"]["tasks"] == 2
