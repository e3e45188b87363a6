"""The trigger of an asset watcher: an event for each clip that has ended, whatever list, key and store do."""

from __future__ import annotations

import asyncio
import json
import logging
from importlib.metadata import version

import pytest
from hypothesis import example, given
from watcher_kit import HOSTILE_FIELDS, asked, begin, can_be_handed_on, end, hostile_task, pages, until

from airflow_provider_kling_avatar import compat
from airflow_provider_kling_avatar.kling.errors import ConfigurationError
from airflow_provider_kling_avatar.kling.polling import backoff
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY
from airflow_provider_kling_avatar.triggers import accounts, kling_clips
from airflow_provider_kling_avatar.triggers.accounts import session_of
from airflow_provider_kling_avatar.triggers.kling_clips import KlingClipsTrigger

CLASS_PATH = "airflow_provider_kling_avatar.triggers.kling_clips.KlingClipsTrigger"
GOLDEN = {
    "kling_conn_id": "kling_avatar_default",
    "endpoint": "avatar",
    "state": "succeeded",
    "name_prefix": "news-",
    "skip_awaited": True,
    "poll_interval": 30.0,
    "lookback": 86400.0,
    "first_lookback": 0.0,
}
"""What is in the databases of those who upgrade. Only ever add to it: with a default, never renamed."""
AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
SECONDS = 30

needs_airflow_3 = pytest.mark.skipif(AIRFLOW < (3,), reason="Airflow 2 has no event-driven scheduling")


class Store:
    """The state store of an asset, which outlives a trigger; it can be out of order for some calls."""

    def __init__(self, variables):
        self.notes, self.variables, self.saved, self.broken = {}, variables, 0, 0

    def change(self, key, **changes):
        """Change the record by hand, in both places."""
        for place in (self.notes, self.variables):
            place[key] = json.dumps(json.loads(place[key]) | changes)

    def _work(self):
        if self.broken:
            self.broken -= 1
            raise RuntimeError("API_SERVER_ERROR")

    async def aget(self, key):
        self._work()
        return json.loads(self.notes[key]) if key in self.notes else None

    async def aset(self, key, value):
        self._work()
        self.saved += 1
        self.notes[key] = json.dumps(value)


class Supervisor:
    """Stands for Airflow's supervisor, which reads and writes variables, and its API can be out of order."""

    def __init__(self):
        self.kept, self.is_broken, self.asked, self.answered = {}, False, 0, 0

    async def asend(self, msg):
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time import comms

        self.asked += 1
        await asyncio.sleep(0.02)
        self.answered += 1
        if self.is_broken:
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        if isinstance(msg, comms.PutVariable):
            self.kept[msg.key] = msg.value
            return comms.OKResponse(ok=True)
        if msg.key not in self.kept:
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        return comms.VariableResult(key=msg.key, value=self.kept[msg.key])

    def send(self, msg):
        from asgiref.sync import async_to_sync

        return async_to_sync(self.asend)(msg)  # as Airflow 3.0 and 3.1 do


class RunningTrigger:
    """A trigger that runs as in a triggerer, and the events that it made; killed without warning at the end."""

    def __init__(self, store, **arguments):
        self.trigger = KlingClipsTrigger(**arguments)
        self.trigger.trigger_id = 1
        self.trigger._log = logging.getLogger("clips")  # Airflow's own prints, from 3.1
        self.trigger.poll_interval = 0.03
        self.trigger.asset_state_store = store
        self.events = []

    @property
    def told(self):
        return [event["task_id"] for event in self.events]

    async def _run(self):
        async for event in self.trigger.run():
            self.events.append(event.payload)

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        running = not self._task.done()
        await end(self._task)
        assert running, "a trigger that ends is started again by Airflow, and again"


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch, caplog):
    """There is no scheduler here that could be overtaken, and nothing that fails is waited for long."""
    for name in ("START_SECONDS", "SPACING_SECONDS", "LAST_SPACING_SECONDS"):
        monkeypatch.setattr(kling_clips, name, 0.0)
    monkeypatch.setattr(kling_clips, "SHORTEST_POLL_SECONDS", 0.02)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(accounts, "RETRY_SECONDS", 0.02)
    caplog.set_level(logging.INFO)


