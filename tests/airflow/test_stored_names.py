"""
What lies in Airflow's database and in stores, by its final name: a later version, or somebody's Dag, reads it there.

Entries are only ever added. The arguments of triggers are frozen in the tests of each trigger, the record of
submissions in `tests/kling/test_changes.py`.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_kling_avatar.decorators import kling_avatar as decorator
from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity
from airflow_provider_kling_avatar.links.kling_avatar import LINK_XCOM_KEY
from airflow_provider_kling_avatar.manifest import manifest_schema
from airflow_provider_kling_avatar.notifications.kling_avatar import CONTEXT_KEY
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarSubmitOperator
from airflow_provider_kling_avatar.state_store import SUBMISSION_KEY, FileStateStore

MANIFEST_KEYS = {
    "actual_cost",
    "api",
    "created_at",
    "currency",
    "duration",
    "endpoint",
    "estimated_cost",
    "external_task_id",
    "file",
    "file_uri",
    "landing_seconds",
    "mode",
    "queued_seconds",
    "rendering_seconds",
    "request_id",
    "schema",
    "sha256",
    "size",
    "status",
    "submit_request_id",
    "task_id",
    "units",
    "updated_at",
    "video_id",
    "video_url",
    "watermark_file",
    "watermark_url",
}


@pytest.fixture
def submit(face, voice, connect):
    connect()
    fields = {"task_id": "clip", "image": face, "audio": voice}
    return lambda **arguments: KlingAvatarSubmitOperator(**fields | arguments)


@pytest.fixture
def full_vendor(start_vendor, connect):
    """Refuse every clip for want of a slot."""
    vendor = start_vendor(slots=1, queue_seconds=1000, render_seconds=1000)
    vendor.seed(count=1, age_seconds=0)
    connect(host=vendor.url)
    return vendor


def test_a_submission_leaves_these_names(submit, context):
    submit(max_cost="5", max_cost_per_run="5").execute(context)
    left = context["ti"].xcoms

    assert set(left) - {"kling_clip"} == {
        "task_id",
        "external_task_id",
        "kling_task_link",
        "kling_paid_for",
        "kling_submit_request_id",
        "kling_estimate",
        "kling_share_of_run",
    }
    assert set(left["kling_paid_for"]) == {"mode", "estimate", "image", "audio"}
    assert set(left["kling_estimate"]) == {"amount", "currency", "seconds", "rough"}
    assert set(left["kling_share_of_run"]) == {"map_index", "amount", "stage"}


def test_a_wait_for_a_slot_leaves_these_names(submit, context, full_vendor):
    with pytest.raises(TaskDeferred):
        submit(
            audio=None,
            text="Good evening, and welcome to the news of today.",
            voice_id="oversea_male1",
            voice_language="en",
        ).execute(context)
    left = context["ti"].xcoms

    assert set(left["kling_queueing"]) == {"try_number", "since", "deadline"}
    assert set(left["kling_speech"]) == {"input_fingerprint", "audio_id", "duration", "spoken_at"}


def test_the_other_keys_have_these_names():
    assert (LINK_XCOM_KEY, CONTEXT_KEY, SUBMISSION_KEY) == (
        "kling_task_link",
        "kling_failure",
        "kling_submission",
    )
    assert (decorator.ANSWER_XCOM_KEY, decorator.SHOWN_XCOM_KEY, decorator.ANSWER_STATE_KEY) == (
        "kling_answer",
        "kling_answer_shown",
        "kling_answer",
    )


def test_what_a_decorated_function_answered_is_kept_in_this_shape():
    record = decorator.AnswerRecord(version=1, arguments="a", answer={"text": "b"}, delivered_in=0)

    assert msgspec.to_builtins(record) == {
        "version": 1,
        "arguments": "a",
        "answer": {"text": "b"},
        "delivered_in": 0,
    }


def test_a_note_under_state_path_is_found_under_this_name(tmp_path):
    work = TaskIdentity("news", "clip", "manual__1", 2, "kling_default")

    FileStateStore(str(tmp_path), work).save({"version": 1})
    FileStateStore(str(tmp_path), work, "kling_answer").save({"version": 1})

    assert {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()} == {
        "news-clip-7d1cbf9fbf113dbcfd3a60fc5e70b3c9.json": {"version": 1},
        "news-clip-7d1cbf9fbf113dbcfd3a60fc5e70b3c9.kling_answer.json": {"version": 1},
    }


def test_the_result_has_these_keys():
    assert set(manifest_schema()["properties"]) == MANIFEST_KEYS
