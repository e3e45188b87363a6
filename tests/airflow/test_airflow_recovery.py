"""What operators do when things go wrong: full accounts, clears, changed inputs, time running out, kills."""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

try:
    from airflow.sdk.io import attach
except ImportError:
    from airflow.io.store import attach

from airflow_provider_kling_avatar import waiting
from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
)
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger
from airflow_provider_kling_avatar.triggers.kling_slot import KlingSlotTrigger

NEWS = {"text": "Good evening and welcome to the news.", "voice_id": "reader_en_m-v1"}


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def naps(monkeypatch):
    """Nobody sleeps on a worker; what would have been slept is listed."""
    slept = []
    monkeypatch.setattr("airflow_provider_kling_avatar.operators.base.time.sleep", slept.append)
    return slept


@pytest.fixture
def submit(face, voice):
    def build(**more):
        return KlingAvatarSubmitOperator(task_id="clip", **({"image": face, "audio": voice} | more))

    return build


@pytest.fixture
def avatar(face, voice):
    def build(**more):
        return KlingAvatarOperator(
            task_id="clip", **({"image": face, "audio": voice, "poll_interval": 5} | more)
        )

    return build


def full(sim, times=1, code=1303):
    # The client itself repeats 1302 before anybody hears of it.
    sim.fault(kind="error_code", method="POST", path="/v1/videos", code=code, status=429, times=times)


def posts(sim, path="/v1/videos"):
    return [request for request in sim.requests if request.method == "POST" and request.path.startswith(path)]


def put_off(run, context, *more):
    """Run until the task waits for a slot; return the trigger's arguments and the rest of the deferral."""
    with pytest.raises(TaskDeferred) as deferred:
        run(context, *more)
    assert isinstance(deferred.value.trigger, KlingSlotTrigger)
    assert deferred.value.method_name == "execute_complete"
    assert not deferred.value.kwargs, "dag.test() of Airflow 3.3 drops them"
    return deferred.value.trigger.serialize()[1], deferred.value.timeout


def slot_event(arguments, verdict="free_slot"):
    return {"verdict": verdict} | {name: arguments[name] for name in ("endpoint", "deadline", "since")}


# ---------------------------------------------------------------------------------------------- a full account


@pytest.mark.parametrize("kind", ["submit", "avatar"])
def test_a_full_account_makes_the_task_wait_in_the_triggerer_and_send_again(kind, request, sim, context):
    task = request.getfixturevalue(kind)(slot_timeout=900)
    full(sim)

    arguments, backstop = put_off(task.execute, context)

    assert arguments["deadline"] - arguments["since"] == 900
    assert arguments["busy"] == 0
    assert timedelta(seconds=900) < backstop < timedelta(seconds=1200)
    assert sim.ledger()["total"]["tasks"] == 0
    if kind == "submit":
        assert task.execute_complete(context, slot_event(arguments)) == sim.ledger()["entries"][0]["task_id"]
    else:
        with pytest.raises(TaskDeferred) as deferred:
            task.execute_complete(context, slot_event(arguments))
        assert isinstance(deferred.value.trigger, KlingAvatarTrigger)
    assert sim.ledger()["total"]["tasks"] == 1


def test_image_to_video_waits_just_the_same(sim, context, face):
    full(sim)

    arguments, _ = put_off(KlingImageToVideoSubmitOperator(task_id="clip", image=face).execute, context)

    assert arguments["endpoint"] == "image_to_video"


def test_how_many_run_is_counted_when_the_vendor_refuses(submit, sim, make_context):
    for run in ("a", "b"):
        submit().execute(make_context(run_id=run))
    full(sim)

    arguments, _ = put_off(submit().execute, make_context(run_id="c"))

    assert arguments["busy"] == 2


def test_a_task_that_is_refused_again_keeps_its_place_and_its_deadline(submit, sim, context):
    full(sim, times=3)
    first, _ = put_off(submit().execute, context)
    second, _ = put_off(submit().execute_complete, context, slot_event(first))
    third, _ = put_off(submit().execute_complete, context, slot_event(second))

    assert first["since"] == third["since"]
    assert first["deadline"] == third["deadline"]
    assert submit().execute_complete(context, slot_event(third))


