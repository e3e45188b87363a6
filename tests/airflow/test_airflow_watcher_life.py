"""How a watcher begins, ends, dies and comes again; and that it is nobody's child: its context and log are its own."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from contextvars import ContextVar

import aiohttp
import pytest
from watcher_kit import (
    TriggerLogs,
    begin,
    count_sessions,
    end,
    event_of,
    ids_asked_singly,
    kill_watchers,
    lists_later,
    trigger,
    until,
    verdicts,
    watchers,
)

WATCHER_LOG = "airflow_provider_kling_avatar.kling.polling.watcher"
WHO: ContextVar[str] = ContextVar("WHO", default="nobody's")


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


def others():
    """All asyncio tasks but the test itself."""
    return asyncio.all_tasks() - {asyncio.current_task()}


# ---------------------------------------------------------------------------------------------- the end


async def test_the_last_one_to_leave_closes_the_session_and_nothing_is_left_running(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    before = others()
    (short,) = sim.seed(count=1, render_seconds=100)
    (long,) = sim.seed(count=1, render_seconds=1000)
    first, last = begin(short), begin(long)
    await lists_later(sim, 2)
    sim.advance(200)
    await first
    await lists_later(sim, 2)
    assert not sessions[0].closed, "somebody still waits"
    sim.advance(2000)
    await last

    await until(lambda: sessions[0].closed and others() == before, 5)
    asked = dict(sim.calls)
    await asyncio.sleep(0.3)
    assert sim.calls == asked


async def test_when_all_are_cancelled_at_once_nothing_is_left_either(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    before = others()
    running = [begin(task_id) for task_id in sim.seed(count=20, render_seconds=1000)]
    await lists_later(sim, 2)
    await end(*running)

    await until(lambda: sessions[0].closed and others() == before, 5)
    del running
    sessions.clear()
    gc.collect()  # what was not closed would warn here, and warnings are errors


async def test_cancelled_in_the_middle_of_a_request_nothing_is_left_either(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    before = others()
    sim.fault(kind="slow", call="list", seconds=2, times=0)
    running = [begin(task_id) for task_id in sim.seed(count=3, render_seconds=1000)]
    await until(lambda: sim.calls["list"] >= 1)
    await end(*running)

    await until(lambda: all(session.closed for session in sessions) and others() == before, 5)


async def test_the_next_one_begins_anew(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    for number in range(3):
        (task_id,) = sim.seed(count=1, age_seconds=2000)
        assert (await event_of(trigger(task_id)))["verdict"] == "succeeded"
        await until(lambda number=number: all(session.closed for session in sessions[: number + 1]), 5)
    assert len(sessions) == 3


async def test_one_that_comes_in_the_moment_in_which_the_last_one_leaves_is_served(sim):
    ids = sim.seed(count=20, render_seconds=1000)
    waiting = begin(ids[0])
    for task_id in ids[1:]:
        await lists_later(sim, 1)
        waiting.cancel()
        await asyncio.sleep(0)
        waiting = begin(task_id)
    sim.advance(2000)

    assert await verdicts([waiting]) == ["succeeded"]


# ---------------------------------------------------------------------------------------------- other loops


def test_a_second_loop_works_after_the_first_was_closed(sim):
    def watch_one():
        (task_id,) = sim.seed(count=1, age_seconds=2000)
        return asyncio.run(asyncio.wait_for(event_of(trigger(task_id)), 30))["verdict"]

    assert [watch_one() for _ in range(3)] == ["succeeded"] * 3


def test_a_loop_that_ended_while_triggers_waited_leaves_no_trace(sim, caplog):
    ids = sim.seed(count=10, render_seconds=1000)

    async def leave():
        for task_id in ids:
            begin(task_id)
        await lists_later(sim, 2)

    asyncio.run(leave())  # cancels whatever is left, the watcher too
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    sim.advance(2000)
    assert asyncio.run(asyncio.wait_for(event_of(trigger(ids[0])), 30))["verdict"] == "succeeded"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # nobody could close anything any more
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_was_closed_over_waiting_triggers_hinders_no_other(sim):
    (task_id,) = sim.seed(count=1, render_seconds=1000)

    async def leave():
        begin(task_id)
        await lists_later(sim, 2)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    del loop
    sim.advance(2000)
    assert asyncio.run(asyncio.wait_for(event_of(trigger(task_id)), 30))["verdict"] == "succeeded"
    gc.collect()


def test_two_loops_at_the_same_time_do_not_meet(sim):
    ids = sim.seed(count=2, render_seconds=1000)
    got = []

    def watch_one(task_id):
        got.append(asyncio.run(asyncio.wait_for(event_of(trigger(task_id)), 30))["verdict"])

    threads = [threading.Thread(target=watch_one, args=(task_id,)) for task_id in ids]
    for thread in threads:
        thread.start()
    asyncio.run(lists_later(sim, 6))
    sim.advance(2000)
    for thread in threads:
        thread.join(30)

    assert got == ["succeeded"] * 2


# ---------------------------------------------------------------------------------------------- killed


async def test_a_killed_watcher_comes_again_and_nobody_feels_it(sim):
    running = [begin(task_id, max_failed_polls=3) for task_id in sim.seed(count=30, render_seconds=1000)]
    await lists_later(sim, 2)
    assert kill_watchers() >= 1

    await lists_later(sim, 2)
    assert watchers()
    assert not any(task.done() for task in running)
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 30


async def test_a_watcher_killed_again_and_again_costs_nobody_a_failed_poll(sim, monkeypatch):
    logs = TriggerLogs(monkeypatch)
    running = [begin(task_id, max_failed_polls=2) for task_id in sim.seed(count=10, render_seconds=1000)]
    await lists_later(sim, 1)
    for _ in range(5):
        kill_watchers()
        await asyncio.sleep(0.1)
    sim.advance(2000)

    assert await verdicts(running, 60) == ["succeeded"] * 10
    assert "poll failed" not in str(logs.lines)


async def test_a_watcher_killed_in_the_middle_of_a_list_comes_again(sim):
    running = [begin(task_id) for task_id in sim.seed(count=10, render_seconds=1000)]
    await lists_later(sim, 2)
    sim.fault(kind="slow", call="list", seconds=3)
    await lists_later(sim, 1)
    assert kill_watchers() >= 1
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10


async def test_a_watcher_killed_while_it_asks_singly_comes_again(sim, connect):
    connect(api="generations")
    ids = sim.seed(count=10, render_seconds=1000, api="generations")
    running = [begin(task_id) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    sim.fault(kind="slow", call="query", seconds=2, times=5)
    asked = sim.calls["query"]
    await until(lambda: sim.calls["query"] >= asked + 5)
    assert kill_watchers() >= 1
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10


async def test_deadlines_hold_while_the_watcher_is_killed_over_and_over(sim):
    (task_id,) = sim.seed(count=1, outcome="stuck")
    deadline = time.time() + 1.5
    running = begin(task_id, deadline=deadline)
    while not running.done() and time.time() < deadline + 20:
        kill_watchers()
        await asyncio.sleep(0.05)

    assert await verdicts([running]) == ["timeout"]
    assert deadline <= time.time() < deadline + 10


async def test_a_killed_watcher_still_leaves_nothing_behind_at_the_end(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    before = others()
    running = [begin(task_id) for task_id in sim.seed(count=5, render_seconds=1000)]
    await lists_later(sim, 2)
    kill_watchers()
    await end(*running)

    await until(lambda: all(session.closed for session in sessions) and others() == before, 5)


# ---------------------------------------------------------------------------------------------- nobody's child


async def test_it_does_not_live_in_the_context_of_the_trigger_that_started_it(sim, monkeypatch):
    asked_by = []
    ask = aiohttp.ClientSession._request

    async def note(session, method, url, **options):
        asked_by.append(WHO.get())
        return await ask(session, method, url, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", note)
    WHO.set("the first trigger's")
    running = begin(sim.seed(count=1, render_seconds=1000)[0])
    await lists_later(sim, 3)
    kill_watchers()  # the next one is nobody's either
    await lists_later(sim, 3)

    assert len(asked_by) >= 6
    assert set(asked_by) == {"nobody's"}
    for task in watchers():
        if hasattr(task, "get_context"):  # from Python 3.12 on
            assert WHO not in task.get_context()
    await end(running)


async def test_what_it_has_to_say_it_says_in_a_log_of_its_own(sim, monkeypatch, caplog):
    logs = TriggerLogs(monkeypatch)
    caplog.set_level(logging.INFO, WATCHER_LOG)
    ids = sim.seed(count=3, render_seconds=1000)
    running = [begin(task_id) for task_id in ids]
    running.append(begin("nobody", max_failed_polls=3))
    await lists_later(sim, 2)
    sim.fault(kind="http_error", status=404, call="list", times=0)
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    sim.advance(2000)
    await verdicts(running)

    said = [record.getMessage() for record in caplog.records if record.name.startswith(WATCHER_LOG)]
    assert said, "that the list is gone is worth a line"
    told = [line for lines in logs.lines.values() for line in lines]
    assert told
    assert not set(said) & set(told)
    assert "sk-simulator" not in str(said)
    assert len(said) <= 10, "a line for what changes, not for each question"
