"""
Thousands of schedules of faults and crashes around one paid clip, judged by the simulator's ledger.

    python dev/chaos.py [--schedules 10000] [--dialect kling] [--strategy ours | --promised]
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
from functools import partial
from typing import TYPE_CHECKING

from chaos_clip import OURS, STRATEGIES, Clip
from chaos_fates import ACCEPTING, APIS, CHANGING, FORGETFUL, schedule_of, smallest
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos_fates import Schedule

PACKAGE = "airflow_provider_kling_avatar"
Row = tuple[str, str]
"""Dialect and strategy: what a row of the table is about."""
CHUNK = 250
ASIDE_SHARE = 10
"""Where nothing is promised, one schedule in so many tells enough."""


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

    @property
    def cells(self) -> list[str]:
        """What `COLUMNS` show."""
        counts = (
            self.schedules,
            self.paid_twice,
            self.in_vain,
            self.lost,
            self.persons,
            self.unmarked,
        )
        money = (f"{self.billed:,.2f}", f"{self.wasted:,.2f}", f"{self.seconds:.0f}")
        return [*(f"{count:,}" for count in counts), *money]


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
CHANGES_TOLD = """
Behind proxies that lose answers and gateways with words of their own, while from the second or third try on the key
or the host behind the connection, the store, or the links of the inputs are others. Somebody who is told of another
account puts it right before the task is cleared."""
NO_PROMISE = """
0 holds where the vendor takes a name only once (kling and cometapi say so on their pages); these rows show a vendor
that does not: it makes and bills a second task under the same name. They are the plain figures, nothing is promised.
What is paid twice here comes of a request that arrives late, a worker that wakes late or a name that is shown late."""


def clip_of(schedule: Schedule, strategy: str, tell: Callable[[str], None] | None = None) -> Clip:
    """Return a clip that lives through a schedule."""
    from chaos_strategies import strategy_of  # imports Airflow, whose home has been set by now

    return Clip(schedule, strategy_of(strategy), tell)


def is_bad(schedule: Schedule, strategy: str) -> bool:
    """Tell whether a schedule ends badly."""
    return clip_of(schedule, strategy).live().is_bad


def run_chunk(api: str, strategy: str, seeds: range) -> Tally:
    """Live through some schedules."""
    begin = time.process_time()
    tally = Tally(schedules=len(seeds))
    for seed in seeds:
        outcome = clip_of(schedule_of(api, seed), strategy).live()
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


def rows_of(
    dialect: str | None, strategy: str | None, schedules: int, *, promised: bool = False
) -> dict[Row, int]:
    """Return the rows to show, and of how many schedules each; `promised`: no others than a broken promise fails."""
    rows = {}
    for api in [dialect] if dialect else [*APIS, *CHANGING, *ACCEPTING]:
        if strategy:
            names = [strategy]
        elif api in CHANGING:  # without a store nobody notices another account
            names = ["ours", "naive"]
        else:  # Airflow's own where something is promised
            names = [name for name in STRATEGIES if api not in ACCEPTING or name != "ResumableJobMixin"]
        for name in names:
            is_aside = not dialect and (api in ACCEPTING or (api in CHANGING and name not in OURS))
            if not promised or is_promised((api, name)):
                rows[api, name] = schedules // ASIDE_SHARE if is_aside else schedules
    return rows


def is_promised(row: Row) -> bool:
    """Tell whether no schedule of a row may end badly."""
    return row[0] not in ACCEPTING and row[1] in OURS


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


def show(tallies: dict[Row, Tally]) -> None:
    """Print the figures: first where something is promised, then where things change, then where nothing is."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    groups = {"": lambda api: api not in (*CHANGING, *ACCEPTING), CHANGES_TOLD: CHANGING.__contains__}
    for heading, belongs in (groups | {NO_PROMISE: ACCEPTING.__contains__}).items():
        rows = {row: tally for row, tally in tallies.items() if belongs(row[0])}
        if not rows:
            continue
        if heading:
            print(heading)
        table = Table("dialect", "strategy")
        for title in COLUMNS:
            table.add_column(title, justify="right")
        last = ""
        for (api, strategy), tally in rows.items():
            if last and api != last:
                table.add_section()
            table.add_row("" if api == last else api, strategy, *tally.cells)
            last = api
        console.print(table)
    for title, meaning in COLUMNS.items():
        print(f"  {title:10} {meaning}")


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
    clip = clip_of(schedule, strategy, print)
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


def broken_promises(tallies: dict[Row, Tally]) -> list[tuple[Row, int]]:
    """List the rows that break a promise, each with its first seed that does."""
    return [
        (row, tally.bad_seeds[0]) for row, tally in tallies.items() if is_promised(row) and tally.bad_seeds
    ]


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--schedules", type=int, default=10_000, help="per dialect")
    parser.add_argument("--dialect", choices=(*APIS, *CHANGING, FORGETFUL, *ACCEPTING))
    parser.add_argument("--strategy", choices=STRATEGIES)
    parser.add_argument("--promised", action="store_true", help="only what must never end badly, nobody else")
    parser.add_argument("--seed", type=int, help="tell the story of one schedule, step by step")
    args = parser.parse_args()
    quiet()
    if args.seed is not None:
        apis = [args.dialect] if args.dialect else APIS
        ended = [tell(schedule_of(api, args.seed), args.strategy or "ours") for api in apis]
        return int(any(ended))
    begin = time.monotonic()
    tallies = run_all(rows_of(args.dialect, args.strategy, args.schedules, promised=args.promised))
    show(tallies)
    print(f"{time.monotonic() - begin:.0f} s on {os.cpu_count()} processors. The story of any schedule:")
    print("  .venv/bin/python dev/chaos.py --dialect kling --strategy naive --seed 1234")
    bad = broken_promises(tallies)
    for (api, strategy), seed in bad:
        schedule = smallest(schedule_of(api, seed), partial(is_bad, strategy=strategy))
        print(f"\n{strategy} on {api}, seed {seed}, reduced to what matters:")
        tell(schedule, strategy)
    return int(bool(bad))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="chaos-airflow-") as home:
        os.environ["AIRFLOW_HOME"] = home  # importing Airflow writes there
        sys.exit(main())
