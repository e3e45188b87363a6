"""
The measurements that are not of one waiter over its minute: imports, submission, resumption, capacity.

Each takes a `Runs` and returns plain values for the report. Knows which processes to start, not what happens in them.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks import resume, submit
from benchmarks.measure import Spec
from benchmarks.vendor_client import Times
from benchmarks.waiters import WAITERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.runs import Runs

LAG = 0.2
"""Seconds. Airflow warns of a blocked loop from here on (`blocked_main_thread_warning_threshold`)."""
MOST_TASKS = 100_000
BISECTIONS = 2


def imports(runs: Runs, rounds: int) -> dict[str, Any]:
    """Return milliseconds of processor time for operators and sensors: ours, and the HTTP provider's."""
    del rounds  # its children are many enough
    found: dict[str, Any] = runs.run("benchmarks.imports", "imports", {})
    return found


def submission(runs: Runs, rounds: int) -> dict[str, Any]:
    """Return processor seconds and bytes of memory for submitting 10 MB: ours, and a bare POST."""
    small, large = runs.folder / "small.jpg", runs.folder / "large.jpg"
    submit.make_picture(small, small=True)
    submit.make_picture(large)
    spec = {"url": runs.url, "small": str(small), "large": str(large)}
    env = WAITERS["ours-list"].environment(runs.url)
    found: dict[str, Any] = {"bytes": large.stat().st_size}
    for who in ("ours", "bare"):
        measured = [
            runs.run("benchmarks.submit", f"submit-{who}", spec | {"who": who}, env) for _ in range(rounds)
        ]
        found[who] = {key: statistics.median(one[key] for one in measured) for key in ("cpu", "memory")}
    return found


def resumption(runs: Runs, rounds: int) -> dict[str, Any]:
    """Return seconds from the end at the vendor until a worker has the task again, in a real Airflow."""
    del rounds  # a median over several clips
    return resume.measure(runs.folder, runs.url)


def capacity(runs: Runs, rounds: int, begin: int = 10_000) -> dict[str, Any]:
    """
    Return how many tasks of ours one loop holds before a turn of it takes longer than `LAG`.

    Doubles until it does in two runs out of two, or `MOST_TASKS` wait; then bisects.
    """
    del rounds  # it takes minutes as it is
    tried: dict[int, float] = {}

    def lags(tasks: int) -> bool:
        for _ in range(2):  # one long turn may be the machine's; the same twice is ours
            one = runs.measure(Spec("ours-list", tasks, runs.url, times=Times(10.0, 30.0)))
            tried[tasks] = min(one.block, tried.get(tasks, one.block))
            if one.block <= LAG and not one.wrong:
                return False
        return True

    good, bad = 0, begin
    while not lags(bad):
        good, bad = bad, min(2 * bad, MOST_TASKS)
        if good == MOST_TASKS:
            return {"tasks": good, "more": True, "tried": tried}
    for _ in range(BISECTIONS):
        middle = (good + bad) // 2
        good, bad = (good, middle) if lags(middle) else (middle, bad)
    return {"tasks": good, "more": False, "tried": tried}


EXTRAS: dict[str, Callable[[Runs, int], dict[str, Any]]] = {
    "imports": imports,
    "submit": submission,
    "resume": resumption,
    "capacity": capacity,
}
