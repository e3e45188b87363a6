"""What was seen live of Kling and of gateways, word for word, and what becomes of it. The simulator has no say here."""

from __future__ import annotations

import json

import pytest
from fake_vendor import Reply

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.errors import Accepted
from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.polling.decide import Finished, Verdict, error_for
from airflow_provider_kling_avatar.kling.responses.answer import Answer
from airflow_provider_kling_avatar.kling.responses.tasks import read_speech, read_task
from airflow_provider_kling_avatar.kling.submission.recovery import CANNOT_BE_ASKED

NAME = "news-clip-0a1b-0"
BODY = {"image": "https://pictures.test/face.png", "audio_id": "1", "mode": "std"}


def gone(name=NAME, code=1201):
    """Kling's answer to a question for something that it does not have."""
    return {"code": code, "message": f"Task not found by id/external id: {name}", "request_id": "req-4711"}


def listing(*rows):
    return {"code": 0, "message": "SUCCEED", "data": list(rows)}


def row(name, task_id="t-1"):
    return {"task_id": task_id, "task_status": "processing", "task_info": {"external_task_id": name}}


def wrapped(body):
    return {"code": "fail_to_fetch_task", "message": json.dumps(body), "data": None}


# ------------------------------------------------------------------ not there

NOT_THERE = {
    "as Kling says it": Reply(gone(), 400),
    "as it is documented": Reply(gone(code=1203), 404),
    "in other words, with the documented code": Reply({"code": 1203, "message": "no"}, 404),
    "with the documented status": Reply(gone(), 404),
    "inside a 200": Reply(gone()),
    "as text": Reply({**gone(), "code": "1201"}, 400),
    "wrapped by a gateway": Reply(wrapped(gone()), 400),
    "wrapped by a gateway that is in trouble about it": Reply(wrapped(gone()), 500),
    "nested": Reply({"code": 0, "data": {"data": gone()}}),
    "nested in an error": Reply({"error": gone()}, 400),
    "its words alone": Reply({"code": "task_failed", "message": gone()["message"], "data": None}, 400),
    "with a full stop": Reply({**gone(), "message": gone()["message"] + "."}, 400),
    "as JSON in a gateway's data": Reply({"code": "task_failed", "data": json.dumps(gone())}, 400),
    "as JSON in a gateway's msg": Reply({"code": "task_failed", "msg": json.dumps(gone())}, 400),
    "as JSON in an error": Reply({"error": f"status 400: {json.dumps(gone())}"}, 400),
    "with its words as the error": Reply({"code": 1201, "error": gone()["message"]}, 400),
}


@pytest.mark.parametrize("reply", NOT_THERE.values(), ids=NOT_THERE)
def test_a_name_of_which_kling_says_that_it_has_no_such_task_is_not_there(vendor, client_of, reply):
    vendor.answers(reply)
    assert client_of(vendor.url).find_task(NAME) is None
    assert vendor.methods() == ["GET"]


@pytest.mark.parametrize("reply", NOT_THERE.values(), ids=NOT_THERE)
async def test_an_id_that_is_not_there_is_told_with_its_id(vendor, client_of, ask_async, reply):
    vendor.answers(reply)
    with pytest.raises(e.NotFoundError, match=NAME):
        client_of(vendor.url).get_task(NAME)
    with pytest.raises(e.NotFoundError, match=NAME):
        await ask_async(vendor.url, task_id=NAME)
    assert vendor.methods() == ["GET", "GET"]


@pytest.mark.parametrize("own", ["id", "task", "by", "external"])
def test_a_name_of_ones_own_is_not_found_in_klings_own_words(vendor, client_of, own):
    vendor.answers(Reply(gone("another"), 400), listing(row(own, "t-9")))
    assert client_of(vendor.url).find_task(own).task_id == "t-9"
    vendor.answers(Reply(gone(own), 400))
    assert client_of(vendor.url).find_task(own) is None


