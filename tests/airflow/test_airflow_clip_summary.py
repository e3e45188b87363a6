"""What tasks leave about their clip for people to look at: small, without links; it never fails a task."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from asgiref.sync import async_to_sync

from airflow_provider_kling_avatar import clip_summary
from airflow_provider_kling_avatar.clip_summary import CLIP_XCOM_KEY, tell, tell_from_trigger
from airflow_provider_kling_avatar.compat import HAS_REACT_APPS, XCom
from airflow_provider_kling_avatar.exceptions import airflow_errors
from airflow_provider_kling_avatar.kling.errors import (
    InvalidRequestError,
    KlingError,
    NoFreeSlotError,
    NoSuchTaskError,
)
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
)
from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

pytestmark = pytest.mark.usefixtures("connect")


def summary_of(context):
    return context["ti"].xcoms[CLIP_XCOM_KEY]


@pytest.fixture
def clip(face, voice, context):
    """A clip that the vendor has; its task, deferred."""
    operator = KlingAvatarOperator(task_id="clip", image=face, audio=voice)
    with pytest.raises(TaskDeferred):
        operator.execute(context)
    return operator, context["ti"].xcoms["task_id"]


def test_a_clip_that_was_sent_says_what_it_is_and_what_it_may_cost(clip, context):
    summary = summary_of(context)

    assert (
        summary
        | {
            "schema": "kling-avatar-clip/1",
            "state": "queued",
            "step": 2,
            "kling_task_id": clip[1],
            "api": "kling",
            "endpoint": "avatar",
            "mode": "std",
            "currency": "USD",
        }
        == summary
    )
    assert float(summary["estimated_cost"]) == pytest.approx(0.14, abs=0.01)


def test_a_clip_that_is_there_says_what_its_manifest_says_without_links(clip, context, sim, tmp_path):
    operator, task_id = clip
    operator.output_path = str(tmp_path / "clip.mp4")
    sim.advance(60)

    operator.execute_complete(context, {"task_id": task_id, "endpoint": "avatar", "verdict": "succeeded"})

    summary = summary_of(context)
    assert summary["state"] == "ready"
    assert summary["file_uri"] == f"file://{tmp_path}/clip.mp4"
    assert summary["size"] == (tmp_path / "clip.mp4").stat().st_size
    assert summary["actual_cost"]
    assert summary["estimated_cost"]
    assert "http" not in json.dumps(summary)
    assert len(json.dumps(summary)) < 1500, "small"


def test_an_estimate_in_another_currency_than_what_was_paid_is_left_out(context):
    tell(context, "queued", estimated_cost="0.34", currency="USD")
    told = dict.fromkeys(clip_summary.FROM_MANIFEST) | {"actual_cost": "2.10", "currency": "CNY"}

    clip_summary.tell_ready(context, {"task_id": "831", **told})

    summary = summary_of(context)
    assert (summary.get("estimated_cost"), summary["actual_cost"], summary["currency"]) == (
        None,
        "2.10",
        "CNY",
    )


def test_a_clip_that_failed_says_why_and_whether_it_was_paid(clip, context, sim):
    operator, task_id = clip

    event = {
        "task_id": task_id,
        "endpoint": "avatar",
        "verdict": "failed",
        "reason": "Failure to pass the <b>check",
    }
    with pytest.raises(KlingError):
        operator.execute_complete(context, event)

    summary = summary_of(context)
    assert summary["state"] == "failed"
    assert "Failure to pass the <b>check" in summary["reason"]
    assert summary["paid"].startswith("the vendor took the clip and failed it")
    assert summary["kling_task_id"] == task_id


def test_a_clip_that_was_refused_before_it_was_sent_says_that_nothing_was_paid(face, context):
    with pytest.raises(KlingError):
        KlingAvatarOperator(task_id="clip", image=face, audio="/gone.mp3").execute(context)

    assert (summary_of(context)["state"], summary_of(context)["paid"]) == ("failed", "no clip, by this try")


def test_a_task_that_only_waits_says_nothing_of_money_that_it_cannot_know(context):
    tell(
        context, "queued", step=2, kling_task_id="831"
    )  # as a sensor does: another task has sent it, or somebody else

    clip_summary.tell_failed(context, KlingError("the key was refused"))

    assert not summary_of(context)["paid"].startswith("yes")


def test_a_reason_of_any_length_is_cut(context):
    clip_summary.tell_failed(context, KlingError("far too long. " * 500))

    assert len(summary_of(context)["reason"]) == 500


def test_a_clip_that_waits_for_a_slot_says_so(face, voice, sim, context):
    sim.fault(kind="error_code", code=1303, method="POST")

    with pytest.raises(TaskDeferred):
        KlingAvatarOperator(task_id="clip", image=face, audio=voice).execute(context)

    assert summary_of(context)["state"] == "waiting_for_slot"


def test_a_clip_that_was_failed_for_want_of_a_slot_is_not_the_one_that_is_waited_for(clip, context):
    operator, task_id = clip
    event = {"task_id": task_id, "endpoint": "avatar", "verdict": "failed", "reason": "full", "code": 1303}

    with pytest.raises(TaskDeferred):
        operator.execute_complete(context, event)

    assert summary_of(context)["state"] == "waiting_for_slot"
    assert "kling_task_id" not in summary_of(context)

    clip_summary.tell_failed(context, NoFreeSlotError("no slot became free"))

    assert summary_of(context)["paid"] == "no clip, by this try"


def test_of_a_task_that_the_vendor_does_not_know_nobody_says_that_it_was_paid_for():
    assert clip_summary.said_of_payment(NoSuchTaskError("task 831"), "831").startswith("not known")


def test_a_task_that_only_sends_and_one_that_only_fetches_say_their_step(
    face, voice, sim, make_context, tmp_path
):
    sends, fetches = make_context(), make_context()
    task_id = KlingAvatarSubmitOperator(task_id="submit", image=face, audio=voice).execute(sends)
    sim.advance(60)
    fetch = KlingVideoDownloadOperator(
        task_id="fetch", kling_task_id=task_id, output_path=str(tmp_path / "a.mp4")
    )
    fetch.execute(fetches)

    assert (summary_of(sends)["state"], summary_of(sends)["step"]) == ("submitted", 1)
    assert (summary_of(fetches)["state"], summary_of(fetches)["step"]) == ("ready", 3)
    assert summary_of(fetches)["file_uri"] == f"file://{tmp_path}/a.mp4"


def test_a_sensor_says_how_the_clip_stands_at_its_looks(face, voice, sim, make_context):
    context = make_context()
    task_id = KlingAvatarSubmitOperator(task_id="submit", image=face, audio=voice).execute(make_context())
    sensor = KlingAvatarSensor(task_id="wait", kling_task_id=task_id, deferrable=False)
    seen = []
    for _ in range(4):
        sensor.poke(context)
        seen.append(summary_of(context)["state"])
        sim.advance(4)
    sim.advance(60)
    sensor.poke(context)

    assert seen[0] in ("queued", "rendering")
    assert seen == sorted(seen), "never back to where it was"
    assert summary_of(context)["state"] == "ready"


def test_a_sensor_that_skips_says_why(make_context, face, voice, sim):
    context = make_context()
    sensor = KlingAvatarSensor(task_id="wait", kling_task_id="831", soft_fail=True)

    with pytest.raises(AirflowSkipException):
        sensor.execute_complete(
            context, {"task_id": "831", "endpoint": "avatar", "verdict": "failed", "reason": "moderation"}
        )

    assert summary_of(context)["state"] == "failed"
    assert "moderation" in summary_of(context)["reason"]


@pytest.mark.skipif(not HAS_REACT_APPS, reason="before Airflow 3.1 nobody would see it")
@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_sensor_whose_time_airflow_ends_says_so(soft_fail, face, voice, make_context):
    """In mode reschedule nobody else counts the time."""
    context = make_context()
    context["ti"].first_reschedule = datetime.now(UTC) - timedelta(seconds=100)
    task_id = KlingAvatarSubmitOperator(task_id="submit", image=face, audio=voice).execute(make_context())
    sensor = KlingAvatarSensor(
        task_id="wait",
        kling_task_id=task_id,
        deferrable=False,
        mode="reschedule",
        timeout=60,
        soft_fail=soft_fail,
    )

    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout):
        sensor.execute(context)

    summary = summary_of(context)
    assert (summary["state"], summary["paid"][:9]) == ("failed", "not known")
    assert "timed out" in summary["reason"]


def test_a_sensor_that_never_fails_says_why_it_skips(make_context):
    context = make_context()
    sensor = KlingAvatarSensor(task_id="wait", kling_task_id="831", deferrable=False, never_fail=True)

    with pytest.raises(AirflowSkipException):
        sensor.execute(context)

    assert summary_of(context)["state"] == "failed"
    assert "does not know task 831" in summary_of(context)["reason"]


def test_what_cannot_be_left_fails_no_task(context, monkeypatch):
    def refuse(**_):
        raise OSError("no database")

    monkeypatch.setattr(context["ti"], "xcom_push", refuse)

    tell(context, "queued")
    clip_summary.tell_failed(context, KlingError("x"))


def test_what_cannot_be_read_hides_no_error(context, monkeypatch):
    def refuse(**_):
        raise OSError("no API server")

    monkeypatch.setattr(context["ti"], "xcom_pull", refuse)

    with pytest.raises(AirflowFailException, match="a wrong prompt"), airflow_errors(context):
        raise InvalidRequestError("a wrong prompt")


def test_what_is_said_already_is_not_written_again(context):
    tell(context, "queued", step=2)
    written = len(context["ti"].events)
    tell(context, "queued", step=2)
    tell(context, None)

    assert len(context["ti"].events) == written


class Xcoms:
    """In place of Airflow's calls from a triggerer; says how many were under way at once."""

    def __init__(self):
        self.left = {}
        self.writes = 0
        self.at_once = self.most_at_once = 0

    def get_one(self, *, key, dag_id, task_id, run_id, map_index):
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        return self.left.get((dag_id, run_id, task_id, map_index, key))

    def set(self, *, key, value, dag_id, task_id, run_id, map_index):
        self.at_once -= 1
        self.writes += 1
        self.left[dag_id, run_id, task_id, map_index, key] = value


