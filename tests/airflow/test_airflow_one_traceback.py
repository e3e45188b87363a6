"""A user's own mistake is told once: one traceback, its last line our sentence, nothing that it came from before it."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

pytestmark = pytest.mark.usefixtures("connect")


def told_once(run) -> str:
    """Return the last line of the only traceback that is printed for what `run` raises."""
    try:
        run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at as Airflow prints it
        text = "".join(traceback.format_exception(error))
    else:
        raise AssertionError("nothing was raised")
    assert text.count("Traceback (most recent call last)") == 1, text
    assert "During handling of the above exception" not in text
    assert "The above exception was the direct cause" not in text
    return text.splitlines()[-1]


MISTAKES = {
    "an image that is not there": (
        {"image": "/no/face.png"},
        "MediaError: image: /no/face.png does not exist",
    ),
    "a URI of a file that is not there": ({"image": "file:///no/face.png"}, "does not exist"),
    "a storage without a provider": (
        {"image": "nonsense://x/face.png"},
        "MediaError: image: nonsense://x/face.png",
    ),
    "an image that is none": ({"image": __file__}, "MediaError: image: the file is no picture"),
    "no voice": ({"audio": None}, "InvalidRequestError: the clip has no voice: give exactly one"),
    "a text without voice_id": ({"audio": None, "text": "Hello"}, "text needs a voice_id to speak it"),
    "a voice that does not exist": (
        {"audio": None, "text": "Hello", "voice_id": "nobody"},
        "InvalidRequestError: voice_id: the vendor has no such voice",
    ),
    "a prompt file that is not there": (
        {"prompt": "/no/prompt.txt"},
        "prompt: /no/prompt.txt does not exist",
    ),
    "a mode that does not exist": ({"mode": "best"}, "mode: must be one of std, pro"),
    "an extra that is no JSON": ({"extra": "{not"}, "extra must be an object, not '{not'"),
    "a limit that is no number": ({"max_cost": "cheap"}, "max_cost is 'cheap'; it must be a number"),
    "a limit that is too low": ({"max_cost": "0.01"}, "CostLimitError: this clip may cost"),
    "a folder for the state that is not there": (
        {"state_path": "/no/folder"},
        "StateUnavailableError: state_path",
    ),
}


@pytest.mark.parametrize(("fields", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_parameter(fields, sentence, face, voice, context):
    operator = KlingAvatarSubmitOperator(task_id="clip", **({"image": face, "audio": voice} | fields))
    assert sentence in told_once(lambda: operator.execute(context))


def test_a_prompt_file_that_is_no_text(face, voice, context, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_bytes(b"\xff\xfe\xff")
    operator = KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice, prompt=str(prompt))
    assert "is not UTF-8 text: save it as UTF-8" in told_once(lambda: operator.execute(context))


@pytest.mark.parametrize("output_path", [f"{__file__}/clip.mp4", "nonsense://bucket/clip.mp4"])
@pytest.mark.parametrize("kind", [KlingAvatarOperator, KlingVideoDownloadOperator])
def test_an_output_path_that_leads_nowhere(kind, output_path, face, voice, context):
    asks = {"image": face, "audio": voice} if kind is KlingAvatarOperator else {"kling_task_id": "1"}
    operator = kind(task_id="clip", output_path=output_path, **asks)
    assert "OutputPathError: output_path" in told_once(lambda: operator.execute(context))


CONNECTIONS = {
    "a wrong key": ({"password": "sk-wrong"}, "the key is not valid on this host: check the connection"),
    "no key": ({"password": None}, "ConfigurationError: the connection has no key"),
    "an extra that is not known": (
        {"nonsense": 1},
        "ConfigurationError: the connection's extra has nonsense",
    ),
    "a time that is none": (
        {"read_timeout": "soon"},
        "ConfigurationError: the connection's read_timeout must be",
    ),
    "an API that is not known": ({"api": "klingo"}, "ConfigurationError: the connection's api is 'klingo'"),
    "a host that cannot be reached": (
        {"host": "http://127.0.0.1:1"},
        "ConnectionFailedError: no connection to",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_a_mistake_in_the_connection(changes, sentence, connect, face, voice, make_context):
    connect(**changes)
    for operator in (
        KlingAvatarOperator(task_id="clip", image=face, audio=voice),
        KlingTextToSpeechOperator(task_id="clip", text="Hello", voice_id="oversea_male1"),
        KlingAvatarSensor(task_id="clip", kling_task_id="1", mode="poke", deferrable=False),
    ):
        if not (isinstance(operator, KlingAvatarSensor) and "Failed" in sentence):  # which goes on asking
            assert sentence in told_once(lambda op=operator: op.execute(make_context()))


def test_an_id_that_nobody_has(context, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    for kling_task_id, sentence in (
        ("123", "NoSuchTaskError: the vendor does not know"),
        ("None", "came empty"),
    ):
        sensor = KlingAvatarSensor(task_id="clip", kling_task_id=kling_task_id, deferrable=False)
        assert sentence in told_once(lambda op=sensor: op.execute(context))


def test_a_parameter_that_does_not_exist():
    def parse():
        with DAG("news", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
            KlingAvatarOperator(task_id="clip", imgae=str(Path("face.png")), audio="voice.mp3")  # type: ignore[call-arg]

    assert told_once(parse).endswith("got an unknown parameter 'imgae': did you mean image?")