DOUBTFUL = {
    "another name": Reply(gone("news-clip-0a1b-01"), 400),
    "a name that begins like it": Reply(gone(f"{NAME}.1"), 400),
    "no name": Reply({"code": 1201, "message": "Task not found"}, 400),
    "other words": Reply({"code": 1201, "message": f"invalid parameter: {NAME}"}, 400),
    "a missing route": Reply("", 404),
    "a gateway's own record": Reply({"code": "task_not_exist", "message": "task_not_exist"}, 400),
}


@pytest.mark.parametrize("reply", DOUBTFUL.values(), ids=DOUBTFUL)
def test_where_the_answer_is_doubtful_the_list_is_asked_before_anything_stops(vendor, client_of, reply):
    vendor.answers(reply, listing(row("other", "t-0"), row(NAME, "t-9")))
    assert client_of(vendor.url).find_task(NAME).task_id == "t-9"
    vendor.answers(reply, listing(row("other")), listing())
    assert client_of(vendor.url).find_task(NAME) is None


@pytest.mark.parametrize("reply", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_list_that_shows_nothing_at_all_does_not_make_a_doubtful_answer_certain(vendor, client_of, reply):
    """A gateway may answer so for a list that it does not have. Where a name is taken once, it does no harm."""
    vendor.answers(reply, listing())
    with pytest.raises(e.KlingError) as caught:
        client_of(vendor.url, "relay").find_task(NAME)
    assert isinstance(caught.value, CANNOT_BE_ASKED)
    vendor.answers(reply, listing())
    assert client_of(vendor.url).find_task(NAME) is None


@pytest.mark.parametrize(
    "rows", [[{"taskId": "t-9", "externalTaskId": NAME}], ["t-9"], [{"task": row(NAME)}]]
)
def test_a_list_of_which_no_row_can_be_read_does_not_say_that_a_name_is_not_there(vendor, client_of, rows):
    vendor.answers(DOUBTFUL["other words"], listing(*rows), listing())
    with pytest.raises(e.UnreadableAnswerError, match="no tasks"):
        client_of(vendor.url, attempts=1).find_task(NAME)


@pytest.mark.parametrize("reply", DOUBTFUL.values(), ids=DOUBTFUL)
def test_a_doubtful_answer_without_a_list_is_told_as_it_is(vendor, client_of, reply):
    vendor.answers(reply)
    with pytest.raises(e.KlingError) as caught:
        client_of(vendor.url, list_path=False).find_task(NAME)
    assert not isinstance(caught.value, e.UnsupportedError)
    assert NAME in str(caught.value)


@pytest.mark.parametrize("code", [1201, 1203])
def test_a_connection_without_a_list_is_good_if_the_vendor_knows_no_unlikely_task(vendor, client_of, code):
    vendor.answers(Reply(gone("connection-test", code), 400))
    good, explained = client_of(vendor.url, list_path=False).test_connection()
    assert good, explained


# ------------------------------------------------------------------ failures that say SUCCEED

RISK = "Failure to pass the risk control system"


def failure(**record):
    return {"code": "success", "message": "", "data": {"task_id": "t-1", "status": "FAILURE", **record}}


KLING_FAILED = {
    "code": 0,
    "message": "SUCCEED",
    "data": {"task_id": "t-1", "task_status": "failed", "task_status_msg": RISK},
}
SAYS_SUCCEED = {
    "around Kling's answer": failure(fail_reason="SUCCEED", data=KLING_FAILED),
    "around Kling's data": failure(fail_reason="SUCCEED", data=KLING_FAILED["data"]),
    "in lower case": failure(fail_reason="success", message="ok", data=KLING_FAILED["data"]),
    "with a full stop": failure(fail_reason="Succeed.", data=KLING_FAILED["data"]),
    "two words of it": failure(fail_reason="SUCCEED", reason="completed", data=KLING_FAILED["data"]),
    "beside the reason": failure(task_status_msg="SUCCEED", failure_reason=RISK),
    "in its own words": failure(fail_reason="", failure_reason=RISK),
    "as an error": failure(fail_reason="SUCCEED", error={"code": "task_failed", "message": RISK}),
    "flat": {"task_id": "t-1", "task_status": "failed", "task_status_msg": "SUCCEED", "reason": RISK},
    "around Kling's answer as text": failure(fail_reason="SUCCEED", data=json.dumps(KLING_FAILED)),
    "in another language": failure(fail_reason="请求成功", data=KLING_FAILED),
    "in words that say as little": failure(fail_reason="task failed", data=KLING_FAILED),
    "in the gateway's own word": failure(fail_reason="FAILURE", data=KLING_FAILED),
    "as the status of the call": {"status": "success", "data": KLING_FAILED["data"]},
    "as a number": {"status": 200, "message": "ok", "data": KLING_FAILED["data"]},
    "as the gateway's status": failure(status="SUCCESS", fail_reason="", data=KLING_FAILED),
}


@pytest.mark.parametrize("body", SAYS_SUCCEED.values(), ids=SAYS_SUCCEED)
def test_the_reason_of_a_failure_is_found_behind_words_that_all_is_well(body):
    task = read_task(Answer(200, json.dumps(body).encode()))
    assert (task.state, task.reason, task.reason_code) == (TaskState.FAILED, RISK, 1301)
    error = error_for("t-1", Finished(Verdict.FAILED, task.reason, task.reason_code))
    assert isinstance(error, e.TaskRejectedError), "what was moderated is not paid for again"


@pytest.mark.parametrize("status", ["success", "ok", 200])
def test_the_status_of_a_call_is_not_taken_for_that_of_its_task(status):
    running = {"status": status, "data": {"task_id": "t-1", "task_status": "processing"}}
    assert read_task(Answer(200, json.dumps(running).encode())).state is TaskState.RUNNING


def test_a_speech_that_failed_is_told_with_its_reason_behind_words_that_all_is_well():
    body = {"code": 0, "message": "SUCCEED", "data": {"task_status": "failed", "task_status_msg": "SUCCEED"}}
    with pytest.raises(e.KlingError, match="text-to-speech failed"):
        read_speech(Answer(200, json.dumps(body).encode()))
    body["data"]["failure_reason"] = RISK
    with pytest.raises(e.ContentRejectedError, match="risk control"):
        read_speech(Answer(200, json.dumps(body).encode()))


# ------------------------------------------------------------------ accepted, in words nobody knows


@pytest.mark.parametrize("code", [202, 1, 201, 10000, "10000", "accepted"])
def test_a_task_under_a_success_code_that_nobody_knows_is_taken(vendor, client_of, code):
    vendor.answers({"code": code, "message": "m", "data": {"task_id": "t-1"}})
    assert client_of(vendor.url).submit("avatar", BODY).task_id == "t-1"
    vendor.answers({"code": code, "data": {"task_id": "t-1", "task_status": "processing"}})
    assert client_of(vendor.url).get_task("t-1").state is TaskState.RUNNING


MAYBE_TAKEN = {
    "an id under an unknown code in an error": Reply({"code": 7, "data": {"task_id": "t-1"}}, 400),
    "an id under a status as code": Reply({"code": 429, "data": {"task_id": "t-1"}}),
    "an id under a gateway's word": Reply({"code": "task_failed", "data": {"task_id": "t-1"}}, 400),
    "a gateway's word as its message": Reply({"error": {"message": "do_request_failed: EOF"}}, 400),
    "an id under another name": Reply({"code": 10000, "data": {"id": "t-1"}}),
    "an id under a name of the gateway's": Reply({"code": 10000, "data": {"taskId": "t-1"}}),
    "an id deep inside": Reply({"code": 10000, "result": {"task": {"task_id": "t-1"}}}),
    "an id in a list": Reply({"code": 10000, "data": [{"task_id": "t-1"}, {"task_id": "t-2"}]}),
    "an id on top": Reply({"code": 10000, "id": "t-1"}),
    "a code of success": Reply({"code": 202, "message": "accepted"}),
    "words of success": Reply({"code": 1, "message": "success", "data": "t-1"}),
    "a page about a time-out": Reply("<html>408 Request Time-out</html>", 408, {"Content-Type": "text/html"}),
    "a gateway that gave up": Reply("", 499),
    "see other": Reply("", 303, {"Location": "/kling/v1/tasks/t-1"}),
    **{
        f"{word}, HTTP {status}": Reply({"code": word, "message": "EOF", "data": None}, status)
        for status in (200, 400, 429, 500)
        for word in (
            "do_request_failed",
            "read_response_body_failed",
            "unmarshal_response_body_failed",
            "convert_request_failed",
            "build_request_failed",
        )
    },
}


@pytest.mark.parametrize("reply", MAYBE_TAKEN.values(), ids=MAYBE_TAKEN)
def test_what_may_have_been_taken_is_never_called_refused_nor_sent_again(vendor, client_of, reply):
    vendor.answers(reply)
    with pytest.raises(e.KlingError) as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.accepted is Accepted.MAYBE
    assert vendor.methods() == ["POST"]


REFUSED = {
    "a code of the gateway's": Reply({"code": 10007, "message": "bad image"}),
    "the id of the request": Reply({"code": "bad_image", "id": "req-1", "request_id": "req-1"}, 400),
    "the id of the audio": Reply({"code": 10007, "data": {"audio_id": "1"}}),
}


@pytest.mark.parametrize("reply", REFUSED.values(), ids=REFUSED)
def test_a_gateways_refusal_without_an_id_of_a_task_stays_one(vendor, client_of, reply):
    vendor.answers(reply)
    with pytest.raises(e.RefusedError) as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.accepted is Accepted.NO


@pytest.mark.parametrize("code", [1303, 1301, 1201])
def test_klings_own_refusal_stays_one_whatever_stands_beside_it(vendor, client_of, code):
    vendor.answers(Reply({"code": code, "message": "no", "data": {"task_id": "t-1"}}, 400))
    with pytest.raises(e.KlingError) as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.accepted is Accepted.NO


# ------------------------------------------------------------------ told as what it is


@pytest.mark.parametrize("word", ["convert_request_failed", "build_request_failed"])
def test_a_request_that_a_gateway_could_not_translate_is_no_outage(vendor, client_of, word):
    vendor.answers(Reply({"code": word, "message": "bad field", "data": None}, 500))
    with pytest.raises(e.RefusedError, match="check the fields"):
        client_of(vendor.url).submit("avatar", BODY)


@pytest.mark.parametrize("status", [400, 402, 429])
def test_a_balance_that_is_not_enough_is_the_accounts_trouble_in_whatever_words(vendor, client_of, status):
    vendor.answers(Reply({"code": "fail_to_fetch_task", "message": "Account balance not enough"}, status))
    with pytest.raises(e.AccountError):
        client_of(vendor.url).submit("avatar", BODY)


def test_a_pack_that_is_used_up_is_told_with_its_kind(vendor, client_of):
    vendor.answers(Reply({"code": 1102, "message": "no"}, 429))
    with pytest.raises(e.AccountError, match="video pack"):
        client_of(vendor.url).submit("avatar", BODY)


def test_a_thing_that_is_missing_when_a_task_is_created_is_no_reason_to_try_again(vendor, client_of):
    vendor.answers(Reply({"code": 1203, "message": "model does not exist"}, 404))
    with pytest.raises(e.KlingError, match="model") as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.permanent
    assert not isinstance(caught.value, e.NotFoundError)


@pytest.mark.parametrize("reply", [Reply("", 500), Reply({"code": 1103}, 403), Reply("", 404), Reply("{}")])
async def test_an_error_about_a_task_names_it(vendor, client_of, ask_async, reply):
    vendor.answers(reply)
    with pytest.raises(e.KlingError, match=NAME):
        client_of(vendor.url).get_task(NAME)
    with pytest.raises(e.KlingError, match=NAME):
        await ask_async(vendor.url, task_id=NAME)
