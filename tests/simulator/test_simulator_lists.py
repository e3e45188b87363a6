"""Lists that mislead, tasks in bulk, keys that change, and the count of who asked for what."""

from __future__ import annotations

import time

import pytest
import requests

from airflow_provider_kling_avatar.simulator.__main__ import settings_from
from airflow_provider_kling_avatar.simulator.dialects import DIALECTS, call_of

PATH = "/v1/videos/avatar/image2video"


def page(caller, number=1, size=500, path=PATH):
    return caller.get(path, params={"pageNum": number, "pageSize": size}).json()["data"]


def listed(caller, **options):
    return {row["task_id"]: row["task_status"] for row in page(caller, **options)}


def status_of(caller, task_id):
    return caller.get(f"{PATH}/{task_id}").json()["data"]["task_status"]


# ------------------------------------------------------------------------ lag


def test_a_lagging_list_shows_tasks_as_they_stood_and_a_query_as_they_stand(sim, caller):
    (task,) = sim.seed(count=1, age_seconds=60)  # 10 s in the queue, 40 s of rendering
    assert (listed(caller), status_of(caller, task)) == ({task: "succeed"}, "succeed")
    sim.lists(lag_seconds=30)
    assert (listed(caller), status_of(caller, task)) == ({task: "processing"}, "succeed")
    assert "task_result" not in page(caller)[0]
    sim.lists(lag_seconds=55)
    assert listed(caller) == {task: "submitted"}


def test_a_lagging_list_does_not_have_what_is_younger(sim, caller):
    sim.lists(lag_seconds=20)
    task = caller.avatar().json()["data"]["task_id"]
    assert listed(caller) == {}
    assert status_of(caller, task) == "submitted"
    sim.advance(21)
    assert listed(caller) == {task: "submitted"}


# ------------------------------------------------------------------------ holes, pages, other people


def test_a_hidden_task_is_missing_in_the_list_but_answers_singly(sim, caller):
    named = caller.avatar(external_task_id="mine").json()["data"]["task_id"]
    shown, hidden = sim.seed(count=2, age_seconds=5)
    sim.lists(hidden=[hidden, "mine"])
    assert list(listed(caller)) == [shown]
    assert [status_of(caller, wanted) for wanted in (hidden, "mine", named)] == ["submitted"] * 3
    sim.lists(hidden=[])
    assert list(listed(caller)) == [named, shown, hidden]


def test_hidden_tasks_leave_no_gap_in_a_page(sim, caller):
    ids = sim.seed(count=10, spacing_seconds=1)
    sim.lists(hidden=ids[:2])
    assert list(listed(caller, size=4)) == ids[2:6]
    assert list(listed(caller, number=2, size=4)) == ids[6:10]


def test_a_page_may_be_shorter_than_was_asked_for_and_the_next_one_goes_on_behind_it(sim, caller):
    ids = sim.seed(count=25, spacing_seconds=1)
    sim.lists(page_cap=10)
    assert [list(listed(caller, number=n)) for n in (1, 2, 3, 4)] == [ids[:10], ids[10:20], ids[20:], []]
    assert list(listed(caller, number=2, size=5)) == ids[5:10], "a shorter page is still given"


def test_a_list_may_show_other_peoples_tasks_which_cannot_be_asked_for(sim, caller):
    (mine,) = sim.seed(count=1, age_seconds=5)
    (foreign,) = sim.seed(count=1, account="somebody else", outcome="stuck")
    assert list(listed(caller)) == [mine]
    sim.lists(everybody=True)
    assert list(listed(caller)) == [foreign, mine]
    assert caller.get(f"{PATH}/{foreign}").json()["message"].startswith("Task not found")


def test_a_list_never_shows_what_another_vendor_or_endpoint_made(sim, caller):
    sim.lists(everybody=True)
    sim.seed(count=1, endpoint="image_to_video")
    sim.seed(count=1, api="cometapi")
    assert listed(caller) == {}
    assert len(listed(caller, path="/v1/videos/image2video")) == 1
    assert len(listed(caller, path="/kling" + PATH)) == 1


def test_reset_ends_what_a_list_was_made_to_show_and_settings_last(run):
    with run(list_lag_seconds=5, list_page_cap=3) as (sim, caller):
        sim.lists(lag_seconds=0, hidden=["x"])
        sim.reset()
        assert sim.lists() == sim.lists(lag_seconds=5, page_cap=3, hidden=[], everybody=False)
        sim.seed(count=9, age_seconds=6)
        assert len(listed(caller)) == 3