@pytest.fixture
def store(variables):
    return Store(variables)


@pytest.fixture
def supervisor(monkeypatch):
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


@pytest.fixture
def variables(monkeypatch):
    """Airflow's variables, where connections come from elsewhere than from the same supervisor."""
    from airflow.sdk import Variable

    kept = {}
    monkeypatch.setattr(compat, "_read_variable", lambda key: json.loads(kept[key]) if key in kept else None)
    monkeypatch.setattr(Variable, "set", lambda key, value, _: kept.update({key: value}))
    return kept


async def looked(sim, more=2):
    before = sim.calls["list"]
    await until(lambda: sim.calls["list"] >= before + more)


# ---------------------------------------------------------------------------------------------- arguments


@needs_airflow_3
def test_the_arguments_are_the_ones_that_are_in_databases():
    assert KlingClipsTrigger(**GOLDEN).serialize() == (CLASS_PATH, GOLDEN)
    assert json.loads(json.dumps(GOLDEN)) == GOLDEN


@needs_airflow_3
def test_arguments_of_a_later_version_are_ignored_after_a_downgrade():
    assert KlingClipsTrigger(**GOLDEN, from_the_future=True).serialize() == (CLASS_PATH, GOLDEN)


@needs_airflow_3
def test_two_dags_that_write_the_same_watcher_have_one_trigger():
    hashes = {KlingClipsTrigger.hash(*KlingClipsTrigger(**GOLDEN).serialize()) for _ in range(2)}

    assert len(hashes) == 1


@needs_airflow_3
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"endpoint": "speech"}, "endpoint must be avatar or image_to_video, not 'speech'"),
        ({"state": "running"}, "state must be succeeded, failed or None, not 'running'"),
        ({"poll_interval": 0}, "poll_interval must be 1 second or more, not 0"),
        ({"poll_interval": float("nan")}, "poll_interval must be 1 second or more, not nan"),
        ({"poll_interval": float("inf")}, "poll_interval must be 1 second or more, not inf"),
        ({"poll_interval": "often"}, "poll_interval must be 1 second or more, not 'often'"),
        ({"lookback": -1}, "lookback must be 0 seconds or more, not -1"),
        ({"lookback": float("nan")}, "lookback must be 0 seconds or more, not nan"),
        ({"first_lookback": float("inf")}, "first_lookback must be 0 seconds or more, not inf"),
        ({"first_lookback": None}, "first_lookback must be 0 seconds or more, not None"),
        ({"name_prefix": 5}, "name_prefix must be a text or None, not 5"),
        ({"kling_conn_id": None}, "kling_conn_id must be a text, not None"),
    ],
)
def test_a_wrong_argument_is_told_where_the_dag_is_read_and_ends_no_triggerer(arguments, said, monkeypatch):
    """The arguments may be those of a later version. Airflow leaves out a trigger for a `TypeError`, else all of it."""
    monkeypatch.setattr(kling_clips, "SHORTEST_POLL_SECONDS", 1.0)

    with pytest.raises(TypeError, match=said):
        KlingClipsTrigger(**arguments)


@needs_airflow_3
def test_the_record_is_the_same_when_only_the_way_to_look_is_changed():
    here = KlingClipsTrigger(**GOLDEN).record_key

    assert (
        KlingClipsTrigger(**GOLDEN | {"poll_interval": 5, "lookback": 1, "skip_awaited": False}).record_key
        == here
    )
    for change in (
        {"kling_conn_id": "b"},
        {"endpoint": "image_to_video"},
        {"state": None},
        {"name_prefix": None},
    ):
        assert KlingClipsTrigger(**GOLDEN | change).record_key != here


@needs_airflow_3
def test_the_record_is_stored_under_the_names_that_are_in_databases():
    assert KlingClipsTrigger().record_key == "kling_clips_6ee783c380b573fc"
    assert KlingClipsTrigger(**GOLDEN).record_key == "kling_clips_b59d031a3ddb789a"


