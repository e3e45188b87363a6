"""One clip is paid for once, whatever breaks: told by the simulator's ledger, not by what we believe."""

from __future__ import annotations

import dataclasses

import pytest
from desk import WORK, Desk
from fake_vendor import Reply
from msgspec.structs import replace

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.models import AvatarRequest, ImageToVideoRequest, TaskState
from airflow_provider_kling_avatar.kling.submission.recovery import MAX_NUMBERS
from airflow_provider_kling_avatar.kling.submission.request import prepare
from airflow_provider_kling_avatar.kling.submission.state import leave_mark, load, note
from airflow_provider_kling_avatar.kling.submission.submit import submit_once
from airflow_provider_kling_avatar.simulator.server import SimulatorServer
from airflow_provider_kling_avatar.simulator.settings import SimulatorSettings

NAMED = ["kling", "kling-broadcast", "cometapi", "relay"]
FORGETFUL = ["v2", "v3", "v4", "v7", "v8", "omni"]
"""Relays that know a task by their own id only, and say so in words of their own."""


# ------------------------------------------------------------------ the plain way


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", [*NAMED, "generations"])
def test_a_first_try_pays_once_and_asks_only_where_a_name_may_be_taken_twice(desk, api, store):
    here = desk(api, store=store)
    done = here.try_it(first=True)
    assert done.is_new
    questions = {"kling-broadcast": 1, "relay": 2}.get(api, 0)
    assert here.methods() == ["GET"] * questions + ["POST"]
    (entry,) = here.paid()
    assert entry["task_id"] == done.task.task_id
    assert entry["external_task_id"] == done.external_task_id
    assert (done.external_task_id is None) == (api == "generations")


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
def test_a_second_try_finds_the_clip_while_it_runs_and_when_it_is_done(desk, api, store):
    here = desk(api, store=store)
    first = here.try_it(first=True)
    again = here.try_it()
    assert (again.task.task_id, again.is_new) == (first.task.task_id, False)
    assert again.external_task_id == first.external_task_id
    here.sim.advance(60)
    done = here.try_it()
    assert (done.task.state, done.task.task_id) == (TaskState.SUCCEEDED, first.task.task_id)
    assert len(here.paid()) == 1
    assert here.methods().count("POST") == 1


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
def test_after_a_clip_that_failed_the_next_try_makes_the_next_one(desk, api, store):
    here = desk(api, store=store)
    here.sim.fault(kind="fail_task", reason="render node lost")
    first = here.try_it(first=True)
    here.sim.advance(60)
    second = here.try_it()
    assert second.is_new
    assert first.external_task_id.startswith("news-clip-")
    assert (first.external_task_id[-2:], second.external_task_id[-2:]) == ("-0", "-1")
    third = here.try_it()
    assert (third.is_new, third.task.task_id) == (False, second.task.task_id)
    assert len(here.paid()) == 2


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", NAMED)
@pytest.mark.parametrize("reason", ["Failure to pass the risk control system", "Image pixel is invalid"])
def test_a_retry_never_pays_again_for_what_the_vendor_rejected_but_a_clear_does(desk, api, store, reason):
    here = desk(api, store=store)
    here.sim.fault(kind="fail_task", reason=reason)
    here.try_it(first=True)
    here.sim.advance(60)
    for _ in range(2):
        with pytest.raises(e.TaskRejectedError, match=reason):
            here.try_it()
    assert len(here.paid()) == 1
    cleared = here.try_it(anew=True)
    assert cleared.is_new
    assert here.try_it().task.task_id == cleared.task.task_id
    assert len(here.paid()) == 2


def test_other_inputs_another_run_or_another_account_make_another_clip(desk):
    here = desk(store=True)
    names = {here.try_it(first=True).external_task_id}
    names.add(desk(prompt="smile").try_it(first=True).external_task_id)
    for other in (
        dataclasses.replace(WORK, run_id="r"),
        dataclasses.replace(WORK, map_index=0),
        dataclasses.replace(WORK, conn_id="b"),
    ):
        names.add(desk().try_it(work=other).external_task_id)
    assert len(names) == 5
    assert len(here.paid()) == 5


