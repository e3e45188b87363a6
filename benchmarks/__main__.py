"""
Run the benchmarks, or some of them: `make bench`, `make bench QUICK=1`, `make bench ONLY="ours-list bare-list"`.

Knows the command line, the order of things and where results go.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_api import ApiError
from managed_airflow import ManagedAirflowError
from processes import interruptible

from benchmarks import ROOT, facts, plan, plot, report
from benchmarks.extras import EXTRAS
from benchmarks.figures import Case, Figures, summarise
from benchmarks.goals import NEIGHBOUR, Verdicts
from benchmarks.measure import Spec
from benchmarks.runs import RunError, Runs
from benchmarks.vendor_client import Times, running_vendor
from benchmarks.waiters import WAITERS

FULL, QUICK = ROOT / "benchmarks", ROOT / "build" / "bench"
RAW = ROOT / "build" / "bench"


class Bench:
    """
    One run of a plan.

    :param chosen: the plan.
    :param runs: starts the measurements.
    """

    def __init__(self, chosen: plan.Plan, runs: Runs) -> None:
        self.plan, self._runs = chosen, runs
        self.measured: dict[Case, list[Figures]] = {}
        self.extras: dict[str, Any] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        """Measure everything; what fails is noted, and the rest goes on."""
        for name in self.plan.extras:
            print(f"  {name} ...", flush=True)
            try:
                self.extras[name] = EXTRAS[name](self._runs, self.plan.rounds)
            except (RunError, RuntimeError, ManagedAirflowError, ApiError, OSError) as error:
                self._fail(name, error)
            else:
                print(f"    {json.dumps(self.extras[name])}", flush=True)
        for case in self.plan:
            self.measure(case)

    def measure(self, case: Case) -> None:
        """Measure one case once more."""
        try:
            figures = self._runs.measure(self._spec(case))
        except RunError as error:
            self._fail(_name(case), error)
            return
        self.measured.setdefault(case, []).append(figures)
        print(_line(case, figures), flush=True)

    def _spec(self, case: Case) -> Spec:
        return Spec(**asdict(case), url=self._runs.url, times=Times(self.plan.first, self.plan.last))

    def _fail(self, what: str, error: Exception) -> None:
        print(f"  {what} FAILED: {error}", flush=True)
        self.failures.append(f"{what}: {str(error).splitlines()[0]}")


def _name(case: Case) -> str:
    beside = f"+{case.beside_tasks} {case.beside}" if case.beside else ""
    return f"{case.waiter}{beside}"


def _line(case: Case, figures: Figures) -> str:
    """Return what whoever watches wants to see of one measurement."""
    one = summarise([figures])
    every = "default" if case.interval is None else f"{case.interval:g} s"
    return (
        f"  {_name(case):22} {case.tasks:6} every {every:7} cpu {one.cpu:6.2f} s  requests {one.requests:6.0f}"
        f"  in flight {one.most_in_flight:5.0f}  connections {figures.connections:5}"
        f"  memory {one.memory / 2**20:6.1f} MB"
        f"  block {one.block * 1000:6.1f} ms (gc {one.collection * 1000:5.1f})"
        f"  late p50 {one.p50:5.2f} p99 {one.p99:5.2f} s  wrong {one.wrong}"
        f"  vendor {one.vendor_load:3.0%}  foreign {one.foreign:4.0%}"
    )


def write(bench: Bench, folder: Path) -> None:
    """Write the report, the plot and the figures they were made from."""
    folder.mkdir(parents=True, exist_ok=True)
    RAW.mkdir(parents=True, exist_ok=True)
    raw = [
        {"case": asdict(case), "figures": [asdict(one) for one in found]}
        for case, found in bench.measured.items()
    ]
    (RAW / f"figures{'-quick' if folder == QUICK else ''}.json").write_text(
        json.dumps({"cases": raw, "extras": bench.extras})
    )
    summaries = {case: summarise(found) for case, found in bench.measured.items()}
    text = report.render(
        bench.plan, summaries, bench.extras, bench.failures, facts.collect(bench.plan.rounds)
    )
    (folder / "results.md").write_text(text)
    plot.draw(bench.plan, summaries, folder / "results.png")
    print()
    for goal in Verdicts(summaries, bench.plan.sizes, bench.plan.interval):
        word = {True: "met", False: "MISSED", None: "?"}[goal.met]
        print(f"  {word:6}  {goal.what}: {goal.measured} ({goal.limit})")
    print(f"\n{(folder / 'results.md').relative_to(ROOT)}, {(folder / 'results.png').relative_to(ROOT)}")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n\n")[0].strip()
    )
    parser.add_argument("--quick", action="store_true", help="a run of under two minutes, small and short")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"of {', '.join((*WAITERS, *EXTRAS))}")
    parser.add_argument("--rounds", type=int, default=0, help="default: 3, with --only 1")
    parser.add_argument("--tasks", type=int, default=1000, help="with --only")
    parser.add_argument("--interval", default="5", help="with --only: seconds, or `default`")
    parser.add_argument("--first", type=float, default=20.0, help="with --only: seconds to the earliest end")
    parser.add_argument("--last", type=float, default=60.0, help="with --only: seconds to the latest end")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.only.replace("+", " ").split()) - set(WAITERS) - set(EXTRAS))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; choose from {', '.join((*WAITERS, *EXTRAS))}")
    return chosen


def chosen_plan(given: argparse.Namespace) -> plan.Plan:
    """Return the plan that the command line asks for."""
    names = given.only.split()
    if not names:
        return plan.quick() if given.quick else plan.full(given.rounds or 3)
    interval = None if given.interval == "default" else float(given.interval)
    return plan.Plan(
        cases=tuple(_case(name, given.tasks, interval) for name in names if name not in EXTRAS),
        once=(),
        sizes=(given.tasks,),
        interval=interval or 5.0,
        first=given.first,
        last=given.last,
        rounds=given.rounds or 1,
        extras=tuple(name for name in names if name in EXTRAS),
    )


def _case(name: str, tasks: int, interval: float | None) -> Case:
    """Return the case of a name; ``http+ours-list``: a few of the first beside so many of the second."""
    waiter, _, beside = name.partition("+")
    if beside:
        return Case(waiter, NEIGHBOUR[1], interval, beside, tasks)
    return Case(waiter, tasks, interval)


def main() -> int:
    """Run from the command line; the result is the exit status."""
    given = options()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as temporary:
        folder, begin = Path(temporary), time.monotonic()
        with running_vendor(folder) as url:
            bench = Bench(chosen_plan(given), Runs(folder, url))
            print(f"Measuring, for {bench.plan.seconds / 60:.0f} minutes and more ...", flush=True)
            bench.run()
        if not given.only:
            write(bench, QUICK if given.quick else FULL)
        print(f"{time.monotonic() - begin:.0f} s")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    with interruptible():
        sys.exit(main())
