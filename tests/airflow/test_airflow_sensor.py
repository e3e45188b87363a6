"""The sensor: waits in three ways that end alike, and never pays."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.models import AvatarRequest, ImageToVideoRequest
from airflow_provider_kling_avatar.manifest import manifest_schema
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
)
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

AIRFLOW_2 = airflow_version.startswith("2.")

RESULT = set(manifest_schema()["required"])


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def order(face, voice):
    """Have something else order a clip; return the vendor's task id."""

    def submit():
        return KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id

    return submit


@pytest.fixture
def reschedules(monkeypatch):
    """Let reschedule mode run without a database: 2.11 asks it when the first try began, 3.x the task instance."""
    if AIRFLOW_2:
        began = datetime.now(UTC)
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda **_: began)


def sensor(task_id, **fields):
    fields = {"poke_interval": 0.02, "timeout": 60} | fields
    return KlingAvatarSensor(task_id="wait", kling_task_id=task_id, **fields)


def event_of(deferred, verdict, **facts):
    """Make the event that the trigger would report."""
    kwargs = deferred.trigger.serialize()[1]
    return {
        "task_id": kwargs["kling_task_id"],
        "endpoint": kwargs["endpoint"],
        "verdict": verdict,
        "reason": None,
        "code": None,
    } | facts


async def events_of(trigger):
    return [event.payload async for event in trigger.run()]


def run_through(operator, context):
    """Run a sensor to its end as Airflow does: defer, run the trigger, resume; or go round and round."""
    import asyncio

    while True:
        try:
            return operator.execute(context)
        except TaskDeferred as deferred:
            (payload,) = asyncio.run(events_of(deferred.trigger))
            return operator.resume_execution(deferred.method_name, {"event": payload}, context)
        except AirflowException as error:
            if type(error).__name__ != "AirflowRescheduleException":
                raise
            context["ti"].first_reschedule = context["ti"].first_reschedule or datetime.now(UTC)
            time.sleep(operator.poke_interval)


# ---------------------------------------------------------------------------------------------- waiting


def test_it_looks_once_before_it_defers(order, sim, context):
    task_id = order()
    before = len(sim.requests)

    with pytest.raises(TaskDeferred) as deferred:
        sensor(task_id, poke_interval=7, timeout=300, max_failed_polls=3).execute(context)

    (look,) = sim.requests[before:]
    assert (look.method, look.path.rpartition("/")[2]) == ("GET", task_id)
    kwargs = deferred.value.trigger.serialize()[1]
    assert kwargs.pop("deadline") - kwargs.pop("since") == 300
    assert kwargs == {
        "kling_task_id": task_id,
        "kling_conn_id": "kling_avatar_default",
        "endpoint": "avatar",
        "poll_interval": 7.0,
        "max_failed_polls": 3,
        "queue_deadline": None,
        "render_timeout": None,
        "is_known": True,
    }
    assert deferred.value.method_name == "execute_complete"
    assert timedelta(seconds=290) < deferred.value.timeout < timedelta(seconds=600)
    assert not deferred.value.kwargs


def test_a_finished_task_is_returned_without_deferring(order, sim, context):
    task_id = order()
    sim.advance(60)

    result = sensor(task_id).execute(context)

    assert set(result) == RESULT
    assert result["task_id"] == task_id
    assert result["video_url"].startswith(sim.url)
    assert context["ti"].xcoms["video_url"] == result["video_url"]


def test_a_resumed_sensor_fetches_a_fresh_url(order, sim, context):
    task_id = order()
    operator = sensor(task_id)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    sim.advance(60)

    result = operator.resume_execution(
        "execute_complete", {"event": event_of(deferred.value, "succeeded")}, context
    )

    assert set(result) == RESULT
    assert context["ti"].xcoms["video_url"] == result["video_url"]


def test_resuming_believes_the_event_and_not_its_own_templates(order, sim, context):
    """The upstream task may have been cleared meanwhile: its XCom is then empty or another one."""
    task_id = order()
    sim.advance(60)
    event = {"task_id": task_id, "endpoint": "avatar", "verdict": "succeeded"}

    result = sensor("None", endpoint="image_to_video").execute_complete(context, event)

    assert (result["task_id"], result["endpoint"]) == (task_id, "avatar")


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_trigger_that_ended_without_a_word_is_a_lost_task(order, context, nothing):
    with pytest.raises(errors.TaskLostError):
        sensor(order()).execute_complete(context, nothing)