def test_a_store_of_other_inputs_is_not_taken_for_these(desk):
    first = desk(store=True)
    first.try_it(first=True)
    second = desk(store=True, prompt="smile")
    second.store = first.store
    assert second.try_it(on_changed_input="submit_new").is_new
    assert len(second.paid()) == 2


def test_a_hundred_failures_end_the_search(vendor, client_of, desk):
    here = desk()
    here.client = client_of(vendor.url)
    vendor.answers({"code": 0, "data": {"task_id": "t", "task_status": "failed"}})
    with pytest.raises(e.ConfigurationError, match="giving up"):
        here.try_it()
    assert vendor.methods() == ["GET"] * MAX_NUMBERS


def test_a_person_without_a_store_submits_once(desk, sim):
    here = desk(audio=None, text="Good evening and welcome to the news.", voice_id="reader_en_m-v1")
    assert submit_once(here.client, here.prepared).task_id == here.paid()[0]["task_id"]
    assert len(here.paid("speech")) == 1


# ------------------------------------------------------------- the answer was lost

LOST = ["drop_after", "truncated_json", "cut_body", "http_error"]


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("api", NAMED)
def test_a_clip_whose_answer_was_lost_is_found_by_its_name(desk, api, kind):
    here = desk(api, store=True)
    here.sim.fault(kind=kind, method="POST", accept=True)
    done = here.try_it(first=True)
    assert done.is_new
    (entry,) = here.paid()
    assert entry["task_id"] == done.task.task_id
    assert here.methods().count("POST") == 1
    assert here.store.load()["task_id"] == done.task.task_id
    assert here.try_it().is_new is False


UNIQUE = ["kling", "cometapi"]
"""Here the vendor's page says that a name is taken only once in an account."""


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", [api for api in NAMED if api not in UNIQUE])
def test_a_clip_that_was_not_taken_fails_the_try_and_the_next_one_pays(desk, api, store):
    here = desk(api, store=store)
    here.sim.fault(kind="drop_before", method="POST", reset=True)
    with pytest.raises(e.UnknownSubmissionError, match="before it sends anything") as caught:
        here.try_it(first=True)
    assert caught.value.accepted is e.Accepted.MAYBE
    assert here.naps == [2.0, 2.0]
    assert here.paid() == []
    assert here.try_it().is_new
    assert len(here.paid()) == 1


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("api", UNIQUE)
def test_a_clip_that_was_not_taken_is_sent_again_under_the_same_name_where_a_name_is_taken_once(
    desk, api, store
):
    here = desk(api, store=store)
    here.sim.fault(kind="drop_before", method="POST", reset=True)
    done = here.try_it(first=True)
    assert done.is_new
    assert here.naps == [2.0, 2.0]
    assert [entry["task_id"] for entry in here.paid()] == [done.task.task_id]
    assert [method for method in here.methods() if method == "POST"] == ["POST", "POST"]


@pytest.mark.parametrize("api", UNIQUE)
def test_the_same_name_is_not_sent_for_ever(desk, api):
    here = desk(api)
    here.sim.fault(kind="drop_before", method="POST", times=0)
    with pytest.raises(e.UnknownSubmissionError, match="before it sends anything"):
        here.try_it(first=True)
    assert here.methods().count("POST") == 2
    assert here.paid() == []


@pytest.mark.parametrize("policy", ["refuse", "return-first"])
@pytest.mark.parametrize("looks_too_early", [3, 5])
def test_a_clip_that_the_vendor_shows_late_is_not_paid_twice_by_sending_its_name_again(
    client_of, policy, looks_too_early, face, voice
):
    with SimulatorServer(SimulatorSettings(port=0, queue_seconds=10, duplicate_external_id=policy)) as sim:
        client = client_of(sim.url, "kling", password="sk-simulator")
        prepared = prepare(AvatarRequest(image=face, audio=voice), client.config.dialect)
        here = Desk(sim, client, prepared)
        sim.fault(kind="drop_after", method="POST")
        sim.fault(kind="error_code", code=1203, status=404, method="GET", times=looks_too_early)
        done = here.try_it(first=True)
        assert [entry["task_id"] for entry in here.paid()] == [done.task.task_id]
        assert done.is_new


