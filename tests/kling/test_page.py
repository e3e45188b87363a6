"""Pages of tasks read in a hurry: never anything but what the patient reader would say, or that it has to be asked."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_properties import JSON

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.responses.answer import Answer
from airflow_provider_kling_avatar.kling.responses.page import Page, unfinished
from airflow_provider_kling_avatar.kling.responses.tasks import STATES, read_task_list

VIDEO = {"videos": [{"id": "v", "url": "https://cdn.test/clip.mp4", "duration": "5.1"}]}


def answer(body, status=200):
    return Answer(status, json.dumps(body).encode(), {}, "https://gate.test/v1/tasks")


def page(*rows, **envelope):
    return Page(answer({"code": 0, "message": "SUCCEED", "request_id": "r", "data": list(rows)} | envelope))


def row(task_id="t-1", status="processing", **more):
    return {"task_id": task_id, "task_status": status, "created_at": 1722769557708} | more


# ------------------------------------------------------------------------ plain pages


def test_a_page_as_the_vendor_documents_it_tells_where_each_task_stands():
    found = page(
        row("t-3", "submitted"),
        row("t-2"),
        row("t-1", "succeed", task_result=VIDEO, updated_at=1722769599708),
    )

    assert list(found.statuses) == ["t-3", "t-2", "t-1"], "the newest first"
    assert [found.task(i).state for i in found.statuses] == [
        TaskState.QUEUED,
        TaskState.RUNNING,
        TaskState.SUCCEEDED,
    ]
    done = found.task("t-1")
    assert done.video.url == "https://cdn.test/clip.mp4"
    assert (done.created_at, done.updated_at) == (1722769557.708, 1722769599.708)


@pytest.mark.parametrize(
    "odd",
    [
        row(status="failed"),
        row(status="succeed"),
        row(status="succeed", task_result={}),
        row(status="succeed", task_result={"videos": [{"url": "ftp://x"}]}),
    ],
    ids=["no reason", "no result", "no videos", "no address"],
)
def test_of_what_has_ended_without_saying_with_what_the_task_itself_tells_more(odd):
    assert page(odd).task("t-1") is None


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e400", "0." + "1" * 5000])
def test_a_number_that_no_computer_holds_breaks_the_page_for_nobody(number):
    odd = json.dumps(row("t-1", "succeed")).replace('"t-1"', f'"t-1", "seed": {number}', 1)
    body = f'{{"code": 0, "data": [{odd}, {json.dumps(row("t-2"))}]}}'
    here = Page(Answer(200, body.encode(), {}, "https://gate.test/v1/tasks"))

    assert here.task("t-1") is None, "it says that it has ended, but not with what"
    assert here.task("t-2").state is TaskState.RUNNING


def test_what_has_not_plainly_ended_holds_a_slot():
    rows = [row("1"), row("2", "submitted"), row("3", "reviewing"), row("4", "succeed"), row("5", "failed")]

    assert unfinished(page(*rows)) == 3


# ------------------------------------------------------------------------ odd pages


@pytest.mark.parametrize(
    "body",
    [
        {"code": "success", "data": [row()]},
        {"code": 0, "data": {"items": [row()]}},
        {"code": 0, "data": [{"id": "t-1", "status": "in_progress"}]},
        {"code": 0, "data": [{"task_id": "t-1", "task_status": "processing"}, None, 17, {"note": "no task"}]},
        {"tasks": [{"task_id": "t-1", "data": {"task_status": "processing"}}]},
    ],
    ids=["word as code", "wrapped", "flat", "other rows", "nested"],
)
def test_a_page_of_another_shape_is_read_patiently(body):
    found = Page(answer(body))

    assert [*found.statuses] == ["t-1"]
    assert found.task("t-1").state is TaskState.RUNNING
    assert unfinished(found) == 1


@pytest.mark.parametrize("rows", ["data", "tasks"])
def test_a_page_tells_the_reason_of_a_failure(rows):
    found = Page(answer({"code": 0, rows: [row(status="failed", task_status_msg="too dark")]}))

    assert found.task("t-1").reason == "too dark"


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"code": 1302, "message": "slow", "data": []}, 429, e.RateLimitedError),
        ({"code": 1302, "message": "slow", "data": []}, 200, e.RateLimitedError),
        ({"code": 0, "data": None}, 200, e.UnreadableAnswerError),
        ({"code": 5000, "message": "x", "data": [row()]}, 500, e.UnavailableError),
    ],
)
def test_an_error_is_no_empty_page(body, status, error):
    with pytest.raises(error):
        Page(answer(body, status))


# ------------------------------------------------------------------------ whatever comes

ROWS = st.fixed_dictionaries(
    {
        "task_id": st.sampled_from(["t-1", "t-2", "t-3"]) | JSON,
        "task_status": st.sampled_from([*STATES]) | JSON,
    },
    optional={
        "task_result": st.just(VIDEO) | JSON,
        "status": JSON,
        "data": JSON,
        "error": JSON,
        "created_at": JSON,
    },
)


@given(st.lists(ROWS | JSON, max_size=4), st.sampled_from([0, 0, 0, "success", 1302]))
def test_a_page_says_what_the_patient_reader_of_the_whole_list_says(rows, code):
    reply = Answer(200, json.dumps({"code": code, "data": rows}).encode())
    try:
        patient = {}
        for task in read_task_list(reply):
            patient.setdefault(task.task_id, task)
        found = Page(reply)
    except e.KlingError:
        return
    for task_id in found.statuses:
        task = found.task(task_id)
        if task is not None and [r.get("task_id") for r in rows if isinstance(r, dict)].count(task_id) == 1:
            assert task.state is patient[task_id].state
            assert (task.video is None) == (patient[task_id].video is None)
            assert task.created_at == patient[task_id].created_at


@given(
    st.binary(max_size=60) | JSON.map(lambda body: json.dumps(body).encode()),
    st.sampled_from([200, 404, 500]),
)
def test_whatever_comes_only_our_own_errors_come_out(body, status):
    reply = Answer(status, body)
    try:
        for task_id in (found := Page(reply)).statuses:
            found.task(task_id)
        unfinished(found)
    except e.KlingError:
        pass


# ------------------------------------------------------------------------ haste


def test_five_hundred_rows_hold_the_loop_no_longer_than_a_few_milliseconds():
    """In processor time, the least of some: anything else says more about the neighbours."""
    rows = [row(str(n), "succeed", task_result=VIDEO) if n % 2 else row(str(n)) for n in range(500)]
    reply = answer({"code": 0, "message": "SUCCEED", "request_id": "r", "data": rows})
    spent = []
    for _ in range(5):
        begin = time.thread_time()
        found = Page(reply)
        assert [found.task(str(n)) for n in range(100)].count(None) == 0, "so many have changed"
        spent.append(time.thread_time() - begin)

    assert min(spent) < 0.02


def test_no_text_of_a_task_has_a_character_that_postgresql_keeps_in_no_text():
    task = page(row("t-1", "failed", task_status_msg="a\0b", task_info={"external_task_id": "n\0m"})).task(
        "t-1"
    )

    assert (task.reason, task.external_task_id) == ("a b", "n m")