def test_when_the_time_for_a_slot_is_over_the_last_submission_decides(submit, sim, context):
    full(sim, times=2)
    arguments, _ = put_off(submit(slot_timeout=900).execute, context)

    with pytest.raises(e.NoFreeSlotError, match="slot_timeout") as caught:
        submit().execute_complete(context, slot_event(arguments, "timeout"))
    assert caught.value.code == 1303
    assert not isinstance(caught.value, AirflowFailException), "Airflow's retries may go on"
    assert submit().execute_complete(context, slot_event(arguments, "timeout")), "there was a slot after all"


def test_a_trigger_that_ended_without_a_report_leads_to_one_more_submission(submit, sim, context):
    full(sim)
    with pytest.raises(e.NoFreeSlotError):
        submit().execute_complete(context, None)
    assert submit().execute_complete(context, None)


def test_a_clip_that_was_paid_while_the_worker_died_is_found_after_the_wait(submit, sim, context):
    full(sim)
    arguments, _ = put_off(submit().execute, context)
    sim.fault(kind="drop_after", method="POST")

    task_id = submit().execute_complete(context, slot_event(arguments))

    assert [entry["task_id"] for entry in sim.ledger()["entries"]] == [task_id]


@pytest.mark.parametrize("kind", ["submit", "avatar"])
def test_on_a_worker_it_sleeps_and_sends_again(kind, request, sim, context, naps, monkeypatch):
    monkeypatch.setattr(
        "airflow_provider_kling_avatar.operators.kling_avatar.wait_for_task", lambda *_, **__: None
    )
    monkeypatch.setattr(
        "airflow_provider_kling_avatar.operators.kling_avatar.deliver", lambda *_, **__: {"made": True}
    )
    task = request.getfixturevalue(kind)(deferrable=False)
    full(sim, times=4)

    assert task.execute(context)

    assert len(posts(sim)) == 5
    assert [8 <= naps[0] <= 12, 16 <= naps[1] <= 24, 32 <= naps[2] <= 48, 48 <= naps[3] <= 72] == [True] * 4
    assert sim.ledger()["total"]["tasks"] == 1


def test_on_a_worker_too_the_time_for_a_slot_ends(submit, sim, context, monkeypatch):
    now = [time.time()]
    monkeypatch.setattr(waiting.time, "time", lambda: now[0])
    monkeypatch.setattr(
        "airflow_provider_kling_avatar.operators.base.time.sleep",
        lambda nap: now.__setitem__(0, now[0] + nap),
    )
    full(sim, times=0)

    with pytest.raises(e.NoFreeSlotError, match="no slot became free in 300 s"):
        submit(deferrable=False, slot_timeout=timedelta(minutes=5)).execute(context)

    assert sim.ledger()["total"]["tasks"] == 0


def test_too_many_requests_backs_off_and_then_waits_without_a_worker_too(submit, sim, context, pauses):
    sim.fault(kind="error_code", method="POST", code=1302, status=429, times=0, retry_after=20)
    before = time.time()

    arguments, _ = put_off(submit().execute, context)

    assert arguments["busy"] is None
    assert before + 20 <= arguments["not_before"] <= time.time() + 20
    assert len(pauses) == 2, "it was patient first"


@pytest.mark.parametrize("code", [1100, 1101, 1102, 1304])
def test_what_no_waiting_helps_stops_at_once_and_says_why(submit, sim, context, code):
    sim.fault(kind="error_code", method="POST", code=code, status=429, times=0)

    with pytest.raises(AirflowFailException, match=str(code)):
        submit().execute(context)

    assert len(posts(sim)) == 1


def test_a_clip_that_the_vendor_failed_for_want_of_a_slot_is_no_failure(avatar, sim, context):
    sim.fault(kind="fail_task", reason="parallel task over resource pack limit")
    task = avatar()
    with pytest.raises(TaskDeferred):
        task.execute(context)
    (entry,) = sim.ledger()["entries"]
    sim.advance(60)
    failed = {
        "task_id": entry["task_id"],
        "endpoint": "avatar",
        "verdict": "failed",
        "reason": "parallel task over resource pack limit",
        "code": 1303,
    }

    arguments, _ = put_off(task.execute_complete, context, failed)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute_complete(context, slot_event(arguments))

    second = deferred.value.trigger.serialize()[1]["kling_task_id"]
    assert second != entry["task_id"]
    assert [row["external_task_id"][-2:] for row in sim.ledger()["entries"]] == ["-0", "-1"]


