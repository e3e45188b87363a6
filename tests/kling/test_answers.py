"""What vendors answer, written by hand from their pages, and what becomes of it. The simulator has no say here."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from functools import partial
from urllib.parse import quote

import pytest
from fake_vendor import Reply
from rich.pretty import pretty_repr

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.auth import SignedKey
from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
from airflow_provider_kling_avatar.kling.errors import Accepted
from airflow_provider_kling_avatar.kling.models import TaskState, Video
from airflow_provider_kling_avatar.kling.responses.answer import Answer
from airflow_provider_kling_avatar.kling.responses.errors import read_json, route_is_right
from airflow_provider_kling_avatar.kling.responses.tasks import (
    STATES,
    read_speech,
    read_task,
    read_task_list,
)
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY

NO, MAYBE = Accepted.NO, Accepted.MAYBE
SECRET = "s" * 40
GOOD = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "r",
    "data": {"task_id": "t-1", "task_status": "processing"},
}
BODY = {"image": "https://pictures.test/face.png", "audio_id": "1", "mode": "std"}

# https://kling.ai/document-api/api/get-started/error-codes, and what each means for a retry.
CODES = [
    # code, HTTP, class, permanent, accepted, GETs sent, POSTs sent
    (1000, 401, e.AuthenticationError, True, NO, 1, 1),
    (1001, 401, e.AuthenticationError, True, NO, 1, 1),
    (1002, 401, e.AuthenticationError, True, NO, 1, 1),
    (1003, 401, e.TokenTimeError, True, NO, 1, 1),
    (1004, 401, e.TokenTimeError, True, NO, 1, 1),
    (1100, 429, e.AccountError, True, NO, 1, 1),
    (1101, 429, e.AccountError, True, NO, 1, 1),
    (1102, 429, e.AccountError, True, NO, 1, 1),
    (1103, 403, e.PermissionDeniedError, True, NO, 1, 1),
    (1200, 400, e.InvalidRequestError, True, NO, 1, 1),
    (1201, 400, e.InvalidRequestError, True, NO, 1, 1),
    (1202, 404, e.InvalidRequestError, True, NO, 1, 1),
    (1300, 400, e.ContentRejectedError, True, NO, 1, 1),
    (1301, 400, e.ContentRejectedError, True, NO, 1, 1),
    (1302, 429, e.RateLimitedError, False, NO, 3, 3),
    (1303, 429, e.NoFreeSlotError, False, NO, 1, 1),
    (1304, 429, e.PermissionDeniedError, True, NO, 1, 1),
    (5000, 500, e.UnavailableError, False, MAYBE, 3, 1),
    (5001, 503, e.UnavailableError, False, MAYBE, 3, 1),
    (5002, 504, e.UnavailableError, False, MAYBE, 3, 1),
]


def refusal(code, status=None, message="vendor's words"):
    known = {row[0]: row[1] for row in CODES} | {
        1203: 404
    }  # which means other things to a question and a paid call
    return Reply(
        {"code": code, "message": message, "request_id": "req-4711"},
        known[code] if status is None else status,
    )


def check(error, kind, code, permanent, accepted):
    assert type(error) is kind
    assert (error.code, error.permanent, error.accepted, error.request_id) == (
        code,
        permanent,
        accepted,
        "req-4711",
    )
    for word in (f"code {code}", "request id req-4711", "vendor's words"):
        assert word in str(error)


@pytest.mark.parametrize(("code", "status", "kind", "permanent", "accepted", "gets", "posts"), CODES)
class TestEachCode:
    def test_asked_by_a_worker(self, vendor, client_of, code, status, kind, permanent, accepted, gets, posts):
        vendor.answers(refusal(code))
        with pytest.raises(e.KlingError) as caught:
            client_of(vendor.url).get_task("t-1")
        check(caught.value, kind, code, permanent, accepted)
        assert vendor.methods() == ["GET"] * gets
        assert f"HTTP {status}" in str(caught.value)

    def test_answered_to_a_paid_call(
        self, vendor, client_of, code, status, kind, permanent, accepted, gets, posts
    ):
        vendor.answers(refusal(code))
        for call in ("submit", "synthesize"):
            vendor.seen.clear()
            client = client_of(vendor.url)
            with pytest.raises(e.KlingError) as caught:
                client.submit("avatar", BODY) if call == "submit" else client.synthesize({"text": "x"})
            check(caught.value, kind, code, permanent, accepted)
            assert vendor.methods() == ["POST"] * posts

    async def test_asked_by_a_trigger(
        self, vendor, ask_async, code, status, kind, permanent, accepted, gets, posts
    ):
        vendor.answers(refusal(code))
        with pytest.raises(e.KlingError) as caught:
            await ask_async(vendor.url)
        check(caught.value, kind, code, permanent, accepted)
        assert vendor.methods() == ["GET"]

    def test_counts_whatever_the_http_status(
        self, vendor, client_of, code, status, kind, permanent, accepted, gets, posts
    ):
        vendor.answers(refusal(code, status=200))
        with pytest.raises(kind):
            client_of(vendor.url).submit("avatar", BODY)
        assert vendor.methods() == ["POST"] * posts
        vendor.answers(Reply({"code": str(code), "message": "m"}))
        with pytest.raises(kind):
            client_of(vendor.url).get_task("t-1")


# ------------------------------------------------------------------ slowing down


def test_a_paid_call_is_repeated_after_being_told_to_slow_down_and_waits_as_told(vendor, client_of, pauses):
    slow = refusal(1302)
    slow.headers["Retry-After"] = "7"
    vendor.answers(slow, slow, GOOD)
    assert client_of(vendor.url).submit("avatar", BODY).task_id == "t-1"
    assert pauses == [7, 7]
    assert vendor.methods() == ["POST"] * 3


def test_a_pause_may_be_told_as_a_date_by_the_vendors_own_clock(vendor, client_of, pauses):
    now = time.time() + 9000
    slow = refusal(1302)
    slow.headers |= {"Retry-After": formatdate(now + 11, usegmt=True), "Date": formatdate(now, usegmt=True)}
    vendor.answers(slow, GOOD)
    assert client_of(vendor.url).get_task("t-1").state is TaskState.RUNNING
    assert pauses == [11]


def test_without_a_told_pause_pauses_are_short_and_grow_at_random(vendor, client_of, pauses):
    vendor.answers(refusal(1302), refusal(1302), GOOD)
    client_of(vendor.url).get_task("t-1")
    assert len(pauses) == 2
    assert all(0 <= pause <= 10 for pause in pauses)


def test_a_long_pause_is_left_to_the_scheduler(vendor, client_of, pauses):
    slow = refusal(1302)
    slow.headers["Retry-After"] = "3600"
    vendor.answers(slow)
    with pytest.raises(e.RateLimitedError) as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.retry_after == 3600
    assert (vendor.methods(), pauses) == (["POST"], [])


@pytest.mark.parametrize(
    "header",
    [
        *("soon", "-5", "nan", "inf", "1e999", "Mon, 99 Foo 0000 00:00:00 GMT", "99999999999999", "", "٣"),
        "9" * 5000,
        f"Sat, 28 Nov {'9' * 5000} 20:00:00 GMT",
        f"Sat, 28 Nov 2026 20:00:00 +{'9' * 4000}",
    ],
)
def test_an_odd_retry_after_is_no_trouble(header):
    answer = Answer(429, b'{"code": 1302}', {"retry-after": header, "date": "whenever"})
    with pytest.raises(e.RateLimitedError) as caught:
        read_task(answer)
    assert caught.value.retry_after is None or 0 <= caught.value.retry_after <= 86400


def test_the_last_error_is_raised_when_trying_again_does_not_help(vendor, client_of, pauses):
    vendor.answers(refusal(5000), refusal(5001), refusal(5002))
    with pytest.raises(e.UnavailableError) as caught:
        client_of(vendor.url).get_task("t-1")
    assert caught.value.code == 5002
    assert len(pauses) == 2


# ------------------------------------------------------------------- signed keys


def signed(config_of, url, clock):
    config = config_of(url, login="ak", password=SECRET)
    config.credentials.clock = clock
    return config


@pytest.mark.parametrize("code", [1003, 1004])
def test_a_token_of_the_wrong_time_is_signed_anew_once_by_the_vendors_clock(vendor, client_of, code):
    import jwt

    late = refusal(code)
    now = 1_800_000_000
    vendor_now = now + 5 * 3600
    late.headers["Date"] = formatdate(vendor_now, usegmt=True)
    vendor.answers(late, GOOD)
    client = client_of(vendor.url, login="ak", password=SECRET)
    client.config.credentials.clock = lambda: now
    assert client.submit("avatar", BODY).task_id == "t-1"
    tokens = [request.headers["authorization"].removeprefix("Bearer ") for request in vendor.seen]
    assert len(set(tokens)) == 2
    claims = jwt.decode(
        tokens[1], SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False}
    )
    assert claims["iss"] == "ak"
    assert claims["exp"] == vendor_now + 1800
    assert claims["nbf"] == vendor_now - 5
    assert jwt.get_unverified_header(tokens[1]) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize("code", [1003, 1004])
def test_a_token_refused_twice_is_not_signed_a_third_time(vendor, client_of, code):
    vendor.answers(refusal(code))
    with pytest.raises(e.TokenTimeError):
        client_of(vendor.url, login="ak", password=SECRET).submit("avatar", BODY)
    assert vendor.methods() == ["POST"] * 2


@pytest.mark.parametrize("hours", [-9, 9])
async def test_a_clock_that_is_hours_wrong_is_survived_by_both_clients(sim, config_of, client_of, hours):
    def wrong():
        return time.time() + hours * 3600

    client = client_of(sim.url, login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)
    client.config.credentials.clock = wrong
    with pytest.raises(e.NotFoundError):
        client.get_task("nobody")
    assert abs(client.config.credentials.skew_seconds + hours * 3600) < 300
    config = config_of(sim.url, login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)
    config.credentials.clock = wrong
    async with AsyncKlingClient(config) as other:
        with pytest.raises(e.NotFoundError):
            await other.get_task("nobody")
        assert len(sim.requests) == 4
        with pytest.raises(e.NotFoundError):
            await other.get_task("nobody")
    assert len(sim.requests) == 5  # what was learnt is kept


@pytest.mark.parametrize(
    "date",
    [
        *(None, "", "whenever", "Thu, 01 Jan 0001 00:00:00 -0000", "Fri, 31 Dec 9999 23:59:59 -2300"),
        "9" * 5000,
        f"Sat, 28 Nov {'9' * 5000} 20:00:00 GMT",
    ],
)
def test_a_vendor_without_a_sensible_clock_does_not_break_the_key(date):
    key = SignedKey("ak", SECRET, clock=lambda: 1_700_000_000.0)
    assert key.learn_clock(date) is True
    assert key.header().startswith("Bearer ey")


# ------------------------------------------------------------- other error shapes

KLING_1303 = {"code": 1303, "message": "parallel task over resource pack limit", "request_id": "req-4711"}
KLING_1102 = {"code": 1102, "message": "Resource pack depleted or expired", "request_id": "req-4711"}
KLING_5000 = {"code": 5000, "message": "Server internal error", "request_id": "req-4711"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def slug(code, message, status):
    return Reply({"code": code, "message": message, "data": None}, status)


def platform(message, code, status, kind="comet_api_error"):
    return Reply({"error": {"message": message, "type": kind, "param": "", "code": code}}, status)


SHAPES = [
    # CometAPI: https://apidoc.cometapi.com/errors/error-codes-handling
    ("comet key", platform("bad key (request id: req-4711)", "", 401), e.AuthenticationError, NO, 1, 1),
    ("comet malformed", platform("bad json", "invalid_request", 500), e.InvalidRequestError, NO, 1, 1),
    ("comet busy", platform("slow down", "", 429), e.RateLimitedError, NO, 3, 3),
    ("comet down", platform("oops (request id: req-4711)", "", 503), e.UnavailableError, MAYBE, 3, 1),
    (
        "comet wrong path",
        platform("Invalid URL", "", 404, "invalid_request_error"),
        e.InvalidRequestError,
        NO,
        1,
        1,
    ),
    ("comet 524", Reply("error code: 524", 524, HTML), e.UnavailableError, MAYBE, 3, 1),
    (
        "comet speech",
        Reply(
            {
                "message": "Voice id not found",
                "data": {
                    "data": {"code": 1201, "message": "Voice id not found", "request_id": "req-4711"},
                    "message": "Voice id not found",
                },
            },
            400,
        ),
        e.InvalidRequestError,
        NO,
        1,
        1,
    ),
    # new-api: relay/relay_task.go, dto/task.go
    ("slug invalid", slug("invalid_request", "prompt is required", 400), e.InvalidRequestError, NO, 1, 1),
    ("slug no task", slug("task_not_exist", "task_not_exist", 400), e.NotFoundError, NO, 1, 1),
    ("slug no price", slug("model_price_error", "ratio not set", 500), e.RefusedError, MAYBE, 1, 1),
    ("slug look-up", slug("get_task_failed", "db", 500), e.UnavailableError, MAYBE, 3, 1),
    ("slug failed", slug("task_failed", "no such voice", 400), e.RefusedError, NO, 1, 1),
    (
        "slug failed, slots",
        slug("task_failed", "parallel task over resource pack limit", 400),
        e.NoFreeSlotError,
        NO,
        1,
        1,
    ),
    (
        "slug failed, moderation",
        slug("task_failed", "Failure to pass the risk control system", 400),
        e.ContentRejectedError,
        NO,
        1,
        1,
    ),
    ("hidden 1303", slug("fail_to_fetch_task", json.dumps(KLING_1303), 429), e.NoFreeSlotError, NO, 1, 1),
    ("hidden 1102", slug("fail_to_fetch_task", json.dumps(KLING_1102), 429), e.AccountError, NO, 1, 1),
    (
        "hidden in words",
        slug("fail_to_fetch_task", f"status 429, body: {json.dumps(KLING_1303)}", 429),
        e.NoFreeSlotError,
        NO,
        1,
        1,
    ),
    ("hidden 5000", slug("fail_to_fetch_task", json.dumps(KLING_5000), 500), e.UnavailableError, MAYBE, 3, 1),
    ("slug fetch", slug("fail_to_fetch_task", "EOF", 500), e.UnavailableError, MAYBE, 3, 1),
    (
        "no quota",
        platform("no quota", "insufficient_user_quota", 403, "new_api_error"),
        e.AccountError,
        NO,
        1,
        1,
    ),
    # Kling's account page nests its code; others answer 200 whatever happens
    ("nested", Reply({"code": 0, "data": {"code": 1103, "msg": "no"}}), e.PermissionDeniedError, NO, 1, 1),
    ("duomi 401", Reply({"code": 401, "msg": "key", "data": None}, 401), e.AuthenticationError, NO, 1, 1),
    ("duomi 401 in 200", Reply({"code": 401, "msg": "key", "data": None}), e.AuthenticationError, NO, 1, 1),
    ("duomi 500 in 200", Reply({"code": 500, "msg": "oops", "data": None}), e.UnavailableError, MAYBE, 3, 1),
    ("error in 200", platform("no quota", "insufficient_quota", 200), e.AccountError, NO, 1, 1),
    # No code at all
    ("bare 400", Reply("no", 400), e.RefusedError, NO, 1, 1),
    ("bare 401", Reply("no", 401), e.AuthenticationError, NO, 1, 1),
    ("bare 402", Reply("", 402), e.AccountError, NO, 1, 1),
    ("bare 403", Reply("", 403), e.PermissionDeniedError, NO, 1, 1),
    ("bare 404", Reply("{}", 404), e.NotFoundError, NO, 1, 1),
    ("bare 408", Reply("", 408), e.UnavailableError, MAYBE, 3, 1),
    ("bare 413", Reply("", 413), e.RefusedError, NO, 1, 1),
    ("bare 429", Reply("", 429), e.RateLimitedError, NO, 3, 3),
    ("429 as a page", Reply("<html>slow down</html>", 429, HTML), e.RateLimitedError, NO, 3, 3),
    ("bare 500", Reply("", 500), e.UnavailableError, MAYBE, 3, 1),
    ("502 as a page", Reply("<html>bad gateway</html>", 502, HTML), e.UnavailableError, MAYBE, 3, 1),
    ("bare 504", Reply("[]", 504), e.UnavailableError, MAYBE, 3, 1),
    # Not this API at all
    ("moved", Reply("", 301, {"Location": "/login"}), e.WrongRouteError, NO, 1, 1),
    ("found", Reply("{}", 302, {"Location": "https://elsewhere.test/?key=1"}), e.WrongRouteError, NO, 1, 1),
    ("moved to nonsense", Reply("", 301, {"Location": "http://[::bad"}), e.WrongRouteError, NO, 1, 1),
    ("redirect without aim", Reply("", 307), e.WrongRouteError, NO, 1, 1),
    ("page", Reply("<!DOCTYPE html><title>Hi</title>", 200, HTML), e.WrongRouteError, MAYBE, 1, 1),
    ("page without type", Reply("\ufeff <!doctype HTML>"), e.WrongRouteError, MAYBE, 1, 1),
    ("page not found", Reply("<html>404</html>", 404, HTML), e.WrongRouteError, NO, 1, 1),
    # Nothing readable
    ("empty", Reply(""), e.UnreadableAnswerError, MAYBE, 3, 1),
    ("torn", Reply('{"code": 0, "data": {"task_'), e.UnreadableAnswerError, MAYBE, 3, 1),
    ("a list", Reply("[1]"), e.UnreadableAnswerError, MAYBE, 3, 1),
    ("no task", Reply({"code": 0, "data": {}}), e.UnreadableAnswerError, MAYBE, 3, 1),
    ("no data", Reply({"code": 0, "message": "SUCCEED"}), e.UnreadableAnswerError, MAYBE, 3, 1),
    ("error as words", Reply({"error": "oops"}), e.UnreadableAnswerError, MAYBE, 3, 1),
]


@pytest.mark.parametrize(
    ("reply", "kind", "accepted", "gets", "posts"),
    [row[1:] for row in SHAPES],
    ids=[row[0] for row in SHAPES],
)
async def test_each_shape_of_error_is_understood_by_both_clients(
    vendor, client_of, ask_async, reply, kind, accepted, gets, posts
):
    vendor.answers(reply)
    client = client_of(vendor.url, "cometapi")
    for send, count in (
        (lambda: client.get_task("t-1"), gets),
        (lambda: client.submit("avatar", BODY), posts),
    ):
        vendor.seen.clear()
        with pytest.raises(e.KlingError) as caught:
            send()
        assert (type(caught.value), caught.value.accepted) == (kind, accepted)
        assert len(vendor.seen) == count
        if "req-4711" in reply.encoded().decode():
            assert "request id req-4711" in str(caught.value)
    vendor.seen.clear()
    with pytest.raises(kind) as told:
        await ask_async(vendor.url, api="cometapi")
    assert (told.value.accepted, told.value.code) == (caught.value.accepted, caught.value.code)
    assert len(vendor.seen) == 1


def test_a_wrong_voice_is_told_as_the_field_it_is():
    with pytest.raises(e.InvalidRequestError) as caught:
        read_speech(Answer(400, json.dumps(SHAPES[6][1].body).encode()))
    assert (caught.value.field, caught.value.code) == ("voice_id", 1201)


# ------------------------------------------------------------------------ tasks


def answer(body, status=200):
    return Answer(status, json.dumps(body).encode(), {}, "https://gate.test/v1/t-1")


def classic(**data):
    return {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": {"task_id": "t-1"} | data}


URL = "https://cdn.test/clip.mp4?sig=abc"
UPSTREAM = classic(
    task_status="succeed",
    task_status_msg="",
    task_info={"external_task_id": "mine"},
    task_result={
        "videos": [{"id": "v-1", "url": URL, "watermark_url": "https://cdn.test/w", "duration": "5.1"}]
    },
    final_unit_deduction="2.4",
    created_at=1722769557708,
    updated_at=1722769557999,
)


def test_the_official_answer_is_read_whole():
    task = read_task(answer(UPSTREAM))
    assert (task.task_id, task.state, task.status) == ("t-1", TaskState.SUCCEEDED, "succeed")
    assert task.videos == (Video(url=URL, id="v-1", duration=5.1, watermark_url="https://cdn.test/w"),)
    assert (task.external_task_id, task.units, task.request_id) == ("mine", "2.4", "r-1")
    assert (task.created_at, task.updated_at) == (1722769557.708, 1722769557.999)
    assert (task.reason, task.reason_code) == (None, None)
    assert "sig=abc" not in repr(task)
    assert "sig=abc" not in pretty_repr(task), "a traceback that shows local variables is printed like this"


def test_the_new_api_generation_is_read_too():
    body = {
        "code": 0,
        "message": "SUCCEED",
        "request_id": "r-1",
        "data": [
            {
                "id": "t-1",
                "external_id": "mine",
                "status": "succeeded",
                "message": "",
                "create_time": 1781080778802,
                "outputs": [{"type": "image", "url": "https://cdn.test/i"}, {"type": "video", "url": URL}],
                "billing": [
                    {"charge_type": "cash", "amount": "1"},
                    {"charge_type": "unit", "amount": "2.4"},
                ],
            }
        ],
    }
    task = read_task(answer(body))
    assert (task.task_id, task.state, task.external_task_id) == ("t-1", TaskState.SUCCEEDED, "mine")
    assert (task.video.url, task.units, task.created_at) == (URL, "2.4", 1781080778.802)


NEW_API = {"task_id": "t-1", "platform": "50", "action": "generate", "fail_reason": "", "progress": "30%"}

# Section by section: what a relay's query answers while it runs, when it is done, and when it failed.
VARIANTS = {
    "V1": (
        classic(task_status="processing", task_info={}, task_result={}),
        UPSTREAM,
        classic(task_status="failed", task_status_msg="Image pixel is invalid"),
    ),
    "V2": (
        {"code": "success", "message": "", "data": NEW_API | {"status": "IN_PROGRESS", "data": {}}},
        {
            "code": "success",
            "message": "",
            "data": NEW_API
            | {
                "status": "SUCCESS",
                "fail_reason": URL,
                "progress": "100%",
                "submit_time": 1722769557,
                "data": None,
            },
        },
        {
            "code": "success",
            "message": "",
            "data": NEW_API
            | {
                "status": "FAILURE",
                "fail_reason": "Image pixel is invalid",
                "data": classic(task_status="failed", task_status_msg="Image pixel is invalid"),
            },
        },
    ),
    "V3": (
        {"id": "t-1", "object": "video", "status": "in_progress", "progress": 30},
        {
            "id": "t-1",
            "object": "video",
            "status": "completed",
            "progress": 100,
            "seconds": "5.1",
            "metadata": {"url": URL},
        },
        {
            "id": "t-1",
            "object": "video",
            "status": "failed",
            "error": {"message": "Image pixel is invalid", "code": "task_failed"},
        },
    ),
    "V4": (
        {"task_id": "t-1", "status": "in_progress"},
        {"task_id": "t-1", "status": "completed", "url": URL, "format": "mp4", "metadata": {"duration": 5.1}},
        {"task_id": "t-1", "status": "failed", "error": {"code": 400, "message": "Image pixel is invalid"}},
    ),
    "V5": (
        {"id": "t-1", "task_id": "t-1", "object": "video.generation.job", "status": "processing"},
        {
            "id": "t-1",
            "task_id": "t-1",
            "object": "video.generation.job",
            "status": "completed",
            "video_url": URL,
            "result": {"outputs": [URL]},
        },
        {"id": "t-1", "task_id": "t-1", "status": "failed", "error": "Image pixel is invalid"},
    ),
    "V6": (
        {"id": "t-1", "object": "video.generation", "status": "in_progress"},
        {
            "id": "t-1",
            "object": "video.generation",
            "status": "completed",
            "task_result": {"videos": [{"id": "v", "url": URL, "duration": "5.1"}]},
            "expires_at": 1722769557,
        },
        {"id": "t-1", "status": "failed", "error": {"code": "bad", "message": "Image pixel is invalid"}},
    ),
    "V7": (
        {"id": "t-1", "object": "video", "status": "in_progress"},
        {"id": "t-1", "object": "video", "status": "completed", "metadata": {"url": URL}},
        {"id": "t-1", "status": "failed", "error": {"message": "Image pixel is invalid"}},
    ),
    "V8": (
        {"code": 200, "msg": "success", "data": {"task_id": "t-1", "task_status": "processing"}},
        {"code": 200, "msg": "success", "data": UPSTREAM["data"]},
        {
            "code": 200,
            "msg": "success",
            "data": {"task_id": "t-1", "task_status": "failed", "task_status_msg": "Image pixel is invalid"},
        },
    ),
    "Omni": (
        {
            "code": "success",
            "message": "",
            "data": {"task_id": "t-1", "status": "IN_PROGRESS", "progress": "30%"},
        },
        {
            "code": "success",
            "message": "",
            "data": {"task_id": "t-1", "status": "SUCCESS", "progress": 100, "data": UPSTREAM["data"]},
        },
        {
            "code": "success",
            "message": "",
            "data": {
                "task_id": "t-1",
                "status": "FAILURE",
                "fail_reason": "",
                "data": {"task_id": "t-1", "task_status_msg": "Image pixel is invalid"},
            },
        },
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_relays_way_to_say_running_done_and_failed_is_read(variant):
    running, done, failed = (read_task(answer(body)) for body in VARIANTS[variant])
    assert (running.task_id, running.state, running.videos) == ("t-1", TaskState.RUNNING, ())
    assert (done.task_id, done.state, done.video.url) == ("t-1", TaskState.SUCCEEDED, URL)
    assert done.reason is None
    assert done.video.duration in (5.1, None)
    assert (failed.task_id, failed.state, failed.reason) == (
        "t-1",
        TaskState.FAILED,
        "Image pixel is invalid",
    )
    assert failed.videos == ()


@pytest.mark.parametrize("variant", ["V1", "V2", "V3", "V4", "V6", "V7", "V8", "Omni"])
def test_moderation_is_known_by_its_words_whatever_code_the_relay_puts_beside(variant):
    words = "Failure to pass the risk control system"
    body = json.loads(json.dumps(VARIANTS[variant][2]).replace("Image pixel is invalid", words))
    task = read_task(answer(body))
    assert (task.reason, task.reason_code) == (words, 1301)


CREATED = {
    "V1": classic(task_status="submitted", created_at=1722769557708),
    "V2": {"id": "t-1", "task_id": "t-1", "object": "video", "model": "k", "status": "queued", "progress": 0},
    "V4": {"task_id": "t-1", "status": "queued"},
    "V5": {"id": "t-1", "task_id": "t-1", "object": "video.generation.job", "status": "queued"},
    "V6": {"id": "t-1", "object": "video.generation", "status": "initializing"},
    "Comet": {"code": 0, "message": "SUCCEED", "data": {"task_id": "t-1", "task_status": "submitted"}},
    "new API": {"code": 0, "message": "SUCCEED", "data": {"id": "t-1", "status": "submitted"}},
    "number": {"code": "0", "message": "", "data": {"task_id": 1, "task_status": "SUBMITTED"}},
}


@pytest.mark.parametrize("variant", CREATED)
def test_each_way_to_say_accepted_is_read(variant):
    task = read_task(answer(CREATED[variant]))
    assert task.task_id == ("1" if variant == "number" else "t-1")
    assert task.state is TaskState.QUEUED


def test_an_id_alone_is_enough_for_an_accepted_task():
    task = read_task(answer({"code": 200, "msg": "ok", "data": {"task_id": "t-1"}}))
    assert (task.task_id, task.state) == ("t-1", TaskState.UNKNOWN)


HUGE = "9" * 5000
"""Python refuses to make a number of so many digits."""
NO_NUMBERS = [HUGE, f"-{HUGE}", "1e999", "-1e999", "NaN", "Infinity"]


def raw(body, number):
    """Write JSON in which stands a number that Python's own cannot write."""
    return json.dumps(body).replace('"NUMBER"', number)


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize("field", ["created_at", "updated_at", "final_unit_deduction", "something_new"])
def test_a_number_of_absurd_size_hides_no_clip(field, number):
    result = {"videos": [{"url": "https://cdn.test/clip.mp4", "duration": "NUMBER"}]}
    body = classic(task_status="succeed", task_result=result, **{field: "NUMBER"})

    texts = (raw(body, number), json.dumps({"message": raw(body, number)}))
    rows = raw({"code": 0, "data": [body["data"]]}, number)
    found = [read_task(Answer(200, text.encode())) for text in texts] + read_task_list(
        Answer(200, rows.encode())
    )

    assert [(task.task_id, task.state, task.video.url) for task in found] == [
        ("t-1", TaskState.SUCCEEDED, "https://cdn.test/clip.mp4")
    ] * 3
    for task in found:
        assert (task.video.duration, task.created_at, task.updated_at, task.units) == (None,) * 4


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN"])
def test_what_is_no_finite_number_is_no_id(number):
    with pytest.raises(e.UnreadableAnswerError):
        read_task(Answer(200, raw(classic(task_id="NUMBER"), number).encode()))


