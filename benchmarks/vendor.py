"""
A fake vendor in a process of its own: speaks HTTP/1.1 on bare sockets, answers after a network's latency, and counts.

    python -m benchmarks.vendor PORT

Knows requests, and nothing of who sends them. `POST /bench/begin` makes a new account, `GET /bench/counts` tells what
has been asked for since.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast
from urllib.parse import parse_qsl

from benchmarks.vendor_answers import BASE_ID, BATCH_DONE, BATCH_RUNNING, DBT_DONE, DBT_RUNNING, Account, Plan

TASKS = b"/v1/videos/avatar/image2video"
_NUMBER = re.compile(rb"(\d+)/?$")
_PAGE = re.compile(rb"pageNum=(\d+)&pageSize=(\d+)|pageSize=(\d+)&pageNum=(\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Counts:
    """
    What has been asked since the beginning of a run.

    :param requests: all of them, lists and single ones.
    :param lists: pages of lists.
    :param in_flight: answers on their way now.
    :param most_in_flight: the most there were at once.
    :param connections: made since the beginning.
    """

    requests: int = 0
    lists: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0


class Vendor:
    """
    The account of the current run, its counts, and its latency.

    :param latency: seconds from a request's arrival until the answer leaves; what it says is half as old, as if each
        way took half.
    """

    def __init__(self, latency: float = 0.05) -> None:
        self.latency = latency
        self._plan = Plan(0)
        self.account = Account(self._plan, time.time())
        self.counts = Counts()
        self._cpu = 0.0

    def begin(self, options: dict[str, float]) -> bytes:
        """
        Make a new account, and count from now on.

        :param options: the fields of a `Plan`, ``latency`` (seconds), and ``starts_in``: seconds from now when the
            plan's time begins.
        :returns: when that is, in Unix seconds.
        """
        begin = time.time() + options.get("starts_in", 0.0)
        self.latency = options.get("latency", 0.05)
        self._plan = Plan(
            int(options["tasks"]), options["first"], options["last"], int(options.get("seed", 7))
        )
        self.account = Account(self._plan, begin)
        self.counts = Counts()
        self._cpu = time.process_time()
        return json.dumps({"begin": begin}).encode()

    def tell(self) -> bytes:
        """Return the counts, and the processor time of this process since the beginning."""
        return json.dumps(asdict(self.counts) | {"cpu": time.process_time() - self._cpu}).encode()

    def done_at(self) -> bytes:
        """Return when each task ends, in Unix seconds."""
        return json.dumps(self.account.done_at).encode()

    def answer(self, method: bytes, target: bytes, now: float) -> bytes | None:
        """Return the body of an answer as of ``now`` (Unix seconds), ``None`` where there is nothing."""
        path, _, query = target.partition(b"?")
        if path == TASKS:
            return self._created(now) if method == b"POST" else self._page(query, now)
        found = _NUMBER.search(path)
        index = int(found[1]) - BASE_ID if found else -1
        if not 0 <= index < len(self.account.done_at):
            return None
        if path.startswith(TASKS):
            return _enveloped(self.account.row(index, now))
        done = self.account.done_at[index] <= now
        if path.startswith(b"/api/v2/accounts/"):
            return DBT_DONE if done else DBT_RUNNING
        return BATCH_DONE if done else BATCH_RUNNING

    def _page(self, query: bytes, now: float) -> bytes:
        page = _PAGE.search(query)
        number, size = (int(page[1] or page[4]), int(page[2] or page[3])) if page else (1, 30)
        self.counts.lists += 1
        return _enveloped(b"[" + self.account.page(number, size, now) + b"]")

    def _created(self, now: float) -> bytes:
        first, last = self._plan.first, self._plan.last
        # Evenly over the window by the golden ratio: any few in a row are well spread.
        share = len(self.account.done_at) * 0.618034 % 1
        return _enveloped(self.account.row(self.account.submit(now, first + (last - first) * share), now))


def _enveloped(data: bytes) -> bytes:
    return b'{"code":0,"message":"SUCCEED","request_id":"CjhNb2dRZ1lBQUFBQUFBQUFB","data":' + data + b"}"


class Wire(asyncio.Protocol):
    """
    One connection: reads requests one after the other, and lets each answer leave when its time has come.

    :param vendor: who answers.
    """

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head = b""
        self._skip = 0
        self._is_new = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the socket: an answer may still be under way."""
        del error
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; bodies are skipped, not kept, since nobody reads them."""
        self._buffer += data
        while True:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            if self._skip:
                return
            if self._head:
                self._serve(self._head)
                self._head = b""
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            length = _LENGTH.search(self._head)
            self._skip = int(length[1]) if length else 0

    def _serve(self, head: bytes) -> None:
        method, target, _ = head.partition(b"\r\n")[0].split(b" ", 2)
        vendor = self._vendor
        if target.startswith(b"/bench/"):
            self._write(self._control(target))
            return
        counts = vendor.counts
        counts.connections += self._is_new
        self._is_new = False
        counts.requests += 1
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        answer = vendor.answer(method, target, time.time() + vendor.latency / 2)
        asyncio.get_running_loop().call_later(vendor.latency, self._leave, counts, answer)

    def _control(self, target: bytes) -> bytes:
        path, _, query = target.decode().partition("?")
        if path == "/bench/begin":
            return self._vendor.begin({name: float(value) for name, value in parse_qsl(query)})
        return self._vendor.done_at() if path == "/bench/done_at" else self._vendor.tell()

    def _leave(self, counts: Counts, answer: bytes | None) -> None:
        counts.in_flight -= 1
        self._write(answer)

    def _write(self, answer: bytes | None) -> None:
        if self._transport is None:
            return
        status = b"200 OK" if answer is not None else b"404 Not Found"
        body = answer if answer is not None else b'{"code":1203,"message":"task not found","request_id":"x"}'
        self._transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
            % (status, len(body))
            + body
        )


async def serve(port: int) -> None:
    """Serve for ever on a port of the loopback interface."""
    vendor = Vendor()
    server = await asyncio.get_running_loop().create_server(
        lambda: Wire(vendor), "127.0.0.1", port, backlog=4096
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