def test_the_time_for_a_slot_does_not_begin_anew_with_each_clip_that_failed_for_want_of_one(
    avatar, sim, context
):
    task = avatar(slot_timeout=900)
    sim.fault(kind="fail_task", reason="parallel task over resource pack limit", times=2)
    with pytest.raises(TaskDeferred):
        task.execute(context)

    def fail_for_want_of_a_slot():
        sim.advance(60)
        verdict = finished(sim) | {"verdict": "failed", "reason": "full", "code": 1303}
        return put_off(task.execute_complete, context, verdict)[0]

    first = fail_for_want_of_a_slot()
    with pytest.raises(TaskDeferred):
        task.execute_complete(context, slot_event(first))
    assert fail_for_want_of_a_slot()["deadline"] == first["deadline"]
    assert sim.ledger()["total"]["tasks"] == 2


def test_a_text_is_not_spoken_again_after_waiting_for_a_slot(submit, sim, context):
    full(sim)
    task = submit(audio=None, **NEWS)
    arguments, _ = put_off(task.execute, context)

    assert task.execute_complete(context, slot_event(arguments))

    assert len(posts(sim, "/v1/audio/tts")) == 1


def test_a_text_is_not_spoken_again_after_its_clip_failed_for_want_of_a_slot(avatar, sim, context):
    sim.fault(kind="fail_task", reason="parallel task over resource pack limit")
    task = avatar(audio=None, **NEWS)
    with pytest.raises(TaskDeferred):
        task.execute(context)
    sim.advance(60)
    failed = finished(sim) | {"verdict": "failed", "reason": "full", "code": 1303}
    arguments, _ = put_off(task.execute_complete, context, failed)

    with pytest.raises(TaskDeferred):
        task.execute_complete(context, slot_event(arguments))

    assert len(posts(sim, "/v1/audio/tts")) == 1


def test_a_question_that_is_refused_for_now_is_not_taken_for_a_refused_clip(
    connect, submit, sim, make_context
):
    connect(api="relay", path_prefix="/relay/v3/kling")  # it does not know our names
    submit().execute(make_context())
    sim.fault(kind="error_code", method="GET", code=1302, status=429, times=0)

    with pytest.raises(e.RateLimitedError):
        submit().execute(make_context(try_number=2))

    assert sim.ledger()["total"]["tasks"] == 1


# ---------------------------------------------------------------------------------------------- left-over events


@pytest.mark.parametrize("store_there", [False, True])
def test_a_retry_that_is_resumed_with_an_old_event_is_not_taken_for_refused_just_now(
    connect, submit, sim, make_context, store_there
):
    connect(api="generations")
    task = submit(image="https://p.test/f.png", audio="https://s.test/v.mp3", audio_duration_seconds=12)
    first = make_context(store_there=store_there)
    sim.fault(kind="error_code", method="POST", code=1303, status=429)
    arguments, _ = put_off(task.execute, first)
    sim.fault(kind="drop_after", method="POST")
    with pytest.raises(e.UnknownSubmissionError):
        task.resume_execution("execute_complete", {"event": slot_event(arguments)}, first)

    retry = make_context(store_there=store_there, try_number=2)
    retry["ti"].xcoms = first["ti"].xcoms  # Airflow 3.0 keeps these, too
    with pytest.raises(e.UnaskableSubmissionError):
        task.resume_execution("execute_complete", {"event": slot_event(arguments)}, retry)

    assert sim.ledger()["total"]["tasks"] == 1


