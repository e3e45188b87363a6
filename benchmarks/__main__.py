"""
Run the benchmark, or some of it: `make bench`, `make bench QUICK=1`, `make bench ONLY="ours bare"`.

Knows the command line, what is measured in which order, and where results go. In rounds: whatever else the machine
does in an hour then falls on all alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from processes import interruptible

from benchmarks import ROOT, report
from benchmarks.figures import CROWD, FEW, MANY, Case, Figures, Goals, Plan, summarise
from benchmarks.runs import RunError, measure
from benchmarks.vendor_client import Times, running_vendor
from benchmarks.waiters import LIMIT, OURS, PEERS, WAITERS

FULL, RAW = ROOT / "benchmarks", ROOT / "build" / "bench"


def full(rounds: int) -> Plan:
    """Return the plan of `make bench`."""
    compared = [Case(name, size) for size in (FEW, MANY) for name in (LIMIT, OURS, *PEERS)]
    crowd = (Case(LIMIT, CROWD), Case(OURS, CROWD))
    return Plan(
        (*compared, Case(OURS, FEW, None)),
        (Case(OURS, MANY, None), *crowd),
        (FEW, MANY, CROWD),
        Times(),
        5.0,
        rounds,
    )


def quick() -> Plan:
    """Return the plan of `make bench QUICK=1`: shows that all works, and whether something is badly wrong."""
    interval = 2.0
    cases = (*(Case(name, 200, interval) for name in (LIMIT, OURS, *PEERS)), Case(OURS, FEW, None))
    return Plan(cases, (), (200,), Times(2.0, 6.0), interval, 1)


def run(plan: Plan, folder: Path, url: str) -> tuple[dict[Case, list[Figures]], list[str]]:
    """Measure everything; what fails is noted, and the rest goes on."""
    measured, failures = defaultdict[Case, list[Figures]](list), list[str]()
    print(f"Measuring, for {plan.seconds / 60:.0f} minutes and more ...", flush=True)
    for case in plan:
        try:
            figures = measure(case, plan.times, folder, url)
        except RunError as error:
            print(f"  {case.waiter} FAILED: {error}", flush=True)
            failures.append(f"{case.waiter}: {str(error).splitlines()[0]}")
        else:
            measured[case].append(figures)
            print(_line(case, figures), flush=True)
    return measured, failures


def _line(case: Case, figures: Figures) -> str:
    """Return what whoever watches wants to see of one measurement."""
    one = summarise([figures])
    every = "default" if case.interval is None else f"{case.interval:g} s"
    return (
        f"  {case.waiter:6} {case.tasks:6} every {every:7} cpu {one.cpu:6.2f} s  requests {one.requests:6.0f}"
        f"  memory {one.memory / 2**20:6.1f} MB"
        f"  block {one.block * 1000:6.1f} ms (gc {one.collection * 1000:5.1f})"
        f"  late p50 {one.p50:5.2f} p99 {one.p99:5.2f} s  wrong {one.wrong}"
        f"  vendor {one.vendor_load:3.0%}  foreign {one.foreign:4.0%}"
    )


def write(plan: Plan, measured: dict[Case, list[Figures]], failures: list[str], folder: Path) -> None:
    """Write the report and the figures it was made from, and tell which goals are met."""
    folder.mkdir(parents=True, exist_ok=True)
    RAW.mkdir(parents=True, exist_ok=True)
    raw = [
        {"case": asdict(case), "figures": [asdict(one) for one in found]} for case, found in measured.items()
    ]
    (RAW / f"figures{'-quick' if folder == RAW else ''}.json").write_text(json.dumps(raw))
    summaries = {case: summarise(found) for case, found in measured.items()}
    (folder / "results.md").write_text(report.render(plan, summaries, failures, report.facts(plan.rounds)))
    print()
    for goal in Goals(plan, summaries):
        word = {True: "met", False: "MISSED", None: "?"}[goal.met]
        print(f"  {word:6}  {goal.what}: {goal.measured} ({goal.limit})")
    print(f"\n{(folder / 'results.md').relative_to(ROOT)}")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n\n")[0].strip()
    )
    parser.add_argument("--quick", action="store_true", help="a run of under two minutes, small and short")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"of {', '.join(WAITERS)}")
    parser.add_argument("--rounds", type=int, default=0, help="default: 3, with --only 1")
    parser.add_argument("--tasks", type=int, default=MANY, help="with --only")
    parser.add_argument("--interval", default="5", help="with --only: seconds, or `default`")
    parser.add_argument("--first", type=float, default=20.0, help="with --only: seconds to the earliest end")
    parser.add_argument("--last", type=float, default=60.0, help="with --only: seconds to the latest end")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.only.split()) - set(WAITERS)):
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join(WAITERS)}")
    return chosen


def plan_of(given: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for."""
    if not given.only:
        return quick() if given.quick else full(given.rounds or 3)
    interval = None if given.interval == "default" else float(given.interval)
    cases = tuple(Case(name, given.tasks, interval) for name in given.only.split())
    times = Times(given.first, given.last)
    return Plan(cases, (), (given.tasks,), times, interval or 5.0, given.rounds or 1)


def main() -> int:
    """Run from the command line; the result is the exit status."""
    given, begin = options(), time.monotonic()
    plan = plan_of(given)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as temporary:
        with running_vendor(Path(temporary)) as url:
            measured, failures = run(plan, Path(temporary), url)
        if not given.only:
            write(plan, measured, failures, RAW if given.quick else FULL)
    print(f"{time.monotonic() - begin:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    with interruptible():
        sys.exit(main())