@pytest.mark.parametrize("api", NAMED)
def test_a_clip_that_shows_up_late_is_found_late(desk, api):
    here = desk(api)
    here.sim.fault(kind="drop_after", method="POST")
    asked_first = 0 if here.client.config.dialect.unique_external_id else 1 + here.client.may_ask_by_name("n")
    here.sim.fault(kind="http_error", method="GET", times=asked_first + 3, status=503)
    assert here.try_it(first=True).task.task_id == here.paid()[0]["task_id"]
    assert here.naps == [2.0]


@pytest.mark.parametrize("api", NAMED)
@pytest.mark.parametrize(
    "trouble", [{"kind": "http_error"}, {"kind": "drop_before"}, {"kind": "error_code", "code": 5001}]
)
def test_a_vendor_that_cannot_be_asked_now_gets_nothing_sent(desk, api, trouble):
    here = desk(api)
    here.try_it(first=True)
    here.sim.fault(method="GET", times=0, **trouble)
    for _ in range(2):
        with pytest.raises(e.KlingError):
            here.try_it(policy="resubmit")
    here.sim.clear_faults()
    assert here.try_it().is_new is False
    assert len(here.paid()) == 1


def test_nobody_at_home_while_asking_is_an_error_and_pays_nothing(desk, client_of):
    here = desk()
    here.client = client_of("http://127.0.0.1:9")
    with pytest.raises(e.ConnectionFailedError):
        here.try_it()
    with pytest.raises(e.ConnectionFailedError):
        here.try_it(first=True)
    assert here.sim.requests == []


def test_lost_and_not_to_be_asked_is_unknown_until_the_vendor_answers_again(desk):
    here = desk(store=True)
    here.sim.fault(kind="drop_after", method="POST")
    here.sim.fault(kind="drop_before", method="GET", times=9)
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it(first=True)
    assert here.try_it().is_new is False
    assert len(here.paid()) == 1


# ------------------------------------------------- relays that forget our name


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("word", FORGETFUL)
def test_a_relay_that_cannot_be_asked_by_name_is_never_paid_twice_unless_told_so(desk, word, store):
    here = desk("relay", relay=word, store=store)
    here.sim.fault(kind="drop_after", method="POST")
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it(first=True)
    for _ in range(2):
        # v8 denies the name in Kling's words, and refuses it all the same.
        with pytest.raises(e.UnknownSubmissionError, match="console" if word == "v8" else "resubmit"):
            here.try_it()
    assert len(here.paid()) == 1


@pytest.mark.parametrize("word", FORGETFUL)
def test_told_to_resubmit_such_a_relay_gets_the_clip_again(desk, word, sim):
    here = desk("relay", relay=word)
    here.sim.fault(kind="drop_before", method="POST")
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it(first=True)
    assert here.try_it(policy="resubmit").is_new
    assert len(here.paid()) == 1


@pytest.mark.parametrize("word", FORGETFUL)
def test_with_a_store_such_a_relay_needs_no_name(desk, word):
    here = desk("relay", relay=word, store=True)
    here.sim.fault(kind="error_code", method="POST", code=1303)
    with pytest.raises(e.NoFreeSlotError):
        here.try_it(first=True)
    first = here.try_it()
    assert first.is_new
    assert here.try_it().task.task_id == first.task.task_id
    assert len(here.paid()) == 1


# ---------------------------------------------------------------- no name at all


def test_without_name_and_store_a_second_try_pays_only_if_told_so(desk):
    here = desk("generations")
    here.try_it(first=True)
    with pytest.raises(e.UnknownSubmissionError, match="resubmit"):
        here.try_it()
    assert len(here.paid()) == 1
    assert here.try_it(policy="resubmit").is_new
    assert len(here.paid()) == 2


def test_with_a_store_a_second_try_goes_on_with_the_clip(desk):
    here = desk("generations", store=True)
    first = here.try_it(first=True)
    assert here.try_it().task.task_id == first.task.task_id
    here.sim.advance(60)
    assert here.try_it().task.state is TaskState.SUCCEEDED
    assert len(here.paid()) == 1