@pytest.mark.parametrize("message", ["SUCCEED", "success", "OK", ""])
def test_the_message_of_the_answer_is_never_the_reason_of_a_failure(message):
    for body in (
        {
            "code": 0,
            "message": message,
            "data": {"task_id": "t-1", "task_status": "failed", "task_status_msg": ""},
        },
        {"code": 0, "message": message, "task_id": "t-1", "task_status": "failed"},
        {"message": message, "request_id": "r", "data": {"task_id": "t-1", "task_status": "failed"}},
    ):
        assert read_task(answer(body)).reason is None


def test_a_url_in_fail_reason_is_no_failure_of_a_task_that_succeeded():
    task = read_task(answer(VARIANTS["V2"][1]))
    assert (task.state, task.reason, task.video.url) == (TaskState.SUCCEEDED, None, URL)


def test_a_url_in_fail_reason_is_no_video_of_a_task_that_failed():
    body = {"code": "success", "data": NEW_API | {"status": "FAILURE", "fail_reason": URL}}
    task = read_task(answer(body))
    assert (task.state, task.videos) == (TaskState.FAILED, ())
    assert "sig=abc" not in task.reason


@pytest.mark.parametrize("word", ["reviewing", "UNKNOWN", "", "paused", "succeeding", "成功"])
def test_a_word_nobody_knows_means_wait(word):
    task = read_task(answer(classic(task_status=word)))
    assert (task.state, task.status) == (TaskState.UNKNOWN, word)
    assert not task.state.is_final


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("submitted queued queueing pending initializing NOT_START SUBMITTED QUEUED", TaskState.QUEUED),
        ("processing running in_progress generating IN_PROGRESS In-Progress", TaskState.RUNNING),
        ("succeed succeeded success completed SUCCESS Completed", TaskState.SUCCEEDED),
        ("failed fail FAILURE error canceled cancelled expired", TaskState.FAILED),
    ],
)
def test_the_vendors_words_are_read_whatever_their_case(words, state):
    for word in words.split():
        assert read_task(answer(classic(task_status=word))).state is state
    assert set(STATES) == {word.lower() for word in STATES}


