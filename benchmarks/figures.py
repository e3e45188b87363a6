"""
What is measured, what is made of several measurements of one case, and the goals they are held against.

Pure: no process, no file, no clock. Ratios are of medians of the same run on the same machine. What was not measured
is neither met nor missed; a goal that is missed is shown as missed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.waiters import LIMIT, OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.vendor_client import Times

FEW, MANY, CROWD = 50, 1000, 10_000
"""How many wait. What waiting is made for, and a crowd that has to hold out, at whatever cost."""
BUSY = 0.1
"""A share of the machine that others may use before a figure is marked as taken on a busy one."""
TOLERANCE = 0.1
"""Seconds, the vendor's latency both ways: at which moment of its interval a poll falls is chance."""
LONGEST_BLOCK = 0.2
"""Seconds. Airflow warns of a blocked loop from here on (`blocked_main_thread_warning_threshold`)."""


@dataclass
class Figures:
    """
    One measurement.

    :param cpu: processor seconds while waiting, all threads, user and system.
    :param requests: how many reached the vendor.
    :param memory: bytes by which the resident memory grew at its peak.
    :param block: the longest turn of the event loop, in seconds, garbage collections apart.
    :param collection: the longest garbage collection, in seconds.
    :param wrong: events that did not say what happened, and tasks that had none.
    :param touched: names of settings of the whole process that were others while it waited, or after it.
    :param wall: seconds from the first start to the last event.
    :param vendor_cpu: processor seconds of the vendor in the same time.
    :param foreign: share of the machine that others used, 0 to 1.
    :param lateness: for each task, in seconds and in order, from its end at the vendor until its event.
    """

    cpu: float
    requests: int
    memory: int
    block: float
    collection: float
    wrong: int
    touched: list[str]
    wall: float
    vendor_cpu: float
    foreign: float
    lateness: list[float] = field(repr=False)


@dataclass(frozen=True)
class Case:
    """
    One thing to measure, and by which its figures are found.

    :param waiter: its name.
    :param tasks: how many wait.
    :param interval: seconds between two polls; ``None`` for the waiter's own default.
    """

    waiter: str
    tasks: int
    interval: float | None = 5.0


@dataclass(frozen=True)
class Plan:
    """
    One run of the benchmark.

    :param cases: what is measured in each round.
    :param once: what is measured in the first round only, since it takes long.
    :param sizes: how many tasks wait in the main measurements.
    :param times: when the earliest and the latest task ends.
    :param interval: seconds between two polls.
    :param rounds: how many.
    """

    cases: tuple[Case, ...]
    once: tuple[Case, ...]
    sizes: tuple[int, ...]
    times: Times
    interval: float
    rounds: int

    def __iter__(self) -> Iterator[Case]:
        """Yield the cases in the order in which they are measured."""
        for number in range(self.rounds):
            yield from self.cases
            if number == 0:
                yield from self.once

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return sum(self.times.last + self.interval / 2 + 5 + case.tasks / 5000 for case in self)


@dataclass(frozen=True)
class Summary:
    """
    Medians over the measurements of a case, in the units of `Figures`.

    ``p50`` and ``p99`` are of the lateness; ``load`` is what was used of one processor, 0 to 1, and ``vendor_load``
    what the vendor used of one. Of what must not happen at all it has the worst.
    """

    runs: int
    cpu: float
    load: float
    requests: float
    memory: float
    block: float
    collection: float
    p50: float
    p99: float
    wrong: int
    touched: tuple[str, ...]
    vendor_load: float
    foreign: float

    @property
    def on_a_busy_machine(self) -> bool:
        """Whether others used so much of the machine that the figures are preliminary."""
        return self.foreign > BUSY


def percentile(ordered: Sequence[float], share: float) -> float:
    """
    Return the value that a share of all does not exceed.

    :param ordered: at least one value, the smallest first.
    :param share: 0 to 1.
    """
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def summarise(measured: Sequence[Figures]) -> Summary:
    """Return the medians; of what must not happen at all, and of what the vendor used, the worst."""
    late = [figures.lateness or [math.inf] for figures in measured]
    return Summary(
        runs=len(measured),
        cpu=statistics.median(one.cpu for one in measured),
        load=statistics.median(one.cpu / one.wall for one in measured),
        requests=statistics.median(one.requests for one in measured),
        memory=statistics.median(one.memory for one in measured),
        block=statistics.median(one.block for one in measured),
        collection=statistics.median(one.collection for one in measured),
        p50=statistics.median(percentile(lateness, 0.5) for lateness in late),
        p99=statistics.median(percentile(lateness, 0.99) for lateness in late),
        wrong=max(one.wrong for one in measured),
        touched=tuple(sorted({name for one in measured for name in one.touched})),
        vendor_load=max(one.vendor_cpu / one.wall for one in measured),
        foreign=statistics.median(one.foreign for one in measured),
    )


