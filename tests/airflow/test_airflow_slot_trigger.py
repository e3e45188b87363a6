"""The trigger that waits for a free slot: frozen arguments, one event, one look for all, and never a payment."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_kling_avatar import waiting as operator_slots
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import KlingError, NoFreeSlotError
from airflow_provider_kling_avatar.kling.models import AvatarRequest, ImageToVideoRequest
from airflow_provider_kling_avatar.kling.polling import backoff, slot_queue
from airflow_provider_kling_avatar.operators import base as operator_base
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarSubmitOperator
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY
from airflow_provider_kling_avatar.triggers import kling_slot
from airflow_provider_kling_avatar.triggers.accounts import session_of
from airflow_provider_kling_avatar.triggers.kling_slot import KlingSlotTrigger

CLASS_PATH = "airflow_provider_kling_avatar.triggers.kling_slot.KlingSlotTrigger"
GOLDEN = {
    "kling_conn_id": "kling_avatar_default",
    "deadline": 1795252475.5,
    "endpoint": "avatar",
    "since": 1795166075.25,
    "busy": 5,
    "not_before": 0.0,
    "poll_interval": 10.0,
    "hint_at": 1795166675.25,
}
"""What waits in the databases of those who upgrade. Only ever add to it: with a default, never renamed."""


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture(autouse=True)
def settles_at_once(monkeypatch):
    """No scheduler has to hear of anything here."""
    monkeypatch.setattr(kling_slot, "SETTLE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """A list that fails is tried again soon, and what there is to tell is told soon."""
    monkeypatch.setattr(backoff, "FALLBACK_SECONDS", (0.05, 0.1))
    monkeypatch.setattr(backoff, "NO_LIST_SECONDS", 0.1)
    monkeypatch.setattr(kling_slot, "CHECK_SECONDS", 0.05)


@pytest.fixture
def run_clips(face, voice):
    """Put so many clips in front of the vendor; each takes 50 s of its clock."""

    def run(number):
        hook = KlingAvatarHook()
        for _ in range(number):
            hook.submit_avatar(AvatarRequest(image=face, audio=voice))
        hook.close()

    return run


@pytest.fixture
def no_tries(monkeypatch):
    """Only a free slot that is seen admits anybody."""
    monkeypatch.setattr(slot_queue, "BLIND_PAUSES", (1000.0, 1000.0))


@pytest.fixture
def quick_tries(monkeypatch):
    """Tries without a free slot being seen come after a tenth of a second."""
    monkeypatch.setattr(slot_queue, "BLIND_PAUSES", (0.1, 0.4))


def wait(**arguments):
    defaults = {"kling_conn_id": "kling_avatar_default", "deadline": time.time() + 60, "poll_interval": 0.02}
    trigger = KlingSlotTrigger(**(defaults | arguments))
    trigger.trigger_id = 1  # as a triggerer does
    return trigger


async def payloads(trigger):
    return [event.payload async for event in trigger.run()]


def begin(since, **arguments):
    return asyncio.create_task(payloads(wait(since=float(since), **arguments)))


def looks(sim):
    return [request for request in sim.requests if request.method == "GET"]


async def until(condition, seconds=10):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # the simulator runs in another thread
            await asyncio.sleep(0.005)


async def end(*running):
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


# ---------------------------------------------------------------------------------------------- arguments


def test_the_arguments_are_the_ones_that_wait_in_databases():
    assert KlingSlotTrigger(**GOLDEN).serialize() == (CLASS_PATH, GOLDEN)


def test_the_oldest_stored_arguments_still_make_a_trigger():
    """The first version with this trigger stored at least these; what came later must have defaults."""
    trigger = KlingSlotTrigger(kling_conn_id="c", deadline=1.0)

    assert trigger.serialize()[1] == {
        "kling_conn_id": "c",
        "deadline": 1.0,
        "endpoint": "avatar",
        "since": 0.0,
        "busy": None,
        "not_before": 0.0,
        "poll_interval": None,
        "hint_at": None,
    }


def test_arguments_of_a_later_version_are_passed_over():
    assert KlingSlotTrigger(**GOLDEN, later="x").serialize() == (CLASS_PATH, GOLDEN)


def test_the_arguments_are_json_scalars():
    _, arguments = KlingSlotTrigger(**GOLDEN).serialize()

    assert json.loads(json.dumps(arguments)) == arguments
    assert all(isinstance(value, str | int | float | None) for value in arguments.values())


# ---------------------------------------------------------------------------------------------- waiting


async def test_it_waits_while_the_account_is_full_and_ends_when_a_clip_does(run_clips, sim):
    run_clips(2)
    since = time.time() - 5
    waiting = begin(since, busy=2, deadline=2e9)
    await until(lambda: len(looks(sim)) >= 4)
    assert not waiting.done()

    sim.advance(60)

    assert await waiting == [
        {"verdict": "free_slot", "endpoint": "avatar", "deadline": 2e9, "since": since, "hint_at": None}
    ]


async def test_the_event_is_json_and_holds_no_key_and_no_address(sim):
    (payload,) = await payloads(wait(busy=1, since=1.0))

    assert DEFAULT_API_KEY not in json.dumps(payload)
    assert "http" not in json.dumps(payload)


async def test_a_task_that_does_not_know_since_when_it_waits_waits_since_now(sim):
    before = time.time()

    (payload,) = await payloads(wait(busy=1))

    assert before <= payload["since"] <= time.time()


async def test_it_never_pays(run_clips, sim):
    run_clips(1)
    waiting = begin(1, busy=1)
    await until(lambda: len(looks(sim)) >= 3)
    sim.advance(60)
    await waiting

    assert [request.method for request in sim.requests].count("POST") == 1, "the test's own"
    assert sim.ledger()["total"]["tasks"] == 1


async def test_it_does_not_end_before_the_vendor_allows(sim):
    begun = time.time()

    (payload,) = await payloads(wait(busy=1, not_before=begun + 0.3))

    assert payload["verdict"] == "free_slot"
    assert time.time() - begun >= 0.3


@pytest.mark.parametrize(("deadline", "verdict"), [(2e9, "free_slot"), (1.0, "timeout")])
async def test_it_ends_no_sooner_than_airflow_can_bear(sim, monkeypatch, deadline, verdict):
    """A task whose trigger fires at once is failed by a scheduler that has not yet heard of its deferral."""
    monkeypatch.setattr(kling_slot, "SETTLE_SECONDS", 0.5)
    begun = time.time()

    (payload,) = await payloads(wait(busy=1, deadline=deadline))

    assert payload["verdict"] == verdict
    assert payload["deadline"] == deadline
    assert 0.5 <= time.time() - begun < 5


async def test_exactly_as_many_end_as_there_is_room_for_the_longest_waiting_first(run_clips, sim):
    run_clips(5)
    waiting = {since: begin(since, busy=5) for since in (3, 1, 2)}
    await until(lambda: len(looks(sim)) >= 3)
    # While every look fails, none sees the moment between the next two steps; nor does one that was underway before.
    sim.fault(kind="http_error", method="GET", times=0)
    await until(lambda: looks(sim)[-1].fault and all(look.ended_at for look in looks(sim)[:-1]))
    sim.advance(60)
    run_clips(3)
    sim.clear_faults()

    await until(lambda: sum(task.done() for task in waiting.values()) == 2)
    await asyncio.sleep(0.2)

    assert [since for since, task in sorted(waiting.items()) if task.done()] == [1, 2]
    await end(*waiting.values())


async def test_endpoints_have_slots_of_their_own(run_clips, face, sim):
    KlingAvatarHook().submit_image_to_video(ImageToVideoRequest(image=face))
    waiting = begin(1, busy=1, endpoint="image_to_video")

    (payload,) = await payloads(wait(busy=1))

    assert payload["verdict"] == "free_slot", "no avatar runs"
    assert not waiting.done()
    sim.advance(60)
    assert (await waiting)[0]["endpoint"] == "image_to_video"


async def test_connections_have_slots_of_their_own(run_clips, sim, monkeypatch, start_vendor):
    other = start_vendor()
    connection = {"conn_type": "kling_avatar", "host": other.url, "password": DEFAULT_API_KEY}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    run_clips(1)
    waiting = begin(1, busy=1)

    (payload,) = await payloads(wait(busy=1, kling_conn_id="other"))

    assert payload["verdict"] == "free_slot"
    assert not waiting.done()
    await end(waiting)


# ---------------------------------------------------------------------------------------------- one look for all


async def test_all_who_wait_share_one_look_per_interval(run_clips, sim):
    run_clips(1)
    begun = time.time()
    waiting = [begin(since, busy=1, poll_interval=0.2) for since in range(1, 46)]
    await asyncio.sleep(1.5)
    passed = time.time() - begun

    assert 3 <= len(looks(sim)) <= passed / 0.2 + 1
    assert f"pageSize={slot_queue.PAGE_SIZE}" in looks(sim)[0].query, "the page that workers count on"
    await end(*waiting)


async def test_a_free_slot_is_seen_within_an_interval_however_many_wait(run_clips, sim):
    run_clips(1)
    waiting = [begin(since, busy=1, poll_interval=0.5) for since in range(1, 46)]
    await asyncio.sleep(1)
    sim.advance(60)
    begun = time.time()

    await waiting[0]

    assert time.time() - begun < 1
    assert sum(task.done() for task in waiting) == 1
    await end(*waiting)


async def test_a_crowd_is_served_in_order_while_workers_take_their_time(face, voice, start_vendor, connect):
    """The whole way, with this test as the worker: refused ones come back, nobody is paid twice."""
    vendor = start_vendor(slots=3, queue_seconds=0, render_seconds=0.5)
    connect(host=vendor.url)
    served = []

    async def clip(number):
        since, busy = float(number), 3  # all were refused before
        while True:
            await payloads(wait(since=since, busy=busy))
            await asyncio.sleep(0.05)
            hook = KlingAvatarHook()
            try:
                await asyncio.to_thread(hook.submit_avatar, AvatarRequest(image=face, audio=voice))
            except NoFreeSlotError:
                busy = await asyncio.to_thread(slot_queue.count_in_flight, hook.get_conn(), "avatar")
            else:
                return served.append(number)
            finally:
                hook.close()

    begun = time.time()
    await asyncio.wait_for(asyncio.gather(*(clip(number) for number in range(1, 25))), 30)
    took = time.time() - begun

    assert vendor.ledger()["total"]["tasks"] == 24
    assert all(abs(number - place) <= 3 for place, number in enumerate(served, 1)), "in turn, three at a time"
    refused = [request for request in vendor.requests if request.status == 429]
    assert len(refused) <= 3, "no herd"
    assert took < 3 * 24 / 3 * 0.5


# ---------------------------------------------------------------------------------------------- the deadline


async def test_it_gives_up_at_the_deadline(run_clips, sim):
    run_clips(1)
    deadline = time.time() + 0.3

    assert await payloads(wait(busy=1, since=7.0, deadline=deadline, poll_interval=100)) == [
        {"verdict": "timeout", "endpoint": "avatar", "deadline": deadline, "since": 7.0, "hint_at": None}
    ]
    assert deadline <= time.time() < deadline + 5, "not at the next look, 100 s later"


async def test_a_list_that_does_not_answer_does_not_move_the_deadline(run_clips, sim):
    sim.fault(kind="slow", method="GET", seconds=3)
    deadline = time.time() + 0.3

    (payload,) = await payloads(wait(busy=1, deadline=deadline))

    assert payload["verdict"] == "timeout"
    assert time.time() < deadline + 2, "not when the list answers, 3 s after it was asked"


async def test_a_deadline_that_passed_while_the_triggerer_was_away_is_over(sim):
    (payload,) = await payloads(wait(busy=1, deadline=time.time() - 3600))

    assert payload["verdict"] == "timeout"


# ---------------------------------------------------------------------------------------------- trouble


async def test_a_cancelled_waiter_makes_way_for_the_next(run_clips, sim):
    run_clips(1)
    first, second = begin(1, busy=1), begin(2, busy=1)
    await until(lambda: len(looks(sim)) >= 2)

    await end(first)
    sim.advance(60)

    assert (await second)[0]["verdict"] == "free_slot"


async def test_a_slot_given_to_one_that_is_cancelled_goes_to_the_next(run_clips, sim):
    """Killed in the moment between being admitted and ending."""
    run_clips(1)
    first, second = begin(1, busy=1), begin(2, busy=1)
    await until(lambda: len(looks(sim)) >= 2)
    queue = (await session_of("kling_avatar_default")).poller("avatar").slot_queue
    saw = queue.saw

    def see_and_cancel(*seen, now):
        saw(*seen, now=now)
        queue.admit(now)
        if queue.in_flight == 0:
            first.cancel()

    queue.saw = see_and_cancel
    sim.advance(60)

    payload = (await asyncio.wait_for(second, 10))[0]

    assert first.cancelled()
    assert payload["verdict"] == "free_slot"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "truncated_json"},
        {"kind": "html"},
        {"kind": "http_error"},
        {"kind": "error_code", "code": 1302, "status": 429},
        {"kind": "error_code", "code": 1002, "status": 401},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('code', '')}".strip(),
)
async def test_a_look_that_fails_is_made_again(run_clips, sim, fault, no_tries):
    run_clips(1)
    sim.fault(method="GET", times=3, **fault)
    waiting = begin(1, busy=1)
    await until(lambda: len(looks(sim)) >= 5)
    assert not waiting.done()
    sim.advance(60)

    assert (await waiting)[0]["verdict"] == "free_slot"


async def test_a_list_that_never_answers_well_lets_one_try_now_and_then(run_clips, sim, quick_tries):
    run_clips(1)
    sim.fault(kind="http_error", method="GET", times=0)
    first, second = begin(1, busy=1), begin(2, busy=1)

    assert (await first)[0]["verdict"] == "free_slot"
    assert not second.done(), "one at a time"
    assert (await second)[0]["verdict"] == "free_slot"
    sim.clear_faults()


async def test_an_api_without_a_list_lets_one_try_now_and_then(sim, connect, quick_tries):
    connect(api="generations")
    begun = time.time()

    first, second = begin(1), begin(2)

    assert (await first)[0]["verdict"] == "free_slot"
    assert time.time() - begun >= 0.09
    assert not second.done()
    assert (await second)[0]["verdict"] == "free_slot"
    assert looks(sim) == []


async def test_a_missing_connection_is_waited_for(sim, monkeypatch, connect, no_tries):
    monkeypatch.delenv("AIRFLOW_CONN_KLING_AVATAR_DEFAULT")
    waiting = begin(1, busy=1)
    await asyncio.sleep(0.2)
    assert not waiting.done()

    connect()

    assert (await asyncio.wait_for(waiting, 10))[0]["verdict"] == "free_slot"


async def test_where_it_runs_inline_a_missing_connection_is_told_at_once(no_connection):
    trigger = KlingSlotTrigger(kling_conn_id="kling_avatar_default", deadline=time.time() + 3600, busy=1)

    with pytest.raises(KlingError, match="AIRFLOW_CONN_KLING_AVATAR_DEFAULT"):
        async with asyncio.timeout(5):
            [event async for event in trigger.run()]


async def test_a_rotated_key_is_read_from_the_connection_anew(sim, connect, no_tries):
    connect(password="sk-old")
    waiting = begin(1, busy=1)
    await until(lambda: len([look for look in looks(sim) if look.status == 401]) >= 2)
    connect()

    assert (await asyncio.wait_for(waiting, 10))[0]["verdict"] == "free_slot"


async def test_the_last_one_to_leave_closes_the_session(run_clips, sim, sessions):
    run_clips(1)
    first, second = begin(1, busy=1), begin(2, busy=1)
    await until(lambda: len(looks(sim)) >= 2)
    await end(first)
    assert [session.closed for session in sessions] == [False]
    await end(second)

    assert [session.closed for session in sessions] == [True]


# ---------------------------------------------------------------------------------------------- the log


class Story:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.lines, self.warnings = [], []

    def info(self, event, *arguments):
        self.lines.append(event % arguments)

    def warning(self, event, *arguments):
        self.warnings.append(event % arguments)


async def test_the_log_tells_the_story_in_few_lines(run_clips, sim, monkeypatch):
    log = Story()
    monkeypatch.setattr(KlingSlotTrigger, "log", log)
    run_clips(2)
    waiting = begin(1, busy=2)
    await until(lambda: len(looks(sim)) >= 10)
    sim.fault(kind="http_error", method="GET", times=5)
    await until(lambda: len(looks(sim)) >= 20)
    sim.advance(60)
    await waiting

    full, hidden, seen, gone = log.lines
    assert full == "the account is full (2 running): waiting for a free slot, no worker and no retry is used"
    assert hidden.startswith("free slots cannot be seen, so one task tries now and then: ")
    assert seen == "free slots can be seen again"
    assert gone == "submitting again on a worker: 0 of 2 slots were taken at the last look"


async def test_the_log_shows_a_sign_of_life_now_and_then(run_clips, sim, monkeypatch):
    monkeypatch.setattr(kling_slot, "SLOT_HEARTBEAT_SECONDS", 0.1)
    log = Story()
    monkeypatch.setattr(KlingSlotTrigger, "log", log)
    run_clips(1)
    first, second = begin(1, busy=1), begin(2, busy=1)
    await until(lambda: len(log.lines) >= 20)
    await end(first, second)

    signs = {line.partition(", for up to")[0] for line in log.lines[2:]}
    assert signs == {f"still waiting for a free slot, as number {number} in line" for number in (1, 2)}
    assert len(looks(sim)) > 10


# ---------------------------------------------------------------------------------------------- an empty account


@pytest.fixture
def clock(monkeypatch):
    """A clock that only sleeping moves, and that a test may set."""
    now = [time.time()]
    monkeypatch.setattr(operator_slots, "time", SimpleNamespace(time=lambda: now[0]))
    nap = SimpleNamespace(time=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(operator_base, "time", nap)
    return now


@pytest.fixture
def gateway(sim, connect, face):
    """A gateway that answers every submission with HTTP 429 and words of its own; sends to it, deferred or not."""
    connect(api="relay", path_prefix="/relay/kling")

    def send(**fields):
        return KlingAvatarSubmitOperator(
            task_id="clip", image=face, audio="https://sounds.test/voice.mp3", audio_duration_seconds=12,
            **fields,
        )  # fmt: skip

    return send


def refuse(sim, times=0, **fault):
    sim.fault(**{"kind": "http_error", "status": 429, "method": "POST", "times": times} | fault)


@pytest.fixture
def hints(monkeypatch):
    """The operator's warnings about the account."""
    log = Story()
    monkeypatch.setattr(KlingAvatarSubmitOperator, "log", log)
    return log.warnings


