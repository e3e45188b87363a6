"""
Run the test suite on every supported Airflow, two versions side by side, and print one table.

    python dev/matrix.py [--jobs 2] [--airflow VERSION ...] [--older] [--lean] [--crash VERSION] [-- ARGUMENT ...]
    python dev/matrix.py --ui [--airflow VERSION ...] [-- ARGUMENT ...]
    python dev/matrix.py [--ui] --prepare

Each version has an environment in `.venvs/`, an AIRFLOW_HOME of its own and a report in `build/reports/`. The output
of a version is shown when it fails. The arguments are pytest's. The crash matrix, which mostly waits, may run beside.
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
from versions import NEWEST, SUPPORTED, WITH_PAGES, Supported, supported

REPORTS = ROOT / "build" / "reports"
LIMIT = 30 * 60  # seconds one version may take
WITHOUT_AIRFLOW = (
    "tests/kling",
    "tests/simulator",
    "tests/test_benchmarks.py",
    "tests/test_chaos.py",  # what each Airflow is asked is in tests/airflow/test_airflow_chaos.py
    "tests/test_docs.py",
    "tests/test_project.py",
    "tests/test_readme.py",
    "tests/airflow_live/test_crash_tools.py",
    "tests/airflow_live/test_dev_tools.py",
)
"""What imports no Airflow differs between versions only by the age of the libraries, of which the oldest is enough."""

UI_TESTS = ("tests/airflow_ui", "tests/airflow")
"""Where the tests of the pages are: to read all of the others takes as long as some of them."""


@dataclass(frozen=True)
class Suite:
    """
    Some tests on one version.

    :param arguments: pytest's.
    :param label: added to the names of what they leave.
    :param kind: of the environment: ``airflow``, or ``ui``, with logins and a browser's driver.
    """

    entry: Supported
    arguments: list[str]
    label: str
    kind: str = "airflow"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.entry.airflow}{self.label and '-'}{self.label}"


@dataclass
class Job:
    """A suite that is running."""

    suite: Suite
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


def environment_of(suite: Suite) -> Path:
    """Make sure that a suite's environment is there; return its interpreter."""
    version = suite.entry.airflow
    return ensure(
        ROOT / ".venvs" / f"{suite.kind}-{version}", version, "dev,ui" if suite.kind == "ui" else None
    )


def start(suite: Suite, home: Path) -> Job:
    """Start a suite; its AIRFLOW_HOME will be in ``home``."""
    python = environment_of(suite)
    report, log = (REPORTS / f"airflow-{suite.name}.{kind}" for kind in ("xml", "log"))
    report.unlink(missing_ok=True)  # an old one must not pass for this run's
    log.unlink(missing_ok=True)
    own_home = home / suite.name
    own_home.mkdir()
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "VIRTUAL_ENV"))
    }
    env |= {"AIRFLOW_HOME": str(own_home), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    # The caches of pytest and hypothesis lie in the checkout, where the versions would get in each other's way.
    pytest = [str(python), "-m", "pytest", "-p", "no:cacheprovider"]
    command = [*pytest, f"--junitxml={report}", *suite.arguments]
    process = ManagedProcess(
        f"airflow-{suite.name}", command, log=log, env=env, cwd=ROOT, stop_signal=signal.SIGINT
    )
    process.start()
    print(f"  Airflow {suite.name:12} started", flush=True)
    return Job(suite, process, report, time.monotonic())


def run(suites: list[Suite], jobs: int) -> list[Job]:
    """Run all suites, so many at a time, in this order."""
    waiting, running, done = list(suites), list[Job](), list[Job]()
    with tempfile.TemporaryDirectory(prefix="matrix-") as home:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(start(waiting.pop(0), Path(home)))
                for job in [job for job in running if job.check()]:
                    stop_all([job.process])
                    running.remove(job)
                    done.append(job)
                    print(
                        f"  Airflow {job.suite.name:12} {job.verdict} after {job.seconds:.0f} s", flush=True
                    )
                time.sleep(0.5)
        finally:
            stop_all([job.process for job in running], grace=15)
    return sorted(done, key=lambda job: suites.index(job.suite))


def suites_of(options: argparse.Namespace) -> list[Suite]:
    """Return what the command line asks for: the slowest version first, the crash matrix, which waits, beside it."""
    every = WITH_PAGES if options.ui else SUPPORTED
    entries = [supported(version) for version in options.airflow] if options.airflow else list(every)
    if options.ui:
        return [
            Suite(entry, ["-m", "ui", *UI_TESTS, *options.pytest], options.label or "ui", "ui")
            for entry in entries
        ]
    if options.older:
        entries.remove(NEWEST)
    left_out = [f"--ignore={folder}" for folder in WITHOUT_AIRFLOW] if options.lean else []
    suites = [
        Suite(entry, [*options.pytest, *([] if entry is SUPPORTED[0] else left_out)], options.label)
        for entry in entries
    ]
    if options.crash:
        suites.insert(1, Suite(supported(options.crash), ["-m", "crash"], "crash"))
    return suites


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
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
    parser.add_argument("--crash", metavar="VERSION", help="run the crash matrix on this version as well")
    parser.add_argument("--ui", action="store_true", help="the pages in a browser, where the UI takes pages")
    parser.add_argument("--prepare", action="store_true", help="only create the environments")
    parser.add_argument("pytest", nargs="*", metavar="PYTEST_ARGUMENT")
    return parser.parse_args(words)


def main() -> int:
    """Run from the command line; the result is the exit status."""
    options = options_of(sys.argv[1:])
    suites = suites_of(options)
    for suite in suites:
        python_for(suite.entry)  # no suitable Python is better known now than after twenty minutes
    if options.prepare:
        for suite in suites:
            environment_of(suite)
        return 0
    REPORTS.mkdir(parents=True, exist_ok=True)
    done = run(suites, options.jobs)
    for job in done:
        if job.verdict != "ok":
            print(f"\n===== Airflow {job.suite.name}: {job.verdict} =====\n{tail(job.process.log, 150)}")
    print("\n  Airflow       passed  failed  skipped   time    result")
    empty = False
    for job in done:
        count = totals.read(job.report)
        empty |= count.passed == 0  # a suite that ran nothing has not passed
        numbers = f"{count.passed:7} {count.failed:7} {count.skipped:8} {job.seconds:5.0f} s"
        print(f"  {job.suite.name:12} {numbers}    {job.verdict}")
    return 1 if empty or any(job.verdict != "ok" for job in done) else 0


if __name__ == "__main__":
    with interruptible():
        sys.exit(main())