def test_before_airflow_3_the_module_imports_and_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(kling_clips, "HAS_EVENT_TRIGGERS", False)

    with pytest.raises(ConfigurationError, match=r"needs Airflow 3\.0 or newer.*KlingAvatarSensor"):
        KlingClipsTrigger()
    assert (AIRFLOW >= (3,)) is compat.HAS_EVENT_TRIGGERS


# ---------------------------------------------------------------------------------------------- events


@needs_airflow_3
async def test_each_clip_that_ends_makes_one_event_whoever_made_it(sim, store):
    sim.seed(count=3, age_seconds=1000)
    async with RunningTrigger(store) as running:
        await looked(sim)
        ids = sim.seed(count=5)
        await looked(sim)
        assert running.events == []
        sim.advance(60)
        await until(lambda: len(running.events) >= 5)
        await looked(sim, 3)

    assert sorted(running.told) == sorted(ids)


@needs_airflow_3
async def test_an_event_says_what_the_clip_is_in_plain_json_without_a_link(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        (task_id,) = sim.seed(count=1, age_seconds=0)
        sim.advance(60)
        await until(lambda: running.events)

    (event,) = running.events
    assert json.loads(json.dumps(event)) == event
    assert "://" not in json.dumps(event)
    assert event == {
        "task_id": task_id,
        "external_task_id": event["external_task_id"],
        "api": "kling",
        "endpoint": "avatar",
        "state": "succeeded",
        "reason": None,
        "reason_code": None,
        "duration": pytest.approx(event["duration"]),
        "units": event["units"],
        "cost": event["cost"],
        "currency": None,
        "created_at": event["created_at"],
        "ended_at": pytest.approx(event["created_at"] + 50, abs=1),
    }
    assert event["duration"] > 0
    assert float(event["units"]) > 0


@needs_airflow_3
@given(fields=HOSTILE_FIELDS)
@example(fields={"task_status": "failed", "task_status_msg": "no face", "code": 10**30})
@example(fields={"task_status": "failed", "task_status_msg": "no face", "code": "bad\ud800"})
def test_whatever_a_row_says_its_event_can_be_handed_on(fields):
    """Airflow ends the whole triggerer over an event that it cannot encode, again after each start."""
    payload = KlingClipsTrigger().payload(hostile_task(fields), "kling")

    assert can_be_handed_on(payload)


@needs_airflow_3
async def test_a_clip_that_fails_is_told_with_the_vendors_reason(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        sim.seed(count=1, outcome="failed", note="see https://x.example/?sig=1 for the rules")
        sim.advance(60)
        await until(lambda: running.events)

    assert running.events[0]["state"] == "failed"
    assert running.events[0]["reason"] == "see https://x.example/?*** for the rules"
    assert running.events[0]["duration"] is None


@needs_airflow_3
async def test_only_what_is_asked_for_is_told(sim, store, face, voice):
    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.models import AvatarRequest

    async with RunningTrigger(store, state="succeeded", name_prefix="news-") as running:
        await looked(sim)
        sim.seed(count=1, outcome="failed")
        sim.seed(count=1)
        sim.seed(count=1, endpoint="image_to_video")
        hook = KlingAvatarHook()
        request = AvatarRequest(image=face, audio=voice, external_task_id="news-1")
        task_id = (await asyncio.to_thread(hook.submit_avatar, request)).task_id
        hook.close()
        sim.advance(60)
        await until(lambda: running.events)
        await looked(sim, 3)

    assert running.told == [task_id]
    assert running.events[0]["external_task_id"] == "news-1"


@needs_airflow_3
@pytest.mark.parametrize("skip", [True, False])
async def test_a_clip_that_a_task_waits_for_here_is_left_to_that_task(sim, store, skip):
    async with RunningTrigger(store, skip_awaited=skip) as running:
        await looked(sim)
        awaited, other = sim.seed(count=2)
        waiting = begin(awaited)
        await until(lambda: asked(sim, "list"))
        session = await session_of("kling_avatar_default")
        await until(lambda: awaited in session.awaited)
        sim.advance(60)
        await waiting
        await until(lambda: other in running.told)
        await looked(sim, 3)

    assert sorted(running.told) == sorted([other] if skip else [awaited, other])


@needs_airflow_3
async def test_a_clip_that_its_task_gives_up_is_told_when_it_ends(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        (task_id,) = sim.seed(count=1)
        waiting = begin(task_id)
        session = await session_of("kling_avatar_default")
        await until(lambda: task_id in session.awaited)
        await end(waiting)
        sim.advance(60)
        await until(lambda: running.events)

    assert running.told == [task_id]


@needs_airflow_3
async def test_a_success_without_a_video_is_told_when_the_video_is_there(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        sim.seed(count=1, outcome="no_url")
        (whole,) = sim.seed(count=1)
        sim.advance(60)
        await until(lambda: running.events)
        await looked(sim, 3)

    assert running.told == [whole]


@needs_airflow_3
async def test_clips_that_have_to_be_asked_for_hold_up_no_others_though_the_vendor_is_asked_too_often(
    sim, store, caplog
):
    async with RunningTrigger(store) as running:
        await looked(sim)
        sim.seed(count=10, outcome="no_url")
        whole = sim.seed(count=3)
        sim.fault(kind="error_code", code=1302, call="query", times=10_000)
        sim.advance(60)
        await until(lambda: len(running.events) == 3)
        await looked(sim, 5)

    assert sorted(running.told) == sorted(whole)
    assert 0 < len(asked(sim, "query")) <= len(asked(sim, "list")), "none other in the same look"
    assert "has ended, but cannot be asked for" in caplog.text


@needs_airflow_3
async def test_a_vendor_that_asks_for_a_pause_is_not_asked_for_clips_in_it(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        sim.seed(count=3, outcome="no_url")
        (whole,) = sim.seed(count=1)
        sim.fault(kind="error_code", code=1302, retry_after=60, call="query", times=10_000)
        sim.advance(60)
        await until(lambda: running.events)
        await looked(sim, 10)

    assert running.told == [whole]
    assert len(asked(sim, "query")) == 1


@needs_airflow_3
async def test_a_failed_clip_that_the_vendor_no_longer_knows_is_told_with_what_the_list_has(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        (task_id,) = sim.seed(count=1, outcome="failed", note="")
        sim.fault(kind="not_found", call="query", times=10_000)
        sim.advance(60)
        await until(lambda: running.events)
        await looked(sim, 3)

    assert running.told == [task_id]
    assert (running.events[0]["state"], running.events[0]["reason"]) == ("failed", None)
    assert len(asked(sim, "query")) == 1


@needs_airflow_3
async def test_a_clip_that_stays_without_a_video_is_asked_for_more_and_more_rarely_and_told_of_once(
    sim, store, caplog
):
    async with RunningTrigger(store) as running:
        await looked(sim)
        sim.seed(count=1, outcome="no_url")
        sim.advance(60)
        await until(lambda: asked(sim, "query"))
        await looked(sim, 30)

    assert running.events == []
    assert len(asked(sim, "query")) <= 7
    assert caplog.text.count("its video is not there yet") == 1


# ---------------------------------------------------------------------------------------------- restarts


@needs_airflow_3
async def test_a_restart_tells_what_ended_meanwhile_and_nothing_twice(sim, store):
    async with RunningTrigger(store) as first:
        await looked(sim)
        sim.seed(count=3)
        sim.advance(60)
        await until(lambda: len(first.events) == 3)
        await until(lambda: store.saved >= 4)
    meanwhile = sim.seed(count=4)
    sim.advance(60)
    async with RunningTrigger(store) as second:
        await until(lambda: len(second.events) >= 4)
        await looked(sim, 3)

    assert sorted(second.told) == sorted(meanwhile)


@needs_airflow_3
async def test_an_event_that_airflow_may_not_have_got_is_told_again(sim, store, monkeypatch):
    """A triggerer that is killed takes the events with it that it had not handed on: up to a second's worth."""
    async with RunningTrigger(store) as first:
        await looked(sim)
        monkeypatch.setattr(kling_clips, "SPACING_SECONDS", 60.0)
        (task_id,) = sim.seed(count=1)
        sim.advance(60)
        await until(lambda: first.events)
    monkeypatch.setattr(kling_clips, "SPACING_SECONDS", 0.0)
    async with RunningTrigger(store) as second:
        await until(lambda: second.events)

    assert first.told == second.told == [task_id]


@needs_airflow_3
async def test_events_keep_a_distance_and_the_last_one_a_longer_one(sim, store, monkeypatch):
    """Airflow leaves out of a run what comes while its scheduler is busy; the next event brings it along."""
    slept, sleep = [], asyncio.sleep

    async def note(seconds):
        slept.append(round(seconds, 1))
        await sleep(0)

    running = RunningTrigger(store)
    sim.seed(count=3, age_seconds=100)
    running.trigger.first_lookback = 1000.0
    monkeypatch.setattr(kling_clips, "SPACING_SECONDS", 3.0)
    monkeypatch.setattr(kling_clips, "LAST_SPACING_SECONDS", 15.0)
    monkeypatch.setattr(kling_clips.asyncio, "sleep", note)
    events = running.trigger.run()
    for _ in range(3):
        await anext(events)
    await events.aclose()

    assert [seconds for seconds in slept if seconds >= 2.5] == [3.0, 3.0, 3.0, 15.0]


@needs_airflow_3
async def test_what_ended_too_long_ago_to_be_caught_up_is_said(sim, store, caplog):
    async with RunningTrigger(store) as first:
        await looked(sim)
        await until(lambda: store.saved)
    record = json.loads(store.notes[first.trigger.record_key])
    store.change(first.trigger.record_key, floor=record["floor"] - 3 * 86400)
    sim.seed(count=1, age_seconds=2 * 86400)
    async with RunningTrigger(store) as second:
        await looked(sim, 3)

    assert second.events == []
    assert "clips that ended more than lookback (86400 s) ago are not told" in caplog.text


@needs_airflow_3
async def test_a_restart_after_quiet_days_does_not_say_that_nobody_looked(sim, store, caplog):
    """The record is written when something happens: an old one does not tell that clips were missed."""
    async with RunningTrigger(store) as first:
        await looked(sim)
        await until(lambda: store.saved)
    record = json.loads(store.notes[first.trigger.record_key])
    store.change(first.trigger.record_key, floor=record["floor"] - 3 * 86400)
    async with RunningTrigger(store):
        await looked(sim, 3)

    assert "nobody looked" not in caplog.text
    # Airflow 3.0 has a warning of its own for a connection whose type has an underscore.
    ours = [record for record in caplog.records if not record.name.startswith("airflow.")]
    assert [record for record in ours if record.levelno >= logging.WARNING] == []


@needs_airflow_3
async def test_nothing_is_noted_down_while_nothing_happens(sim, store):
    async with RunningTrigger(store):
        await looked(sim, 6)

    assert store.saved == 1


class SeveralAssets:
    """What Airflow 3.3 gives a trigger that several assets share."""

    async def aget(self, key):
        raise ValueError("Task has 2 concrete inlets and outlets")

    async def aset(self, key, value):
        raise ValueError("Task has 2 concrete inlets and outlets")


@needs_airflow_3
async def test_it_goes_on_where_it_was_when_another_asset_gets_the_same_watcher_and_loses_it_again(
    sim, store
):
    told, expected = [], []
    async with RunningTrigger(store):
        await looked(sim)
        await until(lambda: store.saved)
    for stores in (SeveralAssets(), store, SeveralAssets(), SeveralAssets(), store):
        expected += sim.seed(count=2)
        sim.advance(60)
        async with RunningTrigger(stores) as running:
            await until(lambda running=running: len(running.events) >= 2)
            await looked(sim, 3)
        told += running.told

    assert sorted(told) == sorted(expected)


@needs_airflow_3
@pytest.mark.parametrize("is_spoilt", [False, True])
async def test_a_store_that_was_emptied_or_spoilt_loses_no_clip(sim, store, is_spoilt):
    """Airflow 3.3 empties the store of an asset that no Dag names for a moment, as in a deployment."""
    async with RunningTrigger(store) as first:
        await looked(sim)
        await until(lambda: store.saved)
    (task_id,) = sim.seed(count=1)
    sim.advance(60)
    store.notes = {first.trigger.record_key: "[]"} if is_spoilt else {}
    async with RunningTrigger(store) as second:
        await until(lambda: second.events)
        await looked(sim, 3)

    assert second.told == [task_id]


@needs_airflow_3
async def test_where_there_is_no_store_of_the_asset_an_airflow_variable_is_used(sim, variables):
    for store in (None, SeveralAssets()):
        variables.clear()
        async with RunningTrigger(store) as first:
            await looked(sim)
            await until(lambda: variables)
        (task_id,) = sim.seed(count=1)
        sim.advance(60)
        async with RunningTrigger(store) as second:
            await until(lambda second=second: second.events)

        assert list(variables) == [first.trigger.record_key]
        assert second.told == [task_id]


@needs_airflow_3
async def test_a_variable_that_could_not_be_asked_for_is_not_taken_for_none(supervisor):
    """`Variable.get` of Airflow 3.1 and later takes it so: what ended before a restart would be lost."""
    trigger = KlingClipsTrigger()

    assert await compat.load_of_watcher(trigger, "a") == []
    await compat.save_of_watcher(trigger, "a", {"floor": 1.5})
    assert await compat.load_of_watcher(trigger, "a") == [{"floor": 1.5}]
    supervisor.is_broken = True
    with pytest.raises(Exception, match="API_SERVER_ERROR"):
        await compat.load_of_watcher(trigger, "a")


@needs_airflow_3
async def test_after_an_upgrade_to_airflow_3_3_it_goes_on_from_the_variable(sim, store, variables):
    async with RunningTrigger(None):
        await looked(sim)
        await until(lambda: variables)
    (task_id,) = sim.seed(count=1)
    sim.advance(60)
    async with RunningTrigger(store) as second:
        await until(lambda: second.events)
        await until(lambda: store.notes)

    assert second.told == [task_id]


@needs_airflow_3
async def test_a_trigger_that_is_cancelled_lets_airflow_answer_what_it_asked(supervisor):
    """In Airflow 3.0 and 3.1 the answers cross if nobody reads one, which ends the triggerer."""
    trigger = KlingClipsTrigger()
    for call in (compat.load_of_watcher(trigger, "a"), compat.save_of_watcher(trigger, "a", {})):
        supervisor.asked = supervisor.answered = 0
        asking = asyncio.create_task(call)
        await until(lambda: supervisor.asked)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: supervisor.answered)

    assert supervisor.kept == {"a": "{}"}


# ---------------------------------------------------------------------------------------------- bad input


@needs_airflow_3
async def test_a_key_that_is_refused_is_told_once_and_a_new_one_is_taken(
    sim, store, connect, caplog, request
):
    async with RunningTrigger(store) as running:
        await looked(sim)
        (task_id,) = sim.seed(count=1)
        request.addfinalizer(lambda: sim.rotate_key(DEFAULT_API_KEY))
        sim.rotate_key("sk-new")
        await until(lambda: "no avatar clip can be told of" in caplog.text)
        sim.advance(60)
        await looked(sim, 3)
        connect(password="sk-new")
        await until(lambda: running.events)
    assert running.told == [task_id]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["the key is not valid" in record.getMessage() for record in errors] == [True]
    assert "clips can be looked for again" in caplog.text


@needs_airflow_3
async def test_an_api_without_a_list_is_told_and_not_asked(sim, store, connect, caplog):
    connect(api="generations")
    async with RunningTrigger(store):
        await until(lambda: "no avatar clip can be told of" in caplog.text)
        await asyncio.sleep(0.2)

    assert "list" in caplog.text
    assert "kling, " in caplog.text, "those that can"
    assert sim.requests == []
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


@needs_airflow_3
@pytest.mark.parametrize("kind", ["http_error", "drop_after", "truncated_json", "html"])
async def test_a_list_that_fails_for_a_while_loses_and_doubles_nothing(sim, store, caplog, kind):
    async with RunningTrigger(store) as running:
        await looked(sim)
        ids = sim.seed(count=3)
        await looked(sim)
        sim.fault(kind=kind, call="list", times=6)
        sim.advance(60)
        await until(lambda: len(running.events) >= 3)
        await looked(sim, 3)

    assert sorted(running.told) == sorted(ids)
    assert "no avatar clip can be told of" in caplog.text


@needs_airflow_3
async def test_a_list_that_lags_tells_late_but_of_all_and_once(sim, store):
    async with RunningTrigger(store) as running:
        await looked(sim)
        ids = sim.seed(count=3)
        await looked(sim)
        sim.lists(lag_seconds=300)
        sim.advance(60)
        await looked(sim, 3)
        assert running.events == []
        sim.advance(300)
        await until(lambda: len(running.events) >= 3)
        await looked(sim, 3)

    assert sorted(running.told) == sorted(ids)


@needs_airflow_3
async def test_thousands_of_old_clips_are_neither_told_nor_read_again_and_again(sim, store):
    sim.seed(count=4000, age_seconds=1000, spacing_seconds=60)
    async with RunningTrigger(store) as running:
        await looked(sim, 4)
        (task_id,) = sim.seed(count=1)
        sim.advance(60)
        await until(lambda: running.events)
        await looked(sim, 3)

    assert running.told == [task_id]
    assert set(pages(sim)) == {1}
    assert len(store.notes[running.trigger.record_key]) < 20_000


@needs_airflow_3
async def test_a_record_that_cannot_be_read_is_waited_for_and_never_taken_for_none(sim, store, caplog):
    async with RunningTrigger(store) as first:
        await looked(sim)
        await until(lambda: store.saved)
    (task_id,) = sim.seed(count=1)
    sim.advance(60)
    store.broken = 3
    async with RunningTrigger(store) as second:
        await until(lambda: second.events)

    assert first.events == []
    assert second.told == [task_id]
    assert f"what was told before, in {first.trigger.record_key}, cannot be read" in caplog.text


@needs_airflow_3
async def test_a_record_that_somebody_has_spoilt_is_named_and_taken_up_when_it_is_mended(sim, store, caplog):
    async with RunningTrigger(store) as first:
        await looked(sim)
        await until(lambda: store.saved)
    good = dict(store.notes)
    key = first.trigger.record_key
    store.change(key, settled={"a": None})
    (task_id,) = sim.seed(count=1)
    sim.advance(60)
    async with RunningTrigger(store) as second:
        await until(lambda: f"in {key}, cannot be read" in caplog.text)
        store.notes = good
        await until(lambda: second.events)

    assert second.told == [task_id]


@needs_airflow_3
async def test_a_record_that_cannot_be_written_stops_nothing(sim, store, caplog):
    async with RunningTrigger(store) as running:
        await looked(sim)
        store.broken = 2
        ids = sim.seed(count=3)
        sim.advance(60)
        await until(lambda: len(running.events) == 3)
        await looked(sim)

    assert sorted(running.told) == sorted(ids)
    assert "what was told cannot be noted down" in caplog.text


@needs_airflow_3
async def test_it_never_sends_anything_but_questions(sim, store, sessions):
    async with RunningTrigger(store) as running:
        await looked(sim)
        sim.seed(count=2)
        sim.advance(60)
        await until(lambda: len(running.events) == 2)

    assert {request.method for request in sim.requests} == {"GET"}
    assert all(session.closed for session in sessions)


@needs_airflow_3
async def test_the_session_is_not_closed_under_a_look_when_the_last_waiter_goes(sim, sessions):
    session = await session_of("kling_avatar_default")
    async with session.kept_open() as client:
        (task_id,) = sim.seed(count=1)
        sim.advance(60)
        await begin(task_id)
        await client.list_tasks("avatar")
        assert [session.closed for session in sessions] == [False]

    assert [session.closed for session in sessions] == [True]
