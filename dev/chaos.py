"""
Thousands of schedules of faults and crashes around one paid clip, judged by the simulator's ledger.

    python dev/chaos.py [--schedules 10000] [--dialect kling] [--strategy ours]
    python dev/chaos.py --dialect kling --seed 1234 [--strategy naive]

Prints what this package, a naive retry and Airflow's `ResumableJobMixin` pay for the same schedules. Ends with 1 if
this package paid twice, paid in vain or lost a clip, with the smallest such schedule and its story.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from chaos_clip import Clip
from chaos_fates import ACCEPTING, APIS, CHANGING, FORGETFUL, schedule_of, smallest
from chaos_strategies import Naive
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from chaos_clip import Strategy
    from chaos_fates import Schedule

PACKAGE = "airflow_provider_kling_avatar"
Row = tuple[str, str]
"""Dialect and strategy: what a row of the table is about."""
CHUNK = 250
STRATEGIES = ("ours", "ours, no store", "naive", "ResumableJobMixin")
NEVER_BAD = ("ours", "ours, no store")
NAIVE_AND_OURS = ("ours", "ours, no store", "naive")
ACCEPTING_SHARE = 10
"""One schedule in so many is also lived through where nothing is promised."""


@dataclass
class Tally:
    """What became of many schedules; seconds are of one processor."""

    schedules: int = 0
    paid_twice: int = 0
    in_vain: int = 0
    lost: int = 0
    persons: int = 0
    unmarked: int = 0
    billed: Decimal = Decimal(0)
    wasted: Decimal = Decimal(0)
    seconds: float = 0.0
    bad_seeds: list[int] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@cache
def strategy_of(name: str) -> Strategy:
    """Return a strategy by the name it has in the table."""
    if name == "naive":
        return Naive()
    if name == "ResumableJobMixin":
        from chaos_resumable import Resumable

        return Resumable()
    from chaos_operator import Operator

    return Operator(remembers=name == "ours")


def run_chunk(api: str, strategy: str, seeds: range) -> Tally:
    """Live through some schedules."""
    begin = time.process_time()
    tally = Tally(schedules=len(seeds))
    for seed in seeds:
        outcome = Clip(schedule_of(api, seed), strategy_of(strategy)).live()
        tally.paid_twice += outcome.paid_twice
        tally.in_vain += outcome.in_vain
        tally.lost += outcome.lost
        tally.persons += outcome.stops > 0
        tally.unmarked += outcome.unmarked
        tally.billed += outcome.billed
        tally.wasted += outcome.wasted
        if outcome.is_bad:
            tally.bad_seeds.append(seed)
    tally.seconds = time.process_time() - begin
    return tally


def quiet() -> None:
    """Prepare a process for many schedules: no log, and nothing loaded so far for the garbage collector to walk."""
    logging.getLogger(PACKAGE).setLevel(logging.CRITICAL + 1)
    gc.freeze()


def rows_of(dialect: str | None, strategy: str | None, schedules: int) -> dict[Row, int]:
    """Return the rows to show, and of how many schedules each."""
    apis = [dialect] if dialect else [*APIS, *CHANGING, *ACCEPTING]
    return {
        (api, name): schedules // ACCEPTING_SHARE if _is_aside(api, name) and not dialect else schedules
        for api in apis
        for name in ([strategy] if strategy else _strategies_for(api))
    }


def _is_aside(api: str, strategy: str) -> bool:
    """Tell whether a row promises nothing, so that a tenth of the schedules tells enough."""
    return api in ACCEPTING or (api in CHANGING and strategy not in NEVER_BAD)


def _strategies_for(api: str) -> tuple[str, ...]:
    if api in CHANGING:  # without a store nobody notices another account
        return ("ours", "naive")
    return NAIVE_AND_OURS if api in ACCEPTING else STRATEGIES


def run_all(rows: dict[Row, int]) -> dict[Row, Tally]:
    """Live through all schedules on all processors."""
    tallies = {row: Tally() for row in rows}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context, initializer=quiet) as pool:
        futures = [
            (row, pool.submit(run_chunk, *row, range(first, min(first + CHUNK, schedules))))
            for row, schedules in rows.items()
            for first in range(0, schedules, CHUNK)
        ]
        for row, future in futures:
            tallies[row].add(future.result())
    return tallies


COLUMNS = {
    "schedules": "one clip each, with its own faults and crashes; all strategies get the same",
    "paid twice": "clips for which more than one task was billed that did not fail",
    "in vain": "tasks that were billed and whose video nobody got",
    "lost": "clips of which a billed task was neither delivered nor named in an error, or that never came",
    "person": "clips for which an error asked a person to look into the vendor's console, who then did",
    "no mark": "those of them whose first try died before it could leave its mark",
    "paid": "US dollars at list price for all of it",
    "wasted": "the part of them that was paid in vain",
    "CPU": "seconds of one processor",
}
NO_PROMISE = """
0 holds where the vendor takes a name only once (kling and cometapi say so on their pages); these rows show a vendor
that does not: it makes and bills a second task under the same name. They are the plain figures, nothing is promised.
What is paid twice here comes of a request that arrives late, a worker that wakes late or a name that is shown late."""


CHANGES_TOLD = """
Behind proxies that lose answers and gateways with words of their own, while from the second or third try on the key
or the host behind the connection, the store, or the links of the inputs are others. Somebody who is told of another
account puts it right before the task is cleared."""


def table_of(tallies: dict[Row, Tally]) -> Table:
    """Return the figures, a section for each dialect."""
    table = Table("dialect", "strategy")
    for title in COLUMNS:
        table.add_column(title, justify="right")
    last = ""
    for (api, strategy), tally in tallies.items():
        if last and api != last:
            table.add_section()
        counts = (
            tally.schedules,
            tally.paid_twice,
            tally.in_vain,
            tally.lost,
            tally.persons,
            tally.unmarked,
        )
        money = (f"{tally.billed:,.2f}", f"{tally.wasted:,.2f}", f"{tally.seconds:.0f}")
        table.add_row("" if api == last else api, strategy, *(f"{count:,}" for count in counts), *money)
        last = api
    return table


class _Teller(logging.Handler):
    """Weaves the package's own log lines into the story."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self._clip = clip

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a log line."""
        self._clip.tell(f"    log: {record.getMessage()}")


def tell(schedule: Schedule, strategy: str) -> bool:
    """Print the story of one schedule, step by step; return whether it ended badly."""
    clip = Clip(schedule, strategy_of(strategy), print)
    logger = logging.getLogger(PACKAGE)
    logger.setLevel(logging.INFO)
    teller = _Teller(clip)
    logger.addHandler(teller)
    logger.propagate = False
    try:
        return clip.live().is_bad
    finally:
        logger.removeHandler(teller)
        logger.setLevel(logging.CRITICAL + 1)


def explain(api: str, strategy: str, seed: int) -> None:
    """Print the smallest part of a schedule that still ends badly, and its story."""
    schedule = smallest(schedule_of(api, seed), lambda s: Clip(s, strategy_of(strategy)).live().is_bad)
    print(f"\n{strategy} on {api}, seed {seed}, reduced to what matters:")
    tell(schedule, strategy)


def show(tallies: dict[Row, Tally]) -> None:
    """Print the figures: first where something is promised, then where nothing is."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    promised = {row: tally for row, tally in tallies.items() if row[0] not in (*ACCEPTING, *CHANGING)}
    changing = {row: tally for row, tally in tallies.items() if row[0] in CHANGING}
    others = {row: tally for row, tally in tallies.items() if row[0] in ACCEPTING}
    if promised:
        console.print(table_of(promised))
    if changing:
        print(CHANGES_TOLD)
        console.print(table_of(changing))
    if others:
        print(NO_PROMISE)
        console.print(table_of(others))
    for title, meaning in COLUMNS.items():
        print(f"  {title:10} {meaning}")


