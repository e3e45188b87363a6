"""The operators, executed as a worker executes them: what they send, store, hand on and raise."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import time
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, TaskDeferred
from jsonschema import Draft202012Validator

from airflow_provider_kling_avatar.exceptions import airflow_errors, as_final
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task
from airflow_provider_kling_avatar.manifest import manifest_schema
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

AVATAR = "/v1/videos/avatar/image2video"
IMAGE_TO_VIDEO = "/v1/videos/image2video"


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def submit(face, voice):
    return KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice)


@pytest.fixture
def avatar(face, voice):
    return KlingAvatarOperator(task_id="clip", image=face, audio=voice, poll_interval=5, timeout=600)


def posts(sim):
    return [request for request in sim.requests if request.method == "POST"]


def event(task_id, verdict="succeeded", **more):
    return {"task_id": task_id, "endpoint": "avatar", "verdict": verdict, "reason": None, "code": None} | more


# ---------------------------------------------------------------------------------------------- submit


def test_submit_returns_the_vendors_task_id_and_pushes_what_others_need(submit, sim, context):
    task_id = submit.execute(context)

    (entry,) = sim.ledger()["entries"]
    pushed = context["ti"].xcoms
    assert task_id == entry["task_id"]
    assert pushed["task_id"] == task_id
    assert pushed["external_task_id"] == entry["external_task_id"]
    assert pushed["kling_submit_request_id"], "what to quote to the vendor"


def test_the_tasks_name_says_where_it_comes_from(submit, sim, context):
    submit.execute(context)

    assert sim.ledger()["entries"][0]["external_task_id"].startswith("news-clip-")


def test_the_state_store_has_the_id_before_xcom_and_an_intent_before_the_payment(
    submit, sim, make_context, events
):
    task_id = submit.execute(make_context(store_there=True))

    kind, _key, mark = events.pop(0)
    assert (kind, mark) == ("store", {"version": 1}), "a first try leaves its mark before anything else"
    assert events.pop(0) == ("xcom", "kling_estimate"), "what it will cost is told first of all"
    kinds = [(kind, key) for kind, key, *_ in events]
    assert kinds[:2] == [("store", "kling_submission"), ("store", "kling_submission")]
    assert {kind for kind, _ in kinds[2:-1]} == {"xcom"}
    assert events[-1][2]["delivered_in"] == 0
    intent, done = events[0][2], events[1][2]
    assert "task_id" not in intent
    assert intent["external_task_id"] == sim.ledger()["entries"][0]["external_task_id"]
    assert done["task_id"] == task_id


def test_the_intent_is_stored_before_the_vendor_is_called(submit, sim, make_context):
    context = make_context(store_there=True)
    store = context["task_state_store"]
    requests_at_set = []
    original_set = store.set
    store.set = lambda key, value: (requests_at_set.append(len(posts(sim))), original_set(key, value))

    submit.execute(context)

    assert requests_at_set == [0, 0, 1, 1], "mark, intent, id, delivery"


@pytest.mark.parametrize("store_there", [False, True], ids=["without a state store", "with a state store"])
def test_a_retry_attaches_to_the_task_of_the_first_try_and_pays_nothing(
    submit, sim, make_context, store_there
):
    first = submit.execute(make_context(store_there=store_there))
    context = make_context(store_there=store_there, try_number=2)

    second = submit.execute(context)

    assert second == first
    assert sim.ledger()["total"]["tasks"] == 1
    assert len(posts(sim)) == 1
    assert context["ti"].xcoms["task_id"] == first
    assert context["ti"].xcoms["external_task_id"] == sim.ledger()["entries"][0]["external_task_id"]


@pytest.mark.parametrize("store_there", [False, True], ids=["without a state store", "with a state store"])
def test_a_retry_pays_again_only_after_the_vendor_failed_the_first_task(
    submit, sim, make_context, store_there
):
    sim.fault(kind="fail_task", reason="render node lost")
    first = submit.execute(make_context(store_there=store_there))
    sim.advance(60)

    second = submit.execute(make_context(store_there=store_there, try_number=2))

    assert second != first
    assert sim.ledger()["total"]["tasks"] == 2


@pytest.mark.parametrize("store_there", [False, True], ids=["without a state store", "with a state store"])
def test_what_the_vendor_rejected_is_paid_again_after_a_clear_but_not_by_a_retry(
    submit, sim, make_context, store_there
):
    sim.fault(kind="fail_task", reason="Failure to pass the risk control system")
    submit.execute(make_context(store_there=store_there))
    sim.advance(60)

    with pytest.raises(errors.TaskRejectedError, match="risk control") as caught:
        submit.execute(make_context(store_there=store_there, try_number=2, max_tries=submit.retries))
    assert isinstance(caught.value, AirflowFailException)
    assert sim.ledger()["total"]["tasks"] == 1

    submit.execute(make_context(store_there=store_there, try_number=3, max_tries=2 + submit.retries))
    assert sim.ledger()["total"]["tasks"] == 2


def test_a_clear_of_a_task_finds_its_clip_again_where_airflow_has_a_state_store(submit, sim, make_context):
    first = submit.execute(make_context(store_there=True))

    assert submit.execute(make_context(store_there=True, try_number=1)) == first
    assert sim.ledger()["total"]["tasks"] == 1


def test_an_answer_that_got_lost_is_asked_for_and_not_paid_twice(submit, sim, context):
    sim.fault(kind="drop_after", method="POST")

    task_id = submit.execute(context)

    assert [entry["task_id"] for entry in sim.ledger()["entries"]] == [task_id]
    assert len(posts(sim)) == 1


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({"map_index": 1}, "another row"),
        ({"run_id": "manual__2"}, "another run"),
        ({"task_id": "other"}, "another task"),
        ({"dag_id": "weather"}, "another Dag"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_task_instance_gets_its_own_clip(submit, sim, make_context, changes, others):
    submit.execute(make_context())

    submit.execute(make_context(try_number=2, **changes))

    assert sim.ledger()["total"]["tasks"] == 2, others


def test_a_missing_map_index_counts_as_not_mapped(submit, sim, make_context):
    first = submit.execute(make_context())

    assert submit.execute(make_context(map_index=None, try_number=2)) == first


def test_our_own_external_id_is_kept(face, voice, sim, context):
    KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice, external_task_id="episode-12").execute(
        context
    )

    assert sim.ledger()["entries"][0]["external_task_id"] == "episode-12"
    assert context["ti"].xcoms["external_task_id"] == "episode-12"


def test_an_unanswerable_submission_fails_unless_told_to_pay_again(connect, sim, make_context):
    """`generations` keeps no name of ours: after a lost answer nobody can tell, and 2.11 has no state store."""
    connect(api="generations")
    face = voice = "https://media.example.com/file"
    fields = {"task_id": "clip", "image": face, "audio": voice, "audio_duration_seconds": 3}
    first_try = KlingAvatarSubmitOperator(**fields).execute(make_context())

    with pytest.raises(errors.UnaskableSubmissionError, match="on_unknown_submission='resubmit'"):
        KlingAvatarSubmitOperator(**fields).execute(make_context(try_number=2))
    again = KlingAvatarSubmitOperator(on_unknown_submission="resubmit", **fields).execute(
        make_context(try_number=2)
    )

    assert again != first_try
    assert sim.ledger()["total"]["tasks"] == 2


def test_every_field_of_an_avatar_reaches_the_vendor(face, voice, sim, context):
    KlingAvatarSubmitOperator(
        task_id="clip",
        image=face,
        audio=voice,
        prompt="smile",
        mode="pro",
        watermark="true",
        callback_url="https://example.com/done",
        external_task_id="mine",
        extra='{"seed": 7}',
    ).execute(context)

    body = posts(sim)[0].body
    assert body | {"image": "", "sound_file": ""} == {
        "image": "",
        "sound_file": "",
        "prompt": "smile",
        "mode": "pro",
        "watermark_info": {"enabled": True},
        "callback_url": "https://example.com/done",
        "external_task_id": "mine",
        "seed": 7,
    }


def test_text_is_spoken_first_where_the_api_does_not_speak_itself(face, sim, context):
    KlingAvatarSubmitOperator(
        task_id="clip",
        image=face,
        text="Good morning, here is the news of the day.",
        voice_id="oversea_male1",
    ).execute(context)

    assert [request.path for request in posts(sim)] == ["/v1/audio/tts", AVATAR]
    assert posts(sim)[1].body["audio_id"]


def test_every_field_of_an_image_to_video_reaches_the_vendor(face, sim, context):
    mask = face
    operator = KlingImageToVideoSubmitOperator(
        task_id="clip",
        image=face,
        prompt="a walk",
        negative_prompt="blur",
        model_name="kling-v1-5",
        cfg_scale="0.4",
        mode="pro",
        duration=5,
        static_mask=mask,
        dynamic_masks=[{"mask": mask, "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}],
        watermark=True,
        callback_url="https://example.com/done",
        external_task_id="mine",
        extra={"seed": 7},
    )

    operator.execute(context)

    (request,) = posts(sim)
    media = {"image": "", "static_mask": "", "dynamic_masks": ""}
    assert request.path == IMAGE_TO_VIDEO
    assert request.body | media == media | {
        "prompt": "a walk",
        "negative_prompt": "blur",
        "model_name": "kling-v1-5",
        "cfg_scale": 0.4,
        "mode": "pro",
        "duration": "5",
        "watermark_info": {"enabled": True},
        "callback_url": "https://example.com/done",
        "external_task_id": "mine",
        "seed": 7,
    }
    assert request.body["dynamic_masks"][0]["trajectories"] == [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
    assert "characters" in request.body["dynamic_masks"][0]["mask"], "the file itself, not its path"


def test_the_fields_that_exclude_masks_reach_the_vendor_too(face, sim, make_context):
    KlingImageToVideoSubmitOperator(
        task_id="clip",
        image=face,
        image_tail=face,
        model_name="kling-v2-6",
        mode="pro",
        duration="10",
        sound=False,
    ).execute(make_context(task_id="tail"))
    KlingImageToVideoSubmitOperator(
        task_id="clip",
        image=face,
        camera_control='{"type": "simple", "config": {"zoom": 5}}',
        voice_list=[{"voice_id": "v1"}],
        model_name="kling-v2-6",
        mode="pro",
        sound="on",
    ).execute(make_context(task_id="camera"))

    tail, camera = (request.body for request in posts(sim))
    assert tail["image_tail"]
    assert (tail["duration"], tail["sound"]) == ("10", "off")
    assert camera["camera_control"] == {"type": "simple", "config": {"zoom": 5}}
    assert camera["voice_list"] == [{"voice_id": "v1"}]
    assert camera["sound"] == "on"


# ---------------------------------------------------------------------------------------------- text-to-speech


def test_text_to_speech_returns_an_audio_id_that_an_avatar_takes(face, sim, context):
    audio_id = KlingTextToSpeechOperator(
        task_id="speech",
        text="Good morning, here is the news of the day.",
        voice_id="oversea_male1",
        voice_speed="0.9",
    ).execute(context)

    pushed = context["ti"].xcoms
    assert pushed["audio_id"] == audio_id
    assert set(pushed) == {"task_id", "audio_id", "duration", "units", "speech"}
    assert pushed["duration"] > 2
    assert posts(sim)[0].body["voice_language"] == "en"
    assert KlingAvatarSubmitOperator(task_id="clip", image=face, audio_id=audio_id).execute(context)


# ---------------------------------------------------------------------------------------------- submit and wait


def test_the_avatar_operator_defers_with_ids_and_numbers_only(avatar, sim, context):
    before = time.time()

    with pytest.raises(TaskDeferred) as deferred:
        avatar.execute(context)

    trigger = deferred.value.trigger
    (entry,) = sim.ledger()["entries"]
    kwargs = trigger.serialize()[1]
    assert isinstance(trigger, KlingAvatarTrigger)
    after = time.time()
    assert before + 600 <= kwargs.pop("deadline") <= after + 600
    assert before <= kwargs.pop("since") <= after
    assert kwargs == {
        "kling_task_id": entry["task_id"],
        "kling_conn_id": "kling_avatar_default",
        "endpoint": "avatar",
        "poll_interval": 5.0,
        "max_failed_polls": 10,
        "queue_deadline": None,
        "render_timeout": None,
        "is_known": True,
    }
    assert deferred.value.method_name == "execute_complete"
    assert not deferred.value.kwargs, "dag.test() of Airflow 3.3 drops them"


def test_airflows_own_timeout_is_a_backstop_behind_the_triggers_deadline(avatar, context):
    with pytest.raises(TaskDeferred) as deferred:
        avatar.execute(context)

    assert timedelta(seconds=600) < deferred.value.timeout < timedelta(seconds=600 + 300)


def test_times_may_be_given_as_timedeltas(face, voice, context):
    operator = KlingAvatarOperator(
        task_id="clip",
        image=face,
        audio=voice,
        poll_interval=timedelta(seconds=7),
        timeout=timedelta(minutes=3),
        max_failed_polls=4,
    )

    before = time.time()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)

    kwargs = deferred.value.trigger.serialize()[1]
    assert (kwargs["poll_interval"], kwargs["max_failed_polls"]) == (7.0, 4)
    assert before + 180 <= kwargs["deadline"] <= time.time() + 180


def test_a_task_that_is_already_finished_is_returned_without_deferring(avatar, sim, make_context):
    with pytest.raises(TaskDeferred):
        avatar.execute(make_context())
    sim.advance(60)
    context = make_context(try_number=2)

    result = avatar.execute(context)

    assert result["task_id"] == sim.ledger()["entries"][0]["task_id"]
    assert context["ti"].xcoms["video_url"] == result["video_url"]
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_first_look_that_fails_is_no_reason_to_fail(avatar, sim, context):
    sim.fault(kind="http_error", method="GET", times=0)

    with pytest.raises(TaskDeferred):
        avatar.execute(context)


def test_the_link_and_the_ids_are_pushed_before_deferring(avatar, context):
    with pytest.raises(TaskDeferred):
        avatar.execute(context)

    assert set(context["ti"].xcoms) == {
        "task_id",
        "external_task_id",
        "kling_estimate",
        "kling_paid_for",
        "kling_task_link",
        "kling_clip",
        "kling_submit_request_id",
        "kling_deferred_in_try",
    }


def test_without_a_triggerer_the_worker_waits(face, voice, sim, context, monkeypatch):
    monkeypatch.setitem(wait_for_task.__kwdefaults__, "sleep", sim.advance)
    operator = KlingAvatarOperator(
        task_id="clip", image=face, audio=voice, deferrable=False, poll_interval=20, timeout=3600
    )

    result = operator.execute(context)

    assert result["status"] == "succeed"
    assert context["ti"].xcoms["video_url"] == result["video_url"]
    assert sim.ledger()["total"]["tasks"] == 1


def test_without_a_triggerer_the_worker_gives_up_at_the_deadline(face, voice, sim, context):
    sim.fault(kind="stuck")
    operator = KlingAvatarOperator(
        task_id="clip", image=face, audio=voice, deferrable=False, poll_interval=0.02, timeout=0.1
    )

    with pytest.raises(errors.TaskTimeoutError):
        operator.execute(context)


# ---------------------------------------------------------------------------------------------- the verdicts


@pytest.fixture
def finished(avatar, sim, make_context):
    """A task that was deferred for and has ended well."""
    with pytest.raises(TaskDeferred):
        avatar.execute(make_context())
    sim.advance(60)
    return sim.ledger()["entries"][0]["task_id"]


def test_success_returns_the_whole_result_with_a_fresh_url(avatar, sim, finished, context):
    result = avatar.execute_complete(context, event(finished))

    Draft202012Validator(manifest_schema()).validate(result)
    assert result["task_id"] == finished
    assert result["external_task_id"] == sim.ledger()["entries"][0]["external_task_id"]
    assert result["video_url"].startswith(sim.url)
    assert result["duration"] == pytest.approx(2.5, abs=0.2)
    assert (result["status"], result["api"], result["endpoint"]) == ("succeed", "kling", "avatar")
    assert context["ti"].xcoms["video_url"] == result["video_url"]


def test_resuming_needs_nothing_but_the_event(sim, finished, context):
    """Another process resumes the task, with an operator whose templates may render to something else."""
    stranger = KlingAvatarOperator(task_id="clip", image="gone.png", audio="gone.mp3")

    assert stranger.execute_complete(context, event(finished))["task_id"] == finished
    assert stranger.execute_complete(context, {"task_id": finished, "verdict": "succeeded"})


def test_airflow_can_resume_it_by_name(avatar, finished, context):
    result = avatar.resume_execution("execute_complete", {"event": event(finished)}, context)

    assert result["task_id"] == finished


@pytest.mark.parametrize(
    ("verdict", "facts", "kind", "words", "is_final"),
    [
        (
            "failed",
            {"reason": "internal render error"},
            errors.TaskFailedError,
            "internal render error",
            False,
        ),
        ("failed", {}, errors.TaskFailedError, "without a reason", False),
        (
            "failed",
            {"reason": "Failure to pass the risk control system", "code": 1301},
            errors.TaskRejectedError,
            "moderation rejected .* change image, audio or prompt",
            True,
        ),
        ("timeout", {}, errors.TaskTimeoutError, "gave up waiting .* stays findable by this id", False),
        (
            "lost",
            {"reason": "no connection", "code": 5001},
            errors.TaskLostError,
            "gave up asking for .* no connection",
            False,
        ),
    ],
    ids=["failed", "failed without a reason", "moderation", "timeout", "lost"],
)
def test_a_bad_verdict_is_an_error_with_the_task_and_the_reason_in_it(
    avatar, sim, finished, context, verdict, facts, kind, words, is_final
):
    sim.fault(kind="http_error", method="GET", times=0)

    with pytest.raises(kind, match=words) as caught:
        avatar.execute_complete(context, event(finished, verdict, **facts))

    assert finished in str(caught.value)
    assert caught.value.code == facts.get("code")
    assert isinstance(caught.value, AirflowFailException) is is_final
    assert "video_url" not in context["ti"].xcoms
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_task_the_triggerer_lost_is_looked_for_once_more_by_the_worker(avatar, finished, context):
    assert avatar.execute_complete(context, event(finished, "lost"))["task_id"] == finished


def test_a_key_that_went_bad_is_said_to_be_the_reason_for_losing_a_task(avatar, finished, context, connect):
    connect(password="sk-wrong")

    with pytest.raises(errors.AuthenticationError) as caught:
        avatar.execute_complete(context, event(finished, "lost"))

    assert isinstance(caught.value, AirflowFailException)


def test_a_task_that_is_still_being_made_stays_lost(avatar, sim, context):
    with pytest.raises(TaskDeferred):
        avatar.execute(context)

    with pytest.raises(errors.TaskLostError):
        avatar.execute_complete(context, event(sim.ledger()["entries"][0]["task_id"], "lost"))


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_trigger_that_ended_without_a_word_lets_the_next_try_look(avatar, context, nothing):
    with pytest.raises(errors.TaskLostError, match="the next try looks for the task") as caught:
        avatar.execute_complete(context, nothing)

    assert not isinstance(caught.value, AirflowException)


def test_a_clip_without_a_url_is_an_error_and_no_second_payment(avatar, sim, finished, context):
    sim.fault(kind="no_url", method="GET")

    with pytest.raises(errors.TaskLostError, match="gives no video URL"):
        avatar.execute_complete(context, event(finished))

    assert sim.ledger()["total"]["tasks"] == 1


def test_on_kill_says_that_the_vendor_goes_on_and_does_nothing(avatar, sim, context, caplog, capsys):
    avatar.on_kill()
    assert "killed" not in caplog.text + capsys.readouterr().out
    with pytest.raises(TaskDeferred):
        avatar.execute(context)
    asked = len(sim.requests)

    with caplog.at_level(logging.WARNING):
        avatar.on_kill()

    assert len(sim.requests) == asked
    task_id = sim.ledger()["entries"][0]["task_id"]
    said = caplog.text + capsys.readouterr().out  # Airflow's way of logging differs
    assert f"killed; Kling cannot cancel: task {task_id} runs on" in said


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1002, errors.AuthenticationError),
        (1101, errors.AccountError),
        (1103, errors.PermissionDeniedError),
        (1201, errors.InvalidRequestError),
        (1301, errors.ContentRejectedError),
    ],
)
def test_permanent_refusals_end_the_task(submit, sim, context, code, kind):
    sim.fault(kind="error_code", method="POST", code=code, status=429, times=0)

    with pytest.raises(kind) as caught:
        submit.execute(context)

    assert isinstance(caught.value, AirflowFailException)
    assert caught.value.code == code
    assert str(code) in str(caught.value)
    assert sim.ledger()["total"]["tasks"] == 0


def test_a_vendor_that_is_down_is_retried_by_airflow(connect, submit, context):
    connect(host="http://127.0.0.1:9")

    with pytest.raises(errors.ConnectionFailedError) as caught:
        submit.execute(context)

    assert not isinstance(caught.value, AirflowException)


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.KlingError) and kind.permanent
    ],
)
def test_a_final_error_keeps_its_class_its_text_and_its_facts(kind):
    error, twin = kind("what to do"), kind("what to do")
    for each in (error, twin):
        each.code, each.http_status, each.request_id = 1201, 400, "r-1"

    final = as_final(error)

    assert isinstance(final, kind)
    assert isinstance(final, AirflowFailException)
    assert type(final).__name__ == kind.__name__
    assert str(final) == str(twin)
    assert str(final).startswith("what to do")
    assert str(final).endswith("[code 1201, HTTP 400, request id r-1]")
    assert vars(final) == vars(twin)
    assert as_final(final) is final
    assert type(as_final(kind("again"))) is type(final), "one class, however often it is raised"


def test_a_final_error_survives_copying_and_pickling():
    """Executors and callbacks send exceptions between processes."""
    final = as_final(errors.MediaError("too small", field="image", source="https://example.com"))

    for twin in (copy.copy(final), copy.deepcopy(final), pickle.loads(pickle.dumps(final))):
        assert isinstance(twin, errors.MediaError)
        assert isinstance(twin, AirflowFailException)
        assert (str(twin), twin.field) == (str(final), "image")


def test_a_permanent_error_stays_the_same_object_and_leaves_alone():
    error = errors.AccountError("empty")
    error.__cause__ = KeyError("what it came from")
    with pytest.raises(AirflowFailException) as caught, airflow_errors():
        raise error

    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None


def test_an_error_that_may_pass_keeps_what_it_came_from():
    cause = KeyError("a library's")
    with pytest.raises(errors.UnavailableError) as caught, airflow_errors():
        raise errors.UnavailableError("down") from cause

    assert caught.value.__cause__ is cause


def test_an_error_that_is_not_ours_passes_unchanged():
    with pytest.raises(KeyError), airflow_errors():
        raise KeyError("x")


def test_inline_media_reaches_the_vendor_as_it_is(face, voice, sim, context):
    encoded = base64.b64encode(Path(face).read_bytes()).decode()

    assert KlingAvatarSubmitOperator(task_id="clip", image=encoded, audio=voice).execute(context)
    assert posts(sim)[0].body["image"] == f"<{len(encoded)} characters>"


# ---------------------------------------------------------------------------------------------- what it costs


@pytest.fixture
def looked_up(monkeypatch):
    """Every connection that was looked up."""
    names = []
    look_up = KlingAvatarHook.get_connection
    monkeypatch.setattr(
        KlingAvatarHook, "get_connection", lambda _, name: names.append(name) or look_up(name)
    )
    return names


@pytest.fixture
def sessions(monkeypatch):
    """Every session of requests that was opened."""
    opened = []
    init = requests.Session.__init__
    monkeypatch.setattr(requests.Session, "__init__", lambda self: opened.append(self) or init(self))
    return opened


def test_a_run_up_to_the_deferral_takes_one_look_up_one_session_and_one_call(
    avatar, sim, context, looked_up, sessions
):
    with pytest.raises(TaskDeferred):
        avatar.execute(context)

    assert [request.method for request in sim.requests] == ["POST"], "what was just sent cannot be ready"
    assert (len(looked_up), len(sessions)) == (1, 1)


def test_a_run_after_the_deferral_takes_one_look_up_one_session_and_one_question(
    avatar, sim, finished, context, looked_up, sessions
):
    begin = len(sim.requests)
    avatar.execute_complete(context, event(finished))

    assert [request.method for request in sim.requests[begin:]] == ["GET"]
    assert (len(looked_up), len(sessions)) == (1, 1)


def test_a_retry_takes_one_look_up_and_one_session_and_a_connection_more_only_to_pay(
    avatar, sim, make_context, looked_up, sessions
):
    with pytest.raises(TaskDeferred):
        avatar.execute(make_context(try_number=2))

    asked, listed, paid = sim.requests
    assert [r.method for r in sim.requests] == ["GET", "GET", "POST"]
    assert asked.connection == listed.connection != paid.connection
    assert (len(looked_up), len(sessions)) == (1, 1)