def put_off(run, *arguments):
    """Run until the task waits for a slot; return the trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        run(*arguments)
    return deferred.value.trigger


def at_once(trigger):
    """A trigger with the same arguments that lets its task go as soon as it can."""
    return KlingSlotTrigger(**trigger.serialize()[1] | {"not_before": 0.0})


def test_on_a_worker_ten_minutes_of_refusals_without_a_reason_are_told_once(
    gateway, sim, context, clock, hints
):
    refuse(sim)

    with pytest.raises(NoFreeSlotError):
        gateway(deferrable=False, slot_timeout=3600).execute(context)

    (hint,) = hints
    assert "empty account" in hint
    assert "console and balance" in hint


@pytest.mark.parametrize("code", [1302, 1303])
def test_a_vendor_that_says_what_it_means_has_no_empty_account(gateway, sim, context, clock, hints, code):
    refuse(sim, kind="error_code", code=code)

    with pytest.raises(NoFreeSlotError):
        gateway(deferrable=False, slot_timeout=3600).execute(context)

    assert hints == []


def test_the_ten_minutes_survive_deferrals_and_are_told_once(
    gateway, sim, context, clock, hints, quick_tries
):
    refuse(sim)
    begin, told = clock[0], []
    trigger = put_off(gateway().execute, context)
    for _ in range(15):
        clock[0] += 100
        (event,) = asyncio.run(payloads(at_once(trigger)))
        trigger = put_off(gateway().execute_complete, context, event)
        told.append((clock[0] - begin, len(hints)))

    assert [number for after, number in told if after < 600] == [0] * 5
    assert [number for after, number in told if after >= 600] == [1] * 10


def test_another_refusal_in_between_begins_the_ten_minutes_anew(
    gateway, sim, context, clock, hints, quick_tries
):
    refuse(sim, times=2 * 3)  # each submission is sent three times
    hint_at = []
    trigger = put_off(gateway().execute, context)
    for answer in ("as before", "the account is full", "as at first"):
        hint_at.append(trigger.hint_at)
        clock[0] += 100
        if answer == "the account is full":
            refuse(sim, kind="error_code", code=1303, times=1)
            refuse(sim)
        (event,) = asyncio.run(payloads(at_once(trigger)))
        trigger = put_off(gateway().execute_complete, context, event)

    assert [*hint_at, trigger.hint_at] == [clock[0] + 300, clock[0] + 300, None, clock[0] + 600]


# ---------------------------------------------------------------------------------------------- the loop

WATCHED_LOOP = """
import asyncio, gc, json, os, sys, threading, time