@pytest.mark.parametrize("result", [{}, {"videos": []}, {"videos": [{"id": "v", "url": ""}]}, None, [], "x"])
def test_success_without_a_url_is_success_without_a_video(result):
    task = read_task(answer(classic(task_status="succeed", task_result=result)))
    assert (task.state, task.video) == (TaskState.SUCCEEDED, None)


@pytest.mark.parametrize(
    "url", ["ftp://cdn.test/clip", "javascript:alert(1)", "/clip.mp4", "clip", 5, {"a": 1}]
)
def test_only_http_urls_are_videos(url):
    body = classic(task_status="succeed", task_result={"videos": [{"url": url}]}, url=url, video_url=url)
    assert read_task(answer(body)).video is None


def test_the_id_that_was_asked_for_serves_where_the_answer_has_none():
    task = read_task(answer({"code": 0, "data": {"task_status": "processing"}}), "asked")
    assert task.task_id == "asked"
    with pytest.raises(e.UnreadableAnswerError):
        read_task(answer({"code": 0, "data": {"task_status": "processing"}}))


@pytest.mark.parametrize(
    "odd", [{"task_info": None}, {"task_info": []}, {"created_at": "soon"}, {"created_at": -1}]
)
def test_an_odd_field_does_not_hide_the_others(odd):
    task = read_task(answer(classic(task_status="processing", **odd)))
    assert (task.task_id, task.state, task.external_task_id, task.created_at) == (
        "t-1",
        TaskState.RUNNING,
        None,
        None,
    )


