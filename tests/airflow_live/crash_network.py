"""
A wire between a client and a port of this machine that can be cut for a while.

Knows TCP only.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal, Self

How = Literal["refused", "silent"]


class Wire:
    """
    Passes on what comes to a port of its own.

    :param target: TCP port of the loopback interface behind it.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        """Where to connect to, once entered."""
        self.whole = threading.Event()
        """Set while nothing is cut."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._listening = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(60):
            raise RuntimeError("the wire did not start; the traceback of its thread says why")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def cut(self, how: How, seconds: float | None) -> None:
        """
        Cut the wire.

        :param how: ``refused`` breaks all connections and refuses new ones, as a host without the service does;
            ``silent`` passes nothing on but keeps them, as a broken line does.
        :param seconds: how long; ``None`` until `mend`.
        """
        self.whole.clear()
        asyncio.run_coroutine_threadsafe(self._cut(how), self._loop).result(60)
        if seconds is not None:
            asyncio.run_coroutine_threadsafe(self._mend_after(seconds), self._loop)

    def mend(self) -> None:
        """Make it whole again, now."""
        asyncio.run_coroutine_threadsafe(self._mend_after(0), self._loop).result(60)

    async def _cut(self, how: How) -> None:
        if how == "silent":
            self._passing.clear()
            return
        self._server.close()
        self._break_connections()

    async def _mend_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if not self._server.is_serving():
            await self._listen()
        self._passing.set()
        self.whole.set()

    def _break_connections(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._end, self._passing = asyncio.Event(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing.set()
        await self._listen()
        self.whole.set()
        self._listening.set()
        await self._end.wait()
        self._server.close()
        self._break_connections()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
        else:
            self._writers.add(far_writer)
            await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
            self._writers.discard(far_writer)
        self._writers.discard(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
