"""The front door: reads each request whole, writes it into the request log, and carries out faults.

It knows ASGI and how to break an answer or a connection. It must not know tasks, accounts or dialects.
A connection can only be broken under `server`, which puts the means to do so into the ASGI scope.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_kling_avatar.simulator.faults import NEEDS_DIALECT

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_kling_avatar.simulator.dialects import CallName
    from airflow_provider_kling_avatar.simulator.faults import Fault, Faults

log = logging.getLogger(__name__)

DROP_EXTENSION: Final = "kling_simulator.drop"
"""Name under which the ASGI scope's extensions offer a function that closes the TCP connection."""

_HTML = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Something is not right</h1></body></html>"
_LONGEST_STRING = 200
_MAX_BODY_BYTES = 64 * 1024 * 1024
_REDACTED: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass
class RequestRecord:
    """One request as it arrived, without its secrets and without its megabytes."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Lower-case names; credentials replaced."""
    body_size: int
    """Bytes."""
    body: Any
    """The JSON body with long strings (media) shortened; None if it was not JSON."""
    at: float
    """Wall-clock Unix seconds when it had been read."""
    call: str | None = None
    """`create`, `list` or `query`; None if it was no business with tasks."""
    connection: str = ""
    """Address and port at the caller's end: requests that have it in common came over one connection."""
    account: str | None = None
    """Who it was, once recognised."""
    fault: str | None = None
    """The kind of fault it met."""
    status: int | None = None
    """HTTP status of the answer; None if there was none."""
    ended_at: float | None = None
    """Wall-clock Unix seconds when the answer was sent or the connection broken; None until then."""


@dataclass
class _Captured:
    """An answer held back."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)


class Gate:
    """ASGI middleware in front of the API; the simulator's own pages pass untouched."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        faults: Faults,
        records: deque[RequestRecord],
        calls: Counter[str],
        call_of: Callable[[str, str], CallName | None],
    ) -> None:
        """Guard `app`, picking faults from `faults`, writing to `records`, counting in `calls` what `call_of` tells."""
        self._app = app
        self._faults = faults
        self._records = records
        self._calls = calls
        self._call_of = call_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or not."""
        if scope["type"] != "http" or scope["path"] == "/" or scope["path"].startswith("/simulator"):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            await _answer(send, 413, b"The body is larger than any documented request.", b"text/plain")
            return
        record = _record(scope, body)
        call = self._call_of(record.method, record.path)
        if call is not None:
            record.call = call
            self._calls[call] += 1
        self._records.append(record)
        scope.setdefault("state", {})["record"] = record
        fault = self._faults.take(record.method, record.path, call)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            if fault is None:
                await self._app(scope, _replay(body, receive), send_and_note)
            else:
                record.fault = fault.kind
                scope["state"]["fault"] = fault
                await self._spoil(fault, scope, _replay(body, receive), receive, send_and_note)
        finally:
            record.ended_at = time.time()
        log.info(
            "%s %s -> %s%s", record.method, record.path, record.status, f" ({fault.kind})" if fault else ""
        )

    async def _spoil(self, fault: Fault, scope: Scope, replay: Receive, receive: Receive, send: Send) -> None:
        if fault.kind in NEEDS_DIALECT:
            await self._app(scope, replay, send)
            return
        if fault.kind == "no_ranges":
            await self._app(_without_range(scope), replay, send)
            return
        held = await self._held_answer(scope, replay) if fault.takes_effect else _Captured()
        match fault.kind:
            case "drop_before" | "drop_after":
                await _drop(scope, receive, reset=fault.reset)
            case "slow":
                await asyncio.sleep(fault.seconds)
                await (_pass_on(send, held) if fault.takes_effect else self._app(scope, replay, send))
            case "http_error":
                text = (fault.message or "upstream error").encode()
                await _answer(send, fault.status or 502, text, b"text/plain", _retry_after(fault))
            case "html":
                await _answer(send, fault.status or 502, _HTML, b"text/html")
            case "redirect":
                headers = [(b"location", fault.location.encode())]
                await _answer(send, fault.status or 301, b"", b"text/html", headers)
            case "truncated_json":
                half = bytes(held.body[: len(held.body) // 2])
                await _answer(send, held.status, half, b"application/json")
            case "half_file" | "empty_file" | "other_bytes":
                await _pass_on(send, _spoilt(held, fault.kind))
            case _:  # cut_body
                await send({"type": "http.response.start", "status": held.status, "headers": held.headers})
                half = bytes(held.body[: len(held.body) // 2])
                await send({"type": "http.response.body", "body": half, "more_body": True})
                await _drop(scope, receive, reset=fault.reset)

    async def _held_answer(self, scope: Scope, replay: Receive) -> _Captured:
        held = _Captured()

        async def hold(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.status, held.headers = message["status"], list(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                held.body += message.get("body", b"")

        await self._app(scope, replay, hold)
        return held


async def _read(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _drop(scope: Scope, receive: Receive, *, reset: bool) -> None:
    drop: Callable[[bool], None] | None = (scope.get("extensions") or {}).get(DROP_EXTENSION)
    if drop is None:
        raise RuntimeError("connections can be dropped only under SimulatorServer or the console command")
    drop(reset)
    # Return only once the server has noticed, or it would try to send a 500.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(
    send: Send, status: int, body: bytes, kind: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    first = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": first + (headers or [])})
    await send({"type": "http.response.body", "body": body})


async def _pass_on(send: Send, held: _Captured) -> None:
    await send({"type": "http.response.start", "status": held.status, "headers": held.headers})
    await send({"type": "http.response.body", "body": bytes(held.body)})


def _without_range(scope: Scope) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
    return {**scope, "headers": headers}


def _spoilt(held: _Captured, kind: str) -> _Captured:
    """Make a download that looks well to HTTP and is not what it should be."""
    body = held.body[: {"half_file": len(held.body) // 2, "empty_file": 0}.get(kind)]
    if kind == "other_bytes" and body:
        body[len(body) * 3 // 4] ^= 0xFF  # behind the index, which comes first: it stays a film
    told = (b"content-length", b"etag", b"last-modified")
    headers = [(name, value) for name, value in held.headers if name not in told]
    return _Captured(held.status, [*headers, (b"content-length", str(len(body)).encode())], body)


def _retry_after(fault: Fault) -> list[tuple[bytes, bytes]]:
    return [] if fault.retry_after is None else [(b"retry-after", f"{fault.retry_after:g}".encode())]


def _record(scope: Scope, body: bytes) -> RequestRecord:
    headers = {
        name.decode("latin-1"): "***" if name.decode("latin-1") in _REDACTED else value.decode("latin-1")
        for name, value in scope["headers"]
    }
    query = "***" if scope["path"].startswith("/media/") else scope["query_string"].decode("latin-1")
    return RequestRecord(
        scope["method"],
        scope["path"],
        query,
        headers,
        len(body),
        _shortened(body),
        time.time(),
        connection=":".join(map(str, scope.get("client") or ())),
    )


def _shortened(body: bytes) -> Any:
    try:
        return _shorten(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _shorten(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shorten(below) for name, below in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > _LONGEST_STRING:
        return f"<{len(value)} characters>"
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # JSON can spell half a character
    return value