# ------------------------------------------------------------------------- lists


def test_a_list_is_read_and_rows_of_other_shapes_are_left_out():
    rows = [
        UPSTREAM["data"],
        {"task_id": "t-2", "task_status": "failed", "task_status_msg": "no", "code": 1301},
        {"task_id": "t-3", "task_status": "processing", "task_info": {}},
        {"id": "t-4", "status": "succeeded", "outputs": [{"type": "video", "url": URL}]},
        {"note": "no task"},
        None,
        17,
        "t-5",
        [],
        {"task_id": {}},
    ]
    tasks = read_task_list(answer({"code": 0, "message": "SUCCEED", "data": rows}))
    assert [task.task_id for task in tasks] == ["t-1", "t-2", "t-3", "t-4"]
    assert [task.external_task_id for task in tasks] == ["mine", None, None, None]
    assert tasks[1].reason_code == 1301


@pytest.mark.parametrize("wrap", [lambda rows: {"data": {"tasks": rows}}, lambda rows: {"items": rows}])
def test_a_list_may_be_wrapped(wrap):
    assert [t.task_id for t in read_task_list(answer({"code": 0} | wrap([UPSTREAM["data"]])))] == ["t-1"]


def test_an_empty_list_is_a_list_and_no_list_is_an_error():
    assert read_task_list(answer({"code": 0, "data": []})) == []
    for body in ({"code": 0, "data": {"a": 1}}, {"code": 0, "data": None}, {"code": 0}):
        with pytest.raises(e.UnreadableAnswerError):
            read_task_list(answer(body))


