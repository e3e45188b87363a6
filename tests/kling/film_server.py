"""A server of one film that does what it is told with each request, and films made by hand."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def box(name: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return (8 + len(body)).to_bytes(4, "big") + name + body


def long_box(name: bytes, body: bytes) -> bytes:
    return (1).to_bytes(4, "big") + name + (16 + len(body)).to_bytes(8, "big") + body


def index(seconds: float = 3.0, *, kind: bytes = b"vide", offset: int = 40, more: bytes = b"") -> bytes:
    header = box(b"mvhd", bytes(12), (1000).to_bytes(4, "big"), int(seconds * 1000).to_bytes(4, "big"))
    offsets = box(b"stco", bytes(4), (1).to_bytes(4, "big"), offset.to_bytes(4, "big"))
    media = box(
        b"mdia", box(b"hdlr", bytes(8), kind, bytes(13)), box(b"minf", box(b"stbl", offsets)), bytes(0)
    )
    return box(b"moov", header, box(b"trak", media), more)


FTYP = box(b"ftyp", b"isom", bytes(4))


def film(seconds: float = 3.0, size: int = 5000, fill: bytes = b"\x5a") -> bytes:
    """A whole film by its boxes: nothing in it can be seen."""
    return FTYP + index(seconds) + box(b"mdat", fill * size)


@dataclass
class FilmServer:
    """Serves `content` with ranges; what is in `script` is done first, one entry a request."""

    content: bytes
    etag: str | None = '"one"'
    script: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    """Headers of each request, with its path as `:path`."""
    _server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        mine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                mine.seen.append({":path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
                (mine.script.pop(0) if mine.script else mine.serve)(self)

            def handle(self):
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *arguments):
        self._server.shutdown()
        self._server.server_close()

    def serve(self, request: BaseHTTPRequestHandler, *, cut_after: int | None = None, ranges: bool = True):
        """Answer as a good server does, or close the connection after so many bytes of the body."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        condition = request.headers.get("if-range")
        start, stop = 0, len(self.content)
        partly = bool(ranges and wanted and condition in (None, self.etag))
        if partly:
            start = int(wanted[1])
            stop = min(int(wanted[2]) + 1 if wanted[2] else stop, stop)
        request.send_response(206 if partly else 200)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("Content-Length", str(stop - start))
        if self.etag:
            request.send_header("ETag", self.etag)
        if partly:
            request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(self.content)}")
        request.end_headers()
        body = self.content[start:stop]
        request.wfile.write(body if cut_after is None else body[:cut_after])
        if cut_after is not None:
            request.close_connection = True

    def cut(self, after: int) -> None:
        self.script.append(lambda request: self.serve(request, cut_after=after))

    def ignore_ranges(self) -> None:
        self.script.append(lambda request: self.serve(request, ranges=False))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        def do(request):
            request.send_response(status)
            request.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            request.wfile.write(body)

        self.script.append(do)