@pytest.mark.parametrize(
    ("method", "kwargs"),
    [
        ("execute_complete", {"event": {"task_id": "x", "verdict": "timeout"}}),
        ("__fail__", {"error": "Trigger timeout"}),
    ],
)
def test_a_retry_that_is_resumed_with_an_old_verdict_goes_on_with_the_clip(
    avatar, sim, make_context, method, kwargs
):
    task = avatar()
    first = make_context()
    with pytest.raises(TaskDeferred):
        task.execute(first)
    retry = make_context(try_number=2)
    retry["ti"].xcoms = first["ti"].xcoms

    with pytest.raises(TaskDeferred) as deferred:
        task.resume_execution(method, kwargs, retry)

    assert deferred.value.trigger.serialize()[1]["kling_task_id"] == sim.ledger()["entries"][0]["task_id"]
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_sensor_that_is_resumed_with_an_old_verdict_looks_anew(submit, sim, make_context):
    task_id = submit().execute(make_context(task_id="submit"))
    sensor = KlingAvatarSensor(task_id="wait", kling_task_id=task_id)
    first = make_context(task_id="wait")
    with pytest.raises(TaskDeferred):
        sensor.execute(first)
    retry = make_context(task_id="wait", try_number=2)
    retry["ti"].xcoms = first["ti"].xcoms
    sim.advance(60)

    old = finished(sim) | {"verdict": "lost"}
    assert sensor.resume_execution("execute_complete", {"event": old}, retry)["task_id"] == task_id


def test_an_event_of_this_try_is_taken(avatar, sim, make_context):
    task = avatar()
    for try_number in (1, 2):
        context = make_context(try_number=try_number)
        with pytest.raises(TaskDeferred):
            task.execute(context)
        asked = len(sim.requests)
        failed = finished(sim) | {"verdict": "failed", "reason": "render node lost"}
        with pytest.raises(e.TaskFailedError):
            task.resume_execution("execute_complete", {"event": failed}, context)
        assert len(sim.requests) == asked


# ---------------------------------------------------------------------------------------------- notes in a file


@pytest.mark.parametrize("shape", ["{}", "file://{}", "{}/"])
def test_with_a_state_path_a_retry_is_safe_where_the_api_keeps_no_name(
    connect, submit, sim, make_context, tmp_path, shape
):
    connect(api="generations")
    pictures = {"image": "https://pictures.test/f.png", "audio": "https://sounds.test/v.mp3"}
    task = submit(state_path=shape.format(tmp_path), audio_duration_seconds=12, **pictures)

    first = task.execute(make_context())

    assert task.execute(make_context(try_number=2)) == first
    assert sim.ledger()["total"]["tasks"] == 1
    with pytest.raises(e.UnaskableSubmissionError):
        submit(audio_duration_seconds=12, **pictures).execute(make_context(try_number=2))


def test_a_state_path_may_be_an_object_store(submit, sim, make_context):
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", "notes", fs=MemoryFileSystem())  # by a name of its own: what others asked for is kept
    task = submit(state_path="memory://notes@bucket/notes")

    first = task.execute(make_context())

    assert task.execute(make_context(try_number=2)) == first
    (note,) = MemoryFileSystem().ls("/bucket/notes") or MemoryFileSystem().ls("/notes")
    assert note["name"].endswith(".json")


def test_each_task_instance_has_a_file_of_its_own_and_only_small_facts_are_in_it(
    submit, make_context, tmp_path
):
    (tmp_path / "notes").mkdir()
    for map_index in (0, 1):
        submit(state_path=str(tmp_path / "notes")).execute(make_context(map_index=map_index))

    files = sorted((tmp_path / "notes").iterdir())
    assert len(files) == 2
    assert all(file.name.startswith("news-clip-") and file.stat().st_size < 1000 for file in files)


def test_a_state_path_wins_over_airflows_store_so_that_an_upgrade_forgets_nothing(
    submit, make_context, events, tmp_path
):
    submit(state_path=str(tmp_path)).execute(make_context(store_there=True))

    assert [event for event in events if event[0] == "store"] == []


def test_a_folder_that_is_not_mounted_is_not_an_empty_one(submit, sim, make_context, tmp_path):
    for try_number in (1, 2):
        with pytest.raises(e.StateUnavailableError, match="mount"):
            submit(state_path=str(tmp_path / "share")).execute(make_context(try_number=try_number))

    assert posts(sim) == []


