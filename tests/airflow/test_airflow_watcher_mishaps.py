"""What nobody plans for: errors that nobody foresaw, moments in which two things happen, answers that say only half."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from watcher_kit import (
    asked,
    begin,
    count_sessions,
    end,
    ids_asked_singly,
    kill_watchers,
    lists_later,
    until,
    verdicts,
)

from airflow_provider_kling_avatar.kling.polling import backoff


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def break_requests(monkeypatch):
    """Make requests that a test names end in an error that no client foresees: `break_requests(which, times)`."""
    broken = []
    send = aiohttp.ClientSession._request

    def begin_to_break(which, times):
        async def maybe(session, method, url, **options):
            if len(broken) < times and which(str(url), options):
                broken.append(str(url))
                raise RuntimeError("nobody foresaw this")
            return await send(session, method, url, **options)

        monkeypatch.setattr(aiohttp.ClientSession, "_request", maybe)
        return broken

    return begin_to_break


# ---------------------------------------------------------------------------------------------- unforeseen errors


async def test_a_list_that_breaks_the_watcher_itself_is_felt_by_nobody(sim, break_requests):
    running = [begin(task_id, max_failed_polls=2) for task_id in sim.seed(count=20, render_seconds=1000)]
    await lists_later(sim, 2)
    broken = break_requests(lambda url, _: url.endswith("image2video"), 3)
    await until(lambda: broken)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20


async def test_a_list_that_breaks_the_watcher_for_good_leaves_the_single_questions(sim, break_requests):
    running = [begin(task_id, max_failed_polls=2) for task_id in sim.seed(count=20, render_seconds=1000)]
    await lists_later(sim, 2)
    broken = break_requests(lambda url, _: url.endswith("image2video"), 10**6)
    await until(lambda: broken)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20


async def test_a_question_that_breaks_the_watcher_is_felt_by_nobody(sim, connect, break_requests):
    connect(api="generations")
    ids = sim.seed(count=10, render_seconds=1000, api="generations")
    running = [begin(task_id, max_failed_polls=2) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    broken = break_requests(lambda url, _: True, 3)
    await until(lambda: broken)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10


async def test_one_task_whose_answers_always_break_the_watcher_does_not_take_the_others_with_it(
    sim, connect, break_requests
):
    connect(api="generations")
    poison, *ids = sim.seed(count=10, render_seconds=1000, api="generations")
    break_requests(lambda url, _: url.endswith(poison), 10**6)
    poisoned = begin(poison)
    running = [begin(task_id) for task_id in ids]
    await asyncio.sleep(0.3)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 9
    await end(poisoned)


# ---------------------------------------------------------------------------------------------- in the same moment


@pytest.mark.parametrize("steps", range(8))
async def test_who_begins_while_the_last_ones_are_leaving_is_not_forgotten(sim, steps):
    """Closing takes a few steps of the loop: whoever comes between two of them has to be served all the same."""
    (avatar,) = sim.seed(count=1, render_seconds=1000)
    (movie,) = sim.seed(count=1, render_seconds=1000, endpoint="image_to_video")
    leaving = [begin(avatar), begin(movie, endpoint="image_to_video")]
    await until(lambda: len({request.path for request in asked(sim, "list")}) == 2)
    for task in leaving:
        task.cancel()
    for _ in range(steps):
        await asyncio.sleep(0)
    coming = begin(movie, endpoint="image_to_video")
    await asyncio.sleep(0.2)
    sim.advance(2000)

    assert await verdicts([coming], 8) == ["succeeded"]
    await end(*leaving)


@pytest.mark.parametrize("steps", range(8))
async def test_who_begins_while_the_only_one_is_leaving_is_not_forgotten(sim, steps):
    old, new = sim.seed(count=2, render_seconds=1000)
    leaving = begin(old)
    await lists_later(sim, 1)
    leaving.cancel()
    for _ in range(steps):
        await asyncio.sleep(0)
    coming = begin(new)
    await asyncio.sleep(0.2)
    sim.advance(2000)

    assert await verdicts([coming], 8) == ["succeeded"]
    await end(leaving)


async def test_a_thousand_who_come_and_go_leave_nothing_behind(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    before = asyncio.all_tasks()
    ids = sim.seed(count=200, render_seconds=1000)
    for round_ in range(5):
        running = [begin(task_id) for task_id in ids]
        await asyncio.sleep(0.02 * round_)
        await end(*running)

    await until(lambda: all(session.closed for session in sessions) and asyncio.all_tasks() == before, 10)
    (last,) = await verdicts([begin(sim.seed(count=1, age_seconds=5000, render_seconds=10)[0])])
    assert last == "succeeded"


# ---------------------------------------------------------------------------------------------- half an answer


async def test_where_the_list_shows_no_address_the_clip_itself_is_asked(sim):
    sim.fault(kind="no_url", call="list", times=0)
    ids = sim.seed(count=10, render_seconds=1000)
    running = [begin(task_id, max_failed_polls=2) for task_id in ids]
    await lists_later(sim, 3)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10
    assert sim.calls["query"] <= 10 + 2


async def test_a_clip_that_is_being_asked_for_its_address_when_the_watcher_dies_is_asked_again(sim):
    sim.fault(kind="no_url", call="list", times=0)
    ids = sim.seed(count=5, render_seconds=1000)
    running = [begin(task_id) for task_id in ids]
    await lists_later(sim, 3)
    sim.fault(kind="slow", call="query", seconds=3, times=5)
    sim.advance(2000)
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    assert kill_watchers() >= 1

    assert await verdicts(running) == ["succeeded"] * 5


async def test_a_clip_without_an_address_anywhere_is_lost_in_the_end_and_never_taken_for_a_success(sim):
    ids = sim.seed(count=3, age_seconds=2000, outcome="no_url")

    assert await verdicts([begin(task_id, max_failed_polls=3) for task_id in ids]) == ["lost"] * 3


# ---------------------------------------------------------------------------------------------- patience


@pytest.mark.parametrize("api", ["kling", "generations"])
async def test_a_vendor_that_names_a_pause_gets_it(sim, connect, api):
    connect(api=api)
    call = "list" if api == "kling" else "query"
    running = [begin(task_id) for task_id in sim.seed(count=20, render_seconds=1000, api=api)]
    await until(lambda: sim.calls[call] >= 20)
    sim.fault(kind="error_code", code=1302, status=429, retry_after=2, times=1)
    await until(lambda: [request for request in sim.requests if request.status == 429])
    await asyncio.sleep(0.3)  # what was under way when the answer came
    before = len(sim.requests)
    await asyncio.sleep(1)
    assert len(sim.requests) == before
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20


async def test_one_who_may_not_queue_any_longer_gives_up_and_one_who_renders_too_long_too(sim):
    (queued,) = sim.seed(count=1, queue_seconds=1000, render_seconds=1000)
    (slow,) = sim.seed(count=1, queue_seconds=0, outcome="stuck")
    (good,) = sim.seed(count=1, queue_seconds=0, render_seconds=1000)
    now = time.time()
    hasty = [
        begin(queued, queue_deadline=now + 1, since=now),
        begin(slow, render_timeout=1.0, queue_deadline=now + 30, since=now),
    ]
    patient = [begin(queued), begin(good, render_timeout=1000.0, queue_deadline=now + 1, since=now)]

    assert await verdicts(hasty) == ["timeout"] * 2
    assert 0.9 <= time.time() - now < 10
    assert not any(task.done() for task in patient)
    await end(*patient)


async def test_an_interval_longer_than_the_deadline_costs_nobody_the_verdict(sim, monkeypatch):
    monkeypatch.setattr(backoff, "PROBE_SECONDS", 1000.0)
    (task_id,) = sim.seed(count=1, render_seconds=1000)
    running = begin(task_id, poll_interval=1000.0, deadline=time.time() + 3.0)
    await lists_later(sim, 1)
    sim.advance(2000)

    assert await verdicts([running]) == ["succeeded"]