@pytest.mark.parametrize(
    "way",
    [{"deferrable": True}, {"deferrable": False}, {"deferrable": False, "mode": "reschedule"}],
    ids=["deferrable", "poke", "reschedule"],
)
def test_every_way_of_waiting_ends_with_the_same_result(
    start_vendor, connect, face, voice, context, reschedules, way
):
    vendor = start_vendor(queue_seconds=0.05, render_seconds=0.1)
    connect(host=vendor.url)
    task_id = KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id

    result = run_through(sensor(task_id, **way), context)

    assert set(result) == RESULT
    assert result["task_id"] == task_id
    assert context["ti"].xcoms["video_url"] == result["video_url"]
    assert vendor.ledger()["total"]["tasks"] == 1
    assert [request.method for request in vendor.requests].count("POST") == 1


def test_it_waits_for_an_image_to_video_as_well(face, sim, context):
    request = ImageToVideoRequest(image=face, prompt="a walk")
    task_id = KlingAvatarHook().submit_image_to_video(request).task_id
    operator = sensor(task_id, endpoint="image_to_video")

    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    sim.advance(60)
    event = event_of(deferred.value, "succeeded")
    result = operator.resume_execution("execute_complete", {"event": event}, context)

    assert event["endpoint"] == result["endpoint"] == "image_to_video"
    assert sim.requests[-1].path == f"/v1/videos/image2video/{task_id}"


def test_our_own_id_may_be_waited_for_where_the_api_can_be_asked_by_it(face, voice, sim, context):
    request = AvatarRequest(image=face, audio=voice, external_task_id="episode-12")
    task_id = KlingAvatarHook().submit_avatar(request).task_id
    sim.advance(60)

    assert sensor("episode-12").execute(context)["task_id"] == task_id


def test_an_id_that_native_rendering_made_a_number_is_the_same_id(order, sim, context):
    """Kling's ids are digits: with `render_template_as_native_obj` a template makes a number of them."""
    task_id = order()

    with pytest.raises(TaskDeferred) as deferred:
        sensor(int(task_id)).execute(context)

    assert deferred.value.trigger.serialize()[1]["kling_task_id"] == task_id


def test_it_can_wait_for_what_our_operators_have_submitted(face, voice, sim, make_context):
    context = make_context()
    avatar = KlingAvatarSubmitOperator(task_id="a", image=face, audio=voice).execute(context)
    film = KlingImageToVideoSubmitOperator(task_id="b", image=face, prompt="x").execute(context)
    sim.advance(60)

    assert sensor(avatar).execute(context)["endpoint"] == "avatar"
    assert sensor(film, endpoint="image_to_video").execute(context)["endpoint"] == "image_to_video"


# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("nothing", [None, "", "None", "  "])
def test_an_empty_task_id_is_one_clear_error(sim, context, nothing, deferrable, soft_fail):
    words = "kling_task_id came empty: .* upstream task, that task returned nothing"
    with pytest.raises(errors.InvalidRequestError, match=words) as caught:
        sensor(nothing, deferrable=deferrable, soft_fail=soft_fail).execute(context)

    assert isinstance(caught.value, AirflowFailException)
    assert sim.requests == []


def test_the_result_of_another_task_in_place_of_its_id_is_one_clear_error(sim, context):
    with pytest.raises(errors.InvalidRequestError, match="kling_task_id came as dict") as caught:
        sensor({"task_id": "831", "video_url": "https://example.com/x?sig=abc"}).execute(context)

    assert caught.value.field == "kling_task_id"
    assert "abc" not in str(caught.value)
    assert sim.requests == []


def test_a_kind_of_task_that_does_not_exist_is_one_clear_error(context, sim):
    with pytest.raises(errors.ConfigurationError, match="endpoint must be avatar or image_to_video"):
        sensor("831", endpoint="speech").execute(context)

    assert sim.requests == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_connection_that_is_wrong_is_said_at_once(connect, context, deferrable):
    connect(api="klong")

    with pytest.raises(errors.ConfigurationError, match="api is 'klong'") as caught:
        sensor("831", deferrable=deferrable, soft_fail=True).execute(context)

    assert isinstance(caught.value, AirflowFailException)


# ---------------------------------------------------------------------------------------------- no such task


@pytest.fixture
def naps(monkeypatch):
    """Nobody sleeps; what would have been slept is listed."""
    slept = []
    monkeypatch.setattr("airflow_provider_kling_avatar.sensors.kling_avatar.time.sleep", slept.append)
    return slept


