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
from typing import cast
from urllib.parse import parse_qsl

from benchmarks.vendor_answers import (
    BASE_ID,
    BATCH_DONE,
    BATCH_RUNNING,
    DBT_DONE,
    DBT_RUNNING,
    TASKS_PATH,
    Account,
    Plan,
)

TASKS = TASKS_PATH.encode()
_NUMBER = re.compile(rb"(\d+)/?$")
_PAGE = re.compile(rb"pageNum=(\d+)&pageSize=(\d+)|pageSize=(\d+)&pageNum=(\d+)")


class Vendor:
    """
    The account of the current run, how often it was asked for, and its latency.

    :param latency: seconds from a request's arrival until the answer leaves; what it says is half as old, as if each
        way took half.
    """

    def __init__(self, latency: float = 0.05) -> None:
        self.latency = latency
        self.account = Account(Plan(0), time.time())
        self.requests = 0
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
        plan = Plan(int(options["tasks"]), options["first"], options["last"], int(options.get("seed", 7)))
        self.account = Account(plan, begin)
        self.requests = 0
        self._cpu = time.process_time()
        return json.dumps({"begin": begin}).encode()

    def tell(self) -> bytes:
        """Return the number of requests, and the processor time of this process, since the beginning."""
        return json.dumps({"requests": self.requests, "cpu": time.process_time() - self._cpu}).encode()

    def done_at(self) -> bytes:
        """Return when each task ends, in Unix seconds."""
        return json.dumps(self.account.done_at).encode()

    def answer(self, target: bytes, now: float) -> bytes | None:
        """Return the body of an answer as of ``now`` (Unix seconds), ``None`` where there is nothing."""
        path, _, query = target.partition(b"?")
        if path == TASKS:
            return self._page(query, now)
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
        return _enveloped(b"[" + self.account.page(number, size, now) + b"]")


def _enveloped(data: bytes) -> bytes:
    return b'{"code":0,"message":"SUCCEED","request_id":"CjhNb2dRZ1lBQUFBQUFBQUFB","data":' + data + b"}"


class Wire(asyncio.Protocol):
    """
    One connection: reads questions one after the other, and lets each answer leave when its time has come.

    :param vendor: who answers.
    """

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the socket: an answer may still be under way."""
        del error
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; only GET is asked, so that nothing has a body."""
        *heads, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for head in heads:
            self._serve(head)

    def _serve(self, head: bytes) -> None:
        target = head.split(b" ", 2)[1]
        vendor = self._vendor
        if target.startswith(b"/bench/"):
            self._write(self._control(target))
            return
        vendor.requests += 1
        answer = vendor.answer(target, time.time() + vendor.latency / 2)
        asyncio.get_running_loop().call_later(vendor.latency, self._write, answer)

    def _control(self, target: bytes) -> bytes:
        path, _, query = target.decode().partition("?")
        if path == "/bench/begin":
            return self._vendor.begin({name: float(value) for name, value in parse_qsl(query)})
        return self._vendor.done_at() if path == "/bench/done_at" else self._vendor.tell()

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
