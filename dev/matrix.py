"""
Run the test suite on every supported Airflow, two versions side by side, and print one table.

    python dev/matrix.py [--jobs 2] [--airflow VERSION ...] [--older] [--lean] [--label WORD] [-- PYTEST_ARGUMENT ...]

Each version has an environment in `.venvs/`, an AIRFLOW_HOME of its own and a report in `build/reports/`. The output
of a version is shown when it fails.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import totals
from environment import ROOT, ensure, python_for
from processes import ManagedProcess, interruptible, stop_all, tail
from versions import NEWEST, SUPPORTED, Supported, supported

REPORTS = ROOT / "build" / "reports"
LIMIT = 30 * 60  # seconds one version may take
WITHOUT_AIRFLOW = ("tests/kling", "tests/simulator")
"""What imports no Airflow differs between versions only by the age of the libraries, of which the oldest is enough."""


@dataclass
class Job:
    """The test suite running on one version."""

    entry: Supported
    process: ManagedProcess
    report: Path
    begin: float
    verdict: str = ""
    seconds: float = 0.0

    def check(self) -> bool:
        """Look whether it is over; if so, note how it went."""
        self.seconds = time.monotonic() - self.begin
        if self.process.running and self.seconds < LIMIT:
            return False
        if self.process.running:
            self.verdict = "timeout"
        else:
            self.verdict = "ok" if self.process.returncode == 0 else f"failed ({self.process.returncode})"
        return True


def start(entry: Supported, home: Path, arguments: list[str], label: str) -> Job:
    """Start the test suite on one version; ``label`` is added to the names of what it leaves."""
    python = ensure(ROOT / ".venvs" / f"airflow-{entry.airflow}", entry.airflow)
    name = f"airflow-{entry.airflow}{label and '-'}{label}"
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)  # an old one must not pass for this run's
    log = REPORTS / f"{name}.log"
    log.unlink(missing_ok=True)
    own_home = home / entry.airflow
    own_home.mkdir()
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "VIRTUAL_ENV"))
    }
    env |= {"AIRFLOW_HOME": str(own_home), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    # The caches of pytest and hypothesis lie in the checkout, where the versions would get in each other's way.
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
    process = ManagedProcess(
        f"airflow-{entry.airflow}", command, log=log, env=env, cwd=ROOT, stop_signal=signal.SIGINT
    )
    process.start()
    print(f"  Airflow {entry.airflow:7} started", flush=True)
    return Job(entry, process, report, time.monotonic())


def run(
    entries: list[Supported], jobs: int, arguments: list[str], label: str, *, is_lean: bool = False
) -> list[Job]:
    """Run the suite on all versions, so many at a time; ``is_lean``: of most only what has to do with Airflow."""
    left_out = [f"--ignore={folder}" for folder in WITHOUT_AIRFLOW] if is_lean else []
    waiting, running, done = list(entries), list[Job](), list[Job]()
    with tempfile.TemporaryDirectory(prefix="matrix-") as home:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    entry = waiting.pop(0)
                    more = [] if entry is SUPPORTED[0] else left_out
                    running.append(start(entry, Path(home), [*arguments, *more], label))
                for job in [job for job in running if job.check()]:
                    stop_all([job.process])
                    running.remove(job)
                    done.append(job)
                    print(
                        f"  Airflow {job.entry.airflow:7} {job.verdict} after {job.seconds:.0f} s", flush=True
                    )
                time.sleep(0.5)
        finally:
            stop_all([job.process for job in running], grace=15)
    return sorted(done, key=lambda job: entries.index(job.entry))


def main() -> int:
    """Run from the command line; the result is the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0].strip())
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--airflow", action="append", metavar="VERSION", help="may be repeated; default: all")
    parser.add_argument(
        "--older", action="store_true", help="all versions but the newest, which make test covers"
    )
    parser.add_argument(
        "--lean", action="store_true", help="tests that import no Airflow only on the oldest version"
    )
    parser.add_argument("--label", default="", help="added to the names of the reports")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST_ARGUMENT")
    options = parser.parse_args()
    entries = [supported(version) for version in options.airflow] if options.airflow else list(SUPPORTED)
    if options.older:
        entries.remove(NEWEST)
    for entry in entries:
        python_for(entry)  # no suitable Python is better known now than after twenty minutes
    REPORTS.mkdir(parents=True, exist_ok=True)
    done = run(entries, options.jobs, options.pytest, options.label, is_lean=options.lean)
    for job in done:
        if job.verdict != "ok":
            print(f"\n===== Airflow {job.entry.airflow}: {job.verdict} =====\n{tail(job.process.log, 150)}")
    print("\n  Airflow   passed  failed  skipped   time    result")
    empty = False
    for job in done:
        count = totals.read(job.report)
        empty |= count.passed == 0  # a suite that ran nothing has not passed
        numbers = f"{count.passed:7} {count.failed:7} {count.skipped:8} {job.seconds:5.0f} s"
        print(f"  {job.entry.airflow:8} {numbers}    {job.verdict}")
    return 1 if empty or any(job.verdict != "ok" for job in done) else 0


if __name__ == "__main__":
    with interruptible():
        sys.exit(main())
