"""The manifest: one versioned shape for all who return a clip, small and without secrets."""

from __future__ import annotations

import hashlib
import json
import time
from decimal import Decimal
from typing import get_type_hints

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from jsonschema import Draft202012Validator, ValidationError

from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.polling.wait import wait_for_task
from airflow_provider_kling_avatar.manifest import MANIFEST_SCHEMA, VideoManifest, manifest_schema
from airflow_provider_kling_avatar.operators.kling_avatar import KlingAvatarOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_API_KEY

SHAPE = Draft202012Validator(manifest_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def resumed(face, voice, sim, make_context):
    """Run a whole one-task clip with a deferral in it; return its manifest and its context."""

    def run(**arguments):
        operator = KlingAvatarOperator(task_id="clip", image=face, audio=voice, **arguments)
        context = make_context()
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context)
        sim.advance(60)
        event = {
            "task_id": deferred.value.trigger.kling_task_id,
            "endpoint": "avatar",
            "verdict": "succeeded",
            "reason": None,
            "code": None,
            "queued": 10.0,
            "rendering": 40.04,
        }
        return operator.execute_complete(context, event), context

    return run


def test_the_schema_is_sound_and_knows_the_same_keys_as_the_type():
    Draft202012Validator.check_schema(manifest_schema())

    assert set(manifest_schema()["properties"]) == set(get_type_hints(VideoManifest))
    assert set(manifest_schema()["required"]) == set(get_type_hints(VideoManifest))
    assert manifest_schema()["$id"] == MANIFEST_SCHEMA


def test_operator_and_sensor_return_the_same_shape(resumed, context):
    made, _ = resumed()
    waited_for = KlingAvatarSensor(task_id="wait", kling_task_id=made["task_id"]).execute(context)

    SHAPE.validate(made)
    SHAPE.validate(waited_for)
    assert made["schema"] == waited_for["schema"] == MANIFEST_SCHEMA
    assert made["video_id"] == waited_for["video_id"]


def test_it_says_how_long_the_vendor_took(resumed):
    made, _ = resumed()

    assert (made["queued_seconds"], made["rendering_seconds"]) == (10.0, 40.0)


def test_a_clip_that_was_ready_at_once_was_not_seen_to_wait(resumed, context):
    made, _ = resumed()
    found = KlingAvatarSensor(task_id="wait", kling_task_id=made["task_id"]).execute(context)

    assert (found["queued_seconds"], found["rendering_seconds"]) == (None, None)


def test_a_worker_that_waits_itself_says_how_long_it_took(face, voice, sim, context, monkeypatch):
    clock = [time.time()]

    def sleep(seconds):
        clock[0] += seconds

    monkeypatch.setattr(time, "time", lambda: clock[0])  # the vendor's clock as well
    monkeypatch.setitem(wait_for_task.__kwdefaults__, "clock", time.time)
    monkeypatch.setitem(wait_for_task.__kwdefaults__, "sleep", sleep)
    operator = KlingAvatarOperator(
        task_id="clip", image=face, audio=voice, deferrable=False, poll_interval=2, timeout=3600
    )

    made = operator.execute(context)

    assert made["queued_seconds"] == pytest.approx(10, abs=4)
    assert made["rendering_seconds"] == pytest.approx(40, abs=6)


@pytest.mark.parametrize("mode", ["std", "pro"])
def test_it_says_what_was_asked_for(resumed, mode):
    assert resumed(mode=mode)[0]["mode"] == mode


def test_a_mode_that_was_not_given_is_the_one_that_the_vendor_was_asked_for(resumed):
    assert resumed()[0]["mode"] == "std"


def test_it_names_the_request_that_paid(resumed):
    made, context = resumed()

    assert made["submit_request_id"] == context["ti"].xcoms["kling_submit_request_id"]
    assert made["submit_request_id"] != made["request_id"]


def test_it_is_small_and_holds_no_key(resumed):
    text = json.dumps(resumed()[0])

    assert len(text) < 2000
    assert DEFAULT_API_KEY not in text


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "kling-avatar-manifest/2"},
        {"sha256": "abc"},
        {"size": 0},
        {"actual_cost": 0.34},
        {"actual_cost": "-1"},
        {"currency": "Dollar"},
        {"more": 1},
    ],
)
def test_what_is_no_manifest_does_not_pass_for_one(resumed, change):
    with pytest.raises(ValidationError):
        SHAPE.validate({**resumed()[0], **change})


# ---------------------------------------------------------------------------------------------- the file


