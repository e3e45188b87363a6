"""A server of one film that is padded to any size."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def padded(film: bytes, size: int):
    """Serve a film with a box of nothing behind it; yields its URL and all its bytes."""
    pad = size - len(film)
    content = film + pad.to_bytes(4, "big") + b"free" + bytes(pad - 8)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            wanted = self.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")
            start = int(wanted[0])
            stop = min(int(wanted[1]) + 1 if wanted[1] else size, size)
            self.send_response(206 if "range" in self.headers else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(memoryview(content)[start:stop])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/film.mp4?sig=S3CR3T", content
    server.shutdown()
    server.server_close()