# ------------------------------------------------------------------------ speech


def test_speech_is_read_from_the_answer_that_creates_it():
    body = classic(
        task_status="succeed",
        task_result={"audios": [{"id": "a-1", "url": "https://cdn.test/a.mp3?sig=abc", "duration": "3.2"}]},
        final_unit_deduction="0.05",
    )
    speech = read_speech(answer(body))
    assert (speech.audio_id, speech.duration, speech.task_id, speech.units) == ("a-1", 3.2, "t-1", "0.05")
    assert "sig=abc" not in repr(speech)


def test_speech_that_failed_or_has_no_audio_is_an_error():
    with pytest.raises(e.KlingError, match="bad text"):
        read_speech(answer(classic(task_status="failed", task_status_msg="bad text")))
    for data in ({"task_status": "succeed"}, {"task_status": "processing", "task_result": {}}):
        with pytest.raises(e.UnreadableAnswerError):
            read_speech(answer(classic(**data)))


# ------------------------------------------------------------- where nothing leaks

NASTY = (
    "key sk-0123456789abcdefghij, token eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhayJ9.c2lnbmF0dXJl, Bearer abcdefgh12345678, "
    "https://user:passw0rd@bucket.test/f.png?X-Amz-Signature=deadbeef01, " + "QUJD" * 80
)
SECRETS = ("0123456789abcdefghij", "c2lnbmF0dXJl", "abcdefgh12345678", "passw0rd", "deadbeef01", "QUJD" * 60)