def test_the_operator_lands_the_file_where_it_is_wanted(resumed, tmp_path):
    made, _ = resumed(output_path=f"{tmp_path}/clips/")

    SHAPE.validate(made)
    file = tmp_path / "clips" / f"{made['task_id']}.mp4"
    assert (made["file"], made["file_uri"]) == (str(file), file.as_uri())
    assert made["size"] == file.stat().st_size
    assert made["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert made["landing_seconds"] >= 0
    assert made["watermark_file"] is None


def test_a_clip_is_delivered_even_if_the_file_with_its_words_is_gone_by_then(
    face, sim, make_context, tmp_path
):
    script = tmp_path / "script.md"
    script.write_text("A friendly presenter.")
    operator = KlingAvatarOperator(
        task_id="clip", image=face, text=str(script), voice_id="oversea_male1", prompt=str(script)
    )
    script.write_text("Good morning. Here is the news of the day, all of it.")
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(make_context())
    sim.advance(200)
    script.unlink()

    made = operator.execute_complete(
        make_context(), {"task_id": deferred.value.trigger.kling_task_id, "verdict": "succeeded"}
    )

    assert made["video_url"]


def test_with_a_watermark_both_variants_land(resumed, tmp_path):
    made, _ = resumed(output_path=f"{tmp_path}/clip.mp4", watermark=True)

    assert made["watermark_file"] == str(tmp_path / "clip.watermarked.mp4")
    assert sorted(path.name for path in tmp_path.glob("clip*")) == ["clip.mp4", "clip.watermarked.mp4"]


def test_the_sensor_lands_the_file_too(resumed, tmp_path, context):
    made, _ = resumed()

    found = KlingAvatarSensor(
        task_id="wait", kling_task_id=made["task_id"], output_path=str(tmp_path / "clip.mp4")
    ).execute(context)

    assert found["file"] == str(tmp_path / "clip.mp4")
    assert found["size"] == (tmp_path / "clip.mp4").stat().st_size


def test_a_place_that_cannot_be_written_to_is_said_before_anything_is_paid(
    face, voice, sim, context, tmp_path
):
    (tmp_path / "file").write_text("no folder")
    operator = KlingAvatarOperator(
        task_id="clip", image=face, audio=voice, output_path=f"{tmp_path}/file/clip.mp4"
    )

    with pytest.raises(errors.OutputPathError, match=r"output_path.*Nothing was sent or paid"):
        operator.execute(context)
    assert sim.ledger()["total"]["tasks"] == 0


@pytest.mark.parametrize("nothing", ["", "None", " "])
def test_a_place_that_rendered_to_nothing_is_said_before_anything_is_paid(face, voice, sim, context, nothing):
    operator = KlingAvatarOperator(task_id="clip", image=face, audio=voice, output_path=nothing)

    with pytest.raises(errors.InvalidRequestError, match="output_path"):
        operator.execute(context)
    assert sim.ledger()["total"]["tasks"] == 0


def test_a_failed_landing_is_made_good_by_the_next_try_without_paying(
    resumed, face, voice, sim, make_context, tmp_path
):
    sim.fault(kind="http_error", method="GET", path="/media/*", times=0)
    with pytest.raises(errors.DownloadError, match="safe"):
        resumed(output_path=str(tmp_path / "clip.mp4"))
    assert list(tmp_path.glob("clip.mp4*")) == []
    sim.clear_faults()

    again = KlingAvatarOperator(
        task_id="clip", image=face, audio=voice, output_path=str(tmp_path / "clip.mp4")
    )
    made = again.execute(make_context(try_number=2))

    assert made["size"] == (tmp_path / "clip.mp4").stat().st_size
    assert sim.ledger()["total"]["tasks"] == 1


# ---------------------------------------------------------------------------------------------- the cost


def test_it_says_what_was_expected_and_what_it_cost(resumed, sim):
    made, _ = resumed()

    (entry,) = sim.ledger()["entries"]
    assert made["currency"] == "USD"
    assert Decimal(made["estimated_cost"]) == Decimal("0.056") * Decimal("2.5")
    assert Decimal(made["actual_cost"]) == Decimal(entry["amount_usd"])
    assert made["units"] == entry["units"]


def test_the_sensor_knows_what_it_cost_but_not_what_was_expected(resumed, context):
    made, _ = resumed()

    found = KlingAvatarSensor(task_id="wait", kling_task_id=made["task_id"]).execute(context)

    assert found["actual_cost"] == made["actual_cost"]
    assert found["estimated_cost"] is None
