"""The notifier: what a person reads when a clip has failed, wherever Airflow tells of it."""

from __future__ import annotations

import importlib

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kling_avatar.compat import BaseNotifier
from airflow_provider_kling_avatar.exceptions import as_final
from airflow_provider_kling_avatar.get_provider_info import get_provider_info
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.notifications.kling_avatar import (
    WHAT_TO_DO,
    KlingFailureNotifier,
    failure_message,
)

REFUSED = errors.ContentRejectedError(
    "moderation refused the content", code=1301, http_status=400, request_id="r-7"
)
FAILED = errors.TaskFailedError("task 811 failed: model overloaded", code="failed")


def all_errors(kind=errors.KlingError):
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from all_errors(below)


@pytest.fixture
def failed(make_context):
    """The context of a task that has failed, as a callback is given it."""

    def make(error=None, task_id=None, **changes):
        context = make_context(**changes)
        context["dag"] = DAG("news", schedule=None)
        if error is not None:
            context["exception"] = error
        if task_id:
            context["ti"].xcoms["task_id"] = task_id
        return context

    return make


@pytest.fixture
def sent():
    return []


def test_it_names_the_task_the_reason_the_code_and_what_to_do(failed, sent):
    KlingFailureNotifier(sent.append)(failed(REFUSED, map_index=3, try_number=2))

    (message,) = sent
    assert "news.clip [3], run manual__1, try 2" in message
    assert (
        "ContentRejectedError: moderation refused the content [code 1301, HTTP 400, request id r-7]"
        in message
    )
    assert "Change the picture, the voice or the words" in message


def test_the_final_form_that_airflow_is_given_reads_the_same(failed):
    assert failure_message(failed(as_final(REFUSED))) == failure_message(failed(REFUSED))


def test_a_field_that_is_to_blame_is_named(failed):
    error = errors.MediaError("the picture is 200 pixels wide, 300 is the least", field="image")

    assert "The field is image." in failure_message(failed(error))


@pytest.mark.parametrize(
    ("error", "task_id", "expected"),
    [
        (REFUSED, None, "Paid: no clip, by this try"),
        (errors.TaskTimeoutError("not ready after 2 h"), "811", "Paid: yes, for that task"),
        (errors.AuthenticationError("the key is wrong", code=1000), "811", "Paid: yes, for that task"),
        (FAILED, "811", "whether that is billed, its documents do not say"),
        (errors.UnknownSubmissionError("sent, no answer"), None, "Paid: not known"),
        (ValueError("a bug"), None, "Paid: not known"),
        (None, "811", "Paid: yes, for that task"),
    ],
)
def test_it_says_whether_something_was_paid(failed, error, task_id, expected):
    message = failure_message(failed(error, task_id))

    assert expected in message
    assert (f"At the vendor: task {task_id}" if task_id else "At the vendor: no task is known") in message


def test_a_worker_that_died_is_told_of_without_an_error(failed):
    """Airflow 3 then calls from the Dag processor, with no exception in the context."""
    assert "Why: the task's process was lost" in failure_message(failed(None))


def test_a_text_in_place_of_an_error_is_quoted(failed):
    """Airflow 2.11 tells of dead workers so."""
    message = failure_message(failed("{'DAG Id': 'news', 'Task Id': 'clip'} zombie"))

    assert "zombie" in message
    assert "A clear is safe" in message


def test_nothing_to_ask_for_the_task_id_is_no_reason_to_be_silent(failed, monkeypatch):
    context = failed(REFUSED)

    def fail(**_):
        raise RuntimeError("no supervisor")

    monkeypatch.setattr(context["ti"], "xcom_pull", fail, raising=False)

    assert "ContentRejectedError" in failure_message(context)


def test_secrets_in_foreign_errors_are_not_passed_on(failed):
    error = OSError("GET https://cdn.example/v.mp4?X-Signature=abc failed, key sk-1234567890")

    message = failure_message(failed(error))

    assert "abc" not in message
    assert "1234567890" not in message


@pytest.mark.parametrize(
    "kind", sorted(set(all_errors()), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
def test_every_error_has_advice(failed, kind):
    advice = next(WHAT_TO_DO[base] for base in kind.__mro__ if base in WHAT_TO_DO)

    assert f"What to do: {advice}" in failure_message(failed(kind("something went wrong")))


def test_another_notifier_finds_the_message_in_its_templates(failed, sent):
    class Chat(BaseNotifier):
        template_fields = ("text",)

        def __init__(self, text):
            super().__init__()
            self.text = text

        def notify(self, context):
            sent.append(self.text)

    KlingFailureNotifier(Chat("Kling: {{ kling_failure }}"))(failed(REFUSED))

    assert sent == ["Kling: " + failure_message(failed(REFUSED))]


def test_without_a_sender_the_message_is_logged(failed, caplog, capsys):
    KlingFailureNotifier()(failed(REFUSED))

    assert "code 1301" in caplog.text + capsys.readouterr().out  # Airflow's way of logging differs


def test_airflow_is_told_of_it():
    for path in get_provider_info()["notifications"]:
        module, _, name = path.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), name), BaseNotifier)
