"""
What is measured, and in which order. Knows no figures.

In rounds: whatever else the machine does in an hour then falls on all alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.figures import Case
from benchmarks.goals import FEW, MANY, NEIGHBOUR

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS_AND_LIMITS = ("bare-list", "ours-list", "bare-single", "ours-single")


@dataclass(frozen=True)
class Plan:
    """
    One run of the benchmarks.

    :param cases: what is measured in each round.
    :param once: what is measured in the first round only: it takes long, and is far from all the others.
    :param sizes: how many tasks wait in the main measurements.
    :param interval: seconds between two polls.
    :param first: seconds after the start when the earliest task may end.
    :param last: seconds after the start when the latest may end.
    :param rounds: how many.
    :param extras: names of further measurements.
    """

    cases: tuple[Case, ...]
    once: tuple[Case, ...]
    sizes: tuple[int, ...]
    interval: float
    first: float
    last: float
    rounds: int
    extras: tuple[str, ...] = field(default=())

    def __iter__(self) -> Iterator[Case]:
        """Yield the cases in the order in which they are measured."""
        for number in range(self.rounds):
            yield from self.cases
            if number == 0:
                yield from self.once

    @property
    def seconds(self) -> float:
        """About how long it takes, the extras apart."""
        return sum(
            self.last + self.interval / 2 + 5 + (case.tasks + case.beside_tasks) / 5000 for case in self
        )


def full(rounds: int) -> Plan:
    """Return the plan of `make bench`."""
    name, count = NEIGHBOUR
    crowd = 10_000
    return Plan(
        cases=(
            *(Case(waiter, FEW) for waiter in ("bare-list", "ours-list", "dbt")),
            *(Case(waiter, MANY) for waiter in (*OURS_AND_LIMITS, "dbt")),
        ),
        once=(
            *(Case("ours-list", size, None) for size in (FEW, MANY)),
            *(Case(waiter, FEW) for waiter in ("http", "llm", "openai")),
            *(Case(waiter, MANY) for waiter in ("http", "llm")),
            *(Case(waiter, crowd) for waiter in ("bare-list", "ours-list")),
            Case(name, count),
            *(Case(name, count, beside="ours-list", beside_tasks=size) for size in (MANY, crowd)),
        ),
        sizes=(FEW, MANY, crowd),
        interval=5.0,
        first=20.0,
        last=60.0,
        rounds=rounds,
        extras=("imports", "submit", "resume"),
    )


def quick() -> Plan:
    """Return the plan of `make bench QUICK=1`: shows that all works, and whether something is badly wrong."""
    interval = 2.0
    return Plan(
        cases=tuple(Case(waiter, 200, interval) for waiter in (*OURS_AND_LIMITS, "http")),
        once=(Case("ours-list", 200, None),),
        sizes=(200,),
        interval=interval,
        first=2.0,
        last=6.0,
        rounds=1,
        extras=("imports", "submit"),
    )
