"""Bad input, as an operator meets it: one clear error, no retry, and nothing on the bill."""

from __future__ import annotations

import functools
import json
import time
from datetime import UTC, datetime

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException
from PIL import Image

from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.auth import SignedKey
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
    KlingImageToVideoSubmitOperator,
    KlingTextToSpeechOperator,
)
from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY

OPERATORS = [KlingAvatarSubmitOperator, KlingAvatarOperator]


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def refused(sim, make_context):
    """Execute an operator that must be refused; return its one error, after the bill was looked at."""

    def execute(operator, kind=errors.InvalidRequestError, **changes):
        with pytest.raises(kind) as caught:
            operator.execute(make_context(**changes))
        assert isinstance(caught.value, AirflowFailException), "a retry would fail the same way"
        assert sim.ledger()["total"]["tasks"] == 0, "nothing was paid"
        return caught.value

    return execute


@pytest.fixture
def refused_unsent(refused, sim):
    """Like `refused`, and nothing may have been sent either."""

    def execute(operator, kind=errors.InvalidRequestError, **changes):
        error = refused(operator, kind, **changes)
        assert sim.requests == [], "found out before anything was sent"
        return error

    return execute


def submit(**fields):
    return KlingAvatarSubmitOperator(task_id="clip", **fields)


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_image_that_is_not_there(operator, voice, refused_unsent, tmp_path):
    missing = tmp_path / "nobody.png"

    error = refused_unsent(operator(task_id="clip", image=str(missing), audio=voice), errors.MediaError)

    assert error.field == "image"
    assert f"image: {missing} does not exist" in str(error)
    assert "check the path" in str(error)


def test_an_audio_that_is_not_there(face, refused_unsent, tmp_path):
    error = refused_unsent(submit(image=face, audio=str(tmp_path / "silence.mp3")), errors.MediaError)

    assert error.field == "audio"
    assert "does not exist on the machine that runs this task" in str(error)


def test_a_folder_in_place_of_a_file(face, refused_unsent, tmp_path):
    error = refused_unsent(submit(image=face, audio=str(tmp_path)), errors.MediaError)

    assert "is a directory; name one file in it" in str(error)


def test_an_image_of_12_megabytes(voice, refused_unsent, make_picture):
    path = make_picture("huge.png")
    with path.open("ab") as file:
        file.write(bytes(12_000_000))

    error = refused_unsent(submit(image=str(path), audio=voice), errors.MediaError)

    assert error.field == "image"
    assert "at most 10485760 (10.0 MiB) are accepted: compress it" in str(error)


def test_a_gif_that_was_renamed_to_png(voice, refused_unsent, make_picture):
    path = make_picture("face.png", kind="GIF")

    error = refused_unsent(submit(image=str(path), audio=voice), errors.MediaError)

    assert error.field == "image"
    assert "image is GIF, whatever its name says; it must be JPEG, PNG: convert it" in str(error)
    assert "https://klingai.com/document-api/api/video/avatar" in str(error), "says where it is written"


def test_an_image_of_299_pixels(voice, refused_unsent, make_picture):
    path = make_picture(width=299, height=400)

    error = refused_unsent(submit(image=str(path), audio=voice), errors.MediaError)

    assert error.field == "image"
    assert "image is 299x400 pixels; every side must be at least 300: enlarge it" in str(error)


def test_an_image_three_times_as_wide_as_high(voice, refused_unsent, make_picture):
    path = make_picture(width=900, height=300)

    error = refused_unsent(submit(image=str(path), audio=voice), errors.MediaError)

    assert error.field == "image"
    assert "aspect ratio of 3.00:1; at most 2.5:1 either way: crop it" in str(error)


def test_an_audio_of_1_9_seconds(face, refused_unsent, make_sound):
    error = refused_unsent(submit(image=face, audio=str(make_sound(seconds=1.9))), errors.MediaError)

    assert error.field == "audio"
    assert "audio is 1.90 seconds long; at least 2 are needed: say more or add silence" in str(error)


def test_the_limits_can_be_skipped_by_whoever_knows_better(face, make_sound, sim, context):
    """Then it is up to the vendor, whose refusal costs nothing either."""
    operator = submit(image=face, audio=str(make_sound(seconds=1.9)), validate=False)

    with pytest.raises(errors.InvalidRequestError):
        operator.execute(context)

    assert [request.method for request in sim.requests if request.method == "POST"] == ["POST"]
    assert sim.ledger()["total"]["tasks"] == 0


# ---------------------------------------------------------------------------------------------- fields


def test_two_voices(face, voice, refused_unsent):
    error = refused_unsent(submit(image=face, audio=voice, audio_id="831"))

    assert error.field == "audio"
    assert "more than one voice (audio and audio_id): give exactly one of" in str(error)


