"""Those who wait for a slot look through the same eyes as those who wait for a clip."""

from __future__ import annotations

import asyncio
import time

import pytest
from watcher_kit import (
    CONN_ID,
    begin,
    begin_slot,
    count_lookups,
    count_sessions,
    end,
    ids_asked_singly,
    kill_watchers,
    lists_later,
    set_connection,
    until,
    verdicts,
)

from airflow_provider_kling_avatar.kling.polling import backoff, slot_queue


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture(autouse=True)
def no_tries(monkeypatch):
    """Only a slot that is seen free lets anybody go."""
    monkeypatch.setattr(slot_queue, "BLIND_PAUSES", (1000.0, 1000.0))
    monkeypatch.setattr(slot_queue, "SIGHTED_PAUSES", (1000.0, 1000.0))


def admitted(queue):
    return [place for place, task in sorted(queue.items()) if task.done()]


async def test_clips_and_slots_are_seen_in_one_list(sim, monkeypatch):
    sessions, lookups = count_sessions(monkeypatch), count_lookups(monkeypatch)
    ids = sim.seed(count=5, render_seconds=1000)
    begun = time.monotonic()
    clips = [begin(task_id, poll_interval=0.25) for task_id in ids]
    queue = [begin_slot(since=float(place), busy=5, poll_interval=0.25) for place in range(1, 21)]
    await until(lambda: sim.calls["list"] >= 8)
    passed = time.monotonic() - begun

    assert sim.calls["list"] <= passed / (0.9 * 0.25) + 2
    assert sim.calls["query"] <= 2
    assert not any(task.done() for task in queue)
    assert (len(sessions), lookups) == (1, [CONN_ID])
    sim.advance(2000)
    assert await verdicts(clips) == ["succeeded"] * 5
    assert await verdicts(queue[:5]) == ["free_slot"] * 5
    await end(*queue)


@pytest.mark.parametrize("watched", [True, False], ids=["clips watched here", "clips watched elsewhere"])
async def test_exactly_as_many_are_admitted_as_slots_are_free_the_longest_waiting_first(sim, watched):
    sim.seed(count=3, queue_seconds=0, render_seconds=1000)
    short = sim.seed(count=2, queue_seconds=0, render_seconds=100)
    clips = [begin(task_id) for task_id in short] if watched else []
    queue = {place: begin_slot(since=float(place), busy=5) for place in (4, 2, 6, 1, 5, 3)}
    await lists_later(sim, 5)
    assert admitted(queue) == []
    sim.advance(200)
    await until(lambda: len(admitted(queue)) == 2)
    await lists_later(sim, 10)

    assert admitted(queue) == [1, 2]
    assert await verdicts(clips) == ["succeeded"] * len(clips)
    await end(*queue.values())


async def test_a_slot_that_a_clip_gives_back_before_the_list_shows_it_is_given_away_once(sim, monkeypatch):
    monkeypatch.setattr(backoff, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(backoff, "FALLBACK_SECONDS", (0.3, 0.6))
    sim.lists(lag_seconds=5000)
    sim.seed(count=4, age_seconds=6000, outcome="stuck")
    (short,) = sim.seed(count=1, age_seconds=6000, queue_seconds=0, render_seconds=7000)
    clip = begin(short)
    queue = {place: begin_slot(since=float(place), busy=5) for place in (1, 2, 3)}
    await lists_later(sim, 3)
    assert admitted(queue) == []
    sim.advance(2000)
    assert await verdicts([clip]) == ["succeeded"]
    await lists_later(sim, 5)  # still five running, says the list
    sim.lists(lag_seconds=0)
    await until(lambda: admitted(queue))
    await lists_later(sim, 10)

    assert admitted(queue) == [1]
    await end(*queue.values())


async def test_where_nothing_is_listed_the_end_of_a_clip_lets_exactly_one_go_at_once(sim, connect):
    connect(api="generations")
    short = sim.seed(count=2, api="generations", queue_seconds=0, render_seconds=100)
    long = sim.seed(count=2, api="generations", queue_seconds=0, render_seconds=1000)
    clips = {task_id: begin(task_id) for task_id in short + long}
    queue = {place: begin_slot(since=float(place)) for place in (3, 1, 2, 4)}
    await until(lambda: set(short + long) <= ids_asked_singly(sim))
    await asyncio.sleep(0.3)
    assert admitted(queue) == []

    sim.advance(200)
    assert await verdicts([clips[task_id] for task_id in short]) == ["succeeded"] * 2
    await until(lambda: len(admitted(queue)) == 2, 2)
    await asyncio.sleep(0.5)
    assert admitted(queue) == [1, 2], "one for each"
    sim.advance(2000)
    await until(lambda: len(admitted(queue)) == 4, 5)
    assert await verdicts(clips.values()) == ["succeeded"] * 4


async def test_a_slot_is_seen_under_whatever_connection_id_somebody_waits(sim, monkeypatch):
    set_connection(monkeypatch, "other_name", sim)
    sim.seed(count=1, queue_seconds=0, render_seconds=100)
    queue = {
        place: begin_slot(since=float(place), busy=1, kling_conn_id="other_name" if place % 2 else CONN_ID)
        for place in (1, 2, 3, 4)
    }
    await lists_later(sim, 4)
    sim.advance(200)
    await until(lambda: admitted(queue))
    await lists_later(sim, 5)

    assert admitted(queue) == [1], "one slot, whatever the account is called"
    await end(*queue.values())


async def test_those_who_wait_for_slots_survive_a_killed_watcher(sim):
    sim.seed(count=2, queue_seconds=0, render_seconds=100)
    queue = {place: begin_slot(since=float(place), busy=2) for place in (1, 2, 3)}
    await lists_later(sim, 3)
    assert kill_watchers() >= 1
    sim.advance(200)
    await until(lambda: len(admitted(queue)) == 2)
    await lists_later(sim, 4)

    assert admitted(queue) == [1, 2]
    await end(*queue.values())


async def test_clips_and_slots_do_not_disturb_each_other_when_they_leave(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    before = asyncio.all_tasks()
    ids = sim.seed(count=2, queue_seconds=0, render_seconds=1000)
    clips = [begin(task_id) for task_id in ids]
    queue = [begin_slot(since=float(place), busy=2) for place in (1, 2, 3)]
    await lists_later(sim, 3)
    await end(clips[0], queue[0])
    await lists_later(sim, 3)
    assert not any(task.done() for task in (clips[1], *queue[1:]))
    await end(clips[1])
    await lists_later(sim, 3)
    assert not sessions[0].closed, "somebody still waits for a slot"
    await end(*queue)

    await until(lambda: sessions[0].closed and asyncio.all_tasks() == before, 5)


async def test_a_broken_list_lets_nobody_go_and_a_mended_one_exactly_as_many_as_it_shows(sim, monkeypatch):
    monkeypatch.setattr(backoff, "FALLBACK_SECONDS", (0.2, 0.4))
    sim.seed(count=3, queue_seconds=0, render_seconds=100)
    queue = {place: begin_slot(since=float(place), busy=3) for place in (1, 2, 3, 4, 5)}
    await lists_later(sim, 3)
    sim.fault(kind="http_error", call="list", times=0)
    await lists_later(sim, 4)
    assert admitted(queue) == []
    sim.advance(200)
    sim.clear_faults()
    await until(lambda: len(admitted(queue)) == 3)
    await lists_later(sim, 5)

    assert admitted(queue) == [1, 2, 3]
    await end(*queue.values())