from airflow.providers.common.compat.connection import get_async_connection

from airflow_provider_kling_avatar.triggers import kling_slot
from airflow_provider_kling_avatar.triggers.kling_slot import KlingSlotTrigger

kling_slot.SETTLE_SECONDS = 0.0
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


async def wait(since):
    trigger = KlingSlotTrigger(
        kling_conn_id="kling_avatar_default", deadline=time.time() + 30, busy=50, since=float(since),
        poll_interval=0.05,
    )
    return [event.payload["verdict"] async for event in trigger.run()]


async def main():
    global started
    await get_async_connection("kling_avatar_default")  # Airflow's own code for it, which a triggerer has in use
    gc.disable()  # a collection of all that Airflow holds costs 100 ms, falls where it likes, and is not ours
    steps.clear()
    started = True
    events = await asyncio.gather(*(wait(number + 1) for number in range(50)))
    started = False
    print(json.dumps({"events": events, "opened": opened, "longest": max(steps)}))


asyncio.run(main())
"""


def test_nothing_blocks_the_loop_even_in_a_triggerer_that_has_loaded_nothing_yet(sim):
    """In a fresh process, so that every first import, file and connection look-up is in it."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED_LOOP], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"longest step on the loop: {report['longest'] * 1000:.1f} ms")  # noqa: T201  # shown with -s
    assert report["events"] == [["free_slot"]] * 50
    assert report["opened"] == []
    assert report["longest"] < 0.05
