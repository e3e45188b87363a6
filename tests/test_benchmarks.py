"""The benchmark's pure parts: the same ends for all, answers that are right, medians, verdicts that can be missed."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from benchmarks import loop_watch, report
from benchmarks.__main__ import full
from benchmarks.figures import Case, Figures, Goals, Summary, percentile, summarise
from benchmarks.loop_watch import LoopWatch, new_loop
from benchmarks.measure import settings_of_the_process
from benchmarks.vendor import Vendor, Wire
from benchmarks.vendor_answers import OLD_TASKS, Account, Plan, task_id
from benchmarks.waiters import BareList

FIGURES = Figures(
    cpu=1.0,
    requests=100,
    memory=1024,
    block=0.01,
    collection=0.005,
    wrong=0,
    touched=[],
    wall=60.0,
    vendor_cpu=0.1,
    foreign=0.0,
    lateness=[1.0],
)


def measured(**figures) -> Summary:
    return summarise([replace(FIGURES, **figures)])


def verdicts(cases):
    return {f"{goal.what}: {goal.limit}": goal for goal in Goals(full(3), cases)}


def verdict(cases, words):
    (found,) = [goal for text, goal in verdicts(cases).items() if words in text]
    return found


# ------------------------------------------------------------------------------------------------ figures


def test_a_percentile_is_a_value_that_was_measured():
    lateness = [float(number) for number in range(1, 101)]

    assert percentile(lateness, 0.5) == 50.0
    assert percentile(lateness, 0.99) == 99.0
    assert percentile([3.0], 0.99) == 3.0


def test_medians_are_taken_over_runs_but_one_wrong_event_is_never_lost_in_them():
    runs = [replace(FIGURES, cpu=cpu, wrong=wrong) for cpu, wrong in ((1.0, 0), (9.0, 0), (2.0, 3))]

    summary = summarise(runs)

    assert (summary.runs, summary.cpu, summary.wrong) == (3, 2.0, 3)


def test_who_never_reported_is_late_without_end():
    assert measured(lateness=[], wrong=1000).p99 == math.inf


@pytest.mark.parametrize(("foreign", "busy"), [(0.02, False), (0.5, True)])
def test_figures_from_a_busy_machine_are_marked(foreign, busy):
    case = Case("ours", 1000)
    text = report.render(full(3), {case: measured(foreign=foreign)}, [], {})

    assert ("†" in text) is busy


# ------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(("requests", "met"), [(120, True), (121, False)])
def test_the_ratio_to_the_limit_decides(requests, met):
    cases = {Case("ours", 1000): measured(requests=requests), Case("bare", 1000): measured()}

    goal = verdict(cases, "requests, 1,000 tasks: at most 1.2 x")

    assert (goal.met, goal.measured) == (met, f"{requests / 100:.2f} x ({requests} / 100)")


def test_the_best_peer_is_the_one_compared_with():
    cases = {
        Case("ours", 1000): measured(cpu=0.5),
        Case("llm", 1000): measured(cpu=9.0),
        Case("dbt", 1000): measured(cpu=4.5),
    }

    goal = verdict(cases, "CPU, 1,000 tasks: at least 10 x")

    assert (goal.met, goal.measured) == (False, "9.0 x less than dbt")


@pytest.mark.parametrize(("cpu", "met"), [(0.6, True), (0.61, False)])
def test_what_is_used_of_a_core_is_judged_at_the_default_interval(cpu, met):
    goal = verdict({Case("ours", 50, None): measured(cpu=cpu, wall=60.0)}, "at most 1 % of a core")

    assert goal.met is met


def test_who_notices_later_than_the_limit_misses_a_goal():
    cases = {
        Case("ours", 1000): measured(lateness=[2.0, 5.2]),
        Case("bare", 1000): measured(lateness=[2.0, 5.0]),
    }

    assert verdict(cases, "lateness p50, 1,000 tasks").met is True
    assert verdict(cases, "lateness p99, 1,000 tasks").met is False


def test_what_was_not_measured_is_neither_met_nor_missed():
    assert {goal.met for goal in verdicts({}).values()} == {None}


def test_a_crowd_is_only_held_against_losses_and_blocks():
    cases = {Case("ours", 10_000): measured(block=0.2, cpu=100.0)}

    assert verdict(cases, "longest block of the loop, 10,000 tasks").met is False
    assert [goal for goal in verdicts(cases) if "10,000" in goal] == [
        "longest block of the loop, 10,000 tasks: less than 200 ms"
    ]


@pytest.mark.parametrize(("cpu", "met"), [(0.9, True), (1.1, False)])
def test_fifty_only_have_to_cost_less_than_the_best_peer(cpu, met):
    cases = {Case("ours", 50): measured(cpu=cpu), Case("dbt", 50): measured()}

    assert verdict(cases, "CPU, 50 tasks: less than the best peer").met is met


def test_one_wrong_event_of_ours_misses_a_goal():
    assert verdict({Case("ours", 1000): measured(wrong=1)}, "do not say what happened").met is False


def test_a_setting_of_the_whole_process_that_ours_touches_misses_a_goal_and_is_named():
    goal = verdict(
        {Case("ours", 1000): measured(touched=["garbage collector"])}, "settings of the whole process"
    )

    assert (goal.met, goal.measured) == (False, "garbage collector")


def test_a_frozen_garbage_collector_is_seen_among_the_settings_of_the_process():
    before = settings_of_the_process()
    assert settings_of_the_process() == before

    gc.freeze()
    try:
        after = settings_of_the_process()
    finally:
        gc.unfreeze()

    assert [name for name in before if before[name] != after[name]] == ["garbage collector"]


# --------------------------------------------------------------------------------------------------- report


def test_a_missed_goal_and_a_failure_are_in_the_report():
    cases = {Case("ours", 1000): measured(requests=300), Case("bare", 1000): measured()}

    text = report.render(full(3), cases, ["llm: it broke"], {"Python": "3.x"})

    assert "| 3.00 x (300 / 100) | **missed** |" in text
    assert "- llm: it broke" in text
    assert "- Python: 3.x" in text


def test_every_case_of_the_plan_is_measured_as_often_as_there_are_rounds_or_once():
    plan = full(3)
    order = list(plan)

    assert {order.count(case) for case in plan.cases} == {3}
    assert {order.count(case) for case in plan.once} == {1}


# --------------------------------------------------------------------------------------------------- vendor


def test_the_same_seed_gives_the_same_ends_within_the_window():
    ends = Plan(1000, 20.0, 60.0, seed=7).ends()

    assert ends == Plan(1000, 20.0, 60.0, seed=7).ends()
    assert ends != Plan(1000, 20.0, 60.0, seed=8).ends()
    assert 20.0 <= min(ends) < max(ends) <= 60.0


def rows(account, number, size, now):
    return json.loads(b"[" + account.page(number, size, now) + b"]")


def test_a_page_shows_the_newest_first_and_agrees_with_the_single_answers_at_any_moment():
    account = Account(Plan(700, 20.0, 60.0), begin=1000.0)

    for now in (1000.0, 1030.0, 1061.0):
        listed = [row for number in (1, 2) for row in rows(account, number, 500, now)]
        assert [row["task_id"] for row in listed[:700]] == [task_id(index) for index in reversed(range(700))]
        assert listed[:700] == [json.loads(account.row(index, now)) for index in reversed(range(700))]
        done = sum(row["task_status"] == "succeed" for row in listed[:700])
        assert done == sum(at <= now for at in account.done_at)


def test_behind_the_tasks_of_the_run_lies_a_past_and_behind_that_nothing():
    account = Account(Plan(10), begin=1000.0)

    assert len(rows(account, 1, 500, 1000.0)) == 500
    assert len({row["task_id"] for number in range(1, 7) for row in rows(account, number, 500, 1000.0)}) == (
        10 + OLD_TASKS
    )
    assert rows(account, 6, 500, 1000.0) == []


@pytest.fixture
async def vendor():
    """A vendor in this process, and its address."""
    served = Vendor()
    server = await asyncio.get_running_loop().create_server(lambda: Wire(served), "127.0.0.1", 0)
    async with server:
        served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield served


def begin(vendor, tasks, **times):
    vendor.begin({"tasks": tasks, "first": 0.0, "last": 0.05, "latency": 0.01} | times)


async def test_the_bare_loop_notices_every_end_and_the_vendor_counts_what_it_asks(vendor):
    begin(vendor, 20, first=0.05, last=0.1)
    waiting = BareList(vendor.url, 0.03)

    noticed = await asyncio.gather(*(waiting.wait(task_id(index)) for index in range(20)))

    assert noticed == [True] * 20
    assert time.time() >= max(vendor.account.done_at) - vendor.latency
    assert vendor.requests >= 1


async def test_the_vendor_answers_for_each_task_in_its_time_and_for_each_peer(vendor):
    begin(vendor, 1, first=0.05, last=0.05)
    kling, dbt = f"v1/videos/avatar/image2video/{task_id(0)}", f"api/v2/accounts/1/runs/{task_id(0)}/"
    async with aiohttp.ClientSession() as session:

        async def ask(path):
            async with session.get(f"{vendor.url}/{path}") as answer:
                return answer.status, await answer.json()

        await asyncio.sleep(max(vendor.account.done_at[0] - time.time(), 0) + 0.05)
        assert (await ask(kling))[1]["data"]["task_status"] == "succeed"
        assert (await ask(dbt))[1]["data"]["status"] == 10
        assert (await ask(f"v1/batches/batch_{task_id(0)}"))[1]["status"] == "completed"
        assert (await ask("v1/videos/avatar/image2video/1"))[0] == 404


# ----------------------------------------------------------------------------------------------- loop watch


def test_the_longest_turn_of_the_loop_is_found_and_idling_is_none():
    async def run():
        with LoopWatch() as idle:
            await asyncio.sleep(0.1)
        with LoopWatch() as blocked:
            await asyncio.sleep(0)
            time.sleep(0.2)  # noqa: ASYNC251 - blocking is what is measured
            await asyncio.sleep(0)
        return idle.block, blocked.block

    with asyncio.Runner(loop_factory=new_loop) as runner:
        idle, blocked = runner.run(run())

    assert blocked >= 0.2
    assert idle < blocked


def test_a_garbage_collection_is_no_block_of_whoever_waits(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_watch.time, "perf_counter", lambda: now[0])

    async def run():
        with LoopWatch() as watch:
            for phase, at in (("start", 1.0), ("stop", 3.5)):
                now[0] = at
                watch._on_collection(phase, {"generation": 2})
            now[0] = 4.0
        return watch.block, watch.collection

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(run()) == (1.5, 2.5)


@pytest.mark.parametrize(("words", "is_quick"), [([], False), (["QUICK=1"], True)])
def test_make_bench_is_quick_only_if_asked(words, is_quick):
    root = Path(__file__).parents[1]
    said = subprocess.run(
        ["make", "--dry-run", "bench", *words], cwd=root, capture_output=True, text=True, check=True
    )

    assert ("--quick" in said.stdout) == is_quick
