"""
Writes what was measured as tables for people.

Pure: from figures to Markdown. Judges nothing that `goals` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.figures import Case
from benchmarks.goals import NEIGHBOUR, PEERS, Verdicts
from benchmarks.waiters import WAITERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.figures import Summary
    from benchmarks.plan import Plan

ORDER = (*PEERS, "bare-single", "bare-spread", "ours-single", "bare-list", "ours-list")
NOT_A_BOTTLENECK = 0.7
"""A share of one processor below which the vendor still answers in time."""
_SAME_FOR_ALL = (
    "Tasks end {plan.first:g} to {plan.last:g} s after the start, spread by chance, the same for all. CPU is of the "
    "waiting process alone, after imports and a warm-up. The longest block is the longest turn of the event loop, "
    "garbage collections apart: they are the whole process's. Late: from the end at the vendor to the trigger's event. "
    "Wrong: events that do not say what happened, or are missing."
)
_IN_FAVOUR_OF_PEERS = (
    "The peers fare better here than in life: their connections come from the environment and not from a database, "
    "the vendor is reached without TLS (`DbtCloudRunJobTrigger` insists on it, and was talked out of it), and opening "
    "a connection costs no latency."
)
NOT_TRIED = {
    "llm": "not tried: see how it does with 1,000",
    "openai": "not tried: see how it does with 50",
}


def render(
    plan: Plan,
    measured: Mapping[Case, Summary],
    extras: Mapping[str, Any],
    failures: Sequence[str],
    facts: Mapping[str, str],
) -> str:
    """
    Return the whole report.

    :param measured: the summary of each case that was measured.
    :param extras: what the further measurements returned, by name.
    :param failures: what could not be measured, and why.
    :param facts: of the machine, the date and the versions.
    """
    parts = [
        "# What waiting costs\n",
        "Written by `make bench`; how it measures: [README.md](README.md). Medians; every ratio is of one run.\n",
        "## Goals\n",
        _goals(plan, measured),
    ]
    for size in plan.sizes:
        parts += [f"## {size:,} tasks, a poll every {plan.interval:g} s\n", _waiters(plan, measured, size)]
    parts += [_notes(plan, measured)]
    parts += ["## Beside other things\n", _more(plan, measured, extras)]
    if failures:
        parts += ["## Failed\n", *(f"- {failure}" for failure in failures), ""]
    parts += ["## Where and when\n", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


def _goals(plan: Plan, measured: Mapping[Case, Summary]) -> str:
    words = {True: "met", False: "**missed**", None: "?"}
    goals = Verdicts(measured, plan.sizes, plan.interval)
    return _table(
        ("goal", "limit", "measured", ""),
        ((goal.what, goal.limit, goal.measured, words[goal.met]) for goal in goals),
    )


def _waiters(plan: Plan, measured: Mapping[Case, Summary], size: int) -> str:
    header = (
        "who waits",
        "CPU s",
        "requests",
        "most in flight",
        "peak memory added",
        "longest block",
        "longest collection",
        "late p50",
        "late p99",
        "wrong",
        "runs",
    )
    rows = []
    for name in ORDER:
        found = [
            case for case in measured if case.waiter == name and case.tasks == size and _is_plain(case, plan)
        ]
        rows += [_row(case, measured[case]) for case in found]
        if not found and name in NOT_TRIED and len(plan.sizes) > 1:
            rows.append([WAITERS[name].title, NOT_TRIED[name], *[""] * (len(header) - 2)])
    default = Case("ours-list", size, None)
    if default in measured:
        rows.append(_row(default, measured[default]))
    return _table(header, rows)


def _is_plain(case: Case, plan: Plan) -> bool:
    is_neighbour = (case.waiter, case.tasks) == NEIGHBOUR and case.tasks not in plan.sizes
    return case.interval == plan.interval and not case.beside and not is_neighbour


def _row(case: Case, one: Summary) -> list[str]:
    title = WAITERS[case.waiter].title
    if case.interval is None:
        title += ", default interval"
    if case.waiter.startswith("ours"):
        title = f"**{title}**"
    return [
        title + (" †" if one.on_a_busy_machine else ""),
        f"{one.cpu:.2f}",
        f"{one.requests:,.0f}",
        f"{one.most_in_flight:,.0f}",
        f"{one.memory / 2**20:.1f} MB",
        f"{one.block * 1000:,.0f} ms",
        f"{one.collection * 1000:,.0f} ms",
        f"{one.p50:.2f} s",
        f"{one.p99:.2f} s",
        str(one.wrong),
        str(one.runs),
    ]


def _notes(plan: Plan, measured: Mapping[Case, Summary]) -> str:
    notes = [_SAME_FOR_ALL.format(plan=plan), _IN_FAVOUR_OF_PEERS]
    if measured:
        load = max(one.vendor_load for one in measured.values())
        verdict = "was not" if load < NOT_A_BOTTLENECK else "**may have been**"
        notes.append(
            f"The vendor {verdict} what others waited for: it used at most {load:.0%} of one processor."
        )
    if any(one.on_a_busy_machine for one in measured.values()):
        notes.append("† preliminary: others used more than a tenth of the machine while this was measured.")
    return "\n\n".join(notes) + "\n"


def _more(plan: Plan, measured: Mapping[Case, Summary], extras: Mapping[str, Any]) -> str:
    writers = {"imports": _imports, "submit": _submission, "resume": _resumption}
    lines = [f"- {writers[name](found)}" for name, found in extras.items()]
    lines += [f"- {line}" for line in _neighbours(plan, measured)]
    return "\n".join(lines) + "\n"


def _imports(found: Mapping[str, Any]) -> str:
    ours, http = found["ours"], found["http"]
    return (
        "Importing operators and sensors, beyond Airflow's own bases: "
        f"ours {ours['cpu_ms']:.0f} ms of CPU ({ours['modules']:.0f} modules), "
        f"`airflow.providers.http` {http['cpu_ms']:.0f} ms ({http['modules']:.0f} modules)."
    )


def _submission(found: Mapping[str, Any]) -> str:
    ours, bare = found["ours"], found["bare"]
    return (
        f"Submitting a picture of {found['bytes'] / 1e6:.1f} MB, reading and encoding it included: "
        f"CPU {ours['cpu'] * 1000:.0f} ms, {ours['cpu'] / bare['cpu']:.2f} x a bare `requests.post` "
        f"({bare['cpu'] * 1000:.0f} ms); peak memory {ours['memory'] / 2**20:.0f} MB, "
        f"{ours['memory'] / bare['memory']:.2f} x ({bare['memory'] / 2**20:.0f} MB)."
    )


def _resumption(found: Mapping[str, Any]) -> str:
    ours, exact = found["ours"], found["exact"]
    return (
        "From the end at the vendor until a worker has the task again, in a real Airflow with the default interval: "
        f"{ours['median']:.1f} s, at most {ours['longest']:.1f} s ({ours['tasks']} clips). A trigger that knows the "
        f"moment: {exact['median']:.1f} s, at most {exact['longest']:.1f} s; that much is Airflow's own."
    )


def _neighbours(plan: Plan, measured: Mapping[Case, Summary]) -> Iterable[str]:
    name, count = NEIGHBOUR
    for case, one in measured.items():
        if (case.waiter, case.tasks, case.interval) != (name, count, plan.interval) or len(plan.sizes) == 1:
            continue
        beside = f"beside {case.beside_tasks:,} of ours" if case.beside else "alone"
        yield (
            f"{count} {WAITERS[name].title} {beside}: late p50 {one.p50:.2f} s, p99 {one.p99:.2f} s, "
            f"longest block of the loop {one.block * 1000:.0f} ms."
        )
