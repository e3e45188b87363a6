"""Words from files, speeches over retries, and files that only a link leads to: with Airflow around them."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
import requests
from airflow.providers.common.compat.sdk import DAG, AirflowFailException
from airflow.serialization.helpers import serialize_template_field
from moto.server import ThreadedMotoServer

from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.simulator.settings import Account, SimulatorSettings

SCRIPT = "Good morning, {{ params.city }}. Here is the news of the day.\n"
SPOKEN = "Good morning, Oslo. Here is the news of the day."
ACCOUNTS = (*SimulatorSettings().accounts, Account(name="others", api_key="sk-others-0123456789"))
SPEECH = {"text": "Good morning, here is the news of the day.", "voice_id": "oversea_male1"}


@pytest.fixture(autouse=True)
def connected(connect):
    connect()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "script.md").write_text(SCRIPT)
    (tmp_path / "mood.txt").write_text("friendly, in {{ params.city }}")
    return tmp_path


@pytest.fixture
def dag(folder):
    return DAG(
        "news",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        template_searchpath=[str(folder)],
        params={"city": "Oslo"},
    )


def render(operator, context):
    context["params"] = {"city": "Oslo"}
    operator.render_template_fields(context)
    return {
        name: serialize_template_field(getattr(operator, name), name) for name in operator.template_fields
    }


def posts(sim, path="/v1/audio/tts"):
    return [request for request in sim.requests if request.method == "POST" and request.path.startswith(path)]


# ---------------------------------------------------------------------------------------------- voices


@pytest.mark.parametrize(
    "voice", [None, "", "None", "nobody"], ids=["none", "empty", "a template's", "unknown"]
)
def test_the_error_for_a_missing_or_unknown_voice_lists_those_that_are_known(sim, context, face, voice):
    for operator in (
        KlingAvatarOperator(task_id="clip", image=face, text="Good evening.", voice_id=voice),
        KlingTextToSpeechOperator(task_id="speak", text="Good evening.", voice_id=voice),
    ):
        with pytest.raises(AirflowFailException, match="voice_id") as caught:
            operator.execute(context)

        assert "en: oversea_male1, " in str(caught.value)
        assert "zh: genshin_vindi2, " in str(caught.value)
        assert "docs.qingque.cn" in str(caught.value)


# ---------------------------------------------------------------------------------------------- files


def test_words_come_from_files_beside_the_dag_and_are_templates(dag, context):
    with dag:
        task = KlingAvatarSubmitOperator(
            task_id="clip", text="script.md", prompt="mood.txt", voice_id="v", image="face.png"
        )
        other = KlingImageToVideoSubmitOperator(task_id="scene", negative_prompt="mood.txt")
    shown = render(task, context)
    assert (shown["text"].strip(), shown["prompt"]) == (SPOKEN, "friendly, in Oslo")
    assert render(other, context)["negative_prompt"] == "friendly, in Oslo"


@pytest.mark.parametrize("text", ["Please read README.md", "Please read script.md", "Read {{ 'this' }}.txt"])
def test_a_sentence_that_ends_with_a_file_name_is_a_sentence(dag, context, text):
    with dag:
        task = KlingTextToSpeechOperator(task_id="speech", text=text, voice_id="v")
    assert render(task, context)["text"] == text.replace("{{ 'this' }}", "this")


def test_no_other_field_becomes_a_file(dag, context, folder):
    with dag:
        task = KlingAvatarSubmitOperator(
            task_id="clip", state_path="script.md", external_task_id="script.md", text="script.md"
        )
    shown = render(task, context)
    assert (shown["state_path"], shown["external_task_id"]) == ("script.md", "script.md")
    assert shown["text"].strip() == SPOKEN


def test_a_dag_is_read_without_reading_its_files(dag, caplog):
    with dag:
        task = KlingTextToSpeechOperator(task_id="speech", text="missing.md", voice_id="v")
        KlingAvatarOperator.partial(task_id="rows", image="x").expand(text=["script.md", "missing.md"])
    caplog.set_level(logging.ERROR)
    dag.resolve_template_files()
    assert task.text == "missing.md"
    assert not caplog.records


def test_a_row_of_a_mapped_task_may_be_a_file(dag, context):
    with dag:
        mapped = KlingTextToSpeechOperator.partial(task_id="rows", voice_id="v").expand(
            text=["script.md", "Hello there."]
        )
    rows = [mapped.unmap({"text": text, "voice_id": "v"}) for text in ("script.md", "Hello there.")]
    assert [render(row, context)["text"].strip() for row in rows] == [SPOKEN, "Hello there."]


def test_the_name_of_a_missing_file_is_not_spoken(dag, sim, context):
    with dag:
        task = KlingTextToSpeechOperator(task_id="speech", text="missing.md", voice_id="oversea_male1")
    render(task, context)
    with pytest.raises(
        AirflowFailException, match="neither beside the Dag's file nor on its template_search"
    ):
        task.execute(context)
    assert not posts(sim)


def test_a_path_and_a_storage_uri_are_read_when_the_task_runs(dag, sim, make_context, folder):
    (folder / "whole.txt").write_text("\ufeffGood morning from a path, dear listeners.")
    for text in (f"{folder}/whole.txt", f"file://{folder}/whole.txt"):
        KlingTextToSpeechOperator(task_id="speech", text=text, voice_id="oversea_male1").execute(
            make_context()
        )
    assert {post.body["text"] for post in posts(sim)} == {"Good morning from a path, dear listeners."}


def test_a_file_that_is_no_text_is_said_to_be_none(folder, context, sim):
    (folder / "bad.txt").write_bytes(b"\xff\xfe\xff")
    task = KlingTextToSpeechOperator(task_id="speech", text=f"{folder}/bad.txt", voice_id="v")
    with pytest.raises(AirflowFailException, match="not UTF-8"):
        task.execute(context)


# ---------------------------------------------------------------------------------------------- speaking once


def speak(make_context, **more):
    fields = {**SPEECH, **more}
    context_of = {key: fields.pop(key) for key in ("try_number", "max_tries", "store_there") if key in fields}
    context = make_context(task_id="speech", **context_of)
    return KlingTextToSpeechOperator(task_id="speech", **fields).execute(context), context["ti"].xcoms


@pytest.mark.parametrize("where", ["store", "folder"])
def test_a_retry_hands_on_the_speech_that_an_earlier_try_paid_for(where, sim, make_context, tmp_path):
    kept = {"store_there": True} if where == "store" else {"state_path": str(tmp_path)}
    first, pushed = speak(make_context, **kept)
    again, same = speak(make_context, try_number=2, **kept)
    assert first == again
    assert pushed == same
    assert len(posts(sim)) == 1


def test_another_text_or_voice_is_another_speech(sim, make_context):
    speak(make_context, store_there=True)
    speak(make_context, store_there=True, text="Good evening, here is the news of the day.", try_number=2)
    speak(make_context, store_there=True, voice_speed=0.9, try_number=3)
    assert len(posts(sim)) == 3


@pytest.mark.parametrize(("on_rerun", "paid"), [("reuse", 1), ("regenerate", 2)])
def test_a_clear_after_success_does_what_on_rerun_says(sim, make_context, on_rerun, paid):
    speak(make_context, store_there=True, on_rerun=on_rerun)
    speak(make_context, store_there=True, on_rerun=on_rerun, try_number=2, max_tries=1)
    speak(make_context, store_there=True, on_rerun=on_rerun, try_number=2, max_tries=1)
    assert len(posts(sim)) == paid


@pytest.mark.parametrize("changed", ["host", "password"])
def test_a_speech_is_not_handed_on_for_another_account(connect, sim, start_vendor, make_context, changed):
    there = start_vendor(accounts=ACCOUNTS)
    connect(host=there.url if changed == "password" else sim.url)
    first, _ = speak(make_context, store_there=True)
    connect(host=there.url, password=ACCOUNTS[-1].api_key if changed == "password" else "sk-simulator")
    assert speak(make_context, store_there=True, try_number=2, max_tries=1)[0] != first


def test_a_speech_that_the_vendor_threw_away_is_spoken_anew(sim, make_context, tmp_path):
    speak(make_context, state_path=str(tmp_path))
    (note,) = Path(tmp_path).glob("*.json")
    record = json.loads(note.read_text())
    assert record["spoken_at"] == pytest.approx(time.time(), abs=600)
    note.write_text(json.dumps({**record, "spoken_at": time.time() - 29 * 86400 - 1}))
    speak(make_context, state_path=str(tmp_path), try_number=2)
    assert len(posts(sim)) == 2


def test_a_misspelt_word_pays_nothing(sim, make_context):
    with pytest.raises(AirflowFailException, match="on_rerun must be"):
        speak(make_context, on_rerun="again")
    assert not posts(sim)


def test_a_short_speech_is_a_warning_and_for_an_avatar_an_error_that_pays_once(
    sim, make_context, caplog, capsys
):
    speak(make_context, text="Hi.", store_there=True)
    assert "lengthen the text" in caplog.text + capsys.readouterr().out
    for number in (2, 3):
        with pytest.raises(AirflowFailException, match="lengthen the text"):
            speak(make_context, text="Hi.", for_avatar=True, store_there=True, try_number=number)
    assert len(posts(sim)) == 1


def test_an_avatar_takes_the_speech_of_another_task_and_checks_its_age(sim, make_context, face):
    _, pushed = speak(make_context)
    assert KlingAvatarSubmitOperator(task_id="clip", image=face, audio_id=pushed["speech"]).execute(
        make_context()
    )
    old = {**pushed["speech"], "spoken_at": time.time() - 31 * 86400}
    for given in (old, json.dumps(old)):
        task = KlingAvatarSubmitOperator(task_id="clip", image=face, audio_id=given)
        with pytest.raises(AirflowFailException, match="31 days ago"):
            task.execute(make_context(task_id="late"))
    assert len(posts(sim, "/v1/videos")) == 1


# ---------------------------------------------------------------------------------------------- a real S3 server


@pytest.fixture(scope="module")
def s3_server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["s3v4", "s3"])
def bucket(s3_server, request, monkeypatch, face, voice):
    """A bucket with a face and a voice, on each way to sign."""
    monkeypatch.setattr(
        logging.getLogger("werkzeug"), "disabled", True
    )  # the server's own log, of this process
    requests.post(f"{s3_server}/moto-api/reset", timeout=60)
    secret = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "s3cr3t-s3cr3t"}
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1", **secret)
    client.create_bucket(Bucket="news")
    client.upload_file(face, "news", "face.png")
    client.upload_file(voice, "news", "voice.wav")
    client.put_object(Bucket="news", Key="script.md", Body=SPOKEN.encode())
    extra = {
        "endpoint_url": s3_server,
        "region_name": "us-east-1",
        "config_kwargs": {"signature_version": request.param},
    }
    connection = {
        "conn_type": "aws",
        "login": secret["aws_access_key_id"],
        "password": secret["aws_secret_access_key"],
        "extra": extra,
    }
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
    return "s3://store@news"


def test_files_in_a_bucket_are_sent_where_files_are_taken(bucket, sim, make_context):
    for audio in (f"{bucket}/voice.wav", {"file": f"{bucket}/voice.wav"}):
        KlingAvatarSubmitOperator(task_id="clip", image=f"{bucket}/face.png", audio=audio).execute(
            make_context(task_id=f"clip-{len(sim.requests)}")
        )
    first, second = posts(sim, "/v1/videos")
    assert first.body["sound_file"] == second.body["sound_file"]


def test_a_script_in_a_bucket_is_spoken(bucket, sim, context):
    KlingTextToSpeechOperator(task_id="speech", text=f"{bucket}/script.md", voice_id="oversea_male1").execute(
        context
    )
    assert posts(sim)[0].body["text"] == SPOKEN


def test_where_only_urls_are_taken_the_storage_signs_links_that_open(bucket, connect, face, voice):
    connect(api="generations")
    request = AvatarRequest(image=f"{bucket}/face.png", audio=f"{bucket}/voice.wav")
    ready = KlingAvatarHook().prepare(request)
    for field, path in (("image_url", face), ("audio_url", voice)):
        answer = requests.get(ready.body[field], timeout=60)
        assert answer.content == Path(path).read_bytes()
    assert ready.body["audio_duration_seconds"] == 2.5


def test_each_signing_is_the_same_clip_and_its_secrets_show_nowhere(
    bucket, connect, sim, make_context, caplog, capsys, monkeypatch
):
    connect(api="generations")
    caplog.set_level(logging.DEBUG, logger="airflow_provider_kling_avatar")
    context = make_context(store_there=True)
    task = KlingAvatarSubmitOperator(task_id="clip", image=f"{bucket}/face.png", audio=f"{bucket}/voice.wav")
    shown = render(task, context)
    task.execute(context)
    again = make_context(store_there=True, try_number=2)
    monkeypatch.setattr("airflow_provider_kling_avatar.kling.media.sources.SIGNED_URL_SECONDS", 3600)
    task.execute(again)
    sent = posts(sim, "/v1/video/generations")
    assert len(sent) == 1, "the second try found the first one's clip"
    stored = json.dumps([shown, context["ti"].xcoms, again["ti"].xcoms, context["task_state_store"].values])
    said = caplog.text + capsys.readouterr().out
    assert "external id" in said
    for secret in ("Signature", "AKIDEXAMPLE", "s3cr3t"):
        assert secret not in stored
        assert secret not in said


def test_a_file_that_is_not_there_is_said_before_anything_is_sent(bucket, connect, sim, context):
    connect(api="generations")
    task = KlingAvatarSubmitOperator(task_id="clip", image=f"{bucket}/face.png", audio=f"{bucket}/no.wav")
    with pytest.raises(AirflowFailException, match=r"no.wav does not exist"):
        task.execute(context)
    assert not sim.requests


@pytest.mark.parametrize("audio", ["memory://news/voice.wav", "/tmp/voice.wav"])
def test_what_cannot_be_linked_is_refused_with_what_to_do(connect, sim, context, audio):
    connect(api="generations")
    task = KlingAvatarSubmitOperator(task_id="clip", image="https://p.test/f.png", audio=audio)
    with pytest.raises(AirflowFailException, match="use a connection whose api takes files"):
        task.execute(context)
    assert not sim.requests


def test_a_voice_is_re_encoded_only_on_request(sim, make_context, face, make_sound):
    large = str(make_sound("large.wav", seconds=330 / 16 * 17))  # 5.6 MB, and longer than a clip takes
    fits = str(make_sound("fits.wav", seconds=3))
    with pytest.raises(AirflowFailException, match="transcode_audio=True"):
        KlingAvatarSubmitOperator(task_id="clip", image=face, audio=large).execute(make_context())
    assert KlingAvatarSubmitOperator(task_id="clip", image=face, audio=fits, transcode_audio=True).execute(
        make_context()
    )
