"""Who waits together: the haste, the age or the trouble of one costs the others nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import threading
import time
import warnings

import pytest
from watcher_kit import (
    asked,
    begin,
    end,
    ids_asked_singly,
    lists_later,
    pages,
    until,
    verdicts,
)

from airflow_provider_kling_avatar.kling.polling import watcher


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.mark.parametrize(("code", "status"), [(1002, 401), (1302, 429)])
async def test_a_list_that_alone_is_refused_does_not_cost_the_clips(sim, code, status):
    """A gateway whose list wants another key, or has a quota of its own."""
    ids = sim.seed(count=10, render_seconds=1000)
    sim.fault(kind="error_code", code=code, status=status, call="list", times=0)
    running = [begin(task_id, max_failed_polls=10) for task_id in ids]
    await until(lambda: set(ids) <= ids_asked_singly(sim))
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 10
    assert len(asked(sim, "list")) <= watcher.FAILURES_OF_LIST_ALONE + 1


async def test_one_in_a_hurry_does_not_shorten_the_patience_of_others(connect):
    connect(host="http://127.0.0.1:9")
    hasty = begin("1", poll_interval=0.02)
    patient = begin("2", poll_interval=2.0, max_failed_polls=3)
    await asyncio.sleep(1.5)

    assert not patient.done(), "its own three polls would take six seconds"
    await end(hasty, patient)


async def test_a_pause_that_the_vendor_names_does_not_use_up_the_patience(sim, connect):
    connect(api="generations")
    (task_id,) = sim.seed(count=1, render_seconds=1000, api="generations")
    sim.fault(kind="http_error", status=503, retry_after=0.01, call="query", times=0)
    running = begin(task_id, poll_interval=0.5, max_failed_polls=4)
    await until(lambda: sim.calls["query"] >= 2)
    sim.clear_faults()
    sim.advance(2000)

    assert await verdicts([running]) == ["succeeded"]


@pytest.mark.parametrize("interval", [0, -5.0, float("nan")])
@pytest.mark.parametrize("api", ["kling", "generations"])
async def test_an_interval_that_is_none_troubles_nobody(sim, connect, api, interval):
    connect(api=api)
    odd, good = sim.seed(count=2, render_seconds=1000, api=api)
    running = [begin(odd, poll_interval=interval), begin(good)]
    await until(lambda: len(sim.requests) >= 5)
    sim.advance(2000)

    assert await verdicts(running) == ["succeeded"] * 2


async def test_who_comes_later_and_wants_to_know_sooner_is_not_held_up(sim, connect):
    connect(api="generations")
    (task_id,) = sim.seed(count=1, age_seconds=2000, render_seconds=1000, api="generations")
    slow = begin(task_id, poll_interval=600.0)
    await asyncio.sleep(0.1)

    begun = time.monotonic()
    assert await verdicts([begin(task_id)]) == ["succeeded"]
    assert time.monotonic() - begun < 10
    await end(slow)


async def test_a_list_that_nobody_needs_any_more_is_not_asked_for(sim):
    (avatar,) = sim.seed(count=1, render_seconds=1000)
    (movie,) = sim.seed(count=1, render_seconds=1000, endpoint="image_to_video")
    staying, leaving = begin(avatar), begin(movie, endpoint="image_to_video")
    await until(lambda: len({request.path for request in asked(sim, "list")}) == 2)
    await end(leaving)
    before = len(asked(sim, "list"))
    await lists_later(sim, 10)

    later = {request.path for request in asked(sim, "list")[before + 1 :]}
    assert later == {"/v1/videos/avatar/image2video"}
    await end(staying)


async def test_a_few_deep_in_the_list_do_not_make_every_look_deep(sim):
    old = sim.seed(count=3, age_seconds=1000, queue_seconds=0, render_seconds=5000)
    sim.seed(count=5000, account="somebody else", outcome="failed", age_seconds=500, spacing_seconds=0.01)
    (young,) = sim.seed(count=1, render_seconds=5000)
    sim.lists(everybody=True)
    running = [begin(task_id, since=time.time() - 900) for task_id in [*old, young]]
    await until(lambda: set(old) <= ids_asked_singly(sim))
    before = len(pages(sim))
    await lists_later(sim, 10)

    assert max(pages(sim)) <= watcher.ALWAYS_PAGES
    assert set(pages(sim)[before + watcher.ALWAYS_PAGES :]) == {1}, "where the young one is"
    sim.advance(6000)
    assert await verdicts(running) == ["succeeded"] * 4


async def test_a_last_look_at_a_silent_vendor_ends(sim, connect, monkeypatch):
    monkeypatch.setattr(watcher, "LAST_LOOK_SECONDS", 0.3)
    connect(api="generations")
    (task_id,) = sim.seed(count=1, render_seconds=1000, api="generations")
    sim.fault(kind="slow", seconds=20, call="query", times=0)
    begun = time.monotonic()
    running = [begin(task_id, poll_interval=600.0, deadline=time.time() + 0.3) for _ in range(30)]

    assert await verdicts(running) == ["timeout"] * 30
    assert time.monotonic() - begun < 10
    sim.clear_faults()


def belongs_to_the_whole_process():
    return {
        "collector": (gc.isenabled(), gc.get_threshold(), gc.callbacks[:]),
        "set aside": gc.get_freeze_count() > 5000,  # some hundred are Python's own
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": (logging.root.level, logging.root.handlers[:], logging.root.filters[:]),
        "recursion": sys.getrecursionlimit(),
        "policy": getattr(
            asyncio.events, "_event_loop_policy", None
        ),  # asking for it warns since Python 3.14
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "warnings": warnings.filters[:],
    }


async def test_a_crowd_changes_nothing_that_belongs_to_the_whole_process(sim):
    ids = sim.seed(count=1200, render_seconds=1000)
    before = belongs_to_the_whole_process()
    running = [begin(task_id, poll_interval=1.0) for task_id in ids]
    await lists_later(sim, 2)
    gc.collect()

    assert belongs_to_the_whole_process() == before

    await end(*running)
    assert belongs_to_the_whole_process() == before