@pytest.mark.parametrize(
    "body",
    [
        {"code": 1201, "message": NASTY},
        {"code": NASTY, "message": "m", "request_id": NASTY},
        {"code": 1201, "message": "request id: sk-0123456789abcdefghij"},
        {"error": {"message": NASTY, "type": NASTY, "code": ""}},
        {"error": {"message": "m", "type": f"error {NASTY}"}},
        {"code": 0, NASTY: 1},
        {"code": 1201, "message": "Bearer\u0000abcdefgh12345678 sk-\u200b0123456789abcdefghij"},
    ],
)
def test_no_secret_that_a_vendor_repeats_gets_into_an_error(body):
    for read in (read_task, read_task_list, read_speech, read_json):
        for status in (200, 400, 500):
            try:
                read(answer(body, status))
            except e.KlingError as error:
                shown = f"{error} {error!r} {error.code} {error.request_id} {error.message}"
                assert not [secret for secret in SECRETS if secret in shown]


def test_no_secret_gets_into_the_reason_of_a_failed_task():
    task = read_task(answer(classic(task_status="failed", task_status_msg=NASTY)))
    assert not [secret for secret in SECRETS if secret in repr(task)]


@pytest.mark.parametrize("written", [str, quote, partial(quote, safe="")])
@pytest.mark.parametrize("slash", ["/", r"\/"])  # both are JSON
async def test_a_key_of_any_form_that_a_vendor_repeats_gets_into_no_error(
    vendor, client_of, ask_async, written, slash
):
    key = "plain+key/of~no.known=form"
    repeated = written(key)
    body = json.dumps({"code": 1002, "message": f"unknown key {repeated}", "request_id": repeated})
    vendor.answers(Reply(body.replace("/", slash), 401))
    with pytest.raises(e.AuthenticationError) as caught:
        client_of(vendor.url, password=key).get_task("t-1")
    assert "no.known" not in f"{caught.value} {caught.value!r} {caught.value.request_id}"
    with pytest.raises(e.AuthenticationError) as caught:
        await ask_async(vendor.url, password=key)
    assert "no.known" not in f"{caught.value} {caught.value!r} {caught.value.request_id}"