@pytest.mark.parametrize("damage", ["half", "list", "directory"])
def test_a_damaged_note_is_an_error_and_pays_nothing(submit, sim, make_context, tmp_path, damage):
    (tmp_path / "notes").mkdir()
    task = submit(state_path=str(tmp_path / "notes"))
    task.execute(make_context())
    (file,) = (tmp_path / "notes").iterdir()
    if damage == "directory":
        file.unlink()
        file.mkdir()
    else:
        file.write_text({"half": file.read_text()[:20], "list": "[]"}[damage])

    with pytest.raises(e.StateUnavailableError, match="nothing new is sent"):
        task.execute(make_context(try_number=2))

    assert len(posts(sim)) == 1


def test_a_state_path_that_is_no_storage_is_said_before_anything_is_paid(submit, sim, context):
    with pytest.raises(e.ConfigurationError, match="state_path"):
        submit(state_path="nowhere://bucket/x").execute(context)

    assert posts(sim) == []


def test_a_clip_whose_inputs_are_gone_is_named_so_that_it_can_be_fetched(
    submit, sim, make_context, voice, caplog, capsys
):
    task = submit()
    task_id = task.execute(make_context(store_there=True))
    Path(voice).unlink()

    with caplog.at_level(logging.WARNING), pytest.raises(e.MediaError):
        task.execute(make_context(store_there=True, try_number=2))

    assert f"paid for task {task_id}" in caplog.text + capsys.readouterr().out
    assert sim.ledger()["total"]["tasks"] == 1


def test_airflows_own_store_that_is_down_pays_nothing(submit, sim, make_context):
    context = make_context(store_there=True)

    def down(*_, **__):
        raise RuntimeError("API server is gone")

    context["task_state_store"].get = down
    with pytest.raises(e.StateUnavailableError, match="RuntimeError"):
        submit().execute(context)

    assert posts(sim) == []


# ---------------------------------------------------------------------------------------------- clears


def finished(sim, entry=-1):
    return {
        "task_id": sim.ledger()["entries"][entry]["task_id"],
        "endpoint": "avatar",
        "verdict": "succeeded",
        "reason": None,
        "code": None,
    }


@pytest.mark.parametrize("store_there", [False, True], ids=["without a state store", "with a state store"])
@pytest.mark.parametrize(("on_rerun", "clips"), [("reuse", 1), ("regenerate", 2)])
def test_a_clear_after_success_delivers_the_clip_again_or_makes_a_new_one(
    avatar, sim, make_context, store_there, on_rerun, clips
):
    task = avatar(on_rerun=on_rerun, retries=2)
    first = make_context(store_there=store_there, max_tries=2)
    with pytest.raises(TaskDeferred):
        task.execute(first)
    sim.advance(60)
    task.execute_complete(first, finished(sim))

    def cleared(try_number):
        return make_context(store_there=store_there, try_number=try_number, max_tries=3)

    if on_rerun == "reuse":
        assert task.execute(cleared(2))["task_id"] == first["ti"].xcoms["task_id"]
    else:
        for try_number in (2, 3):
            with pytest.raises(TaskDeferred) as deferred:
                task.execute(cleared(try_number))
            second = deferred.value.trigger.serialize()[1]["kling_task_id"]
            assert second == sim.ledger()["entries"][1]["task_id"]
    assert sim.ledger()["total"]["tasks"] == clips


def test_a_submit_that_is_cleared_for_a_new_clip_makes_one_though_the_old_is_still_being_made(
    submit, sim, make_context
):
    task = submit(on_rerun="regenerate")
    first = task.execute(make_context(store_there=True))

    assert task.execute(make_context(store_there=True, try_number=2, max_tries=1)) != first
    assert sim.ledger()["total"]["tasks"] == 2


def test_changed_inputs_stop_where_the_user_wants_to_know(submit, sim, make_context):
    submit().execute(make_context(store_there=True))

    with pytest.raises(e.ChangedInputError, match="submit_new") as caught:
        submit(mode="pro", on_changed_input="fail").execute(make_context(store_there=True, try_number=2))

    assert isinstance(caught.value, AirflowFailException)
    assert len(posts(sim)) == 1