@pytest.fixture
def xcoms(monkeypatch):
    stand_in = Xcoms()
    monkeypatch.setattr(XCom, "get_one", stand_in.get_one)
    monkeypatch.setattr(XCom, "set", stand_in.set)
    return stand_in


def trigger_of(**names):
    defaults = {"dag_id": "news", "run_id": "run", "task_id": "clip", "map_index": -1}
    return SimpleNamespace(task_instance=SimpleNamespace(**(defaults | names)))


@pytest.mark.skipif(not HAS_REACT_APPS, reason="before Airflow 3.1 nobody would see it")
def test_a_trigger_changes_the_state_and_keeps_the_rest(xcoms):
    key = ("news", "run", "clip", 3, CLIP_XCOM_KEY)
    xcoms.left[key] = {"state": "queued", "state_since": 1.0, "estimated_cost": "0.34"}

    asyncio.run(tell_from_trigger(trigger_of(map_index=3), "rendering"))

    assert xcoms.left[key]["state"] == "rendering"
    assert xcoms.left[key]["state_since"] > 1.0
    assert xcoms.left[key]["estimated_cost"] == "0.34"


@pytest.mark.skipif(not HAS_REACT_APPS, reason="before Airflow 3.1 nobody would see it")
def test_airflow_is_asked_from_the_triggerers_own_loop(xcoms, monkeypatch):
    """As Airflow 3.1 asks its supervisor: from another loop the answers cross, which ends the triggerer."""
    asked_from = []

    async def ask():
        asked_from.append(asyncio.get_running_loop())

    def get_one(**_):
        async_to_sync(ask)()

    monkeypatch.setattr(XCom, "get_one", get_one)

    async def triggerer():
        await tell_from_trigger(trigger_of(), "rendering")
        return asyncio.get_running_loop()

    assert asked_from == [asyncio.run(triggerer())]


