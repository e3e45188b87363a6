"""
What was measured, and what is made of several measurements of one case.

Pure: no process, no file, no clock.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSY = 0.1
"""A share of the machine that others may use before a figure is marked as taken on a busy one."""


@dataclass
class Figures:
    """
    One measurement.

    :param cpu: processor seconds while waiting, all threads, user and system.
    :param requests: how many reached the vendor.
    :param most_in_flight: the most at once.
    :param connections: how many were made.
    :param memory: bytes by which the resident memory grew at its peak.
    :param block: the longest turn of the event loop, in seconds, garbage collections apart.
    :param collection: the longest garbage collection, in seconds.
    :param wrong: events that did not say what happened, and tasks that had none.
    :param wall: seconds from the first start to the last event.
    :param vendor_cpu: processor seconds of the vendor in the same time.
    :param foreign: share of the machine that others used, 0 to 1.
    :param lateness: for each task, in seconds and in order, from its end at the vendor until its event.
    """

    cpu: float
    requests: int
    most_in_flight: int
    connections: int
    memory: int
    block: float
    collection: float
    wrong: int
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
    :param beside: another waiter in the same loop.
    :param beside_tasks: how many wait there.
    """

    waiter: str
    tasks: int
    interval: float | None = 5.0
    beside: str = ""
    beside_tasks: int = 0


@dataclass(frozen=True)
class Summary:
    """
    Medians over the measurements of a case, in the units of `Figures`.

    ``p50`` and ``p99`` are of the lateness; ``load`` is what was used of one processor, 0 to 1, and ``vendor_load``
    what the vendor used of one.
    """

    runs: int
    cpu: float
    load: float
    requests: float
    most_in_flight: float
    memory: float
    block: float
    collection: float
    p50: float
    p99: float
    wrong: int
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
    """Return the medians; of what must not happen at all, and of what others used, the worst."""
    late = [figures.lateness or [math.inf] for figures in measured]
    return Summary(
        runs=len(measured),
        cpu=statistics.median(one.cpu for one in measured),
        load=statistics.median(one.cpu / one.wall for one in measured),
        requests=statistics.median(one.requests for one in measured),
        most_in_flight=statistics.median(one.most_in_flight for one in measured),
        memory=statistics.median(one.memory for one in measured),
        block=statistics.median(one.block for one in measured),
        collection=statistics.median(one.collection for one in measured),
        p50=statistics.median(percentile(lateness, 0.5) for lateness in late),
        p99=statistics.median(percentile(lateness, 0.99) for lateness in late),
        wrong=max(one.wrong for one in measured),
        vendor_load=max(one.vendor_cpu / one.wall for one in measured),
        foreign=statistics.median(one.foreign for one in measured),
    )
