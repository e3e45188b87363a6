"""Triggers of one account share a watcher: one session, one look-up, one list. Each keeps a verdict of its own."""

from __future__ import annotations

import asyncio
import time

import pytest
from watcher_kit import (
    CONN_ID,
    TriggerLogs,
    asked,
    begin,
    count_lookups,
    count_sessions,
    end,
    event_of,
    ids_asked_singly,
    lists_later,
    most_at_once,
    most_within,
    pages,
    set_connection,
    trigger,
    until,
    verdicts,
)

from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT, Account
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

PATH = "/v1/videos/avatar/image2video"


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


# ---------------------------------------------------------------------------------------------- sharing


async def test_a_crowd_shares_one_session_one_lookup_and_one_list_per_interval(sim, monkeypatch):
    sessions, lookups = count_sessions(monkeypatch), count_lookups(monkeypatch)
    begun = time.monotonic()
    running = [begin(task_id, poll_interval=0.25) for task_id in sim.seed(count=60, render_seconds=1000)]
    await until(lambda: sim.calls["list"] >= 8)
    passed = time.monotonic() - begun

    assert sim.calls["list"] <= passed / (0.9 * 0.25) + 2
    assert sim.calls["query"] <= 3, "the list answers for all"
    assert set(pages(sim)) == {1}
    assert "pageSize=500" in asked(sim, "list")[0].query
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 60
    assert (len(sessions), lookups) == (1, [CONN_ID])


async def test_the_shortest_interval_among_those_who_wait_counts_for_all(sim):
    patient, hasty = sim.seed(count=2, render_seconds=1000)
    waiting = begin(patient, poll_interval=100)
    await until(lambda: sim.calls["list"] + sim.calls["query"] >= 1)
    other = begin(hasty, poll_interval=0.05)
    await lists_later(sim, 5)
    sim.advance(2000)

    assert await verdicts([waiting, other], 10) == ["succeeded"] * 2


async def test_the_list_is_asked_for_more_rarely_when_the_hasty_one_has_gone(sim):
    patient, hasty = sim.seed(count=2, render_seconds=1000)
    waiting, other = begin(patient, poll_interval=100), begin(hasty, poll_interval=0.05)
    await lists_later(sim, 5)
    await end(other)
    await asyncio.sleep(0.3)  # one may be under way
    before = sim.calls["list"]
    await asyncio.sleep(1)

    assert sim.calls["list"] <= before + 1
    await end(waiting)


async def test_without_an_interval_the_list_is_asked_for_every_two_seconds_or_so(sim):
    begun = time.monotonic()
    running = begin(sim.seed(count=1, render_seconds=1000)[0], poll_interval=None)
    await until(lambda: sim.calls["list"] >= 3)
    passed = time.monotonic() - begun

    assert 2.5 <= passed < 12, "two intervals"
    assert sim.calls["query"] <= 1
    await end(running)


async def test_two_connection_ids_of_one_account_are_one_account(sim, monkeypatch):
    set_connection(monkeypatch, "other_name", sim)
    sessions, lookups = count_sessions(monkeypatch), count_lookups(monkeypatch)
    begun = time.monotonic()
    ids = sim.seed(count=40, render_seconds=1000)
    running = [
        begin(task_id, poll_interval=0.25, kling_conn_id=CONN_ID if number % 2 else "other_name")
        for number, task_id in enumerate(ids)
    ]
    await until(lambda: sim.calls["list"] >= 8)
    passed = time.monotonic() - begun

    assert sim.calls["list"] <= passed / (0.9 * 0.25) + 2
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 40
    assert (len(sessions), sorted(lookups)) == (1, sorted([CONN_ID, "other_name"]))