def test_an_intent_without_an_id_refuses_until_told_otherwise(desk):
    here = desk("generations", store=True)
    here.sim.fault(kind="drop_after", method="POST")
    with pytest.raises(e.UnknownSubmissionError, match="console"):
        here.try_it(first=True)
    assert here.naps == []
    with pytest.raises(e.UnknownSubmissionError, match="resubmit"):
        here.try_it()
    assert here.methods() == ["POST"]
    assert here.try_it(policy="resubmit").is_new
    assert len(here.paid()) == 2


def test_a_try_that_died_before_sending_anything_leaves_no_doubt_with_a_store(desk):
    here = desk("generations", store=True)
    leave_mark(here.a_try(first=True))
    assert here.try_it().is_new
    assert len(here.paid()) == 1


@pytest.mark.parametrize("api", [*NAMED, "generations"])
@pytest.mark.parametrize("code", [1303, 1102, 1301])
def test_a_certain_refusal_does_not_stand_in_the_way_of_the_next_try(desk, api, code):
    here = desk(api, store=True)
    here.sim.fault(kind="error_code", method="POST", code=code)
    with pytest.raises(e.KlingError) as caught:
        here.try_it(first=True)
    assert caught.value.code == code
    assert here.paid() == []
    assert here.try_it().is_new
    assert len(here.paid()) == 1


def test_after_a_clip_that_failed_a_store_allows_the_next(desk):
    here = desk("generations", store=True)
    here.sim.fault(kind="fail_task", reason="render node lost")
    here.try_it(first=True)
    here.sim.advance(60)
    assert here.try_it().is_new
    assert len(here.paid()) == 2


def test_a_noted_clip_that_the_vendor_forgot_is_no_reason_to_pay_unasked(desk):
    here = desk("generations", store=True)
    here.try_it(first=True)
    here.sim.state.store.forget_tasks()
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it()
    assert here.try_it(policy="resubmit").is_new


def test_a_noted_clip_that_cannot_be_read_now_is_an_error(desk):
    here = desk("generations", store=True)
    here.try_it(first=True)
    here.sim.fault(kind="http_error", method="GET", times=0)
    with pytest.raises(e.UnavailableError):
        here.try_it(policy="resubmit")
    assert len(here.paid()) == 1


# ------------------------------------------------------------------- taken names


@pytest.mark.parametrize("api", NAMED)
def test_a_name_that_is_refused_as_taken_leads_to_its_clip(desk, api):
    here = desk(api)
    first = here.try_it(first=True)
    again = here.try_it(first=True)
    assert (again.task.task_id, again.is_new) == (first.task.task_id, False)
    assert len(here.paid()) == 1


def test_a_name_that_is_taken_but_cannot_be_asked_for_is_told_as_such(desk):
    here = desk("relay", relay="v3")
    here.try_it(first=True)
    with pytest.raises(e.UnknownSubmissionError, match="to have a task named"):
        here.try_it(first=True)
    assert len(here.paid()) == 1


def test_another_refusal_is_raised_as_it_is(vendor, client_of, desk):
    here = desk(store=True)
    here.client = client_of(vendor.url)
    vendor.answers(
        Reply({"code": 1201, "message": "no such voice"}, 400), Reply({"code": 1203, "message": "no"}, 404)
    )
    with pytest.raises(e.InvalidRequestError, match="no such voice"):
        here.try_it(first=True)
    assert here.store.load()["refused"] is True
    assert vendor.methods() == ["POST", "GET"]


def test_a_noted_clip_that_answers_a_bare_404_is_never_paid_again_unasked(desk, vendor, client_of):
    here = desk(store=True)
    here.client = client_of(vendor.url)
    vendor.answers({"code": 0, "data": {"task_id": "t-1"}})
    here.try_it(first=True)
    vendor.answers(*[Reply({"detail": "Not Found"}, 404)] * 20)
    with pytest.raises(e.UnknownSubmissionError):
        here.try_it()
    assert vendor.methods().count("POST") == 1


