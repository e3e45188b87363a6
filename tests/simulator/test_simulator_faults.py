from __future__ import annotations

import time

import pytest
import requests

PATH = "/v1/videos/avatar/image2video"


def test_drop_before_closes_the_connection_and_accepts_nothing(sim, caller):
    sim.fault(kind="drop_before")
    with pytest.raises(requests.ConnectionError, match="without response"):
        caller.avatar()
    assert sim.ledger()["total"]["tasks"] == 0
    assert caller.avatar().status_code == 200


def test_drop_after_looks_the_same_but_the_task_exists_and_is_billed(sim, caller):
    sim.fault(kind="drop_after", method="POST", path=PATH)
    with pytest.raises(requests.ConnectionError, match="without response"):
        caller.avatar(external_task_id="lost")
    assert caller.get(f"{PATH}/lost").status_code == 200
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_dropped_connection_may_be_reset(sim, caller):
    sim.fault(kind="drop_after", reset=True)
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        caller.avatar()


def test_an_http_error_carries_its_retry_after(sim, caller):
    sim.fault(kind="http_error", status=503, retry_after=7)
    answer = caller.avatar()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert sim.ledger()["total"]["tasks"] == 0


def test_an_http_error_may_come_after_the_task_was_accepted(sim, caller):
    sim.fault(kind="http_error", status=504, accept=True)
    assert caller.avatar().status_code == 504
    assert sim.ledger()["total"]["tasks"] == 1


@pytest.mark.parametrize(
    "code", [1000, 1100, 1102, 1103, 1200, 1203, 1301, 1302, 1303, 1304, 5000, 5001, 5002]
)
def test_every_vendor_code_can_be_had_with_its_own_http_status(sim, caller, code):
    from airflow_provider_kling_avatar.simulator.refusals import CODES

    sim.fault(kind="error_code", code=code, retry_after=3)
    answer = caller.avatar()
    assert (answer.status_code, answer.json()["code"]) == (CODES[code][0], code)
    assert answer.headers["retry-after"] == "3"
    assert sim.ledger()["total"]["tasks"] == 0


def test_a_vendor_code_may_come_after_the_task_was_accepted(sim, caller):
    sim.fault(kind="error_code", code=5002, accept=True)
    assert caller.avatar().json()["code"] == 5002
    assert sim.ledger()["total"]["tasks"] == 1


RELAY = "/relay/kling" + PATH
NEW_API = "/relay/v2/kling" + PATH


@pytest.mark.parametrize("path", [PATH, "/kling" + PATH, RELAY, NEW_API])
@pytest.mark.parametrize("code", [202, 1, 201, 10000, "ok"])
def test_an_accepted_task_may_be_answered_with_a_success_code_that_nobody_knows(sim, caller, path, code):
    sim.fault(kind="success_code", code=code)
    answer = caller.avatar(path)
    assert (answer.status_code, answer.json()["code"]) == (200, code)
    (entry,) = sim.ledger()["entries"]
    assert answer.json()["data"]["task_id"] == entry["task_id"]
    assert caller.avatar(path).json().get("code", 0) == 0


def test_an_unknown_success_code_is_202_with_http_200_unless_told_otherwise(sim, caller):
    sim.fault(kind="success_code")
    answer = caller.avatar()
    assert (answer.status_code, answer.json()["code"]) == (200, 202)
    sim.fault(kind="success_code", code=0, status=201)
    assert caller.avatar().status_code == 201


def test_a_query_may_be_answered_with_an_unknown_success_code_too(sim, caller):
    task = caller.avatar().json()["data"]["task_id"]
    sim.fault(kind="success_code", call="query")
    sim.fault(kind="success_code", call="list")
    one, many = caller.get(f"{PATH}/{task}").json(), caller.get(PATH).json()
    assert (one["code"], one["data"]["task_id"]) == (202, task)
    assert (many["code"], many["data"][0]["task_id"]) == (202, task)


def test_an_accepted_task_may_be_answered_with_http_303(sim, caller):
    sim.fault(kind="redirect", status=303, accept=True, location="/elsewhere")
    answer = caller.avatar()
    assert (answer.status_code, answer.headers["location"]) == (303, "/elsewhere")
    assert sim.ledger()["total"]["tasks"] == 1


@pytest.mark.parametrize("path", [RELAY, NEW_API])
@pytest.mark.parametrize("word", ["do_request_failed", "read_response_body_failed"])
def test_a_gateway_may_report_trouble_below_http_500_about_a_task_that_was_accepted(sim, caller, path, word):
    sim.fault(kind="error_code", code=word, status=400, message="EOF", accept=True)
    answer = caller.avatar(path)
    assert (answer.status_code, answer.json()) == (400, {"code": word, "message": "EOF", "data": None})
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_gateways_word_is_http_500_and_accepts_nothing_unless_told_otherwise(sim, caller):
    sim.fault(kind="error_code", code="do_request_failed")
    answer = caller.avatar(RELAY)
    assert (answer.status_code, answer.json()["message"]) == (500, "do_request_failed")
    sim.fault(kind="error_code", code="do_request_failed")
    assert caller.avatar("/kling" + PATH).json()["error"]["code"] == "do_request_failed"
    assert sim.ledger()["total"]["tasks"] == 0


def test_a_slow_answer_outlasts_an_impatient_client_though_the_task_is_accepted(sim, caller):
    sim.fault(kind="slow", seconds=0.6)
    with pytest.raises(requests.ReadTimeout):
        requests.get(sim.url + PATH, headers={"Authorization": "Bearer sk-simulator"}, timeout=0.2)
    sim.fault(kind="slow", seconds=0.3)
    began = time.monotonic()
    assert caller.avatar().status_code == 200
    assert time.monotonic() - began >= 0.3


