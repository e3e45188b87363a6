"""A vendor that answers exactly what a test tells it, over a real socket, and remembers what reached it."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What to answer: a body of JSON, text or bytes; or what to do with the connection in place of an answer."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    act: str = ""
    """
    `close` or `reset` after the request was read, `hang` without an answer, `cut` in the midst of the body, `interrupt`
    (with a reset) in the midst of the request.
    """

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass
class Seen:
    """A request as it arrived, whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeVendor:
    """Answers its replies in turn; the last one stays."""

    def __init__(self, tls: ssl.SSLContext | None = None):
        self.replies: deque[Reply] = deque()
        self.seen: list[Seen] = []
        self.released = threading.Event()
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                with suppress(ConnectionError, ssl.SSLError):
                    super().handle_one_request()

            def do_GET(self):
                reply = vendor.replies.popleft() if len(vendor.replies) > 1 else vendor.replies[0]
                length = int(self.headers.get("content-length") or 0)
                if reply.act == "interrupt":
                    self.rfile.read(length // 2)
                    length, reply = 0, Reply(act="reset")
                raw = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                vendor.seen.append(Seen(self.command, self.path, headers, json.loads(raw) if raw else None))
                self.close_connection = True
                self.carry_out(reply)

            do_POST = do_GET  # noqa: N815  # the name that http.server looks for

            def carry_out(self, reply):
                if reply.act == "hang":
                    vendor.released.wait(20)
                    return
                if reply.act == "reset":
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if reply.act in ("reset", "close"):
                    self.connection.close()
                    return
                content = reply.encoded()
                self.send_response_only(reply.status)
                headers = {"Content-Type": "application/json", "Connection": "close"} | reply.headers
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if reply.act == "cut" else content)

            def log_message(self, *_):
                pass

        self._listen(Handler, tls)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def _listen(self, handler, tls):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        if tls:
            self.url = f"https://localhost:{self.server.server_port}"
            # Hands are shaken at the first read, in the thread of the connection.
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )

    def answers(self, *replies):
        """Lay down what to answer: replies, or bodies to be answered with HTTP 200."""
        self.replies = deque(r if isinstance(r, Reply) else Reply(r) for r in replies)

    def wait_for_one(self):
        """Wait until a request has arrived: a client that has given up may be ahead of a slow machine."""
        end = time.monotonic() + 30
        while not self.seen and time.monotonic() < end:
            time.sleep(0.01)

    def methods(self):
        return [request.method for request in self.seen]

    def forget(self):
        self.released.set()
        self.released = threading.Event()
        self.seen.clear()
        self.replies.clear()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