def test_no_voice(face, refused_unsent):
    error = refused_unsent(submit(image=face))

    assert error.field == "audio"
    assert "no voice: give exactly one of audio, audio_id, or text with voice_id" in str(error)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_voice_that_does_not_exist(operator, face, refused):
    error = refused(
        operator(task_id="clip", image=face, text="Good morning, here is the news.", voice_id="nobody")
    )

    assert error.field == "voice_id"
    assert error.code == 1201
    assert "choose another voice" in str(error)


def test_a_voice_that_does_not_exist_for_text_to_speech(refused):
    error = refused(KlingTextToSpeechOperator(task_id="speech", text="Good morning", voice_id="nobody"))

    assert error.field == "voice_id"
    assert "Voice id not found" in str(error)


def test_a_prompt_of_2501_characters(face, voice, refused_unsent):
    error = refused_unsent(submit(image=face, audio=voice, prompt="ü" * 2501))

    assert error.field == "prompt"
    assert "prompt: must be at most 2500 characters; it is 2501 characters" in str(error)
    assert "üü" not in str(error), "the value itself is not shown"


def test_a_prompt_of_2500_characters_is_fine(face, voice, sim, context):
    submit(image=face, audio=voice, prompt="ü" * 2500).execute(context)

    assert sim.ledger()["total"]["tasks"] == 1


def test_a_mode_that_does_not_exist(face, voice, refused_unsent):
    error = refused_unsent(submit(image=face, audio=voice, mode="best"))

    assert error.field == "mode"
    assert "mode: must be one of std, pro" in str(error)


def test_a_number_that_is_none(face, refused_unsent):
    error = refused_unsent(
        KlingImageToVideoSubmitOperator(task_id="clip", image=face, cfg_scale="a lot", prompt="x")
    )

    assert error.field == "cfg_scale"
    assert "cfg_scale must be a number, not 'a lot'" in str(error)


def test_a_field_that_this_api_does_not_have(connect, face, voice, refused_unsent):
    error = refused_unsent(submit(image=face, audio=voice, aspect_ratio="16:9"), errors.UnsupportedError)

    assert error.field == "aspect_ratio"
    assert "has no aspect_ratio for avatar; these can: kling-broadcast" in str(error)


@pytest.mark.parametrize("nothing", [None, "None", "", "  "])
@pytest.mark.parametrize("operator", OPERATORS)
def test_an_upstream_task_that_returned_no_image(operator, voice, refused_unsent, nothing):
    error = refused_unsent(operator(task_id="clip", image=nothing, audio=voice))

    assert error.field == "image"
    assert "upstream task that returned nothing" in str(error)


@pytest.mark.parametrize("nothing", [None, "None", ""])
def test_an_upstream_task_that_returned_no_audio(face, refused_unsent, nothing):
    error = refused_unsent(submit(image=face, audio=nothing))

    assert error.field == "audio"
    assert "upstream task" in str(error)
    assert "returned nothing" in str(error)


@pytest.mark.parametrize("nothing", [None, "None", ""])
def test_an_upstream_task_that_returned_no_audio_id(face, refused, nothing):
    error = refused(submit(image=face, audio_id=nothing))

    assert "audio_id" in str(error)


@pytest.mark.parametrize(
    ("field", "others"),
    [
        ("audio_id", {}),
        ("text", {"voice_id": "oversea_male1"}),
        ("voice_id", {"text": "Good morning to you."}),
    ],
)
def test_the_word_none_is_never_sent_for_what_is_needed(face, refused_unsent, field, others):
    """A template renders a missing XCom to the word None; spoken or looked up, it would be paid for."""
    error = refused_unsent(submit(image=face, **{field: "None"}, **others))

    assert field in str(error)


def test_the_word_none_is_never_sent_for_what_may_be_left_out(face, voice, sim, context):
    fields = ["prompt", "mode", "watermark", "callback_url", "external_task_id", "extra"]

    submit(image=face, audio=voice, **dict.fromkeys(fields, " None ")).execute(context)

    body = sim.requests[0].body
    assert set(body) == {"image", "sound_file", "mode", "external_task_id"}
    assert body["mode"] == "std"
    assert body["external_task_id"].startswith("news-clip-")


@pytest.mark.parametrize("field", ["text", "voice_id"])
@pytest.mark.parametrize("nothing", [None, "None", ""])
def test_the_word_none_is_never_spoken(refused_unsent, field, nothing):
    fields = {"text": "Good morning", "voice_id": "oversea_male1", field: nothing}

    error = refused_unsent(KlingTextToSpeechOperator(task_id="speech", **fields))

    assert error.field == field
    assert "upstream task" in str(error)


