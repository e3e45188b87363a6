"""The list as it is in practice: late, with holes, cut short, full of strangers, broken or not there at all."""

from __future__ import annotations

import asyncio
import time

import pytest
from watcher_kit import (
    asked,
    begin,
    end,
    ids_asked_singly,
    lists_later,
    most_within,
    pages,
    until,
    verdicts,
)

from airflow_provider_kling_avatar.kling.polling import backoff, watcher
from airflow_provider_kling_avatar.kling.polling import decide as polling


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def short_pauses(monkeypatch):
    """A list that misled is tried again soon."""
    monkeypatch.setattr(backoff, "FALLBACK_SECONDS", (0.3, 0.6))


@pytest.fixture
def eager_probes(monkeypatch):
    """Whether the list tells the truth is found out soon."""
    monkeypatch.setattr(backoff, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(backoff, "LAGS_AFTER_SECONDS", 0.2)


@pytest.fixture
def vendor(start_vendor, connect):
    """A vendor whose clock is ours: how far back to look is a matter of time."""
    server = start_vendor(queue_seconds=0, render_seconds=1000)
    connect(host=server.url)
    return server


# ---------------------------------------------------------------------------------------------- late


@pytest.mark.parametrize("pauses", [(600.0, 600.0), (0.3, 0.6)], ids=["left alone", "tried again and again"])
async def test_a_list_that_lags_holds_nobody_up(sim, eager_probes, monkeypatch, pauses):
    monkeypatch.setattr(backoff, "FALLBACK_SECONDS", pauses)
    sim.lists(lag_seconds=5000)
    ids = sim.seed(count=40, age_seconds=6000, render_seconds=7000)  # listed as they were 5000 s ago
    running = [begin(task_id) for task_id in ids]
    await lists_later(sim, 3)
    assert not any(task.done() for task in running)
    sim.advance(2000)  # all have ended; the list will show it in an hour
    begun = time.monotonic()

    assert await verdicts(running) == ["succeeded"] * 40
    assert time.monotonic() - begun < 8, (
        "all are asked for singly as soon as one shows the lag, not one by one"
    )


async def test_what_the_list_does_not_have_yet_is_asked_for_singly(sim):
    sim.lists(lag_seconds=5000)
    (listed,) = sim.seed(count=1, age_seconds=6000, outcome="stuck")
    young = sim.seed(count=5, render_seconds=1000)
    running = [begin(task_id) for task_id in young]
    kept = begin(listed)
    await until(lambda: set(young) <= ids_asked_singly(sim))
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 5
    await end(kept)


async def test_a_list_that_tells_the_truth_is_relied_on_however_often_it_is_put_to_the_test(
    sim, eager_probes
):
    ids = sim.seed(count=20, render_seconds=1000)
    short = [sim.seed(count=1, render_seconds=100 + 50 * number)[0] for number in range(8)]
    running = [begin(task_id) for task_id in short + ids]
    begun = time.monotonic()
    await until(lambda: sim.calls["query"] >= 5)
    passed = time.monotonic() - begun

    assert sim.calls["query"] <= passed / 0.2 + 3, "now and then one, not all"
    sim.advance(70)
    for number in range(8):  # they end one by one
        sim.advance(50)
        await until(running[number].done)
        await asyncio.sleep(0.1)
    begun = time.monotonic()
    await lists_later(sim, 10)
    assert time.monotonic() - begun < 5, "still in use: no pause of ten seconds"
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 28


# ---------------------------------------------------------------------------------------------- with holes


async def test_what_the_list_misses_is_asked_for_singly_and_nothing_else_is(sim):
    ids = sim.seed(count=30, render_seconds=1000)
    missing = set(ids[::6])
    sim.lists(hidden=missing)
    running = [begin(task_id) for task_id in ids]
    await until(lambda: missing <= ids_asked_singly(sim))
    await lists_later(sim, 10)

    assert len(ids_asked_singly(sim) - missing) <= 2, "a probe perhaps"
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 30


async def test_a_task_that_vanishes_from_the_list_while_it_is_waited_for_is_not_lost(sim):
    ids = sim.seed(count=5, render_seconds=1000)
    running = [begin(task_id, max_failed_polls=2) for task_id in ids]
    await lists_later(sim, 3)
    sim.lists(hidden=ids[:2])
    await until(lambda: set(ids[:2]) <= ids_asked_singly(sim))
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 5


async def test_a_task_that_is_nowhere_is_told_of_by_itself(sim, monkeypatch):
    monkeypatch.setattr(polling, "LOOK_AGAIN_SECONDS", 0.05)
    ids = sim.seed(count=5, render_seconds=1000)
    running = [begin(task_id, max_failed_polls=2) for task_id in ids]
    lost = begin("nobody", poll_interval=600)

    assert await verdicts([lost]) == ["not_found"]
    assert len([request for request in asked(sim, "query") if request.path.endswith("/nobody")]) == 3
    assert not any(task.done() for task in running)
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 5


# ---------------------------------------------------------------------------------------------- other people's tasks


async def test_other_peoples_tasks_are_passed_over(sim):
    mine = sim.seed(count=200, age_seconds=100, spacing_seconds=0.1, queue_seconds=0, render_seconds=5000)
    sim.seed(count=3000, account="somebody else", outcome="failed", age_seconds=50, spacing_seconds=0.01)
    sim.lists(everybody=True)
    running = [begin(task_id, since=time.time() - 130) for task_id in mine]
    await until(lambda: max(pages(sim), default=0) >= 7)
    await lists_later(sim, 7)

    assert sim.calls["query"] <= 200 + 2, "found on the seventh page"
    assert not any(task.done() for task in running)
    sim.advance(6000)
    assert await verdicts(running) == ["succeeded"] * 200


async def test_a_list_that_holds_only_other_peoples_tasks_says_nothing_of_ours(sim):
    sim.seed(count=50, account="somebody else", outcome="failed")
    ids = sim.seed(count=5, render_seconds=1000)
    sim.lists(everybody=True, hidden=ids)
    running = [begin(task_id, max_failed_polls=2) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 5


# ---------------------------------------------------------------------------------------------- long lists


async def test_ten_thousand_tasks_over_twenty_pages(vendor):
    ids = vendor.seed(count=10_000, spacing_seconds=0.02)
    begun = time.time()
    running = [begin(task_id, poll_interval=0.5, since=begun - 200) for task_id in ids]
    await until(lambda: set(pages(vendor)) == set(range(1, 21)), 90)
    vendor.advance(2000)

    assert set(await verdicts(running, 120)) == {"succeeded"}
    assert vendor.calls["query"] <= 100, "the list shows them; on a busy machine some are asked singly"
    assert vendor.calls["list"] <= 20 * (2 + (time.time() - begun) / (0.9 * 0.5)), "a look per interval"


async def test_what_the_list_hides_is_not_looked_for_through_all_of_it(vendor):
    ids = vendor.seed(count=10_000, spacing_seconds=10, render_seconds=200_000)
    now = time.time()
    running = [begin(task_id, since=now - 10 * number) for number, task_id in enumerate(ids[:50])]
    hidden = begin(ids[60], since=now - 600)
    vendor.lists(hidden=[ids[60]])
    await until(lambda: ids[60] in ids_asked_singly(vendor))
    before = len(pages(vendor))
    await lists_later(vendor, 12)

    assert max(pages(vendor)) <= watcher.ALWAYS_PAGES
    assert set(pages(vendor)[before + watcher.ALWAYS_PAGES :]) == {1}, "where the others are"
    vendor.advance(250_000)
    assert await verdicts([*running, hidden]) == ["succeeded"] * 51


async def test_a_very_old_task_is_found_all_the_same(vendor):
    ids = vendor.seed(count=3000, spacing_seconds=100, render_seconds=400_000)
    now = time.time()
    young, old = begin(ids[0], since=now), begin(ids[-1], since=now - 300_000)
    await until(lambda: max(pages(vendor), default=0) >= 6 or ids[-1] in ids_asked_singly(vendor))
    vendor.advance(500_000)

    assert await verdicts([young, old]) == ["succeeded"] * 2


async def test_a_page_cut_shorter_than_was_asked_for_is_not_taken_for_the_last(vendor):
    vendor.lists(page_cap=100)
    ids = vendor.seed(count=600, spacing_seconds=0.1)
    running = [begin(task_id, poll_interval=0.2, since=time.time() - 60) for task_id in ids[::2]]
    await until(lambda: max(pages(vendor), default=0) >= 6)
    await lists_later(vendor, 6)
    vendor.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 300
    assert vendor.calls["query"] <= 30, (
        "the list shows them all; those who came before the others are few at first"
    )


# ---------------------------------------------------------------------------------------------- broken


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http_error", "status": 503},
        {"kind": "error_code", "code": 5000, "status": 500},
        {"kind": "html", "status": 502},
        {"kind": "truncated_json"},
        {"kind": "cut_body"},
        {"kind": "drop_before"},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_while_the_list_is_out_of_order_all_are_asked_for_singly_and_then_it_is_used_again(
    sim, short_pauses, fault
):
    ids = sim.seed(count=20, render_seconds=1000)
    stopped = sim.seed(count=5, queue_seconds=0, render_seconds=2000)
    sim.fault(call="list", times=0, **fault)
    running = [begin(task_id, max_failed_polls=10) for task_id in ids + stopped]
    await until(lambda: set(ids) <= ids_asked_singly(sim) and sim.calls["list"] >= 4)
    sim.advance(1500)
    assert await verdicts(running[:20]) == ["succeeded"] * 20

    sim.clear_faults()
    await lists_later(sim, 3)  # tried again, and then as often as before
    singly = sim.calls["query"]
    await lists_later(sim, 4)
    assert sim.calls["query"] <= singly + 2
    sim.advance(1000)
    assert await verdicts(running[20:]) == ["succeeded"] * 5


async def test_a_list_that_never_answers_is_out_of_order_too(sim, connect, short_pauses):
    connect(read_timeout=0.3)
    ids = sim.seed(count=20, render_seconds=1000)
    sim.fault(kind="slow", call="list", seconds=2, times=0)
    running = [begin(task_id, max_failed_polls=3) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http_error", "status": 404},
        {"kind": "html", "status": 404},
        {"kind": "redirect"},
        {"kind": "error_code", "code": 1203},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_a_list_that_is_not_there_is_left_alone_and_all_are_asked_for_singly(sim, short_pauses, fault):
    ids = sim.seed(count=20, render_seconds=1000)
    sim.fault(call="list", times=0, **fault)
    running = [begin(task_id, max_failed_polls=3) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    asked_before = sim.calls["list"]
    await asyncio.sleep(1.2)  # two pauses after which a list that only failed is tried again

    assert sim.calls["list"] == asked_before <= 3
    sim.advance(2000)
    assert await verdicts(running) == ["succeeded"] * 20


async def test_an_api_without_a_list_is_never_asked_for_one(sim, connect):
    connect(api="generations")
    ids = sim.seed(count=20, render_seconds=1000, api="generations")
    running = [begin(task_id) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20
    assert sim.calls["list"] == 0


async def test_when_the_list_breaks_the_single_questions_do_not_come_all_at_once(sim, monkeypatch):
    monkeypatch.setattr(backoff, "FALLBACK_SECONDS", (600.0, 600.0))
    ids = sim.seed(count=60, render_seconds=1000)
    running = [begin(task_id, poll_interval=2.0) for task_id in ids]
    await lists_later(sim, 1)
    sim.fault(kind="http_error", call="list", times=0)
    await until(lambda: sim.calls["query"] >= 120)

    assert ids_asked_singly(sim) >= set(ids)
    assert most_within(asked(sim, "query"), 0.1) <= 50, "60 if they all came at once, 4 if spread"
    await end(*running)


async def test_one_broken_list_between_good_ones_costs_nobody_anything(sim):
    ids = sim.seed(count=20, render_seconds=1000)
    running = [begin(task_id, max_failed_polls=1) for task_id in ids]
    for _ in range(3):
        await lists_later(sim, 2)
        sim.fault(kind="http_error", call="list", times=1)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 20


async def test_a_page_that_breaks_in_the_middle_of_many_loses_nobody(vendor, short_pauses):
    ids = vendor.seed(count=3000, spacing_seconds=0.01)
    for number in range(20):  # the third page, and one after every six more
        vendor.fault(kind="truncated_json", call="list", skip=2 + 6 * number)
    running = [begin(task_id, poll_interval=0.2, since=time.time() - 60) for task_id in ids[::100]]
    await lists_later(vendor, 12)
    vendor.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 30
