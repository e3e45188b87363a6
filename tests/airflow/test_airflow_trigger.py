"""The trigger: frozen arguments, one event of ids, and a wait that nothing but a verdict ends."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
import warnings

import pytest
from hypothesis import example, given
from watcher_kit import HOSTILE_FIELDS, can_be_handed_on, hostile_task

from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.models import AvatarRequest, ImageToVideoRequest
from airflow_provider_kling_avatar.kling.polling import decide as polling
from airflow_provider_kling_avatar.kling.polling.watcher import TaskPoller
from airflow_provider_kling_avatar.simulator.settings import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_API_KEY,
    DEFAULT_SECRET_KEY,
)
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

CLASS_PATH = "airflow_provider_kling_avatar.triggers.kling_avatar.KlingAvatarTrigger"
GOLDEN = {
    "kling_task_id": "831",
    "kling_conn_id": "kling_avatar_default",
    "endpoint": "avatar",
    "poll_interval": 10.0,
    "deadline": 1795252475.5,
    "max_failed_polls": 10,
    "queue_deadline": 1795250000.0,
    "render_timeout": 1800.0,
    "since": 1795245275.5,
    "is_known": True,
}
"""What waits in the databases of those who upgrade. Only ever add to it: with a default, never renamed."""


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def task_id(face, voice, sim):
    """A task at the vendor, not yet begun."""
    return KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id


def watch(task_id, **arguments):
    defaults = {"deadline": time.time() + 60, "poll_interval": 0.02, "max_failed_polls": 3}
    trigger = KlingAvatarTrigger(
        **({"kling_task_id": task_id, "kling_conn_id": "kling_avatar_default"} | defaults | arguments)
    )
    trigger.trigger_id = 1  # as a triggerer does
    return trigger


async def payloads(trigger):
    return [event.payload async for event in trigger.run()]


def polls(sim):
    return [request for request in sim.requests if request.method == "GET"]


async def until(condition, seconds=10):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # the simulator runs in another thread
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------------------------------------- arguments


def test_the_arguments_are_the_ones_that_wait_in_databases():
    assert KlingAvatarTrigger(**GOLDEN).serialize() == (CLASS_PATH, GOLDEN)


def test_the_oldest_stored_arguments_still_make_a_trigger():
    """Version 0.1 stored these; what came later must have defaults."""
    trigger = KlingAvatarTrigger(kling_task_id="831", kling_conn_id="c", deadline=1.0)

    assert trigger.serialize()[1] == {
        "kling_task_id": "831",
        "kling_conn_id": "c",
        "endpoint": "avatar",
        "poll_interval": None,
        "deadline": 1.0,
        "max_failed_polls": 10,
        "queue_deadline": None,
        "render_timeout": None,
        "since": None,
        "is_known": False,
    }


@given(fields=HOSTILE_FIELDS)
@example(fields={"task_status": "failed", "task_status_msg": "no face", "code": 10**30})
@example(fields={"task_status": "failed", "task_status_msg": "no face", "code": "bad\ud800"})
@example(
    fields={"task_status": "failed", "task_status_msg": "no face", "created_at": 1.0, "updated_at": 1e300}
)
def test_whatever_a_row_says_the_event_of_its_end_can_be_handed_on(fields):
    """Airflow ends the whole triggerer over an event that it cannot encode, and every task that waits in it."""
    trigger = KlingAvatarTrigger(**GOLDEN)
    tracker = polling.PollTracker(trigger.limits)
    task = hostile_task(fields)
    finished = tracker.look(task, now=GOLDEN["since"] + 1)
    if task.video is None and task.state.value == "succeeded":
        finished = tracker.look(task, now=GOLDEN["deadline"])

    assert can_be_handed_on(trigger.payload(finished))


def test_arguments_of_a_later_version_are_ignored_after_a_downgrade():
    assert KlingAvatarTrigger(**GOLDEN, from_the_future=True).serialize() == (CLASS_PATH, GOLDEN)


@pytest.mark.parametrize("stored", [{"deadline": None}, {"poll_interval": "adaptive"}, {"since": {}}])
def test_a_stored_value_that_this_version_does_not_know_fails_one_task_and_ends_no_triggerer(stored):
    """Airflow catches nothing but a `TypeError` where it makes a trigger again."""
    with pytest.raises(TypeError, match=next(iter(stored))):
        KlingAvatarTrigger(**GOLDEN | stored)


def test_the_class_is_found_where_the_database_says_it_is():
    module, _, name = CLASS_PATH.rpartition(".")

    assert getattr(sys.modules[module], name) is KlingAvatarTrigger


def test_the_arguments_are_json_scalars():
    for value in KlingAvatarTrigger(**GOLDEN).serialize()[1].values():
        assert isinstance(value, str | int | float)
    assert json.loads(json.dumps(GOLDEN)) == GOLDEN


def test_the_arguments_survive_airflows_serialization():
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:
        from airflow.serialization.serde import deserialize, serialize
    from airflow.serialization.serialized_objects import BaseSerialization

    assert deserialize(serialize(GOLDEN)) == GOLDEN
    assert BaseSerialization.deserialize(BaseSerialization.serialize(GOLDEN)) == GOLDEN


def test_the_arguments_survive_the_trigger_table():
    from airflow.models.trigger import Trigger

    row = Trigger.from_object(KlingAvatarTrigger(**GOLDEN))

    assert (row.classpath, row.kwargs) == (CLASS_PATH, GOLDEN)
    assert "831" not in row.encrypted_kwargs, "encrypted with the Fernet key"
    if hasattr(Trigger, "encrypt_kwargs"):  # not on Airflow 2.11 under this name
        assert Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(GOLDEN)) == GOLDEN


def test_making_a_trigger_looks_nothing_up(monkeypatch, no_connection):
    looked_up = []
    monkeypatch.setattr(KlingAvatarHook, "get_async_conn", looked_up.append)

    assert KlingAvatarTrigger(**GOLDEN).serialize()
    assert looked_up == []


# ---------------------------------------------------------------------------------------------- the event


async def test_it_reports_no_sooner_than_airflow_can_bear(task_id, sim, monkeypatch):
    monkeypatch.setattr("airflow_provider_kling_avatar.triggers.kling_avatar.SETTLE_SECONDS", 0.5)
    sim.advance(60)
    begin = time.time()

    assert (await payloads(watch(task_id)))[0]["verdict"] == "succeeded"
    assert 0.5 <= time.time() - begin < 5

    begin = time.time()
    await payloads(watch(task_id, since=begin - 60))
    assert time.time() - begin < 0.4, "it was deferred long ago"


async def test_it_reports_success_once_with_ids_only_and_ends(task_id, sim):
    run = watch(task_id).run()
    sim.advance(60)

    event = await anext(run)

    assert event.payload == {
        "task_id": task_id,
        "endpoint": "avatar",
        "verdict": "succeeded",
        "reason": None,
        "code": None,
        "queued": None,
        "rendering": None,
    }
    with pytest.raises(StopAsyncIteration):
        await anext(run)


async def test_no_url_and_no_key_is_in_the_event(task_id, sim):
    sim.advance(60)

    text = json.dumps(await payloads(watch(task_id)))

    assert "http" not in text
    assert DEFAULT_API_KEY not in text


async def test_it_waits_until_the_task_ends(task_id, sim):
    running = asyncio.create_task(payloads(watch(task_id)))
    await until(lambda: len(polls(sim)) >= 3)
    assert not running.done()
    sim.advance(60)

    (payload,) = await running

    assert payload["verdict"] == "succeeded"


async def test_it_watches_an_image_to_video_too(face, sim):
    hook = KlingAvatarHook()
    task_id = hook.submit_image_to_video(ImageToVideoRequest(image=face, prompt="x")).task_id
    sim.advance(60)

    (payload,) = await payloads(watch(task_id, endpoint="image_to_video"))

    assert (payload["verdict"], payload["endpoint"]) == ("succeeded", "image_to_video")


async def test_it_reports_why_the_vendor_failed_a_task(face, voice, sim):
    sim.fault(kind="fail_task", reason="Failure to pass the risk control system")
    task_id = KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id
    sim.advance(60)

    (payload,) = await payloads(watch(task_id))

    assert payload == {
        "task_id": task_id,
        "endpoint": "avatar",
        "verdict": "failed",
        "reason": "Failure to pass the risk control system",
        "code": 1301,
        "queued": None,
        "rendering": None,
    }


async def test_a_word_it_does_not_know_is_waited_out(face, voice, sim):
    sim.fault(kind="unknown_status", word="reviewing")
    task_id = KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id
    sim.advance(20)
    running = asyncio.create_task(payloads(watch(task_id)))
    await until(lambda: len(polls(sim)) >= 5)
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"


# ---------------------------------------------------------------------------------------------- the deadline


async def test_it_gives_up_at_the_deadline_after_a_last_look(task_id, sim):
    deadline = time.time() + 0.3

    (payload,) = await payloads(watch(task_id, deadline=deadline, poll_interval=100))

    assert payload["verdict"] == "timeout"
    assert [poll.call for poll in polls(sim)] == ["list", "query"], "one look at once, one at the deadline"
    assert polls(sim)[-1].at >= deadline


async def test_a_task_that_ends_just_before_the_deadline_is_not_given_up(task_id, sim):
    # Three seconds, for a busy machine: the clip has to end between the first look and the deadline.
    running = asyncio.create_task(payloads(watch(task_id, deadline=time.time() + 3, poll_interval=100)))
    await until(lambda: polls(sim) and polls(sim)[0].ended_at)
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"
    assert [poll.call for poll in polls(sim)] == ["list", "query"], "one look at once, one at the deadline"


async def test_a_triggerer_that_was_away_beyond_the_deadline_still_looks_first(task_id, sim):
    sim.advance(60)

    (payload,) = await payloads(watch(task_id, deadline=time.time() - 3600))

    assert payload["verdict"] == "succeeded"


# ---------------------------------------------------------------------------------------------- trouble


async def test_it_survives_one_failed_poll_less_than_the_limit(task_id, sim):
    sim.fault(kind="http_error", method="GET", times=2)
    sim.advance(60)

    (payload,) = await payloads(watch(task_id, max_failed_polls=3))

    assert payload["verdict"] == "succeeded"


async def test_it_reports_a_lost_task_after_the_limit(task_id, sim):
    sim.fault(kind="http_error", method="GET", status=502, times=0)

    (payload,) = await payloads(watch(task_id, max_failed_polls=3))

    assert payload["verdict"] == "lost"
    assert "HTTP 502" in payload["reason"]
    assert len([poll for poll in polls(sim) if poll.call == "query"]) == 3
    assert len(polls(sim)) <= 5, "and the list twice, before it is left alone"


async def test_a_good_poll_between_bad_ones_starts_the_count_anew(task_id, sim):
    for _ in range(3):
        sim.fault(kind="http_error", method="GET", times=2)
        sim.fault(kind="slow", method="GET", seconds=0)
    running = asyncio.create_task(payloads(watch(task_id, max_failed_polls=3)))
    await until(lambda: len(polls(sim)) >= 10)
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "drop_after", "reset": True},
        {"kind": "truncated_json"},
        {"kind": "cut_body"},
        {"kind": "html"},
        {"kind": "redirect"},
        {"kind": "error_code", "code": 1302, "status": 429},
        {"kind": "error_code", "code": 5001, "status": 503},
        {"kind": "no_url"},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_any_trouble_on_the_way_is_one_failed_poll(task_id, sim, fault):
    sim.fault(method="GET", times=2, **fault)
    sim.advance(60)

    (payload,) = await payloads(watch(task_id))

    assert payload["verdict"] == "succeeded"


async def test_a_vendor_that_is_down_for_a_while_is_waited_for(task_id, sim, connect):
    sim.fault(kind="drop_before", method="GET", times=0)
    running = asyncio.create_task(payloads(watch(task_id, max_failed_polls=1000)))
    await until(lambda: len(polls(sim)) >= 10)
    assert not running.done()
    sim.clear_faults()
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"


async def test_a_vendor_that_nobody_reaches_is_a_lost_task_after_the_limit(task_id, connect):
    connect(host="http://127.0.0.1:9")

    (payload,) = await payloads(watch(task_id))

    assert payload["verdict"] == "lost"
    assert "no connection to http://127.0.0.1:9" in payload["reason"]


async def test_a_rotated_key_is_read_from_the_connection_anew(task_id, sim, connect):
    connect(password="sk-old")
    running = asyncio.create_task(payloads(watch(task_id, max_failed_polls=1000)))
    await until(lambda: len([r for r in polls(sim) if r.status == 401]) >= 2)
    connect(password=DEFAULT_API_KEY)
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"


async def test_a_wrong_key_that_stays_wrong_is_a_lost_task_and_is_not_shown(task_id, connect):
    connect(password="sk-wrong-for-good")

    (payload,) = await payloads(watch(task_id))

    assert (payload["verdict"], payload["code"]) == ("lost", 1002)
    assert "wrong-for-good" not in json.dumps(payload)


async def test_signed_tokens_work_too(task_id, sim, connect):
    connect(login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)
    sim.advance(60)

    assert (await payloads(watch(task_id)))[0]["verdict"] == "succeeded"


async def test_a_connection_that_is_missing_for_a_while_is_a_failed_poll(task_id, sim, monkeypatch, connect):
    monkeypatch.delenv("AIRFLOW_CONN_KLING_AVATAR_DEFAULT")
    running = asyncio.create_task(payloads(watch(task_id, max_failed_polls=1000)))
    await asyncio.sleep(0.1)
    assert not running.done()
    connect()
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"


async def test_a_connection_that_stays_missing_is_a_lost_task(no_connection):
    (payload,) = await payloads(watch("831"))

    assert payload["verdict"] == "lost"
    assert "connection 'kling_avatar_default' cannot be used" in payload["reason"]


async def test_where_it_runs_inline_a_missing_connection_is_told_at_its_first_look(no_connection):
    """As in `airflow dags test`: the process that waits is the only one, and nobody can add anything."""
    trigger = watch("831", max_failed_polls=1000, deadline=time.time() + 3600)
    trigger.trigger_id = None

    async with asyncio.timeout(5):
        (payload,) = await payloads(trigger)

    assert payload["verdict"] == "lost"
    assert "AIRFLOW_CONN_KLING_AVATAR_DEFAULT" in payload["reason"]


async def test_it_only_ever_asks(task_id, sim):
    before = len(sim.requests)
    sim.fault(kind="http_error", method="GET", times=2)
    sim.advance(60)

    await payloads(watch(task_id))

    assert {request.method for request in sim.requests[before:]} == {"GET"}
    assert sim.ledger()["total"]["tasks"] == 1


# ---------------------------------------------------------------------------------------------- no such task

GONE = {"kind": "error_code", "code": 1201, "status": 400, "call": "query"}


@pytest.fixture
def quick_looks(monkeypatch):
    """The looks for an unknown id follow each other in an instant."""
    monkeypatch.setattr(polling, "LOOK_AGAIN_SECONDS", 0.05)


@pytest.fixture(params=["live words", "documented code", "a gateway's word"])
def no_such_task(request, sim, connect):
    """Let the vendor say in one of its ways that it has no task "nobody"."""
    if request.param == "live words":
        sim.fault(**GONE, message="Task not found by id/external id: nobody", times=0)
    if request.param == "documented code":
        sim.fault(**GONE | {"code": 1203, "status": 404}, times=0)
    if request.param == "a gateway's word":
        connect(api="generations")


async def test_an_id_that_nobody_knows_is_told_after_three_looks_whatever_the_interval(
    no_such_task, sim, quick_looks
):
    async with asyncio.timeout(20):  # by the interval it would take twenty minutes
        (payload,) = await payloads(watch("nobody", poll_interval=600, max_failed_polls=1000))

    assert payload["verdict"] == "not_found"
    assert "nobody" in payload["reason"]
    assert len([poll for poll in polls(sim) if poll.call == "query"]) == 3
    assert len([poll for poll in polls(sim) if poll.call == "list"]) <= 1, "the list is asked no more often"


@pytest.mark.parametrize(
    ("fault", "verdict", "pauses"),
    [
        (GONE | {"code": 1203}, "not_found", [3, 3]),
        ({"kind": "http_error", "status": 404}, "lost", [10, 20]),  # it may be the route that is not there
    ],
    ids=["no such task", "bare 404"],
)
async def test_the_looks_for_an_unknown_id_are_a_few_seconds_apart(sim, monkeypatch, fault, verdict, pauses):
    sim.fault(**{"call": "query", "times": 0} | fault)
    planned = []
    plan = TaskPoller._plan

    def at_once(poller, polled, at=None):
        plan(poller, polled, at)
        now = asyncio.get_running_loop().time()
        planned.append(polled.due - now)
        plan(poller, polled, now)

    monkeypatch.setattr(TaskPoller, "_plan", at_once)

    (payload,) = await payloads(watch("nobody", poll_interval=None))

    assert payload["verdict"] == verdict
    assert planned[0] <= 5, "somewhere within the interval, so that not all ask at once"
    assert [round(pause) for pause in planned[1:3]] == pauses


async def test_a_task_that_is_known_to_exist_is_asked_for_as_patiently_as_ever(sim):
    sim.fault(**GONE, message="Task not found by id/external id: nobody", times=0)

    (payload,) = await payloads(watch("nobody", is_known=True, max_failed_polls=4))

    assert (payload["verdict"], payload["code"]) == ("lost", 1201)
    assert len([poll for poll in polls(sim) if poll.call == "query"]) == 4


async def test_a_task_that_the_list_hides_and_that_shows_itself_at_the_third_look_is_waited_for(
    task_id, sim, quick_looks
):
    sim.lists(hidden=[task_id])
    sim.fault(**GONE, message=f"Task not found by id/external id: {task_id}", times=2)
    running = asyncio.create_task(payloads(watch(task_id)))
    await until(lambda: len([poll for poll in polls(sim) if poll.call == "query"]) >= 4)
    sim.advance(60)

    assert (await running)[0]["verdict"] == "succeeded"


async def test_a_task_that_was_seen_and_then_vanishes_is_no_unknown_id(task_id, sim, quick_looks):
    running = asyncio.create_task(payloads(watch(task_id, max_failed_polls=5)))
    await until(lambda: polls(sim) and polls(sim)[0].ended_at)
    sim.lists(hidden=[task_id])
    sim.fault(**GONE, message=f"Task not found by id/external id: {task_id}", times=0)

    assert (await running)[0]["verdict"] == "lost"


@pytest.mark.parametrize("slow", [0, 0.5], ids=["", "comes while the list is read"])
async def test_of_two_who_wait_for_the_same_only_the_one_who_did_not_make_it_gives_it_up_so_soon(
    sim, quick_looks, slow
):
    sim.fault(**GONE, message="Task not found by id/external id: nobody", times=0)
    sim.fault(kind="slow", call="list", seconds=slow, times=0)
    own = asyncio.create_task(payloads(watch("nobody", is_known=True, max_failed_polls=1000)))
    await until(lambda: len([poll for poll in polls(sim) if poll.call == "query"]) >= 4)

    (payload,) = await payloads(watch("nobody", poll_interval=600))

    assert payload["verdict"] == "not_found"
    assert not own.done()
    own.cancel()
    await asyncio.gather(own, return_exceptions=True)


# ---------------------------------------------------------------------------------------------- the loop


async def test_being_cancelled_closes_the_session(task_id, sim, sessions):
    running = asyncio.create_task(payloads(watch(task_id, poll_interval=100)))
    await until(lambda: polls(sim))

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [session.closed for session in sessions] == [True]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sessions.clear()
        del running
        gc.collect()
        await asyncio.sleep(0.05)
    assert [warning for warning in caught if "aiohttp" in str(warning.message).lower()] == []
    assert [warning for warning in caught if "session" in str(warning.message).lower()] == []


async def test_being_cancelled_during_a_poll_closes_the_session(task_id, sim, sessions):
    sim.fault(kind="slow", method="GET", seconds=1)
    running = asyncio.create_task(payloads(watch(task_id)))
    await until(lambda: polls(sim))

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert [session.closed for session in sessions] == [True]


async def test_a_run_that_ended_has_closed_its_session(task_id, sim, sessions):
    sim.advance(60)

    await payloads(watch(task_id))

    assert [session.closed for session in sessions] == [True]


WATCHED_LOOP = """
import asyncio, gc, json, os, sys, threading, time

