from __future__ import annotations

import json

import pytest

KLING = "/v1/videos/avatar/image2video"
COMET = "/kling/v1/videos/avatar/image2video"
GENERATIONS = "/v1/video/generations"
BROADCAST = "/v1/videos/avatar"


def relay(word):
    return f"/relay/{word}/kling/v1/videos/avatar/image2video"


def generations_body(**changes):
    return {
        "model": "kling-avatar-v2-standard",
        "image_url": "https://pictures.test/face.png",
        "audio_url": "https://sounds.test/voice.mp3",
        "audio_duration_seconds": 12,
    } | changes


@pytest.mark.parametrize("path", [KLING, COMET, "/relay/kling/v1/videos/avatar/image2video", relay("v1")])
def test_a_task_goes_through_submitted_and_processing_to_succeed(sim, caller, path):
    created = caller.avatar(path).json()
    assert created["code"] == 0
    assert created["data"]["task_status"] == "submitted"
    where = f"{path}/{created['data']['task_id']}"
    assert caller.get(where).json()["data"]["task_status"] == "submitted"
    sim.advance(11)
    assert caller.get(where).json()["data"]["task_status"] == "processing"
    sim.advance(40)
    data = caller.get(where).json()["data"]
    assert data["task_status"] == "succeed"
    assert data["task_result"]["videos"][0]["duration"] == "2.5"
    assert data["final_unit_deduction"] == "0.8"
    assert data["final_balance_deduction"] == {"quota": "0.8", "list_price": "0.112"}


def test_a_task_is_found_by_the_callers_own_id(caller):
    task = caller.avatar(external_task_id="mine").json()["data"]["task_id"]
    found = caller.get(f"{KLING}/mine").json()["data"]
    assert found["task_id"] == task
    assert found["task_info"] == {"external_task_id": "mine"}


def test_the_list_is_a_bare_array_newest_first_in_pages(caller):
    ids = [caller.avatar().json()["data"]["task_id"] for _ in range(3)]
    assert [task["task_id"] for task in caller.get(KLING).json()["data"]] == ids[::-1]
    page = caller.get(KLING, params={"pageNum": 2, "pageSize": 2}).json()["data"]
    assert [task["task_id"] for task in page] == ids[:1]


@pytest.mark.parametrize("query", [{"pageNum": 0}, {"pageNum": 1001}, {"pageSize": 501}, {"pageSize": "x"}])
def test_pages_out_of_range_are_refused(caller, query):
    answer = caller.get(KLING, params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)


def test_the_broadcast_path_does_not_swallow_the_official_one(caller, make_picture):
    official = caller.avatar().json()["data"]["task_id"]
    body = {
        "image": make_picture(),
        "text": "Good evening and welcome to the news",
        "voice_id": "reader_en_m-v1",
    }
    broadcast = caller.post(BROADCAST, body).json()["data"]["task_id"]
    assert caller.get(f"{KLING}/{official}").status_code == 200
    assert caller.get(f"{BROADCAST}/{broadcast}").status_code == 200
    assert [t["task_id"] for t in caller.get(BROADCAST).json()["data"]] == [broadcast]
    assert caller.get(f"{BROADCAST}/{official}").json()["message"].endswith(f": {official}")


PASSED_ON = (KLING, COMET, BROADCAST, "/relay/kling/v1/videos/avatar/image2video", relay("v1"))
"""Where Kling's own words arrive."""


@pytest.mark.parametrize("path", PASSED_ON)
def test_an_unknown_task_gets_the_words_that_were_seen_live(caller, path):
    answer = caller.get(f"{path}/not-a-task")
    assert answer.status_code == 400
    assert answer.json() | {"request_id": "r"} == {
        "code": 1201,
        "message": "Task not found by id/external id: not-a-task",
        "request_id": "r",
    }


@pytest.mark.parametrize("path", PASSED_ON)
def test_an_unknown_task_may_get_the_documented_code(run, path):
    with run(not_found="documented") as (_, caller):
        answer = caller.get(f"{path}/not-a-task")
    assert (answer.status_code, answer.json()["code"]) == (404, 1203)


