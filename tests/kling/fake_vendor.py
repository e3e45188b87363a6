"""A vendor that answers exactly what a test tells it, over a real socket, and remembers what reached it."""

from __future__ import annotations

import json
import socket
import struct
import threading
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
    """`close` or `reset` after the request was read, `hang` without an answer, `cut` in the midst of the body."""

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

    def __init__(self):
        self.replies: deque[Reply] = deque()
        self.seen: list[Seen] = []
        self.released = threading.Event()
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                with suppress(ConnectionError):
                    super().handle_one_request()

            def do_GET(self):
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                vendor.seen.append(Seen(self.command, self.path, headers, json.loads(raw) if raw else None))
                self.close_connection = True
                reply = vendor.replies.popleft() if len(vendor.replies) > 1 else vendor.replies[0]
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

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answers(self, *replies):
        """Lay down what to answer: replies, or bodies to be answered with HTTP 200."""
        self.replies = deque(r if isinstance(r, Reply) else Reply(r) for r in replies)

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