@dataclass(frozen=True)
class Goal:
    """
    One line of the table of goals.

    :param what: the goal.
    :param limit: in words.
    :param measured: in words.
    :param met: ``None`` if something of it was not measured.
    """

    what: str
    limit: str
    measured: str = "not measured"
    met: bool | None = None


class Goals:
    """
    Judges a run.

    :param plan: what was to be measured.
    :param measured: the summaries by case.
    """

    def __init__(self, plan: Plan, measured: Mapping[Case, Summary]) -> None:
        self._plan, self._measured = plan, measured

    def __iter__(self) -> Iterator[Goal]:
        """Yield all goals."""
        usual = [size for size in self._plan.sizes if size < CROWD]
        yield from (self._against_best_peer(size) for size in usual)
        yield self._share_of_a_core()
        for size in usual:
            yield self._requests(size)
            yield self._not_later("p50", size)
            yield self._not_later("p99", size)
        yield from (self._block(size) for size in self._plan.sizes if size >= CROWD)
        yield self._nothing_wrong()
        yield self._nothing_touched()

    def _find(self, waiter: str, size: int) -> Summary | None:
        return self._measured.get(Case(waiter, size, self._plan.interval))

    def _against_best_peer(self, size: int) -> Goal:
        least = 10 if size >= MANY else 1
        limit = f"at least {least} x less than the best peer" if least > 1 else "less than the best peer"
        what = f"CPU, {size:,} tasks"
        mine = self._find(OURS, size)
        peers = {name: peer for name in PEERS if (peer := self._find(name, size))}
        if mine is None or not peers:
            return Goal(what, limit)
        best = min(peers, key=lambda name: peers[name].cpu)
        ratio = peers[best].cpu / mine.cpu
        return Goal(what, limit, f"{ratio:.1f} x less than {best}", met=ratio >= least)

    def _share_of_a_core(self) -> Goal:
        what, limit = f"CPU, {FEW:,} tasks, default interval", "at most 1 % of a core"
        mine = self._measured.get(Case(OURS, FEW, None))
        return Goal(what, limit, f"{mine.load:.2%}", met=mine.load <= 0.01) if mine else Goal(what, limit)

    def _requests(self, size: int) -> Goal:
        what, limit = f"requests, {size:,} tasks", "at most 1.2 x the bare loop"
        mine, bare = self._find(OURS, size), self._find(LIMIT, size)
        if mine is None or bare is None:
            return Goal(what, limit)
        ratio = mine.requests / bare.requests
        found = f"{ratio:.2f} x ({mine.requests:,.0f} / {bare.requests:,.0f})"
        return Goal(what, limit, found, met=ratio <= 1.2)

    def _not_later(self, name: str, size: int) -> Goal:
        what = f"lateness {name}, {size:,} tasks"
        limit = f"not above the bare loop's (by more than {TOLERANCE} s)"
        mine, bare = self._find(OURS, size), self._find(LIMIT, size)
        if mine is None or bare is None:
            return Goal(what, limit)
        late, limit_late = getattr(mine, name), getattr(bare, name)
        return Goal(what, limit, f"{late:.2f} s, bare {limit_late:.2f} s", met=late <= limit_late + TOLERANCE)

    def _block(self, size: int) -> Goal:
        what, limit = f"longest block of the loop, {size:,} tasks", "less than 200 ms"
        mine = self._find(OURS, size)
        if mine is None:
            return Goal(what, limit)
        found = f"{mine.block * 1000:.0f} ms, garbage collections of {mine.collection * 1000:.0f} ms apart"
        return Goal(what, limit, found, met=mine.block < LONGEST_BLOCK)

    def _ours(self) -> list[Summary]:
        return [one for case, one in self._measured.items() if case.waiter == OURS]

    def _nothing_wrong(self) -> Goal:
        what, limit = "events of ours that do not say what happened, or are missing", "none"
        wrong = sum(one.wrong for one in self._ours())
        return Goal(what, limit, str(wrong), met=not wrong) if self._ours() else Goal(what, limit)

    def _nothing_touched(self) -> Goal:
        what, limit = "settings of the whole process that ours touches", "none"
        touched = sorted({name for one in self._ours() for name in one.touched})
        found = ", ".join(touched) or "none"
        return Goal(what, limit, found, met=not touched) if self._ours() else Goal(what, limit)