def hide(sim, task_id, times=0):
    """Let the vendor deny a task in the words that were seen live."""
    words = f"Task not found by id/external id: {task_id}"
    sim.fault(kind="error_code", code=1201, status=400, message=words, call="query", times=times)


def gets(sim):
    return [request for request in sim.requests if request.method == "GET"]


SAYS_NO_SUCH_TASK = {
    "live words": ("kling", hide),
    "documented code": ("kling", lambda sim, _: sim.fault(kind="error_code", code=1203, status=404, times=0)),
    "a gateway's word": ("generations", lambda *_: None),
}


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("way", ["deferrable", "poke", "reschedule"])
@pytest.mark.parametrize("words", SAYS_NO_SUCH_TASK)
def test_an_id_that_nobody_knows_fails_after_three_looks_within_15_s_in_every_way_of_waiting(
    sim, connect, context, naps, reschedules, words, way, soft_fail
):
    api, deny = SAYS_NO_SUCH_TASK[words]
    connect(api=api)
    deny(sim, "nobody")

    with pytest.raises(errors.NoSuchTaskError, match="task nobody") as caught:
        sensor("nobody", poke_interval=600, soft_fail=soft_fail, **WAYS[way]).execute(context)

    assert isinstance(caught.value, AirflowFailException), "neither a retry nor a skip helps a wrong id"
    assert "endpoint" in str(caught.value)
    assert [request.call for request in gets(sim)][:3] == ["query"] * 3
    assert len([request for request in gets(sim) if request.call == "query"]) <= 4, (
        "once at the other endpoint"
    )
    assert len(naps) == 2
    assert max(naps) <= 5


@pytest.mark.parametrize("way", ["deferrable", "poke", "reschedule"])
def test_a_task_that_shows_itself_at_the_third_look_is_waited_for(
    order, sim, context, naps, reschedules, way
):
    task_id = order()
    sim.advance(60)
    hide(sim, task_id, times=2)

    assert sensor(task_id, poke_interval=600, **WAYS[way]).execute(context)["task_id"] == task_id


@pytest.mark.parametrize("way", ["poke", "reschedule"])
def test_an_address_with_nothing_at_it_is_a_failed_poll(order, sim, context, naps, reschedules, way):
    """It may be a route that is away for a moment."""
    sim.fault(kind="http_error", status=404, method="GET", times=4)
    task_id = order()
    sim.advance(60)

    assert run_through(sensor(task_id, **WAYS[way]), context)["task_id"] == task_id


OTHER_WORDS = {
    "a refused value": {"code": 1201, "message": "invalid parameter"},
    "a gateway's own word": {"code": "hiccup", "message": "no channel"},
}


@pytest.mark.parametrize("way", ["deferrable", "poke", "reschedule"])
@pytest.mark.parametrize("words", OTHER_WORDS.values(), ids=OTHER_WORDS)
def test_the_list_is_asked_before_an_odd_answer_ends_the_waiting(
    order, sim, context, reschedules, words, way
):
    task_id = order()
    sim.fault(kind="error_code", status=400, call="query", times=0, **words)
    sim.advance(60)

    assert sensor(task_id, **WAYS[way]).execute(context)["task_id"] == task_id
    with pytest.raises(AirflowFailException, match=words["message"]):
        sensor("nobody", **WAYS[way]).execute(context)


def test_the_list_is_asked_before_an_odd_answer_ends_what_the_triggerer_lost(order, sim, context):
    task_id = order()
    sim.fault(kind="error_code", status=400, call="query", times=0, code=1201, message="invalid parameter")
    sim.advance(60)
    event = {"task_id": task_id, "endpoint": "avatar", "verdict": "lost"}

    result = sensor("None").resume_execution("execute_complete", {"event": event}, context)

    assert result["task_id"] == task_id


def test_a_task_that_was_seen_and_then_vanishes_is_no_unknown_id(order, sim, context, naps):
    task_id = order()
    sim.fault(kind="slow", call="query", seconds=0)
    hide(sim, task_id)

    with pytest.raises(errors.TaskLostError):
        sensor(task_id, deferrable=False, max_failed_polls=5).execute(context)

    assert len(gets(sim)) == 1 + 5


