"""
Writes what was measured as tables for people, with where and when it was measured: nothing about whose machine it is.

Judges nothing that `figures` does not.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Case, Goals
from benchmarks.waiters import OURS, WAITERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.figures import Plan, Summary

LIBRARIES = ("apache-airflow", "aiohttp", "requests", "httpx", "openai")
NOT_A_BOTTLENECK = 0.7
"""A share of one processor below which the vendor still answers in time."""
_NOTES = """\
Tasks end {plan.times.first:g} to {plan.times.last:g} s after the start, spread by chance, the same for all. CPU is of \
the waiting process alone, after imports and a warm-up. The longest block is the longest turn of the event loop, \
garbage collections apart: they are the whole process's. Late: from the end at the vendor to the trigger's event. \
Wrong: events that do not say what happened, or are missing.

The peers fare better here than in life: their connections come from the environment and not from a database, the \
vendor is reached without TLS (`DbtCloudRunJobTrigger` insists on it, and was talked out of it), and opening a \
connection costs no latency.
"""


def render(
    plan: Plan, measured: Mapping[Case, Summary], failures: Sequence[str], facts: Mapping[str, str]
) -> str:
    """
    Return the whole report.

    :param measured: the summary of each case that was measured.
    :param failures: what could not be measured, and why.
    :param facts: of the machine, the date and the versions.
    """
    words = {True: "met", False: "**missed**", None: "?"}
    goals = [(goal.what, goal.limit, goal.measured, words[goal.met]) for goal in Goals(plan, measured)]
    parts = [
        "# What waiting costs\n",
        "Written by `make bench`; how it measures: [README.md](README.md). Medians; every ratio is of one run.\n",
        "## Goals\n",
        _table(("goal", "limit", "measured", ""), goals),
    ]
    for size in plan.sizes:
        parts += [f"## {size:,} tasks, a poll every {plan.interval:g} s\n", _waiters(plan, measured, size)]
    parts += [_NOTES.format(plan=plan), *_warnings(measured)]
    if failures:
        parts += ["## Failed\n", *(f"- {failure}" for failure in failures), ""]
    parts += ["## Where and when\n", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def _waiters(plan: Plan, measured: Mapping[Case, Summary], size: int) -> str:
    header = (
        *("who waits", "CPU s", "requests", "peak memory added", "longest block", "longest collection"),
        *("late p50", "late p99", "wrong", "runs"),
    )
    cases = [*(Case(name, size, plan.interval) for name in WAITERS), Case(OURS, size, None)]
    return _table(header, [_row(case, measured[case]) for case in cases if case in measured])


def _row(case: Case, one: Summary) -> list[str]:
    title = WAITERS[case.waiter].title + (", default interval" if case.interval is None else "")
    return [
        (f"**{title}**" if case.waiter == OURS else title) + (" †" if one.on_a_busy_machine else ""),
        f"{one.cpu:.2f}",
        f"{one.requests:,.0f}",
        f"{one.memory / 2**20:.1f} MB",
        f"{one.block * 1000:,.0f} ms",
        f"{one.collection * 1000:,.0f} ms",
        f"{one.p50:.2f} s",
        f"{one.p99:.2f} s",
        str(one.wrong),
        str(one.runs),
    ]


def _warnings(measured: Mapping[Case, Summary]) -> Iterable[str]:
    load = max((one.vendor_load for one in measured.values()), default=0.0)
    verdict = "was not" if load < NOT_A_BOTTLENECK else "**may have been**"
    yield f"The vendor {verdict} what others waited for: it used at most {load:.0%} of one processor.\n"
    if any(one.on_a_busy_machine for one in measured.values()):
        yield "† preliminary: others used more than a tenth of the machine while this was measured.\n"


def facts(rounds: int) -> dict[str, str]:
    """Return where, when and with what it was measured; `rounds` is how often."""
    packages = dict.fromkeys([*(w.package for w in WAITERS.values() if w.package), *LIBRARIES])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": str(rounds),
        "machine": f"{os.cpu_count()} x {_processor()}, {memory:.0f} GiB, {platform.system()}",
        "Python": platform.python_version(),
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