async def test_two_accounts_are_watched_apart(start_vendor, connect, monkeypatch):
    other = Account(name="other", api_key="sk-other-account")
    vendor = start_vendor(accounts=(DEFAULT_ACCOUNT, other))
    connect(host=vendor.url)
    set_connection(monkeypatch, "second", vendor, key=other.api_key)
    mine = vendor.seed(count=3, render_seconds=1000)
    theirs = vendor.seed(count=3, render_seconds=1000, account="other")
    running = [begin(task_id) for task_id in mine] + [begin(i, kling_conn_id="second") for i in theirs]
    await until(lambda: {"default", "other"} <= {request.account for request in asked(vendor, "list")})
    vendor.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 6


async def test_both_kinds_of_clips_share_the_session_and_have_lists_of_their_own(sim, monkeypatch):
    sessions = count_sessions(monkeypatch)
    avatars = sim.seed(count=5, render_seconds=1000)
    movies = sim.seed(count=5, render_seconds=1000, endpoint="image_to_video")
    running = [begin(task_id) for task_id in avatars]
    running += [begin(task_id, endpoint="image_to_video") for task_id in movies]
    await until(lambda: {request.path for request in asked(sim, "list")} == {PATH, "/v1/videos/image2video"})
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10
    assert len(sessions) == 1
    assert sim.calls["query"] <= 2


async def test_two_triggers_of_one_task_both_hear_of_its_end(sim):
    (task_id,) = sim.seed(count=1, render_seconds=1000)
    running = [begin(task_id), begin(task_id)]
    await lists_later(sim, 3)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 2


async def test_a_trigger_that_comes_later_joins(sim, monkeypatch):
    sessions, lookups = count_sessions(monkeypatch), count_lookups(monkeypatch)
    ids = sim.seed(count=4, render_seconds=1000)
    running = []
    for task_id in ids:
        running.append(begin(task_id))
        await lists_later(sim, 2)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 4
    assert len(sessions) == 1
    assert 1 <= len(lookups) <= 4, "each may ask for its connection, the session is one"


# ---------------------------------------------------------------------------------------------- each its own


async def test_every_one_in_a_crowd_gets_its_own_verdict(sim):
    good = sim.seed(count=10, render_seconds=100)
    bad = sim.seed(count=3, render_seconds=100, outcome="failed", note="no face found")
    late = sim.seed(count=2, outcome="stuck")
    running = {i: begin(i) for i in good + bad}
    running |= {i: begin(i, deadline=time.time() + 2) for i in late}
    running["nobody"] = begin("nobody")
    running["gone"] = begin("gone", is_known=True, max_failed_polls=3)
    await lists_later(sim, 2)
    sim.advance(200)

    got = dict(zip(running, await asyncio.gather(*running.values()), strict=True))
    assert {got[i]["verdict"] for i in good} == {"succeeded"}
    assert {(got[i]["verdict"], got[i]["reason"]) for i in bad} == {("failed", "no face found")}
    assert {got[i]["verdict"] for i in late} == {"timeout"}
    assert (got["nobody"]["verdict"], got["nobody"]["code"]) == ("not_found", 1201)
    assert (got["gone"]["verdict"], got["gone"]["code"]) == ("lost", 1201)
    assert all(got[i]["task_id"] == i for i in got)


async def test_one_cancelled_among_many_is_felt_by_nobody_else(sim):
    ids = sim.seed(count=30, render_seconds=1000)
    running = [begin(task_id) for task_id in ids]
    await lists_later(sim, 2)
    await end(*running[10:13])

    await lists_later(sim, 3)
    assert sum(task.done() for task in running) == 3
    sim.advance(2000)
    assert await verdicts(running[:10] + running[13:]) == ["succeeded"] * 27


async def test_the_first_one_cancelled_in_its_first_moment_leaves_the_others_waiting(sim):
    """It is the first that opens the session and starts the watcher."""
    ids = sim.seed(count=5, render_seconds=1000)
    sim.fault(kind="slow", seconds=0.5)
    running = [begin(task_id) for task_id in ids]
    await asyncio.sleep(0)
    running[0].cancel()
    await until(lambda: sim.calls["list"] >= 1)
    running[1].cancel()
    sim.advance(2000)

    assert await verdicts(running[2:]) == ["succeeded"] * 3
    assert all(task.cancelled() for task in running[:2])


