"""
Measures one waiter in this process, and writes the figures as JSON.

    python -m benchmarks.measure SPEC.json FIGURES.json

Knows how a triggerer starts triggers: one after the other, with a turn of the loop between. Knows nothing of who waits.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figures
from benchmarks.loop_watch import LoopWatch, MachineWatch, MemoryWatch, new_loop, processor_seconds
from benchmarks.vendor_client import Times, VendorClient
from benchmarks.waiters import WAITERS, Setting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.waiters import Trigger, Waiter

LONGEST = 300.0
"""Seconds after the last task has ended; who has not noticed by then is counted as missing."""


@dataclass(frozen=True)
class Spec:
    """
    What to measure.

    :param waiter: a name from `WAITERS`.
    :param tasks: how many wait.
    :param url: the vendor.
    :param interval: seconds between two polls; ``None`` for the waiter's own default.
    :param times: when the vendor's tasks end.
    """

    waiter: str
    tasks: int
    url: str
    interval: float | None = 5.0
    times: Times = field(default_factory=Times)


class Waiting:
    """
    The waiting tasks of one waiter.

    :param waiter: who waits.
    :param make: makes one waiting.
    :param tasks: how many.
    """

    def __init__(self, waiter: Waiter, make: Callable[[int], Trigger | Awaitable[bool]], tasks: int) -> None:
        self._good = waiter.good
        self._made = deque((index, make(index)) for index in range(tasks))
        self.noticed: dict[int, float] = {}
        self.wrong = 0

    async def start(self) -> list[asyncio.Task[None]]:
        """Start all, as a triggerer does."""
        tasks = []
        while self._made:
            await asyncio.sleep(0)
            index, waiting = self._made.popleft()
            tasks.append(asyncio.create_task(self._wait(index, waiting)))
        return tasks

    async def _wait(self, index: int, waiting: Trigger | Awaitable[bool]) -> None:
        if inspect.isawaitable(waiting):
            self._note(index, await waiting)
            return
        async for event in waiting.run():
            self._note(index, event.payload)

    def _note(self, index: int, payload: Any) -> None:
        self.noticed[index] = time.time()
        if not self._good(payload):
            self.wrong += 1


def settings_of_the_process() -> dict[str, Any]:
    """Return what belongs to the whole process, and so to no trigger: who waits must leave it alone."""
    root = logging.getLogger()
    return {
        "garbage collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug()),
        "signal handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "root logger": (root.level, list(root.handlers), list(root.filters), logging.root.manager.disable),
        "switch interval": sys.getswitchinterval(),
        "recursion limit": sys.getrecursionlimit(),
        "excepthooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
    }


async def measure(spec: Spec) -> Figures:
    """Measure; the vendor's account is made anew."""
    vendor = VendorClient(spec.url)
    before = settings_of_the_process()
    await _warm_up(spec, vendor)
    begin = vendor.begin(spec.tasks, spec.times, starts_in=1.0 + spec.tasks / 10_000)
    ends = vendor.done_at()
    memory, machine = MemoryWatch(), MachineWatch()
    waiting = _waiting(spec, begin)
    await asyncio.sleep(max(begin - time.time(), 0))
    used = processor_seconds()
    with LoopWatch() as watch:
        tasks = await waiting.start()
        await asyncio.wait(tasks, timeout=spec.times.first)
        meanwhile = settings_of_the_process()
        _, late = await asyncio.wait(tasks, timeout=spec.times.last + LONGEST)
    peak = memory.peak_added()
    after = settings_of_the_process()
    for task in late:
        task.cancel()
    errors = [error for error in await asyncio.gather(*tasks, return_exceptions=True) if error]
    if errors:
        print("an error of a waiter:", repr(errors[0]), file=sys.stderr)
    counts = vendor.counts()
    return Figures(
        cpu=watch.cpu,
        requests=counts["requests"],
        memory=peak,
        block=watch.block,
        collection=watch.collection,
        wrong=waiting.wrong + spec.tasks - len(waiting.noticed),
        touched=[name for name in before if not before[name] == meanwhile[name] == after[name]],
        wall=watch.wall,
        vendor_cpu=counts["cpu"],
        foreign=machine.foreign_share(counts["cpu"] + processor_seconds() - used),
        lateness=sorted(noticed - ends[index] for index, noticed in waiting.noticed.items()),
    )


def _waiting(spec: Spec, begin: float) -> Waiting:
    """Make everything that waits."""
    waiter = WAITERS[spec.waiter]
    return Waiting(waiter, waiter.prepare(Setting(spec.url, spec.interval, begin)), spec.tasks)


async def _warm_up(spec: Spec, vendor: VendorClient) -> None:
    """Wait for a few tasks that have ended: what is loaded on first use is loaded then."""
    begin = vendor.begin(3, Times(first=0.0, last=0.1))
    await asyncio.sleep(0.2)
    waiting = _waiting(replace(spec, tasks=3, interval=0.5), begin)
    await asyncio.gather(*await waiting.start())
    if waiting.wrong:
        raise SystemExit(f"{spec.waiter}: the warm-up did not end with success")


def main() -> None:
    """Run from the command line."""
    given = json.loads(Path(sys.argv[1]).read_text())
    spec = Spec(**given | {"times": Times(**given["times"])})
    import airflow  # noqa: F401 - configures logging, as in a triggerer

    with asyncio.Runner(loop_factory=new_loop) as runner:
        figures = runner.run(measure(spec))
    Path(sys.argv[2]).write_text(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