def first_bad(tallies: dict[Row, Tally]) -> list[tuple[Row, int]]:
    """List the rows that break a promise, each with its first seed that does."""
    return [
        (row, tally.bad_seeds[0])
        for row, tally in tallies.items()
        if row[0] not in ACCEPTING and row[1] in NEVER_BAD and tally.bad_seeds
    ]


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--schedules", type=int, default=10_000, help="per dialect")
    parser.add_argument("--dialect", choices=(*APIS, *CHANGING, FORGETFUL, *ACCEPTING))
    parser.add_argument("--strategy", choices=STRATEGIES)
    parser.add_argument("--seed", type=int, help="tell the story of one schedule, step by step")
    parser.add_argument("--tell", action="store_true", help="as --seed does anyway")
    args = parser.parse_args()
    quiet()
    apis = [args.dialect] if args.dialect else list(APIS)
    if args.seed is not None:
        ended = [tell(schedule_of(api, args.seed), args.strategy or "ours") for api in apis]
        return int(any(ended))
    begin = time.monotonic()
    tallies = run_all(rows_of(args.dialect, args.strategy, args.schedules))
    show(tallies)
    print(f"{time.monotonic() - begin:.0f} s on {os.cpu_count()} processors. The story of any schedule:")
    print("  .venv/bin/python dev/chaos.py --dialect kling --strategy naive --seed 1234 --tell")
    bad = first_bad(tallies)
    for (api, strategy), seed in bad:
        explain(api, strategy, seed)
    return int(bool(bad))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="chaos-airflow-") as home:
        os.environ["AIRFLOW_HOME"] = home  # importing Airflow writes there
        sys.exit(main())