@pytest.mark.parametrize("api", ["kling", "generations"])
def test_a_try_that_was_taken_for_dead_and_is_then_refused_does_not_hide_the_clip_of_the_next(desk, api):
    here = desk(api, store=True)
    here.try_it(first=True)
    bought = load(here.store)

    note(here.store, replace(bought, task_id=None, refused=True), "that the vendor refused the clip")

    assert load(here.store) == bought
    assert here.try_it().task.task_id == bought.task_id
    assert len(here.paid()) == 1


@pytest.mark.parametrize("api", ["kling", "generations"])
def test_a_clip_that_another_try_orders_while_this_one_gets_ready_stops_this_one(desk, api):
    here = desk(api, store=True)
    leave_mark(here.a_try(first=True))

    class Slow:
        """Looks at the costs for so long that another try of the same task overtakes this one."""

        def before_speech(self):
            """Allow it."""

        def before_clip(self, _):
            here.try_it()

    with pytest.raises(
        e.UnknownSubmissionError, match="another try of this task has noted meanwhile that it orders a clip"
    ):
        here.try_it(approval=Slow())

    assert len(here.paid()) == 1
    assert here.store.load()["task_id"]


def test_the_users_own_name_is_used_as_it_is_and_numbered_only_after_a_failure(desk):
    here = desk(external_task_id="my clip/1")
    here.sim.fault(kind="fail_task", reason="render node lost")
    assert here.try_it(first=True).external_task_id == "my clip/1"
    here.sim.advance(60)
    assert here.try_it().external_task_id == "my clip/1-again-1"
    assert here.try_it().is_new is False
    assert [entry["external_task_id"] for entry in here.paid()] == ["my clip/1", "my clip/1-again-1"]


# ------------------------------------------------------------------ spoken first

NEWS = {"audio": None, "text": "Good evening and welcome to the news.", "voice_id": "reader_en_m-v1"}


@pytest.mark.parametrize("api", ["kling", "cometapi", "relay"])
def test_a_text_is_spoken_first_and_its_audio_goes_into_the_clip(desk, api):
    here = desk(api, **NEWS)
    here.try_it(first=True)
    bodies = [request.body for request in here.sim.requests if request.method == "POST"]
    assert bodies[0]["text"] == NEWS["text"]
    assert bodies[1]["audio_id"] == here.paid("speech")[0]["task_id"]
    assert len(here.paid()) == len(here.paid("speech")) == 1


def test_a_text_is_not_spoken_twice_where_there_is_a_store(desk):
    here = desk(store=True, **NEWS)
    here.sim.fault(kind="error_code", code=1303, path="/v1/videos", method="POST")
    with pytest.raises(e.NoFreeSlotError):
        here.try_it(first=True)
    assert here.try_it().is_new
    assert (len(here.paid("speech")), len(here.paid())) == (1, 1)


def test_without_a_store_the_clip_is_still_found_by_the_same_name(desk):
    here = desk(**NEWS)
    first = here.try_it(first=True)
    assert here.try_it().task.task_id == first.task.task_id
    assert (len(here.paid("speech")), len(here.paid())) == (1, 1)


def test_a_text_too_short_to_make_a_clip_is_refused_before_the_clip_is_paid(desk):
    here = desk(**NEWS | {"text": "Hi"})
    with pytest.raises(e.InvalidRequestError, match="2 to 300 s: lengthen the text") as caught:
        here.try_it(first=True)
    assert caught.value.field == "text"
    assert here.paid() == []


def test_a_speech_that_failed_stops_before_the_clip(desk):
    here = desk(store=True, **NEWS)
    here.sim.fault(kind="drop_before", path="/v1/audio/tts")
    with pytest.raises(e.ConnectionLostError):
        here.try_it(first=True)
    assert here.paid() == []
    assert here.try_it().is_new


@pytest.mark.parametrize("api", ["kling", "cometapi", "relay"])
def test_image_to_video_is_paid_once_just_the_same(desk, api, face):
    here = desk(api)
    here.prepared = prepare(ImageToVideoRequest(image=face), here.client.config.dialect)
    here.sim.fault(kind="drop_after", method="POST")
    first = here.try_it(first=True)
    assert here.try_it().task.task_id == first.task.task_id
    assert len(here.paid("image_to_video")) == 1