@pytest.mark.parametrize("word", ["v2", "v3", "v4", "v7", "omni"])
@pytest.mark.parametrize("form", ["live", "documented"])
def test_new_api_answers_for_an_unknown_task_itself(run, word, form):
    with run(not_found=form) as (_, caller):
        answer = caller.get(f"{relay(word)}/not-a-task")
    assert answer.status_code == 400
    assert answer.json() == {"code": "task_not_exist", "message": "task_not_exist", "data": None}


def test_a_wrong_method_is_code_1202_and_a_wrong_path_1203(caller, sim):
    answer = caller.session.delete(sim.url + KLING, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (404, 1202)
    answer = caller.get("/v1/videos/nothing/here")
    assert (answer.status_code, answer.json()["code"]) == (404, 1203)


def test_cometapi_answers_create_without_request_id_and_pending_queries_with_empty_objects(caller):
    created = caller.avatar(COMET, external_task_id="mine").json()
    assert "request_id" not in created
    data = caller.get(f"{COMET}/{created['data']['task_id']}").json()["data"]
    assert (data["task_info"], data["task_result"]) == ({}, {})


def test_cometapi_refuses_an_empty_prompt_as_invalid_request(caller):
    answer = caller.avatar(COMET, prompt="")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


def test_cometapi_answers_nonsense_with_http_500_that_must_not_be_retried(caller, sim):
    answer = caller.session.post(sim.url + COMET, data=b"{", timeout=20)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "invalid_request"


def test_cometapi_words_bad_keys_as_a_platform_error(caller):
    answer = caller.get(COMET, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "comet_api_error"


def test_cometapi_nests_speech_errors_and_gives_no_code_on_top(caller):
    body = {"text": "hello", "voice_id": "nobody", "voice_language": "en"}
    answer = caller.post("/kling/v1/audio/tts", body).json()
    assert "code" not in answer
    assert answer["message"] == "Voice id not found"
    assert answer["data"]["data"]["code"] == 1201


def test_cometapi_sends_the_lost_to_a_web_page(caller):
    answer = caller.get("/kling/v1/videos/nowhere/1/2")
    assert answer.status_code == 301
    answer = caller.post("/kling/v1/nowhere", {})
    assert "text/html" in answer.headers["content-type"]


def test_generations_goes_from_queued_to_completed_and_bills_the_declared_seconds(sim, caller):
    created = caller.post(GENERATIONS, generations_body()).json()
    assert created["object"] == "video.generation.job"
    assert created["status"] == "queued"
    where = f"{GENERATIONS}/{created['task_id']}"
    sim.advance(11)
    assert caller.get(where).json()["status"] == "processing"
    sim.advance(60)
    done = caller.get(where).json()
    assert done["status"] == "completed"
    assert done["result"]["outputs"] == [done["video_url"]]
    assert sim.ledger()["entries"][0]["units"] == "4.8"


def test_generations_has_no_list_and_knows_no_foreign_ids(caller):
    assert caller.get(GENERATIONS).status_code == 404
    task = caller.avatar(external_task_id="mine").json()["data"]["task_id"]
    for wanted in (task, "mine"):
        answer = caller.get(f"{GENERATIONS}/{wanted}")
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == f"Task not found by id/external id: {wanted}"


def test_generations_needs_the_declared_length(caller):
    body = generations_body()
    del body["audio_duration_seconds"]
    answer = caller.post(GENERATIONS, body)
    assert answer.status_code == 400
    assert "audio_duration_seconds" in answer.json()["error"]["message"]


def finished(sim, caller, word, **fault):
    if fault:
        sim.fault(**fault)
    created = caller.avatar(relay(word)).json()
    task = created.get("task_id") or created.get("id") or created["data"]["task_id"]
    sim.advance(60)
    return created, caller.get(f"{relay(word)}/{task}").json()


def test_v2_stores_the_url_of_a_success_in_fail_reason(sim, caller):
    created, done = finished(sim, caller, "v2")
    assert created["status"] == "queued"
    assert done["code"] == "success"
    assert done["data"]["status"] == "SUCCESS"
    assert done["data"]["progress"] == "100%"
    assert done["data"]["fail_reason"].startswith("http://")
    assert done["data"]["data"]["data"]["task_status"] == "succeed"


def test_v3_is_flat_with_integer_progress(sim, caller):
    done = finished(sim, caller, "v3")[1]
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert done["metadata"]["url"].startswith("http://")


def test_v4_has_the_url_on_top(sim, caller):
    done = finished(sim, caller, "v4")[1]
    assert (done["status"], done["metadata"]["duration"]) == ("completed", 2.5)
    assert done["url"].startswith("http://")


def test_v5_is_the_generations_shape(sim, caller):
    assert finished(sim, caller, "v5")[1]["video_url"].startswith("http://")


def test_v6_starts_initializing_and_ends_with_klings_result(sim, caller):
    created, done = finished(sim, caller, "v6")
    assert created["status"] == "initializing"
    assert done["task_result"]["videos"][0]["url"].startswith("http://")


def test_v7_answers_a_kling_path_with_openais_video(sim, caller):
    created, done = finished(sim, caller, "v7")
    assert (created["object"], created["status"]) == ("video", "queued")
    assert done["metadata"]["url"].startswith("http://")


def test_v8_says_200_where_kling_says_0(sim, caller):
    created, done = finished(sim, caller, "v8")
    assert (created["code"], done["code"]) == (200, 200)
    assert done["data"]["task_result"]["videos"][0]["url"].startswith("http://")


def test_omni_wraps_klings_data_in_a_task_record(sim, caller):
    done = finished(sim, caller, "omni")[1]
    assert done["data"]["data"]["task_result"]["videos"][0]["url"].startswith("http://")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("v1", lambda a: a["data"]["task_status_msg"]),
        ("v2", lambda a: a["data"]["fail_reason"]),
        ("v3", lambda a: a["error"]["message"]),
        ("v4", lambda a: a["error"]["message"]),
        ("v5", lambda a: a["error"]["message"]),
        ("v6", lambda a: a["error"]["message"]),
        ("v7", lambda a: a["error"]["message"]),
        ("v8", lambda a: a["data"]["task_status_msg"]),
        ("omni", lambda a: a["data"]["data"]["task_status_msg"]),
        ("succeed", lambda a: a["data"]["data"]["data"]["task_status_msg"]),
    ],
)
def test_every_relay_tells_why_a_task_failed(sim, caller, word, reason):
    failed = finished(sim, caller, word, kind="fail_task", reason="Image pixel is invalid")[1]
    assert reason(failed) == "Image pixel is invalid"