def test_a_result_is_left_as_it_is_even_with_the_key_in_its_address(vendor, client_of):
    url = "https://gate.test/clip.mp4?key=plain-key-0123456789"
    vendor.answers(classic(task_status="succeed", task_result={"videos": [{"url": url}]}))
    assert client_of(vendor.url, password="plain-key-0123456789").get_task("t-1").video.url == url


async def test_a_key_that_the_vendor_repeats_in_a_reason_is_taken_out(vendor, client_of, ask_async):
    body = classic(task_status="failed", task_status_msg="bad key plain-key-0123456789")
    vendor.answers(body, body)
    seen = [
        client_of(vendor.url, password="plain-key-0123456789").get_task("t-1"),
        await ask_async(vendor.url, password="plain-key-0123456789"),
    ]
    assert [task.reason for task in seen] == ["bad key ***"] * 2


def test_a_record_asked_for_by_id_need_not_repeat_it():
    record = {"status": "SUCCESS", "data": {"task_result": {"videos": [{"url": "https://g.test/v.mp4"}]}}}
    task = read_task(answer({"code": "success", "data": record}), "t-1")
    assert (task.task_id, task.state, task.video.url) == ("t-1", TaskState.SUCCEEDED, "https://g.test/v.mp4")
    running = read_task(answer({"code": "success", "data": {"status": "IN_PROGRESS"}}), "t-1")
    assert running.state is TaskState.RUNNING
    with pytest.raises(e.UnreadableAnswerError):
        read_task(answer({"code": "success", "data": record}))  # nothing was asked for: whose would it be?


@pytest.mark.parametrize(("page", "size"), [(0, 30), (1001, 30), (1, 0), (1, 501)])
def test_a_page_out_of_bounds_is_never_asked_for(vendor, client_of, page, size):
    with pytest.raises(e.InvalidRequestError, match="page"):
        client_of(vendor.url).list_tasks(page=page, page_size=size)
    assert vendor.methods() == []


@pytest.mark.parametrize("task_id", [".", "..", "", " ", "None"])
def test_an_id_that_cannot_be_one_is_never_asked_for(vendor, client_of, task_id):
    with pytest.raises(e.InvalidRequestError):
        client_of(vendor.url).get_task(task_id)
    assert vendor.methods() == []


@pytest.mark.parametrize(
    "body", [{"error": {"message": "task not found", "code": ""}}, {"message": "The task does not exist"}]
)
def test_a_gateway_that_says_in_words_that_it_has_no_such_task_takes_the_key(vendor, client_of, body):
    vendor.answers(Reply(body, 404))
    client_of(vendor.url, "generations").ping()


def test_the_vendors_words_are_kept_apart_from_ours(vendor, client_of):
    vendor.answers(refusal(1102))
    with pytest.raises(e.AccountError) as caught:
        client_of(vendor.url).submit("avatar", BODY)
    assert caught.value.said == "vendor's words"
    assert caught.value.message.endswith("; the vendor says: vendor's words")


@pytest.mark.parametrize("name", ["not found", "does not exist"])
def test_a_name_that_reads_like_an_answer_does_not_make_a_missing_route_a_missing_task(
    vendor, client_of, name
):
    vendor.answers(Reply("", 404))
    with pytest.raises(e.NotFoundError, match=f"task {name}") as caught:
        client_of(vendor.url).get_task(name)
    assert caught.value.said == ""
    assert not route_is_right(caught.value)