def test_lists_can_be_steered_over_http(sim, caller):
    (task,) = sim.seed(count=1, age_seconds=60)
    assert caller.post("/simulator/lists", {"lag_seconds": 30}).status_code == 200
    answer = caller.post("/simulator/lists", {"hidden": ["other"], "page_cap": 7})
    assert answer.json() == {"lag_seconds": 30, "page_cap": 7, "hidden": ["other"], "everybody": False}
    assert caller.get("/simulator/lists").json() == answer.json()
    assert listed(caller) == {task: "processing"}


@pytest.mark.parametrize(
    "nonsense", [{"lag_seconds": -1}, {"page_cap": 0}, {"page_cap": 501}, {"hidden": 3}, {"colour": "red"}]
)
def test_a_list_view_that_makes_no_sense_is_refused_and_changes_nothing(sim, caller, nonsense):
    assert caller.post("/simulator/lists", nonsense).status_code == 422
    assert sim.lists() == sim.lists(lag_seconds=0, page_cap=500, hidden=(), everybody=False)


def test_the_command_line_sets_how_lists_begin(capsys):
    settings = settings_from(["--list-lag-seconds", "8", "--list-page-cap", "100"])
    assert (settings.list_lag_seconds, settings.list_page_cap) == (8, 100)
    with pytest.raises(SystemExit):
        settings_from(["--list-page-cap", "501"])
    assert "must be from 1 to 500" in capsys.readouterr().err


# ------------------------------------------------------------------------ list and query apart


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"kind": "http_error", "status": 503}, (503, "text/plain")),
        ({"kind": "http_error", "status": 404}, (404, "text/plain")),
        ({"kind": "error_code", "code": 1203}, (404, "application/json")),
        ({"kind": "html", "status": 200}, (200, "text/html")),
        ({"kind": "truncated_json"}, (200, "application/json")),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_fault_may_hit_the_list_and_spare_single_queries(sim, caller, fault, seen):
    (task,) = sim.seed(count=1)
    good = page(caller)
    sim.fault(call="list", times=0, **fault)
    answer = caller.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == seen
    with pytest.raises((requests.JSONDecodeError, KeyError)):
        assert answer.json()["data"] == good
    assert status_of(caller, task) == "submitted"
    assert caller.avatar().status_code == 200


def test_a_fault_may_hit_single_queries_and_spare_the_list(sim, caller):
    (task,) = sim.seed(count=1)
    sim.fault(kind="http_error", call="query", times=0)
    assert caller.get(f"{PATH}/{task}").status_code == 502
    assert listed(caller) == {task: "submitted"}


def test_a_list_may_lack_the_addresses_once(sim, caller):
    sim.seed(count=1, age_seconds=60)
    sim.fault(kind="no_url", call="list")
    assert page(caller)[0]["task_result"] == {"videos": []}
    assert page(caller)[0]["task_result"]["videos"]


@pytest.mark.parametrize("kind", ["fail_task", "stuck", "unknown_status"])
def test_only_a_create_can_be_told_to_spoil_its_task(sim, kind):
    with pytest.raises(ValueError, match="a list creates none"):
        sim.fault(kind=kind, call="list")
    assert sim.fault(kind=kind, call="create").call == "create"


def test_every_path_is_known_for_what_it_does():
    for dialect in DIALECTS:
        for path in dialect.paths.values():
            calls = [call_of("POST", path), call_of("GET", path), call_of("GET", f"{path}/831")]
            assert calls == ["create", "list", "query"], path
    assert [call_of("GET", path) for path in ("/media/x.mp4", "/account/costs", "/", f"{PATH}/a/b")] == [
        None
    ] * 4
    assert call_of("POST", f"{PATH}/831") is None


def test_lists_and_queries_are_counted_apart(sim, caller):
    task = caller.avatar().json()["data"]["task_id"]
    sim.fault(kind="http_error", call="query")
    for _ in range(3):
        caller.get(f"{PATH}/{task}")
    page(caller)
    caller.get("/media/nothing.mp4")
    assert sim.calls == {"create": 1, "list": 1, "query": 3}
    assert caller.get("/simulator/calls").json() == sim.calls
    assert [record.call for record in sim.requests] == ["create", *["query"] * 3, "list", None]
    sim.reset()
    assert sim.calls == {"create": 0, "list": 0, "query": 0}


def test_the_request_log_tells_which_requests_shared_a_connection(sim, caller):
    page(caller)
    page(caller)
    requests.get(sim.url + PATH, timeout=20)
    first, second, other = (record.connection for record in sim.requests)
    assert first == second != other


def test_the_request_log_tells_when_a_request_ended(sim, caller):
    sim.fault(kind="slow", call="list", seconds=0.3)
    page(caller)
    (record,) = sim.requests
    deadline = time.monotonic() + 60
    while record.ended_at is None and time.monotonic() < deadline:
        time.sleep(0.005)  # the answer is here before the server has noted that it was sent
    assert 0.3 <= record.ended_at - record.at < 60


# ------------------------------------------------------------------------ tasks in bulk


