"""
What the project set itself, against what was measured in one run. Pure; a goal that is missed is shown as missed.

Ratios are of medians of the same run on the same machine. What was not measured is neither met nor missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figures import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.figures import Summary

PEERS = ("http", "dbt", "llm", "openai")
FEW, MANY = 50, 1000
"""The scale waiting is made for; what is above has to hold out, at whatever cost."""
TOLERANCE = 0.1
"""Seconds, the vendor's latency both ways: at which moment of its interval a poll falls is chance."""
LONGEST_BLOCK = 0.2
"""Seconds. Airflow warns of a blocked loop from here on (`blocked_main_thread_warning_threshold`)."""
NEIGHBOUR = ("http", 200)


@dataclass(frozen=True)
class Goal:
    """
    One line of the table.

    :param what: the goal.
    :param limit: in words.
    :param measured: in words.
    :param met: ``None`` if something of it was not measured.
    """

    what: str
    limit: str
    measured: str
    met: bool | None


class Verdicts:
    """
    Judges a run.

    :param measured: the summaries by case.
    :param sizes: how many tasks waited in the main measurements.
    :param interval: seconds between two polls there.
    """

    def __init__(self, measured: Mapping[Case, Summary], sizes: Sequence[int], interval: float) -> None:
        self._measured, self._sizes, self._interval = measured, sizes, interval

    def __iter__(self) -> Iterator[Goal]:
        """Yield all goals in the order in which they were set."""
        usual = [size for size in self._sizes if size <= MANY]
        yield from (self._against_best_peer(size) for size in usual)
        yield self._share_of_a_core()
        yield from (self._requests(size) for size in usual)
        yield from (self._not_later(name, pick, size) for name, pick in _LATENESS.items() for size in usual)
        yield from (self._block(size) for size in self._sizes if size > MANY)
        yield self._all_right()

    def _all_right(self) -> Goal:
        what, limit = "events of ours that do not say what happened, or are missing", "none"
        ours = [one.wrong for case, one in self._measured.items() if case.waiter.startswith("ours")]
        return Goal(what, limit, f"{sum(ours)}", met=not any(ours)) if ours else _unknown(what, limit)

    def _find(self, waiter: str, size: int) -> Summary | None:
        return self._measured.get(Case(waiter, size, self._interval))

    def _against_best_peer(self, size: int) -> Goal:
        what, limit, least = f"CPU, list, {size:,} tasks", "at least 10 x less than the best peer", 10
        mine = self._find("ours-list", size)
        peers = {name: peer for name in PEERS if (peer := self._find(name, size))}
        if mine is None or not peers:
            return _unknown(what, limit)
        best = min(peers, key=lambda name: peers[name].cpu)
        ratio = peers[best].cpu / mine.cpu
        return Goal(what, limit, f"{ratio:.1f} x less than {best}", met=ratio >= least)

    def _share_of_a_core(self) -> Goal:
        what, limit = f"CPU, list, {FEW:,} tasks, default interval", "at most 1 % of a core"
        mine = self._measured.get(Case("ours-list", FEW, None))
        if mine is None:
            return _unknown(what, limit)
        return Goal(what, limit, f"{mine.load:.2%}", met=mine.load <= 0.01)

    def _requests(self, size: int) -> Goal:
        what, limit, most = f"requests, list, {size:,} tasks", "at most 1.2 x the bare limit", 1.2
        mine, bare = self._find("ours-list", size), self._find("bare-list", size)
        if mine is None or bare is None:
            return _unknown(what, limit)
        ratio = mine.requests / bare.requests
        found = f"{ratio:.2f} x ({mine.requests:,.0f} / {bare.requests:,.0f})"
        return Goal(what, limit, found, met=ratio <= most)

    def _not_later(self, name: str, pick: Callable[[Summary], float], size: int) -> Goal:
        what = f"lateness {name}, list, {size:,} tasks"
        limit = f"not above the bare limit's (by more than {TOLERANCE} s)"
        mine, bare = self._find("ours-list", size), self._find("bare-list", size)
        if mine is None or bare is None:
            return _unknown(what, limit)
        found = f"{pick(mine):.2f} s, bare {pick(bare):.2f} s"
        return Goal(what, limit, found, met=pick(mine) <= pick(bare) + TOLERANCE)

    def _block(self, size: int) -> Goal:
        what, limit = f"longest block of the loop, list, {size:,} tasks", "less than 200 ms"
        mine = self._find("ours-list", size)
        if mine is None:
            return _unknown(what, limit)
        found = f"{mine.block * 1000:.0f} ms, garbage collections of {mine.collection * 1000:.0f} ms apart"
        return Goal(what, limit, found, met=mine.block < LONGEST_BLOCK)


_LATENESS: dict[str, Callable[[Summary], float]] = {
    "p50": lambda one: one.p50,
    "p99": lambda one: one.p99,
}


def _unknown(what: str, limit: str) -> Goal:
    return Goal(what, limit, "not measured", met=None)