@pytest.mark.skipif(not HAS_REACT_APPS, reason="before Airflow 3.1 nobody would see it")
@pytest.mark.parametrize(
    "left", [None, "no summary", {}, *({"state": s} for s in ("rendering", "landing", "ready", "failed"))]
)
def test_a_trigger_takes_nothing_back_and_writes_nothing_twice(left, xcoms):
    """Its word may come late: when the task has gone on, was cleared, or its triggerer was started anew."""
    key = ("news", "run", "clip", -1, CLIP_XCOM_KEY)
    if left is not None:
        xcoms.left[key] = left
    before = dict(xcoms.left)

    asyncio.run(tell_from_trigger(trigger_of(), "rendering"))

    assert xcoms.left == before
    assert xcoms.writes == 0


@pytest.mark.skipif(not HAS_REACT_APPS, reason="before Airflow 3.1 nobody would see it")
def test_a_trigger_goes_on_without_an_answer(xcoms, monkeypatch):
    """Its own clip may be ready meanwhile, and its deadline near; all others wait behind it."""
    answered = threading.Event()
    monkeypatch.setattr(clip_summary, "LONGEST_TELLING", 0.2)
    monkeypatch.setattr(XCom, "get_one", lambda **_: answered.wait(60))

    async def two_go_on():
        begin = time.monotonic()
        await asyncio.gather(*(tell_from_trigger(trigger_of(), "rendering") for _ in range(2)))
        answered.set()
        return time.monotonic() - begin

    assert asyncio.run(two_go_on()) < 5


@pytest.mark.skipif(not HAS_REACT_APPS, reason="before Airflow 3.1 nobody would see it")
def test_thousands_of_triggers_take_one_thread(xcoms):
    for row in range(200):
        xcoms.left["news", "run", "clip", row, CLIP_XCOM_KEY] = {"state": "queued"}

    async def all_begin():
        await asyncio.gather(
            *(tell_from_trigger(trigger_of(map_index=row), "rendering") for row in range(200))
        )

    asyncio.run(all_begin())

    assert all(summary["state"] == "rendering" for summary in xcoms.left.values())
    assert xcoms.most_at_once == 1


def test_a_trigger_without_a_task_instance_says_nothing(xcoms):
    asyncio.run(tell_from_trigger(SimpleNamespace(task_instance=None), "rendering"))

    assert xcoms.left == {}


def test_a_trigger_that_may_not_write_goes_on(monkeypatch):
    def refuse(**_):
        raise RuntimeError("not from here")

    monkeypatch.setattr(XCom, "get_one", refuse)

    asyncio.run(tell_from_trigger(trigger_of(), "rendering"))
