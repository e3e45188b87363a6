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
TOLERANCE = 0.1
"""Seconds, the vendor's latency both ways: at which moment of its interval a poll falls is chance."""
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
        yield from self._ratios("CPU, list", "ours-list", "bare-list", lambda one: one.cpu, 1.5)
        yield from (self._against_best_peer(size) for size in self._sizes)
        yield from self._ratios("requests, list", "ours-list", "bare-list", lambda one: one.requests, 1.2)
        yield from self._ratios("CPU, no list", "ours-single", "bare-single", lambda one: one.cpu, 1.2)
        for mode in ("list", "single"):
            for name, pick in _LATENESS.items():
                for size in self._sizes:
                    yield self._not_later(mode, name, pick, size)
        yield from self._default_interval(self._sizes[0])
        for mode in ("list", "single"):
            yield self._memory(f"ours-{mode}", self._sizes[-1])
            yield self._block(f"ours-{mode}", self._sizes[-1])
        for size in self._sizes:
            yield from self._neighbours(size)
        yield self._all_right()

    def _all_right(self) -> Goal:
        what, limit = "events of ours that do not say what happened, or are missing", "none"
        ours = [one.wrong for case, one in self._measured.items() if case.waiter.startswith("ours")]
        return Goal(what, limit, f"{sum(ours)}", met=not any(ours)) if ours else _unknown(what, limit)

    def _find(self, waiter: str, size: int) -> Summary | None:
        return self._measured.get(Case(waiter, size, self._interval))

    def _ratios(
        self, what: str, ours: str, limit: str, pick: Callable[[Summary], float], most: float
    ) -> Iterator[Goal]:
        for size in self._sizes:
            mine, bare = self._find(ours, size), self._find(limit, size)
            words = f"at most {most} x the bare limit"
            if mine is None or bare is None or not pick(bare):
                yield _unknown(f"{what}, {size:,} tasks", words)
                continue
            ratio = pick(mine) / pick(bare)
            yield Goal(
                f"{what}, {size:,} tasks",
                words,
                f"{ratio:.2f} x ({_number(pick(mine))} / {_number(pick(bare))})",
                met=ratio <= most,
            )

    def _against_best_peer(self, size: int) -> Goal:
        what, limit, least = f"CPU, list, {size:,} tasks", "at least 15 x less than the best peer", 15
        mine = self._find("ours-list", size)
        peers = {name: peer for name in PEERS if (peer := self._find(name, size))}
        if mine is None or not peers:
            return _unknown(what, limit)
        best = min(peers, key=lambda name: peers[name].cpu)
        ratio = peers[best].cpu / mine.cpu
        return Goal(what, limit, f"{ratio:.1f} x less than {best}", met=ratio >= least)

    def _not_later(self, mode: str, name: str, pick: Callable[[Summary], float], size: int) -> Goal:
        what = f"lateness {name}, {'list' if mode == 'list' else 'no list'}, {size:,} tasks"
        limit = f"not above the bare limit's (by more than {TOLERANCE} s)"
        mine, bare = self._find(f"ours-{mode}", size), self._find(f"bare-{mode}", size)
        if mine is None or bare is None:
            return _unknown(what, limit)
        found = f"{pick(mine):.2f} s, bare {pick(bare):.2f} s"
        return Goal(what, limit, found, met=pick(mine) <= pick(bare) + TOLERANCE)

    def _default_interval(self, size: int) -> Iterator[Goal]:
        mine = self._measured.get(Case("ours-list", size, None))
        what, limit = f"default interval, list, {size:,} tasks: lateness p99", "at most 2 s"
        yield (Goal(what, limit, f"{mine.p99:.2f} s", met=mine.p99 <= 2.0) if mine else _unknown(what, limit))
        what = f"default interval, list, {size:,} tasks: requests"
        limit = f"fewer than any peer sends at {self._interval:g} s"
        peers = {name: peer.requests for name in PEERS if (peer := self._find(name, size))}
        if mine is None or not peers:
            yield _unknown(what, limit)
            return
        least = min(peers, key=lambda name: peers[name])
        found = f"{mine.requests:,.0f}, {least} {peers[least]:,.0f}"
        yield Goal(what, limit, found, met=mine.requests < peers[least])

    def _memory(self, waiter: str, size: int) -> Goal:
        what, limit = f"memory per waiting task, {_mode(waiter)}, {size:,} tasks", "at most 8 KB"
        mine = self._find(waiter, size)
        if mine is None:
            return _unknown(what, limit)
        each = mine.memory / size / 1024
        return Goal(what, limit, f"{each:.1f} KB", met=each <= 8)

    def _block(self, waiter: str, size: int) -> Goal:
        what, limit = f"longest block of the loop, {_mode(waiter)}, {size:,} tasks", "at most 50 ms"
        mine = self._find(waiter, size)
        if mine is None:
            return _unknown(what, limit)
        found = f"{mine.block * 1000:.0f} ms (longest garbage collection {mine.collection * 1000:.0f} ms)"
        return Goal(what, limit, found, met=mine.block <= 0.05)

    def _neighbours(self, size: int) -> Iterator[Goal]:
        name, count = NEIGHBOUR
        alone = self._measured.get(Case(name, count, self._interval))
        beside = self._measured.get(Case(name, count, self._interval, "ours-list", size))
        for percent, pick in _LATENESS.items():
            what = f"{count} tasks of another provider beside {size:,} of ours: lateness {percent}"
            limit = f"not above what it is alone (by more than {TOLERANCE} s)"
            if alone is None or beside is None:
                yield _unknown(what, limit)
                continue
            found = f"{pick(beside):.2f} s, alone {pick(alone):.2f} s"
            yield Goal(what, limit, found, met=pick(beside) <= pick(alone) + TOLERANCE)


_LATENESS: dict[str, Callable[[Summary], float]] = {
    "p50": lambda one: one.p50,
    "p99": lambda one: one.p99,
}


def _mode(waiter: str) -> str:
    return "list" if waiter.endswith("list") else "no list"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _unknown(what: str, limit: str) -> Goal:
    return Goal(what, limit, "not measured", met=None)