# ---------------------------------------------------------------------------------------------- rows


def test_a_bad_row_of_a_mapped_list_fails_alone(face, voice, tmp_path, sim, make_context):
    rows = [
        {"image": face, "audio": voice},
        {"image": str(tmp_path / "nobody.png"), "audio": voice},
        {"image": face, "audio": voice, "prompt": "smile"},
    ]
    with DAG("rows", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        mapped = KlingAvatarSubmitOperator.partial(task_id="clip").expand_kwargs(rows)

    ended = []
    for index, row in enumerate(rows):
        operator = mapped.unmap(row)
        try:
            ended.append(operator.execute(make_context(map_index=index)))
        except AirflowFailException as error:
            ended.append(error)

    assert ended[1].field == "image"
    assert [entry["task_id"] for entry in sim.ledger()["entries"]] == [ended[0], ended[2]]


# ---------------------------------------------------------------------------------------------- the connection


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_wrong_key(operator, connect, face, voice, refused):
    connect(password="sk-wrong")

    error = refused(operator(task_id="clip", image=face, audio=voice), errors.AuthenticationError)

    assert error.code == 1002
    assert "check the connection's password" in str(error)
    assert "sk-wrong" not in str(error)


@pytest.mark.parametrize("off_by", [-7200, 7200], ids=["two hours slow", "two hours fast"])
def test_a_clock_far_off_is_survived_with_access_and_secret_key(
    connect, face, voice, sim, context, monkeypatch, off_by
):
    monkeypatch.setattr(SignedKey.__init__, "__defaults__", (lambda: time.time() + off_by, 0.0))
    connect(login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)

    assert submit(image=face, audio=voice).execute(context)
    assert [request.status for request in sim.requests] == [401, 200]
    assert sim.ledger()["total"]["tasks"] == 1


def test_an_expired_token_that_stays_expired_is_an_error(connect, face, voice, sim, refused):
    connect(login=DEFAULT_ACCESS_KEY, password=DEFAULT_SECRET_KEY)
    sim.fault(kind="error_code", code=1004, status=401, times=0)

    error = refused(submit(image=face, audio=voice), errors.TokenTimeError)

    assert error.code == 1004
    assert "set this machine's clock" in str(error)


def test_a_base_url_with_a_path(connect, sim, face, voice, refused_unsent):
    connect(host=f"{sim.url}/v1/videos")

    error = refused_unsent(submit(image=face, audio=voice), errors.ConfigurationError)

    assert "the connection's host has a path (/v1/videos)" in str(error)
    assert f"leave only {sim.url} there" in str(error)
    assert "path_prefix" in str(error)


def test_a_host_that_is_another_web_site(connect, sim, face, voice, refused):
    sim.fault(kind="html", status=404, method="POST", times=0)

    error = refused(submit(image=face, audio=voice), errors.WrongRouteError)

    assert "answered a web page instead of JSON; check the connection's host" in str(error)


def test_every_error_is_one_line_a_person_can_read(face, voice, refused_unsent, tmp_path):
    for fields in (
        {"image": str(tmp_path / "nobody.png"), "audio": voice},
        {"image": face, "audio": voice, "prompt": "x" * 3000},
        {"image": face},
        {"image": face, "audio": voice, "extra": "{not json"},
    ):
        text = str(refused_unsent(submit(**fields)))
        assert "\n" not in text
        assert len(text) < 600


def test_an_error_never_shows_a_payload_or_a_signature(voice, face, refused_unsent):
    payload = "A" * 5000
    signed = "https://bucket.example.com/a b.png?X-Amz-Signature=abc123"

    assert payload[:100] not in str(refused_unsent(submit(image=payload, audio=voice)))
    assert "abc123" not in str(refused_unsent(submit(image=signed, audio=voice)))


def test_images_that_only_differ_in_orientation_are_measured_either_way(voice, refused_unsent, tmp_path):
    for width, height in ((900, 300), (300, 900)):
        path = tmp_path / f"{width}.jpg"
        Image.new("RGB", (width, height)).save(path)
        assert "3.00:1" in str(refused_unsent(submit(image=str(path), audio=voice), errors.MediaError))


def test_structures_may_come_as_json_text_or_not(face, refused_unsent):
    make = functools.partial(KlingImageToVideoSubmitOperator, task_id="clip", image=face, prompt="x")
    wrong = {"type": "simple", "config": "fast"}

    as_dict = refused_unsent(make(camera_control=wrong))
    as_text = refused_unsent(make(camera_control=json.dumps(wrong)))

    assert str(as_dict) == str(as_text)
    assert as_dict.field == "camera_control"