def test_an_endless_error_is_told_in_few_words():
    bodies = [
        {f"key {n}": n for n in range(5000)},
        {"code": 1201, "message": "x" * 10**6},
        {"code": "y" * 10**6},
    ]
    for body in bodies:
        with pytest.raises(e.KlingError) as caught:
            read_task(answer(body))
        assert len(str(caught.value)) < 3000


def test_the_time_to_clean_an_error_of_many_addresses_does_not_grow_with_its_square():
    def took(addresses):
        """In processor time of this thread, which a busy machine hardly changes; the least of three."""
        tries = []
        for _ in range(3):
            started = time.thread_time()
            with pytest.raises(e.KlingError):
                read_task(answer({"code": 1201, "message": "http://" * addresses}))
            tries.append(time.thread_time() - started)
        return min(tries)

    assert took(160_000) < 50 * took(10_000), "sixteen times as long, not 256 times"


# ----------------------------------------------------------------- finding a name


def row(number, **more):
    return {
        "task_id": f"t-{number}",
        "task_status": "succeed",
        "task_info": {"external_task_id": f"n-{number}"},
    } | more


def listing(*rows):
    return {"code": 0, "message": "SUCCEED", "data": list(rows)}


NOT_HERE = [
    Reply("", 404),
    Reply("<html>404</html>", 404, HTML),
    Reply({"code": 404, "msg": "Not Found", "data": None}, 404),
    Reply({"detail": "Not Found"}, 404),
    slug("task_not_exist", "task_not_exist", 400),
    platform("Invalid URL", "", 404),
]


def test_only_the_vendors_own_word_means_that_a_name_is_not_there(vendor, client_of):
    vendor.answers(refusal(1203))
    assert client_of(vendor.url).find_task("mine") is None
    assert len(vendor.seen) == 1


def test_the_documented_word_for_it_is_told_with_the_id_and_the_vendors_words(vendor, client_of):
    vendor.answers(refusal(1203))
    with pytest.raises(e.NotFoundError) as caught:
        client_of(vendor.url).get_task("t-1")
    check(caught.value, e.NotFoundError, 1203, False, NO)
    assert "t-1" in str(caught.value)


@pytest.mark.parametrize("missing", NOT_HERE)
def test_a_gateways_missing_route_or_record_says_nothing_about_our_name(vendor, client_of, missing):
    vendor.answers(missing)
    with pytest.raises(e.KlingError):
        client_of(vendor.url, "relay").find_task("mine")


def test_where_a_name_cannot_be_asked_for_it_is_looked_for_in_the_list(vendor, client_of):
    vendor.answers(Reply("", 404), listing(row(1), row(2)))
    assert client_of(vendor.url).find_task("n-2").task_id == "t-2"
    assert vendor.seen[1].path.endswith("?pageNum=1&pageSize=500")


def test_a_list_is_read_to_its_end_however_short_its_pages_are(vendor, client_of):
    vendor.answers(Reply("", 404), listing(row(1), {"odd": 1}), listing(row(2)), listing(row(3)), listing())
    assert client_of(vendor.url).find_task("n-3").task_id == "t-3"
    vendor.answers(Reply("", 404), listing(row(1)), listing(row(2)), listing())
    assert client_of(vendor.url).find_task("n-3") is None


def test_a_list_that_shows_the_same_on_each_page_proves_nothing_and_is_not_asked_for_ever(vendor, client_of):
    """It may hide what does not fit on its one page: a clip that was paid must not pass for missing."""
    vendor.answers(Reply("", 404), listing(row(1), row(2)))
    with pytest.raises(e.KlingError):
        client_of(vendor.url).find_task("n-3")
    assert len(vendor.seen) == 3
    vendor.answers(Reply("", 404), listing(row(1), row(2)))
    assert client_of(vendor.url).find_task("n-2").task_id == "t-2"


def test_an_unfinished_task_that_hides_its_name_may_be_ours(vendor, client_of):
    hidden = {"task_id": "t-9", "task_status": "processing", "task_info": {}, "task_result": {}}
    vendor.answers(Reply("", 404), listing(hidden, row(1)), listing())
    with pytest.raises(e.KlingError, match="name"):
        client_of(vendor.url).find_task("mine")
    vendor.answers(Reply("", 404), listing(hidden, row(1)), listing())
    assert client_of(vendor.url).find_task("n-1").task_id == "t-1"


@pytest.mark.parametrize(
    "trouble", [refusal(5000), refusal(1302), refusal(1002), Reply("[]"), Reply("", 302)]
)
def test_trouble_while_looking_is_never_taken_for_not_there(vendor, client_of, trouble):
    vendor.answers(trouble)
    with pytest.raises(e.KlingError):
        client_of(vendor.url).find_task("mine")
    vendor.answers(Reply("", 404), trouble)
    with pytest.raises(e.KlingError):
        client_of(vendor.url).find_task("mine")


@pytest.mark.parametrize("task_id", ["", "  ", "None", "none", None, 5])
def test_an_id_that_an_upstream_task_did_not_return_is_told_before_asking(vendor, client_of, task_id):
    with pytest.raises(e.InvalidRequestError, match="upstream"):
        client_of(vendor.url).get_task(task_id)
    assert vendor.seen == []


# ---------------------------------------------------------------- trying a connection


@pytest.mark.parametrize(
    ("replies", "works", "words"),
    [
        ([listing()], True, "takes this key"),
        ([refusal(1202), refusal(1203)], True, "takes this key"),
        ([Reply("<html>", 200, HTML), slug("task_not_exist", "task_not_exist", 400)], True, "takes this key"),
        ([refusal(1002)], False, "wrong key"),
        ([Reply("", 301, {"Location": "/"})], False, "wrong route"),
        ([Reply("", 404)], False, "nothing at this address"),
        ([refusal(1103)], False, "permissions"),
    ],
)
def test_a_connection_is_tried_without_paying_and_explained(vendor, client_of, replies, works, words):
    vendor.answers(*replies)
    good, explained = client_of(vendor.url, attempts=1).test_connection()
    assert good is works
    assert words in explained
    assert set(vendor.methods()) == {"GET"}