def test_a_first_look_that_failed_leaves_it_to_the_triggerer_to_find_out(sim, context):
    sim.fault(kind="http_error", call="query", times=0)

    with pytest.raises(TaskDeferred) as deferred:
        sensor("nobody").execute(context)

    assert deferred.value.trigger.serialize()[1]["is_known"] is False


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_an_id_that_the_triggerer_found_nothing_under_is_asked_for_once_more_by_the_worker(
    sim, context, naps, soft_fail
):
    sim.fault(kind="http_error", call="query", times=3)  # the client's own attempts
    operator = sensor("nobody", soft_fail=soft_fail)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    before = len(gets(sim))
    event = event_of(deferred.value, "not_found", reason="no such task [code 1201]", code=1201)

    with pytest.raises(errors.NoSuchTaskError, match="nobody") as caught:
        operator.resume_execution("execute_complete", {"event": event}, context)

    assert isinstance(caught.value, AirflowFailException)
    assert len([request for request in gets(sim) if request.call == "query"]) == before + 2, (
        "and the other endpoint"
    )


@pytest.mark.parametrize("way", ["deferrable", "poke", "reschedule"])
def test_an_id_of_the_other_endpoint_is_told_with_the_endpoint_to_set(
    face, sim, context, naps, reschedules, way
):
    task_id = KlingAvatarHook().submit_image_to_video(ImageToVideoRequest(image=face)).task_id

    with pytest.raises(errors.NoSuchTaskError, match="set endpoint='image_to_video'"):
        sensor(task_id, **WAYS[way]).execute(context)


def test_an_id_that_only_the_list_knows_is_told_with_the_connections_field(order, sim, context, naps):
    task_id = order()
    sim.fault(kind="error_code", status=400, call="query", times=0, code=1203, message="no such task")

    with pytest.raises(errors.NotFoundError, match=r"list of avatar tasks shows .* query_path") as caught:
        sensor(task_id).execute(context)

    assert not isinstance(caught.value, AirflowFailException), "it is there: a retry may find it"


def test_a_task_that_only_the_worker_sees_is_taken_if_it_is_ready_and_else_waited_for(order, sim, context):
    """Triggerer and worker may reach the vendor by different ways."""
    task_id = order()
    event = {"task_id": task_id, "endpoint": "avatar", "verdict": "not_found", "code": 1201}

    with pytest.raises(TaskDeferred) as deferred:
        sensor("None", timeout=300).resume_execution("execute_complete", {"event": event}, context)
    arguments = deferred.value.trigger.serialize()[1]
    assert (arguments["kling_task_id"], arguments["is_known"]) == (task_id, True)
    assert arguments["deadline"] - arguments["since"] == 300
    sim.advance(60)
    result = sensor("None").resume_execution("execute_complete", {"event": event}, context)

    assert result["task_id"] == task_id


def test_an_operators_clip_too_is_waited_for_if_only_the_worker_sees_it(face, voice, context):
    """Its trigger never reports this by itself, but one that was stored without `is_known` would."""
    operator = KlingAvatarOperator(task_id="clip", image=face, audio=voice)
    with pytest.raises(TaskDeferred) as first:
        operator.execute(context)
    event = event_of(first.value, "not_found", code=1201)

    with pytest.raises(TaskDeferred) as again:
        operator.execute_complete(context, event)

    for deferred in (first, again):
        arguments = deferred.value.trigger.serialize()[1]
        assert (arguments["kling_task_id"], arguments["is_known"]) == (event["task_id"], True)


# ---------------------------------------------------------------------------------------------- the end

WAYS = {
    "deferrable": {"deferrable": True},
    "poke": {"deferrable": False},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
}
ENDINGS = {
    "failed": (errors.TaskFailedError, True),
    "timeout": (AirflowSensorTimeout, None),
    "wrong key": (errors.AuthenticationError, True),
}


