"""
The measurements that are not of one waiter over its minute: imports, submission, resumption.

Each takes a `Runs` and returns plain values for the report. Knows which processes to start, not what happens in them.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks import resume, submit
from benchmarks.waiters import WAITERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.runs import Runs


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


EXTRAS: dict[str, Callable[[Runs, int], dict[str, Any]]] = {
    "imports": imports,
    "submit": submission,
    "resume": resumption,
}