async def test_each_has_a_deadline_of_its_own_with_a_last_single_look(sim):
    (task_id,) = sim.seed(count=1, render_seconds=1000)
    soon = time.time() + 1
    hasty, patient = begin(task_id, deadline=soon, poll_interval=50), begin(task_id, poll_interval=50)

    (verdict,) = await verdicts([hasty])

    assert verdict == "timeout"
    assert soon <= time.time() < soon + 5
    assert [request.at >= soon - 0.05 for request in asked(sim, "query")][-1:] == [True]
    assert not patient.done()
    await end(patient)


async def test_what_ends_between_the_last_list_and_the_deadline_is_not_given_up(sim):
    ids = sim.seed(count=5, render_seconds=1000)
    running = [begin(task_id, deadline=time.time() + 3, poll_interval=50) for task_id in ids]
    await until(lambda: sim.calls["list"] >= 1)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 5


async def test_each_has_a_budget_of_failures_of_its_own(sim):
    hasty, patient = (begin("nobody", is_known=True, max_failed_polls=most) for most in (2, 1000))

    assert (await asyncio.wait_for(hasty, 30))["verdict"] == "lost"
    asked_before = sim.calls["query"]
    await until(lambda: sim.calls["query"] >= asked_before + 2)
    assert not patient.done()
    await end(patient)


async def test_each_tells_its_own_story_in_its_own_log(sim, monkeypatch):
    logs = TriggerLogs(monkeypatch)
    (good,) = sim.seed(count=1, render_seconds=100)
    (bad,) = sim.seed(count=1, render_seconds=100, outcome="failed")
    running = [begin(good), begin(bad), begin("nobody", is_known=True, max_failed_polls=2)]
    await lists_later(sim, 2)
    sim.advance(30)
    await lists_later(sim, 2)
    sim.advance(200)
    await verdicts(running)

    told = {task_id: "\n".join(lines) for task_id, lines in logs.lines.items()}
    assert f"task {bad}: failed" in told[bad]
    assert "(1/2 in a row)" in told["nobody"]
    assert "(2/2 in a row)" in told["nobody"]
    for task_id, text in told.items():
        assert not any(other in text for other in {good, bad, "nobody"} - {task_id})
        assert task_id == "nobody" or "in a row" not in text


# ---------------------------------------------------------------------------------------------- no herd


async def test_where_nothing_is_listed_the_questions_are_spread_over_the_interval(sim, connect):
    connect(api="generations")
    ids = sim.seed(count=40, render_seconds=1000, api="generations")
    running = [begin(task_id, poll_interval=2.0) for task_id in ids]
    await until(lambda: sim.calls["query"] >= 140)

    assert ids_asked_singly(sim) >= set(ids)
    later = asked(sim, "query")[40:]
    assert most_within(later, 0.1) <= 25, "40 if they all came at once, about 3 if spread"
    took = later[-1].at - later[0].at
    assert len(later) <= 40 * (took / 1.8 + 1), "one question per task and interval"
    await end(*running)


async def test_no_more_than_a_hundred_requests_are_under_way(sim, connect):
    connect(api="generations")
    ids = sim.seed(count=300, render_seconds=1000, api="generations")
    sim.fault(kind="slow", call="query", seconds=0.4, times=0)
    running = [begin(task_id) for task_id in ids]
    await until(lambda: sim.calls["query"] >= 500)

    assert 20 <= most_at_once(asked(sim, "query")) <= 100
    await end(*running)


async def test_a_stored_trigger_of_an_older_version_waits_with_the_others(sim):
    """Its arguments name an interval, because there was a default once."""
    (task_id,) = sim.seed(count=1, age_seconds=60)
    stored = {"kling_task_id": task_id, "kling_conn_id": CONN_ID, "deadline": time.time() + 60}

    payload = await event_of(KlingAvatarTrigger(**stored, poll_interval=10.0, max_failed_polls=10))

    assert payload["verdict"] == "succeeded"
    assert (await event_of(trigger(task_id)))["verdict"] == "succeeded"