from airflow.providers.common.compat.connection import get_async_connection

from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

opened, steps, started = [], [], False
loop_thread = threading.get_ident()


def hear(event, arguments):
    # Files that are opened, and names that are looked up, on the loop's own thread.
    if started and threading.get_ident() == loop_thread and event in ("open", "socket.getaddrinfo"):
        opened.append(f"{event} {arguments[0]}")


sys.addaudithook(hear)
run_handle = asyncio.Handle._run


def timed(handle):
    # In seconds of this thread's processor time, so that other programs on the machine do not count.
    before = time.thread_time()
    run_handle(handle)
    steps.append(time.thread_time() - before)


asyncio.Handle._run = timed


async def main():
    global started
    await get_async_connection("kling_avatar_default")  # Airflow's own code for it, which a triggerer has in use
    trigger = KlingAvatarTrigger(
        kling_task_id=sys.argv[1], kling_conn_id="kling_avatar_default", deadline=time.time() + 30,
        poll_interval=0.05,
    )
    gc.disable()  # a collection of all that Airflow holds costs 100 ms, falls where it likes, and is not ours
    steps.clear()
    started = True
    events = [event.payload async for event in trigger.run()]
    started = False
    print(json.dumps({"events": events, "opened": opened, "longest": max(steps)}))