@pytest.fixture
def bring_about(order, sim, connect):
    """Make a task that will end in a certain way; return its id."""

    def make(ending):
        if ending == "failed":
            sim.fault(kind="fail_task", reason="internal render error")
        task_id = order()
        if ending == "failed":
            sim.advance(60)
        if ending == "wrong key":
            connect(password="sk-wrong")
        return task_id

    return make


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_a_bad_end_is_the_same_in_every_way_of_waiting(
    bring_about, sim, context, reschedules, way, ending, soft_fail
):
    task_id = bring_about(ending)
    operator = sensor(task_id, soft_fail=soft_fail, timeout=0.1, **WAYS[way])
    kind, is_final = ENDINGS[ending]
    if soft_fail and ending != "wrong key":
        kind, is_final = AirflowSkipException, None

    with pytest.raises(kind) as caught:
        run_through(operator, context)

    assert isinstance(caught.value, AirflowSkipException) is (kind is AirflowSkipException)
    if is_final is not None:
        assert isinstance(caught.value, AirflowFailException) is is_final
    assert sim.ledger()["total"]["tasks"] == 1
    assert [request.method for request in sim.requests].count("POST") == 1
    assert "video_url" not in context["ti"].xcoms


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(
    ("verdict", "hard"), [("failed", errors.TaskFailedError), ("timeout", AirflowSensorTimeout)]
)
def test_a_bad_end_in_the_triggerer_is_the_same_as_one_on_the_worker(
    order, sim, context, verdict, hard, soft_fail
):
    operator = sensor(order(), soft_fail=soft_fail)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)

    with pytest.raises(AirflowSkipException if soft_fail else hard):
        operator.resume_execution(
            "execute_complete", {"event": event_of(deferred.value, verdict, reason="because")}, context
        )


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_a_key_that_goes_bad_during_the_wait_fails_whatever_soft_fail_says(
    order, connect, context, soft_fail
):
    operator = sensor(order(), soft_fail=soft_fail, max_failed_polls=2)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    connect(password="sk-wrong")
    event = event_of(deferred.value, "lost", reason="the key is not valid", code=1002)

    with pytest.raises(errors.AuthenticationError) as caught:
        operator.resume_execution("execute_complete", {"event": event}, context)

    assert isinstance(caught.value, AirflowFailException)


def test_a_task_the_triggerer_lost_is_looked_for_once_more_by_the_worker(order, sim, context):
    """Triggerer and worker may sit in different networks: what one cannot reach, the other may."""
    operator = sensor(order())
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    sim.advance(60)
    event = event_of(deferred.value, "lost", reason="no connection")

    result = operator.resume_execution("execute_complete", {"event": event}, context)

    assert set(result) == RESULT


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_a_task_that_cannot_be_asked_for_any_more_is_retried_or_skipped(order, sim, context, soft_fail):
    operator = sensor(order(), soft_fail=soft_fail)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    sim.fault(kind="http_error", method="GET", times=0)
    event = event_of(deferred.value, "lost", reason="HTTP 502", code=None)

    with pytest.raises(AirflowSkipException if soft_fail else errors.TaskLostError) as caught:
        operator.resume_execution("execute_complete", {"event": event}, context)

    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_airflows_own_backstop_ends_like_our_deadline(order, context, soft_fail):
    """Airflow 2.11 calls it by another name, which is retried."""
    hard, reason = AirflowSensorTimeout, "Trigger timeout"
    if AIRFLOW_2:
        from airflow.exceptions import TaskDeferralError

        hard, reason = TaskDeferralError, "Trigger/execution timeout"

    with pytest.raises(AirflowSkipException if soft_fail else hard):
        sensor(order(), soft_fail=soft_fail).resume_execution("__fail__", {"error": reason}, context)


def test_a_timeout_names_the_task_and_says_that_it_lives(order, sim, context):
    task_id = order()

    with pytest.raises(AirflowSensorTimeout) as caught:
        run_through(sensor(task_id, timeout=0.05), context)

    assert task_id in str(caught.value)
    assert "may still finish" in str(caught.value)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_passing_problem_does_not_end_the_wait(start_vendor, connect, face, voice, context, deferrable):
    vendor = start_vendor(queue_seconds=0.02, render_seconds=0.02)
    connect(host=vendor.url)
    task_id = KlingAvatarHook().submit_avatar(AvatarRequest(image=face, audio=voice)).task_id
    vendor.fault(kind="http_error", method="GET", status=503, times=7)

    result = run_through(sensor(task_id, deferrable=deferrable, max_failed_polls=9), context)

    assert result["task_id"] == task_id


def test_default_args_of_the_dag_reach_airflows_own_parameters(connect):
    with DAG("defaults", schedule=None, default_args={"poke_interval": 30, "timeout": 600}):
        wait = KlingAvatarSensor(task_id="wait", kling_task_id="831")

    assert (wait.poke_interval, wait.poll_interval, wait.timeout) == (30, 30, 600)
    assert KlingAvatarSensor(task_id="alone", kling_task_id="831").poll_interval is None