def test_a_failure_may_come_wrapped_in_words_of_success(sim, caller):
    failed = finished(sim, caller, "succeed", kind="fail_task")[1]
    assert (failed["code"], failed["message"]) == ("success", "")
    assert (failed["data"]["status"], failed["data"]["fail_reason"]) == ("FAILURE", "SUCCEED")
    klings = failed["data"]["data"]
    assert (klings["code"], klings["message"], klings["data"]["task_status"]) == (0, "SUCCEED", "failed")
    assert klings["data"]["task_status_msg"] == "Failure to pass the risk control system"


def test_the_relay_that_words_failures_as_success_words_successes_as_new_api_does(sim, caller):
    done = finished(sim, caller, "succeed")[1]["data"]
    assert (done["status"], done["fail_reason"]) == ("SUCCESS", done["result_url"])


def test_new_api_hides_klings_refusal_as_text_in_the_message(sim, caller):
    sim.fault(kind="error_code", code=1102)
    answer = caller.avatar(relay("v2"))
    assert (answer.status_code, answer.json()["code"]) == (429, "fail_to_fetch_task")
    assert json.loads(answer.json()["message"])["code"] == 1102


def test_new_api_keeps_only_the_text_of_a_refusal_with_http_200(sim, caller):
    sim.fault(kind="error_code", code=1301, status=200, message="no such face")
    answer = caller.avatar(relay("v2"))
    assert (answer.status_code, answer.json()) == (
        400,
        {"code": "task_failed", "message": "no such face", "data": None},
    )


def test_new_api_says_400_task_not_exist_and_does_not_know_the_callers_ids(caller):
    caller.avatar(relay("v2"), external_task_id="mine")
    answer = caller.get(f"{relay('v2')}/mine")
    assert (answer.status_code, answer.json()["code"]) == (400, "task_not_exist")