asyncio.run(main())
"""


def test_nothing_blocks_the_loop_even_in_a_triggerer_that_has_loaded_nothing_yet(task_id, sim):
    """
    In a fresh process, so that every first import, file and connection look-up is in it.

    Waiting shows as a file or a name that is looked up on the loop's thread, work as processor time of one step.
    """
    sim.advance(60)

    done = subprocess.run(
        [sys.executable, "-c", WATCHED_LOOP, task_id],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"longest step on the loop: {report['longest'] * 1000:.1f} ms")  # noqa: T201  # shown with -s
    assert report["events"][0]["verdict"] == "succeeded"
    assert report["opened"] == []
    assert report["longest"] < 0.05


async def test_many_tasks_wait_together_without_blocking_each_other(face, voice, sim, start_vendor, connect):
    """A heartbeat beside fifty triggers; the bound is generous because the machine is shared."""
    task = KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id
    sim.advance(60)
    await payloads(watch(task))  # the first one loads what is loaded once
    lags = []

    async def heartbeat():
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            lags.append(time.perf_counter() - before - 0.005)

    beating = asyncio.create_task(heartbeat())
    ended = await asyncio.gather(*(payloads(watch(task)) for _ in range(50)))
    beating.cancel()

    assert [events[0]["verdict"] for events in ended] == ["succeeded"] * 50
    assert max(lags, default=0) < 1


# ---------------------------------------------------------------------------------------------- what it tells


async def test_a_change_is_told_with_the_time_it_took_and_the_time_that_clips_take(sim):
    known = [asyncio.create_task(payloads(watch(clip))) for clip in sim.seed(count=5, render_seconds=60)]
    (late,) = sim.seed(count=1, queue_seconds=300, render_seconds=1000)
    trigger, told = watch(late, since=time.time() - 5), []
    trigger._log_lines = lambda watch, seen, now: told.extend(watch.log_lines(seen, now=now))
    running = asyncio.create_task(payloads(trigger))
    await until(lambda: len(polls(sim)) >= 3)
    sim.advance(200)
    await asyncio.gather(*known)
    sim.advance(200)
    await until(lambda: told)
    sim.advance(2000)
    await running

    line = told[0]
    assert re.fullmatch(
        rf"task {late}: processing after \d+ s, about \d+ s expected, waiting for up to \d+ s more", line
    )
