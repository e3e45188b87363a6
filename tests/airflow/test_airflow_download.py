"""The operator that lands a clip which something else has made."""

from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator


@pytest.fixture
def task_id(sim, connect, face, voice):
    hook = KlingAvatarHook()
    ordered = hook.submit_avatar(AvatarRequest(image=face, audio=voice)).task_id
    hook.close()
    return ordered


def download(task_id, output_path, **options):
    return KlingVideoDownloadOperator(
        task_id="download", kling_task_id=task_id, output_path=str(output_path), **options
    )


def test_it_lands_the_clip_and_returns_what_lies_there(sim, task_id, tmp_path, context):
    sim.advance(60)

    result = download(task_id, f"{tmp_path}/").execute(context)

    assert json.loads(json.dumps(result)) == result
    assert result["task_id"] == task_id
    assert result["file"] == f"{tmp_path}/{task_id}.mp4"
    assert result["file_uri"] == f"file://{tmp_path}/{task_id}.mp4"
    assert result["size"] == (tmp_path / f"{task_id}.mp4").stat().st_size
    assert len(result["sha256"]) == 64
    assert not result["was_there"]


def test_a_retry_fetches_nothing_and_nothing_is_ever_paid(sim, task_id, tmp_path, context, make_context):
    sim.advance(60)
    paid = sim.ledger()["total"]

    first = download(task_id, f"{tmp_path}/").execute(context)
    again = download(task_id, f"{tmp_path}/").execute(make_context(try_number=2))

    assert again["was_there"]
    assert again["sha256"] == first["sha256"]
    assert sim.ledger()["total"] == paid
    assert sim.calls["create"] == 1


@pytest.mark.parametrize("shape", [int, lambda task_id: {"task_id": task_id, "video_url": "x"}, str])
def test_it_takes_an_id_a_number_or_a_manifest(sim, task_id, tmp_path, context, shape):
    sim.advance(60)

    assert download(shape(task_id), f"{tmp_path}/").execute(context)["task_id"] == task_id


@pytest.mark.parametrize("value", [None, "", " ", "None", {}, {"task_id": None}, [], True])
def test_without_an_id_it_says_so_and_burns_no_retry(sim, connect, tmp_path, context, value):
    with pytest.raises(errors.InvalidRequestError, match="kling_task_id came") as raised:
        download(value, f"{tmp_path}/").execute(context)

    assert isinstance(raised.value, AirflowFailException)
    assert sim.requests == []


def test_a_wrong_path_is_said_before_the_vendor_is_asked(sim, task_id, context):
    before = len(sim.requests)

    with pytest.raises(errors.OutputPathError) as raised:
        download(task_id, "nope://bucket/x.mp4").execute(context)

    assert isinstance(raised.value, AirflowFailException)
    assert len(sim.requests) == before


def test_a_clip_that_is_not_ready_is_waited_for_by_a_retry(sim, task_id, tmp_path, context):
    with pytest.raises(errors.TaskTimeoutError, match="KlingAvatarSensor") as raised:
        download(task_id, f"{tmp_path}/").execute(context)

    assert not isinstance(raised.value, AirflowFailException)


def test_a_clip_that_the_vendor_failed_burns_no_retry(sim, connect, face, voice, tmp_path, context):
    sim.fault(kind="fail_task")
    hook = KlingAvatarHook()
    failed = hook.submit_avatar(AvatarRequest(image=face, audio=voice)).task_id
    hook.close()
    sim.advance(60)

    with pytest.raises(errors.TaskFailedError) as raised:
        download(failed, f"{tmp_path}/").execute(context)

    assert isinstance(raised.value, AirflowFailException)


def test_another_file_there_burns_no_retry_and_stays(sim, task_id, tmp_path, context):
    sim.advance(60)
    (tmp_path / "clip.mp4").write_text("paid")

    with pytest.raises(errors.OutputExistsError) as raised:
        download(task_id, tmp_path / "clip.mp4").execute(context)

    assert isinstance(raised.value, AirflowFailException)
    assert (tmp_path / "clip.mp4").read_text() == "paid"


def test_an_endpoint_that_does_not_exist_is_said(connect, tmp_path, context):
    with pytest.raises(errors.ConfigurationError, match="endpoint"):
        download("1", tmp_path / "x.mp4", endpoint="movie").execute(context)


def test_its_path_is_a_template_and_it_maps():
    with DAG("news", schedule=None):
        operator = download("1", "/clips/{{ ds }}/")
        mapped = KlingVideoDownloadOperator.partial(task_id="all", output_path="/clips/").expand(
            kling_task_id=["1", "2"]
        )
    operator.render_template_fields({"ds": "2026-11-27"})

    assert operator.output_path == "/clips/2026-11-27/"
    assert mapped.task_id == "all"


def test_a_manifest_shows_no_signed_link_where_airflow_shows_what_was_rendered(context):
    task = download({"task_id": "831", "video_url": "https://host/clip.mp4?sig=secret"}, "/clips/")
    task.render_template_fields(context)

    assert "831" in str(task.kling_task_id)
    assert "secret" not in str(task.kling_task_id)
