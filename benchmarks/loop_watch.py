"""
What a waiting process costs: processor time, memory, and how long its event loop was blocked.

Costs next to nothing itself: the loop is not probed by a task, whose own wakes would be counted, but timed between
two looks for events. Knows nothing of what the loop does.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import selectors


class _TimedSelector:
    """
    Stands before a loop's selector, and notes the longest time between two looks, garbage collections apart.

    A look that lasts longer than it was told to counts too: then another thread held the interpreter.

    :ivar back: when the last look ended.
    :ivar collected: seconds of garbage collections since.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self.back = time.perf_counter()
        self.collected = self.longest = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Look for events; the time since the last look was one turn of the loop."""
        called = time.perf_counter()
        self._note(called - self.back)
        events = self._selector.select(timeout)
        self.back = time.perf_counter()
        if timeout is not None and not events:
            self._note(self.back - called - timeout)
        return events

    def _note(self, seconds: float) -> None:
        self.longest = max(self.longest, seconds - self.collected)
        self.collected = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of the kind a triggerer runs, timed; for `asyncio.Runner`."""
    loop = asyncio.SelectorEventLoop()
    loop._selector = _TimedSelector(loop._selector)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way in
    return loop


def _selector() -> _TimedSelector:
    """Return that of the running loop."""
    selector: _TimedSelector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]  # noqa: SLF001
    return selector


def _memory(field: str) -> int:
    """Return a figure of this process in bytes: ``VmRSS`` now, ``VmHWM`` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def processor_seconds() -> float:
    """Return what this process has used so far, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class MemoryWatch:
    """Measures from now on by how many bytes the resident memory grows at its peak."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        self._before = _memory("VmRSS")

    def peak_added(self) -> int:
        """Return the growth at the peak, in bytes."""
        return max(_memory("VmHWM") - self._before, 0)


class LoopWatch:
    """
    Measures processor time and the loop's longest block between ``with`` and its end.

    :ivar cpu: seconds, all threads, user and system.
    :ivar block: the longest turn of the loop, in seconds, garbage collections apart: they are the whole process's.
    :ivar collection: the longest garbage collection, in seconds.
    :ivar wall: seconds.
    """

    def __enter__(self) -> Self:
        """Begin."""
        self.cpu = self.block = self.wall = self.collection = 0.0
        gc.callbacks.append(self._on_collection)
        self._selector = _selector()
        self._selector.collected = self._selector.longest = 0.0
        self._selector.back = time.perf_counter()
        self._cpu, self._wall = processor_seconds(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.cpu = processor_seconds() - self._cpu
        self.wall = time.perf_counter() - self._wall
        unfinished = time.perf_counter() - self._selector.back - self._selector.collected
        self.block = max(self._selector.longest, unfinished)
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting = now
        else:
            self.collection = max(self.collection, now - self._collecting)
            self._selector.collected += now - self._collecting


class MachineWatch:
    """Measures what share of the machine others used between its making and `foreign_share`."""

    def __init__(self) -> None:
        self._busy, self._all = _jiffies()

    def foreign_share(self, own_cpu: float) -> float:
        """Return the share, 0 to 1; ``own_cpu``: seconds of the measured processes, which are no others."""
        busy, everything = _jiffies()
        total = (everything - self._all) / 100
        return max((busy - self._busy) / 100 - own_cpu, 0.0) / total if total else 0.0


def _jiffies() -> tuple[int, int]:
    """Return the hundredths of seconds all processors were busy, and all there were."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    everything = sum(fields)
    return everything - fields[3] - fields[4], everything