@pytest.mark.parametrize(
    ("store_there", "told"), [(True, ("std", "0.14")), (False, (None, None))], ids=["noted", "not noted"]
)
def test_the_result_never_tells_of_inputs_that_were_not_paid_for(
    avatar, sim, make_context, caplog, capsys, store_there, told
):
    with pytest.raises(TaskDeferred):
        avatar(mode="std").execute(make_context(store_there=store_there))
    sim.advance(60)
    retry = make_context(store_there=store_there, try_number=2, max_tries=1)

    with caplog.at_level(logging.INFO):
        manifest = avatar(mode="pro", retries=1).execute(retry)

    assert (manifest["mode"], manifest["estimated_cost"]) == told
    assert "0.28" not in caplog.text + capsys.readouterr().out, "the price of a pro clip"
    assert sim.ledger()["total"]["tasks"] == 1


# ---------------------------------------------------------------------------------------------- time runs out


def test_a_clip_that_got_ready_between_the_deadline_and_the_worker_is_taken(avatar, sim, context):
    task = avatar()
    with pytest.raises(TaskDeferred):
        task.execute(context)
    sim.advance(60)

    result = task.execute_complete(context, finished(sim) | {"verdict": "timeout", "reason": "7200 s"})

    assert result["video_url"]


def test_after_a_timeout_the_error_tells_both_times_and_the_next_try_goes_on_with_the_clip(
    avatar, sim, make_context
):
    task = avatar()
    context = make_context()
    with pytest.raises(TaskDeferred):
        task.execute(context)
    reason = "30 s in the vendor's queue, 7170 s rendering"

    with pytest.raises(e.TaskTimeoutError, match=reason) as caught:
        task.execute_complete(context, finished(sim) | {"verdict": "timeout", "reason": reason})

    assert sim.ledger()["entries"][0]["task_id"] in str(caught.value)
    with pytest.raises(TaskDeferred):
        task.execute(make_context(try_number=2))
    assert sim.ledger()["total"]["tasks"] == 1


def test_the_time_in_the_vendors_queue_and_the_time_rendering_have_limits_of_their_own(avatar, sim, context):
    with pytest.raises(TaskDeferred) as deferred:
        avatar(timeout=7200, queue_timeout=timedelta(minutes=10), render_timeout=1800).execute(context)

    arguments = deferred.value.trigger.serialize()[1]
    assert arguments["queue_deadline"] - arguments["since"] == 600
    assert arguments["render_timeout"] == 1800
    assert arguments["deadline"] - arguments["since"] == 7200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, -1)
            for name in ("timeout", "queue_timeout", "render_timeout", "poll_interval", "slot_timeout")
        ),
        ("timeout", float("nan")),
        ("timeout", "an hour"),
        ("slot_timeout", float("inf")),
        ("poll_interval", 0),
        ("poll_interval", timedelta(0)),
        ("on_rerun", "again"),
        ("on_changed_input", "submit"),
        ("on_unknown_submission", "ignore"),
        ("on_unknown_submission", None),
    ],
)
def test_a_limit_or_policy_that_means_nothing_is_said_before_anything_is_paid(
    avatar, sim, context, name, value
):
    with pytest.raises(e.InvalidRequestError, match=name) as caught:
        avatar(**{name: value}).execute(context)

    assert caught.value.field == name
    assert isinstance(caught.value, AirflowFailException)
    assert sim.requests == []


# ---------------------------------------------------------------------------------------------- kills


async def test_a_killed_trigger_says_once_that_the_clip_goes_on_and_asks_nobody(sim, monkeypatch):
    lines = []

    class Log:
        def warning(self, line, *values):
            lines.append(line % values)

    monkeypatch.setattr(KlingAvatarTrigger, "log", Log())
    trigger = KlingAvatarTrigger(kling_task_id="831", kling_conn_id="kling_avatar_default", deadline=0)

    await trigger.on_kill()

    (line,) = lines
    assert "task 831" in line
    assert "cannot cancel" in line
    assert sim.requests == []


@pytest.mark.filterwarnings("error")
def test_beginning_anew_does_not_trip_over_airflows_guard(avatar, make_context, monkeypatch, capsys, caplog):
    task = avatar(allow_nested_operators=False)
    first = make_context()
    with contextlib.suppress(TaskDeferred):
        task.begin(first)
    retry = make_context(try_number=2)
    retry["ti"].xcoms = first["ti"].xcoms

    with pytest.raises(TaskDeferred):
        task.resume_execution("execute_complete", {"event": None}, retry)

    assert "outside of the Task Runner" not in capsys.readouterr().out + caplog.text
