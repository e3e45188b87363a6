"""What the vendors' pages accept and refuse, sent over HTTP: nothing here is read from the client's contracts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_kling_avatar as package

AVATAR = "/v1/videos/avatar/image2video"
FILM = "/v1/videos/image2video"
SPEECH = "/v1/audio/tts"
BROADCAST = "/v1/videos/avatar"
GENERATIONS = "/v1/video/generations"
FACE, VOICE, MASK = "https://pictures.test/a.png", "https://sounds.test/a.mp3", "https://pictures.test/b.png"
MASKS = [{"mask": MASK, "trajectories": [{"x": 1, "y": 1}, {"x": 9, "y": 9}]}]
CAMERA = {"type": "simple", "config": {"zoom": 5}}
TAIL = {"image": FACE, "image_tail": FACE}
ON_KLING = ["", "/kling", "/relay/kling"]
"""Kling, and the gateways that pass its requests on."""

MINIMUM = {
    AVATAR: {"image": FACE, "sound_file": VOICE, "prompt": "."},
    FILM: {"image": FACE},
    SPEECH: {"text": "hello", "voice_id": "oversea_male1", "voice_language": "en"},
    BROADCAST: {"image": FACE, "audio_url": VOICE},
    GENERATIONS: {
        "model": "kling-avatar-v2-pro",
        "image_url": FACE,
        "audio_url": VOICE,
        "audio_duration_seconds": 10,
    },
}


def answer_to(caller, path, changes, prefix=""):
    body = MINIMUM[path] | changes
    return caller.post(prefix + path, {name: value for name, value in body.items() if value is not None})


@pytest.mark.parametrize("prefix", ON_KLING)
@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (AVATAR, {"prompt": "x" * 2500, "mode": "pro", "watermark_info": {"enabled": True}}),
        (AVATAR, {"callback_url": "https://me.test/hook"}),
        (AVATAR, {"aspect_ratio": "16:9", "model_name": "any"}),
        (FILM, {"prompt": "x" * 2500, "negative_prompt": "x" * 2500, "cfg_scale": 1, "sound": "on"}),
        (FILM, {"duration": "10", "mode": "pro"}),
        (FILM, {"image": None, "image_tail": FACE}),
        (FILM, {"model_name": "kling-v3", "duration": "3"}),
        (FILM, {"model_name": "kling-v3-omni", "duration": "15", "mode": "4k"}),
        (FILM, {"model_name": "kling-v3", "mode": "4k"}),
        *(
            (FILM, TAIL | {"model_name": model, "mode": "pro", "duration": seconds})
            for model in ("kling-v1-5", "kling-v1-6", "kling-v2-5-turbo", "kling-v2-6")
            for seconds in ("5", "10")
        ),
        (FILM, TAIL | {"duration": "5"}),
        (FILM, TAIL | {"model_name": "kling-v1", "mode": "std"}),
        (FILM, TAIL | {"model_name": "kling-v2-master"}),
        (FILM, TAIL | {"model_name": "kling-v3", "mode": "std", "duration": "12"}),
        (FILM, {"static_mask": MASK, "dynamic_masks": MASKS}),
        (FILM, {"dynamic_masks": MASKS * 6, "duration": "5"}),
        (FILM, {"camera_control": CAMERA, "duration": "10"}),
        (FILM, {"camera_control": {"type": "down_back"}}),
        (FILM, {"camera_control": {"type": "simple", "config": {"pan": -10, "tilt": 0}}}),
        (SPEECH, {"text": "x" * 1000, "voice_speed": 0.8}),
        (SPEECH, {"voice_speed": 9}),
    ],
)
def test_what_kling_documents_is_accepted(caller, prefix, path, changes):
    assert answer_to(caller, path, changes, prefix).status_code == 200


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        (AVATAR, {"image": None}, "image is required"),
        (AVATAR, {"audio_id": "1"}, "exactly one of audio_id and sound_file"),
        (AVATAR, {"sound_file": None}, "exactly one of audio_id and sound_file"),
        (AVATAR, {"prompt": "x" * 2501}, "prompt must not be longer than 2500"),
        (AVATAR, {"mode": "4k"}, "mode must be one of"),
        (AVATAR, {"image": "data:image/png;base64,QUJD"}, "data: prefix"),
        (AVATAR, {"sound_file": "data:audio/mpeg;base64,QUJD"}, "data: prefix"),
        (AVATAR, {"watermark_info": True}, "watermark_info must be of type object"),
        (AVATAR, {"watermark_info": {"enabled": "yes"}}, "watermark_info.enabled must be of type boolean"),
        (AVATAR, {"external_task_id": 7}, "external_task_id must be of type string"),
        (AVATAR, {"callback_url": "ftp://me.test"}, "callback_url must be an http(s) URL"),
        (FILM, {"image": None}, "at least one of image and image_tail"),
        (FILM, {"negative_prompt": "x" * 2501}, "negative_prompt must not be longer than 2500"),
        (FILM, {"cfg_scale": 1.1}, "cfg_scale must be at most 1"),
        (FILM, {"mode": "8k"}, "mode must be one of"),
        (FILM, {"mode": "4k"}, "4k"),
        (FILM, {"mode": "4k", "model_name": "kling-v2-6"}, "4k"),
        (FILM, {"duration": 5}, "duration must be of type string"),
        (FILM, {"duration": "6"}, "duration must be"),
        (FILM, {"duration": "3", "model_name": "kling-v2-6"}, "duration must be"),
        (FILM, {"duration": "16", "model_name": "kling-v3"}, "duration must be"),
        (FILM, {"duration": "2", "model_name": "kling-v3"}, "duration must be"),
        (FILM, TAIL | {"duration": "10"}, "image_tail"),
        (FILM, TAIL | {"duration": "10", "mode": "std", "model_name": "kling-v1-6"}, "image_tail"),
        (FILM, TAIL | {"duration": "10", "model_name": "kling-v2-6"}, "image_tail"),
        (FILM, TAIL | {"duration": "10", "mode": "pro", "model_name": "kling-v2-master"}, "image_tail"),
        (FILM, TAIL | {"static_mask": MASK}, "exclude each other"),
        (FILM, TAIL | {"dynamic_masks": MASKS}, "exclude each other"),
        (FILM, TAIL | {"camera_control": CAMERA}, "exclude each other"),
        (FILM, {"static_mask": MASK, "camera_control": CAMERA}, "exclude each other"),
        (FILM, {"dynamic_masks": MASKS, "camera_control": CAMERA}, "exclude each other"),
        (FILM, {"static_mask": MASK, "duration": "10"}, 'duration must be "5" with a mask'),
        (
            FILM,
            {"dynamic_masks": MASKS, "duration": "10", "mode": "pro", "model_name": "kling-v1-6"},
            'duration must be "5" with a mask',
        ),
        (FILM, {"dynamic_masks": MASKS * 7}, "dynamic_masks must have at most 6"),
        (FILM, {"dynamic_masks": [{"mask": MASK, "trajectories": [{"x": 1, "y": 1}]}]}, "at least 2"),
        (FILM, {"camera_control": {"type": "loop"}}, "camera_control.type must be one of"),
        (FILM, {"camera_control": {"type": "simple"}}, "config is required"),
        (FILM, {"camera_control": {"type": "simple", "config": {"pan": 0}}}, "exactly one"),
        (FILM, {"camera_control": {"type": "simple", "config": {"pan": 1, "tilt": 1}}}, "exactly one"),
        (FILM, {"camera_control": {"type": "simple", "config": {"pan": 11}}}, "at most 10"),
        (FILM, {"camera_control": {"type": "down_back", "config": {"pan": 1}}}, "simple only"),
        (SPEECH, {"text": "x" * 1001}, "text must not be longer than 1000"),
        (SPEECH, {"voice_language": None}, "voice_language is required"),
        (SPEECH, {"voice_language": "fr"}, "voice_language must be one of"),
        (SPEECH, {"voice_speed": "fast"}, "voice_speed must be of type number"),
        (BROADCAST, {"text": "hello", "voice_id": "oversea_male1"}, "exactly one of text"),
        (BROADCAST, {"audio_url": None}, "exactly one of text"),
        (BROADCAST, {"audio_url": None, "text": "hello"}, "voice_id"),
        (BROADCAST, {"aspect_ratio": "wide"}, "aspect_ratio must look like 16:9"),
    ],
)
def test_what_kling_documents_as_wrong_is_refused_and_named(caller, path, changes, words):
    answer = answer_to(caller, path, changes)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert words in answer.json()["message"]


@pytest.mark.parametrize("seconds", [2, 12.5, 300])
def test_the_declared_length_may_be_what_kling_takes(caller, seconds):
    assert answer_to(caller, GENERATIONS, {"audio_duration_seconds": seconds}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"audio_duration_seconds": 1.9}, "audio_duration_seconds must be at least 2"),
        ({"audio_duration_seconds": 301}, "audio_duration_seconds must be at most 300"),
        ({"audio_duration_seconds": "12"}, "audio_duration_seconds must be of type number"),
        ({"audio_duration_seconds": None}, "audio_duration_seconds is required"),
        ({"model": "kling-avatar-v1"}, "model must be one of"),
        ({"image_url": "QUJD"}, "image_url must be a URL"),
        ({"audio_url": "QUJD"}, "audio_url must be a URL"),
    ],
)
def test_what_the_aggregator_documents_as_wrong_is_refused_and_named(caller, changes, words):
    answer = answer_to(caller, GENERATIONS, changes)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("prefix", ON_KLING)
def test_audio_of_five_minutes_is_accepted_everywhere(caller, prefix, make_sound):
    assert answer_to(caller, AVATAR, {"sound_file": make_sound(300)}, prefix).status_code == 200


def test_a_speed_out_of_range_is_rounded_to_the_nearest_that_there_is(caller):
    def seconds(speed):
        data = answer_to(caller, SPEECH, {"text": "x" * 60, "voice_speed": speed}).json()["data"]
        return data["task_result"]["audios"][0]["duration"]

    assert seconds(9) == seconds(2.0)
    assert seconds(0.1) == seconds(0.8)


def test_speech_cannot_be_asked_for_again_as_no_page_has_a_query_for_it(caller):
    task = answer_to(caller, SPEECH, {}).json()["data"]["task_id"]
    assert caller.get(f"{SPEECH}/{task}").json()["code"] == 1203
    assert caller.get(SPEECH).json()["code"] == 1202


def test_the_simulator_works_without_a_single_file_of_the_client(tmp_path):
    source = Path(package.__file__).parent
    alone = tmp_path / source.name
    alone.mkdir()
    shutil.copy(source / "__init__.py", alone)
    shutil.copytree(source / "simulator", alone / "simulator")
    body = {"image": FACE, "sound_file": VOICE, "mode": "std"}
    script = f"""
import requests
from airflow_provider_kling_avatar.simulator import server
assert server.__file__.startswith({str(alone)!r}), server.__file__
with server.SimulatorServer() as sim:
    answer = requests.post(sim.url + {AVATAR!r}, json={body!r}, headers={{"Authorization": "Bearer sk-simulator"}})
    print(answer.status_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.strip() == "200", done.stderr