def test_ten_thousand_tasks_are_made_and_listed_in_no_time(sim, caller):
    began = time.process_time()  # of both sides; a busy machine hardly changes it
    ids = sim.seed(count=10_000, spacing_seconds=1, render_seconds=20_000)
    seen = [task_id for number in range(1, 21) for task_id in listed(caller, number=number)]
    took = time.process_time() - began
    assert seen == ids
    assert len(set(ids)) == 10_000
    assert page(caller, number=21) == []
    assert took < 10, "about 0.6 s on an idle machine"


def test_seeded_tasks_have_the_ages_and_ends_they_were_given(sim, caller):
    waiting = sim.seed(count=3, age_seconds=2, spacing_seconds=4, queue_seconds=5, render_seconds=100)
    (failed,) = sim.seed(count=1, age_seconds=200, outcome="failed", note="no face found")
    (odd,) = sim.seed(count=1, age_seconds=30, outcome="unknown_status")
    rows = {row["task_id"]: row for row in page(caller)}
    assert [rows[task]["task_status"] for task in waiting] == ["submitted", "processing", "processing"]
    ages = [sim.state.clock.now() - rows[task]["created_at"] / 1000 for task in waiting]
    assert ages == pytest.approx([2, 6, 10], abs=1)
    assert (rows[failed]["task_status"], rows[failed]["task_status_msg"]) == ("failed", "no face found")
    assert rows[odd]["task_status"] == "reviewing"


def test_the_newest_is_listed_first_whenever_it_was_made(sim, caller):
    (young,) = sim.seed(count=1, age_seconds=10)
    (old,) = sim.seed(count=1, age_seconds=100)
    (newest,) = sim.seed(count=1)
    assert list(listed(caller)) == [newest, young, old]


def test_a_seeded_task_takes_a_slot_until_it_ends_and_has_a_film_and_a_line_in_the_ledger(run):
    with run(slots=1) as (sim, caller):
        (task,) = sim.seed(count=1)
        assert caller.avatar().json()["code"] == 1303
        sim.advance(60)
        assert caller.avatar().status_code == 200
        url = caller.get(f"{PATH}/{task}").json()["data"]["task_result"]["videos"][0]["url"]
        assert requests.get(url, timeout=60).headers["content-type"] == "video/mp4"
        assert sim.ledger()["entries"][0]["task_id"] == task


@pytest.mark.parametrize("api", ["kling", "kling-broadcast", "cometapi", "generations", "relay"])
def test_tasks_can_be_made_for_every_api(sim, caller, api):
    (task,) = sim.seed(count=1, api=api, age_seconds=60)
    path = next(d.paths["avatar"] for d in DIALECTS if d.name == api)
    assert caller.get(f"{path}/{task}").status_code == 200
    assert task in caller.get(f"{path}/{task}").text


def test_tasks_can_be_made_over_http(sim, caller):
    answer = caller.post("/simulator/tasks", {"count": 2, "age_seconds": 20})
    assert answer.status_code == 201
    assert list(listed(caller)) == answer.json()["task_ids"]


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"count": 0},
        {"count": 1, "age_seconds": -1},
        {"count": 1, "api": "sora"},
        {"count": 1, "size": 2},
        {"count": 1, "api": "generations", "endpoint": "image_to_video"},
        {"count": 1, "outcome": "lost"},
    ],
)
def test_an_order_in_bulk_that_makes_no_sense_is_refused(sim, caller, nonsense):
    assert caller.post("/simulator/tasks", nonsense).status_code == 422
    assert sim.ledger()["entries"] == []


# ------------------------------------------------------------------------ keys


def test_a_rotated_key_opens_the_same_account_and_the_old_one_nothing(run, other_account):
    from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT

    with run(accounts=(DEFAULT_ACCOUNT, other_account)) as (sim, caller):
        (task,) = sim.seed(count=1)
        sim.rotate_key("sk-fresh")
        assert caller.get(f"{PATH}/{task}").json()["code"] == 1002
        caller.session.headers["Authorization"] = "Bearer sk-fresh"
        assert status_of(caller, task) == "submitted"
        answer = caller.post("/simulator/key", {"account": "other", "api_key": "sk-third"})
        assert (answer.status_code, answer.json()) == (200, {"account": "other"})
        caller.session.headers["Authorization"] = "Bearer sk-third"
        assert listed(caller) == {}


@pytest.mark.parametrize(
    "nonsense", [{}, {"api_key": ""}, {"api_key": "sk-simulator"}, {"api_key": "sk-x", "account": "nobody"}]
)
def test_a_key_that_cannot_be_given_is_refused_and_the_old_one_stays(caller, nonsense):
    assert caller.post("/simulator/key", nonsense).status_code == 422
    assert page(caller) == []