def test_html_a_redirect_and_half_an_answer_can_be_had(sim, caller):
    sim.fault(kind="html", html_status=200)
    answer = caller.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    sim.fault(kind="redirect", location="/elsewhere")
    answer = caller.get(PATH)
    assert (answer.status_code, answer.headers["location"]) == (301, "/elsewhere")
    sim.fault(kind="truncated_json")
    answer = caller.avatar()
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert sim.ledger()["total"]["tasks"] == 1


def finished(sim, caller, **fault):
    sim.fault(**fault)
    task = caller.avatar().json()["data"]["task_id"]
    sim.advance(60)
    return caller.get(f"{PATH}/{task}").json()


def test_a_failed_task_says_succeed_in_message_and_is_billed_nothing(sim, caller):
    answer = finished(sim, caller, kind="fail_task")
    assert (answer["code"], answer["message"]) == (0, "SUCCEED")
    assert answer["data"]["task_status"] == "failed"
    assert answer["data"]["task_status_msg"] == "Failure to pass the risk control system"
    assert "task_result" not in answer["data"]
    assert answer["data"]["final_unit_deduction"] == "0"
    assert sim.ledger()["total"]["amount_usd"] == "0"


def test_a_success_may_lack_its_url_for_ever_or_once(sim, caller):
    assert finished(sim, caller, kind="no_url")["data"]["task_result"] == {"videos": []}
    task = caller.avatar().json()["data"]["task_id"]
    sim.advance(60)
    sim.fault(kind="no_url", method="GET")
    assert caller.get(f"{PATH}/{task}").json()["data"]["task_result"] == {"videos": []}
    assert caller.get(f"{PATH}/{task}").json()["data"]["task_result"]["videos"]


def test_a_stuck_task_never_ends_and_keeps_its_slot(sim, caller):
    assert finished(sim, caller, kind="stuck")["data"]["task_status"] == "processing"
    assert sim.state.desk.slots_taken("default") == 1


def test_an_unknown_status_word_is_shown_until_the_task_ends(sim, caller):
    sim.fault(kind="unknown_status", word="pondering")
    task = caller.avatar().json()["data"]["task_id"]
    sim.advance(20)
    assert caller.get(f"{PATH}/{task}").json()["data"]["task_status"] == "pondering"
    sim.advance(60)
    assert caller.get(f"{PATH}/{task}").json()["data"]["task_status"] == "succeed"


def test_a_query_may_say_for_a_while_that_there_is_no_such_task(sim, caller):
    task = caller.avatar(external_task_id="mine").json()["data"]["task_id"]
    sim.fault(kind="not_found", times=2)
    for wanted in (task, "mine"):
        answer = caller.get(f"{PATH}/{wanted}")
        assert answer.status_code == 400
        assert answer.json()["message"] == f"Task not found by id/external id: {wanted}"
    assert caller.get(f"{PATH}/{task}").status_code == 200


def test_a_download_may_be_cut_in_the_middle(sim, caller):
    task = caller.avatar().json()["data"]["task_id"]
    sim.advance(60)
    url = caller.get(f"{PATH}/{task}").json()["data"]["task_result"]["videos"][0]["url"]
    sim.fault(kind="cut_body", path="/media/")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(url, timeout=30)
    assert requests.get(url, timeout=30).status_code == 200


def test_a_fault_hits_only_what_it_names_as_often_as_it_says(sim, caller):
    sim.fault(kind="http_error", method="GET", path=f"{PATH}/.+", times=2, skip=1)
    task = caller.avatar().json()["data"]["task_id"]
    statuses = [caller.get(f"{PATH}/{task}").status_code for _ in range(4)]
    assert statuses == [200, 502, 502, 200]
    assert caller.get(PATH).status_code == 200


def test_a_fault_without_end_lasts_until_it_is_cleared(sim, caller):
    sim.fault(kind="http_error", times=0)
    assert [caller.get(PATH).status_code for _ in range(3)] == [502] * 3
    assert sim.clear_faults() == 1
    assert caller.get(PATH).status_code == 200


def test_faults_can_be_managed_over_http(sim, caller):
    made = caller.post("/simulator/faults", {"kind": "error_code", "code": 1302})
    assert made.status_code == 201
    assert [fault["code"] for fault in caller.get("/simulator/faults").json()] == [1302]
    assert requests.delete(f"{sim.url}/simulator/faults", timeout=20).json() == {"cleared": 1}


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"kind": "earthquake"},
        {"kind": "slow", "colour": "red"},
        {"kind": "slow", "seconds": "soon"},
        {"kind": "html", "status": 99},
        {"kind": "html", "path": "("},
        {"kind": "html", "hits": 3},
        {"kind": "not_found", "call": "create"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(caller, nonsense):
    assert caller.post("/simulator/faults", nonsense).status_code == 422


def test_the_request_log_names_the_fault_and_hides_the_key(sim, caller):
    sim.fault(kind="drop_before")
    with pytest.raises(requests.ConnectionError):
        caller.avatar()
    caller.avatar()
    dropped, served = sim.requests
    assert (dropped.fault, dropped.status, dropped.account) == ("drop_before", None, None)
    assert (served.fault, served.status, served.account) == (None, 200, "default")
    assert served.headers["authorization"] == "***"
    assert served.body["image"].endswith("characters>")
    assert served.body["mode"] == "std"
    assert "sk-simulator" not in str(sim.requests)
