"""What every dialect promises, one row per (dialect, endpoint) of the table: a new dialect is tested by being there."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import wave
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.dialects.base import HINTS
from airflow_provider_kling_avatar.kling.errors import (
    ConfigurationError,
    InvalidRequestError,
    MediaError,
    UnsupportedError,
)
from airflow_provider_kling_avatar.kling.models import (
    ENDPOINT_NAMES,
    AvatarRequest,
    ImageToVideoRequest,
    SpeechRequest,
    TaskState,
)
from airflow_provider_kling_avatar.kling.submission.request import prepare, speech_body

FACE, VOICE, MASK = (
    "https://pictures.test/face.png",
    "https://sounds.test/voice.mp3",
    "https://pictures.test/m.png",
)
MODELS = {"avatar": AvatarRequest, "image_to_video": ImageToVideoRequest, "speech": SpeechRequest}
TRAJECTORY = [{"x": 1, "y": 2}, {"x": 3, "y": 4}]

VALUES = {
    "image": FACE,
    "audio": VOICE,
    "audio_id": "825455158141661278",
    "text": "Good evening and welcome to the news of today.",
    "voice_id": "reader_en_m-v1",
    "voice_language": "en",
    "voice_speed": 1.2,
    "prompt": "smiles",
    "negative_prompt": "no blur",
    "mode": "pro",
    "model_name": "kling-v2-master",
    "cfg_scale": 0.5,
    "duration": "5",
    "aspect_ratio": "16:9",
    "watermark": True,
    "callback_url": "https://hooks.test/kling",
    "external_task_id": "mine-1",
    "audio_duration_seconds": 12.5,
    "image_tail": MASK,
    "static_mask": MASK,
    "dynamic_masks": [{"mask": MASK, "trajectories": TRAJECTORY}],
    "camera_control": {"type": "simple", "config": {"zoom": 5}},
    "sound": True,
    "voice_list": [{"voice_id": "v-1"}],
}
"""One good value of each field there is."""

ROWS = [(name, endpoint) for name, dialect in DIALECTS.items() for endpoint in dialect.endpoints]
VIDEO_ROWS = [row for row in ROWS if row[1] != "speech"]
FIELD_ROWS = [(d, e, field) for d, e in ROWS for field in DIALECTS[d].endpoints[e].fields]
IMAGE_TO_VIDEO = [d for d, e in ROWS if e == "image_to_video"]


def fields_of(endpoint):
    return [f.name for f in dataclasses.fields(MODELS[endpoint]) if f.name != "extra"]


def minimum(dialect, endpoint, *more):
    """The fewest fields that make a good request, and with each of `more`."""
    takes = {**{name: VALUES[name] for name in more}}
    if endpoint == "speech":
        return {name: VALUES[name] for name in ("text", "voice_id", "voice_language")} | takes
    takes["image"] = FACE
    if endpoint == "avatar":
        if set(more) & {"text", "voice_id", "voice_speed"}:
            takes |= {name: VALUES[name] for name in ("text", "voice_id")}
        elif "audio_id" not in more:
            takes["audio"] = VOICE
        if DIALECTS[dialect].takes("avatar", "audio_duration_seconds"):
            takes["audio_duration_seconds"] = 12.5
    return takes


def request(dialect, endpoint, *more, **changes):
    return MODELS[endpoint](**minimum(dialect, endpoint, *more) | changes)


def prepared(dialect, endpoint, *more, **changes):
    return prepare(request(dialect, endpoint, *more, **changes), DIALECTS[dialect])


def can(endpoint, field):
    """Who takes this wish: whoever does not refuse to prepare it."""
    able = set()
    for name in DIALECTS:
        try:
            prepared(name, endpoint, field)
        except UnsupportedError:
            continue
        able.add(name)
    return able


def named_in(error):
    found = re.search(r"these can: ([\w, -]+)", str(error))
    return set(found.group(1).strip().split(", ")) if found else set()


# ---------------------------------------------------------------------- schemas


@pytest.mark.parametrize(("name", "endpoint"), ROWS)
def test_every_schema_is_valid_and_says_where_and_when_it_was_read(name, endpoint):
    schema = DIALECTS[name].schema(endpoint)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema["x-source"].startswith("https://")
    assert date.fromisoformat(schema["x-date"])


@pytest.mark.parametrize(("name", "endpoint"), ROWS)
def test_every_field_of_a_schema_is_a_field_of_ours_and_the_other_way_round(name, endpoint):
    dialect = DIALECTS[name]
    assert {field.name for field in dialect.endpoint(endpoint).fields.values()} == set(
        dialect.schema(endpoint)["properties"]
    )
    assert set(dialect.endpoint(endpoint).fields) <= set(fields_of(endpoint))


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_every_media_field_says_what_it_accepts(name, endpoint):
    dialect = DIALECTS[name]
    for field in ("image", "audio", "image_tail", "static_mask"):
        if dialect.takes(endpoint, field):
            annotation = dialect.media_annotation(endpoint, field)
            assert annotation["kind"] in ("image", "audio")
            assert "url" in annotation["accepts"]
            assert annotation["source"].startswith("https://")
            assert dialect.accepts_files(endpoint, field) == ("base64" in annotation["accepts"])


def test_changing_a_returned_schema_changes_nothing_for_others():
    DIALECTS["kling"].schema("avatar")["properties"].clear()
    assert DIALECTS["kling"].schema("avatar")["properties"]


# ------------------------------------------------------------------------ paths

CREATE_PATHS = {
    # From the vendors' pages; a new dialect may add its own line.
    ("kling", "avatar"): "/v1/videos/avatar/image2video",
    ("kling", "image_to_video"): "/v1/videos/image2video",
    ("kling", "speech"): "/v1/audio/tts",
    ("kling-broadcast", "avatar"): "/v1/videos/avatar",
    ("cometapi", "avatar"): "/kling/v1/videos/avatar/image2video",
    ("cometapi", "image_to_video"): "/kling/v1/videos/image2video",
    ("cometapi", "speech"): "/kling/v1/audio/tts",
    ("generations", "avatar"): "/v1/video/generations",
    ("relay", "avatar"): "/kling/v1/videos/avatar/image2video",
    ("relay", "image_to_video"): "/kling/v1/videos/image2video",
    ("relay", "speech"): "/kling/v1/audio/tts",
}


@pytest.mark.parametrize(("name", "endpoint"), CREATE_PATHS)
def test_paths_are_those_of_the_vendors_pages(name, endpoint):
    dialect, path = DIALECTS[name], CREATE_PATHS[name, endpoint]
    assert dialect.create_path(endpoint) == path
    if endpoint == "speech":
        with pytest.raises(UnsupportedError, match="no API this package knows can"):
            dialect.query_path(endpoint, "t-1")
        return
    assert dialect.query_path(endpoint, "t-1") == f"{path}/t-1"
    if name == "generations":
        with pytest.raises(UnsupportedError) as caught:
            dialect.list_path(endpoint)
        assert named_in(caught.value) == {"kling", "kling-broadcast", "cometapi", "relay"}
    else:
        assert dialect.list_path(endpoint) == path


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
@pytest.mark.parametrize("task_id", ["a/../../b", "a b?c=d#e", "100%", "日本", "{path}", "{id}"])
def test_no_task_id_leads_to_another_address(name, endpoint, task_id):
    path = DIALECTS[name].query_path(endpoint, task_id)
    rest = path.removeprefix(DIALECTS[name].create_path(endpoint) + "/")
    assert re.fullmatch(r"[\w.~%-]+", rest, re.ASCII)


def test_only_the_official_api_takes_signed_keys_and_names_its_regions():
    for name, dialect in DIALECTS.items():
        official = name in ("kling", "kling-broadcast")
        assert dialect.signed_keys is official
        assert ("https://api-beijing.klingai.com" in dialect.regions) is official
        assert (dialect.base_url or "https://").startswith("https://")


# ----------------------------------------------------------------------- bodies


@pytest.mark.parametrize(("name", "endpoint"), ROWS)
def test_the_smallest_request_passes(name, endpoint):
    if endpoint == "speech":
        DIALECTS[name].check("speech", speech_body(request(name, endpoint), DIALECTS[name]))
    else:
        assert prepared(name, endpoint).body


@pytest.mark.parametrize(("name", "endpoint"), ROWS)
def test_each_required_field_is_missed_by_our_name(name, endpoint):
    dialect = DIALECTS[name]
    schema = dialect.schema(endpoint)
    body = dialect.body(endpoint, minimum(name, endpoint), None)
    theirs = {field.name: ours for ours, field in dialect.endpoint(endpoint).fields.items()}
    for required in schema["required"]:
        with pytest.raises(InvalidRequestError) as caught:
            dialect.check(endpoint, {key: value for key, value in body.items() if key != required})
        assert caught.value.field == theirs[required]
        assert f"{theirs[required]}: is required; it is missing" in str(caught.value)
        assert schema["x-source"] in str(caught.value)


@pytest.mark.parametrize(("name", "endpoint", "field"), FIELD_ROWS)
def test_each_field_reaches_the_wire_and_is_accepted(name, endpoint, field):
    dialect = DIALECTS[name]
    given = minimum(name, endpoint, field)
    body = dialect.body(endpoint, given, None)
    dialect.check(endpoint, body)
    assert dialect.endpoint(endpoint).fields[field].name in body


OFFICIAL_AVATAR = {
    "image": FACE,
    "sound_file": VOICE,
    "prompt": "smiles",
    "mode": "pro",
    "watermark_info": {"enabled": True},
    "callback_url": "https://hooks.test/kling",
    "external_task_id": "mine-1",
}
OFFICIAL_IMAGE_TO_VIDEO = {
    "model_name": "kling-v2-master",
    "image": FACE,
    "prompt": "smiles",
    "negative_prompt": "no blur",
    "cfg_scale": 0.5,
    "mode": "pro",
    "duration": "5",
    "sound": "on",
    "voice_list": [{"voice_id": "v-1"}],
    "camera_control": {"type": "simple", "config": {"zoom": 5}},
    "watermark_info": {"enabled": True},
    "callback_url": "https://hooks.test/kling",
    "external_task_id": "mine-1",
}
WIRE = [
    ("kling", "avatar", OFFICIAL_AVATAR),
    ("cometapi", "avatar", OFFICIAL_AVATAR),
    ("relay", "avatar", OFFICIAL_AVATAR),
    ("kling", "image_to_video", OFFICIAL_IMAGE_TO_VIDEO),
    ("cometapi", "image_to_video", OFFICIAL_IMAGE_TO_VIDEO),
    ("relay", "image_to_video", OFFICIAL_IMAGE_TO_VIDEO),
    (
        "kling-broadcast",
        "avatar",
        {
            "image": FACE,
            "audio_url": VOICE,
            "aspect_ratio": "16:9",
            "callback_url": "https://hooks.test/kling",
            "external_task_id": "mine-1",
        },
    ),
    (
        "generations",
        "avatar",
        {
            "model": "kling-avatar-v2-pro",
            "image_url": FACE,
            "audio_url": VOICE,
            "audio_duration_seconds": 12.5,
            "prompt": "smiles",
        },
    ),
]


@pytest.mark.parametrize(("name", "endpoint", "wire"), WIRE)
def test_a_full_request_is_written_as_the_vendors_page_has_it(name, endpoint, wire):
    dialect = DIALECTS[name]
    apart = {"audio_id", "text", "voice_id", "image_tail", "static_mask", "dynamic_masks"}
    given = {ours: VALUES[ours] for ours in dialect.endpoint(endpoint).fields if ours not in apart}
    assert prepare(MODELS[endpoint](**given), dialect).body == wire


def test_words_are_spoken_by_the_api_itself_where_it_can_and_beforehand_where_it_cannot():
    spoken = prepared("kling-broadcast", "avatar", "text")
    assert (spoken.body["text"], spoken.body["voice_id"]) == (VALUES["text"], VALUES["voice_id"])
    assert spoken.speech is None
    for name in ("kling", "cometapi", "relay"):
        beforehand = prepared(name, "avatar", "voice_speed")
        assert not {"text", "voice_id", "audio_id", "sound_file"} & set(beforehand.body)
        assert beforehand.speech == {
            "text": VALUES["text"],
            "voice_id": VALUES["voice_id"],
            "voice_language": "en",
            "voice_speed": 1.2,
        }


@pytest.mark.parametrize(
    ("text", "language"), [("Good evening", "en"), ("晚上好", "zh"), ("Hello 世界", "zh"), ("Привет", "en")]
)
def test_the_language_is_read_from_the_text_when_it_is_not_given(text, language):
    body = speech_body(SpeechRequest(text=text, voice_id="v"), DIALECTS["kling"])
    assert body["voice_language"] == language


# --------------------------------------------------------------- what is lacking

LACKING = [
    (name, endpoint, field)
    for name in DIALECTS
    for endpoint in ("avatar", "image_to_video")
    for field in fields_of(endpoint)
    if field not in HINTS
    and (endpoint not in DIALECTS[name].endpoints or field not in DIALECTS[name].endpoints[endpoint].fields)
]


@pytest.mark.parametrize(("name", "endpoint", "field"), LACKING)
def test_a_lacking_field_is_refused_and_exactly_those_are_named_that_can(name, endpoint, field):
    able = can(endpoint, field)
    if name in able:  # by another way, such as speaking the text first
        return
    with pytest.raises(UnsupportedError) as caught:
        prepared(name, endpoint, field)
    error = caught.value
    assert repr(name) in str(error)
    assert error.source in str(error)
    # A request can lack more than one thing; whichever is told, those who can do it are named.
    assert named_in(error) == (can(endpoint, error.field) if error.field else able)
    assert named_in(error)


def test_what_no_field_of_a_file_can_do_is_refused_before_the_file_is_looked_for():
    with pytest.raises(UnsupportedError, match="aspect_ratio"):
        prepare(
            AvatarRequest(image="/no/such/face.png", audio="/no/such/voice.mp3", aspect_ratio="1:1"),
            DIALECTS["kling"],
        )


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("wish", [{"mode": "std"}, {"watermark": False}, {"voice_language": "en"}])
def test_a_wish_for_what_everybody_does_anyway_is_no_obstacle(name, wish):
    assert prepared(name, "avatar", **wish).body


@pytest.mark.parametrize("endpoint", ENDPOINT_NAMES)
def test_an_endpoint_that_is_lacking_names_those_who_have_it(endpoint):
    have = {name for name, e in ROWS if e == endpoint}
    for name in set(DIALECTS) - have:
        with pytest.raises(UnsupportedError) as caught:
            DIALECTS[name].create_path(endpoint)
        assert named_in(caught.value) == have


def test_the_capabilities_are_those_of_the_vendors_pages():
    speaks = {d for d in DIALECTS if DIALECTS[d].takes("avatar", "text")}
    assert speaks == {"kling-broadcast"}
    assert can("avatar", "audio_id") == {"kling", "cometapi", "relay"}
    assert can("avatar", "prompt") == {"kling", "cometapi", "generations", "relay"}
    assert can("avatar", "text") == {"kling", "kling-broadcast", "cometapi", "relay"}
    assert can("avatar", "voice_speed") == {"kling", "cometapi", "relay"}
    assert can("avatar", "aspect_ratio") == {"kling-broadcast"}
    assert can("avatar", "external_task_id") == {"kling", "kling-broadcast", "cometapi", "relay"}


# ---------------------------------------------------------------------- defaults


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_the_mode_is_always_sent_where_there_is_one(name, endpoint):
    body = prepared(name, endpoint).body
    if name == "generations":
        assert body["model"] == "kling-avatar-v2-standard"
    elif DIALECTS[name].takes(endpoint, "mode"):
        assert body["mode"] == "std"


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
@pytest.mark.parametrize("prompt", [None, ""])
def test_gateways_get_a_neutral_prompt_and_the_official_api_none(name, endpoint, prompt):
    if not DIALECTS[name].takes(endpoint, "prompt"):
        return
    body = prepared(name, endpoint, **({"prompt": prompt} if prompt is not None else {})).body
    if name in ("cometapi", "relay"):
        assert body["prompt"] == "."
    elif name in ("kling", "generations"):
        assert "prompt" not in body


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_empty_fields_are_left_out(name, endpoint):
    empty = {
        field: ""
        for field in fields_of(endpoint)
        if field not in ("image", "audio", "audio_duration_seconds")
    }
    assert prepared(name, endpoint, **empty).body == prepared(name, endpoint).body


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_extra_fields_are_passed_on_as_they_are_and_win(name, endpoint):
    extra = {
        "new_field": {"deep": [1, None]},
        "watermark_info": {"enabled": True},
        "unused": "",
        "none": None,
    }
    body = prepared(name, endpoint, extra=extra).body
    assert body["new_field"] == {"deep": [1, None]}
    assert body["watermark_info"] == {"enabled": True}
    assert not {"unused", "none"} & set(body)


@pytest.mark.parametrize(
    "extra", [{"a": {1, 2}}, {"a": object()}, {"a": float("nan")}, {"a": {1: 2, "b": 3}}]
)
def test_extra_that_json_cannot_hold_is_refused_before_anything_is_sent(extra):
    with pytest.raises(InvalidRequestError, match="extra"):
        prepared("kling", "avatar", extra=extra)


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_a_data_prefix_never_reaches_the_wire(name, endpoint, face, voice):
    dialect = DIALECTS[name]
    given = {"image": f"data:image/png;base64,{face}"}
    if endpoint == "avatar" and dialect.accepts_files("avatar", "audio"):
        given["audio"] = f"data:audio/wav;base64,{voice}"
    if not dialect.accepts_files(endpoint, "image"):
        with pytest.raises(MediaError, match="URL"):
            prepared(name, endpoint, **given)
        return
    body = prepared(name, endpoint, **given).body
    assert body["image"] == face
    assert "audio" not in given or body["sound_file"] == voice
    assert not [value for value in body.values() if str(value).startswith("data:")]


def test_masks_lose_their_data_prefix_too(face):
    masks = [{"mask": f"data:image/png;base64,{face}", "trajectories": TRAJECTORY}]
    body = prepared(
        "kling", "image_to_video", dynamic_masks=masks, static_mask=f"data:image/png;base64,{face}"
    ).body
    assert body["dynamic_masks"] == [{"mask": face, "trajectories": TRAJECTORY}]
    assert body["static_mask"] == face


def mask(width, height):
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def masked(static, *dynamic):
    moved = [{"mask": one, "trajectories": TRAJECTORY} for one in dynamic]
    return {**({"static_mask": static} if static else {}), **({"dynamic_masks": moved} if moved else {})}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *[(name, masked(mask(400, 600))) for name in IMAGE_TO_VIDEO],
        *[(name, masked(None, mask(400, 600))) for name in IMAGE_TO_VIDEO],
        ("cometapi", masked(mask(600, 800))),
        ("kling", masked(mask(600, 800), mask(601, 801))),
    ],
)
def test_a_mask_that_does_not_fit_its_image_or_the_other_masks_is_refused(name, given):
    with pytest.raises(MediaError, match=r"\d+x\d+ pixels, but .* resize it") as caught:
        prepared(name, "image_to_video", image=mask(300, 400), **given)
    assert caught.value.field == list(given)[-1]
    assert DIALECTS[name].schema("image_to_video")["x-source"] in str(caught.value)


@pytest.mark.parametrize("name", ["kling", "relay"])
def test_a_mask_of_the_images_shape_may_be_larger_where_the_page_asks_for_the_shape_alone(name):
    """To half a pixel: 400 x 533 is as near to 300 x 400 as whole pixels come."""
    for size in ((300, 400), (600, 800), (400, 533)):
        given = masked(mask(*size), mask(*size))
        assert prepared(name, "image_to_video", image=mask(300, 400), **given).body


def test_opening_masks_leaves_the_request_as_it_was(face):
    mask = {"mask": f"data:image/png;base64,{face}", "trajectories": TRAJECTORY}
    request = ImageToVideoRequest(image=face, dynamic_masks=[mask])
    prepare(request, DIALECTS["kling"])
    assert request.dynamic_masks == [mask]


def test_a_request_built_by_hand_takes_numbers_and_words_as_well():
    request = ImageToVideoRequest(
        image="https://a.test/f.png", duration=5, watermark="false", cfg_scale="0.5"
    )
    assert (request.duration, request.watermark, request.cfg_scale) == ("5", False, 0.5)


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_a_data_prefix_that_comes_by_extra_is_refused(name, endpoint, face):
    image = DIALECTS[name].endpoint(endpoint).fields["image"].name
    with pytest.raises(InvalidRequestError) as caught:
        prepared(name, endpoint, extra={image: f"data:image/png;base64,{face}"})
    assert caught.value.field == "image"
    assert face not in str(caught.value)


# ----------------------------------------------------------------------- limits

LENGTHS = [
    (name, endpoint, ours, DIALECTS[name].schema(endpoint)["properties"][field.name]["maxLength"])
    for name, endpoint in ROWS
    for ours, field in DIALECTS[name].endpoints[endpoint].fields.items()
    if "maxLength" in DIALECTS[name].schema(endpoint)["properties"][field.name]
]


@pytest.mark.parametrize(("name", "endpoint", "field", "limit"), LENGTHS)
def test_a_text_of_just_the_limit_passes_and_one_more_character_does_not(name, endpoint, field, limit):
    dialect = DIALECTS[name]
    dialect.check(endpoint, dialect.body(endpoint, minimum(name, endpoint) | {field: "é" * limit}, None))
    with pytest.raises(InvalidRequestError) as caught:
        dialect.check(
            endpoint, dialect.body(endpoint, minimum(name, endpoint) | {field: "é" * (limit + 1)}, None)
        )
    message = str(caught.value)
    assert caught.value.field == field
    assert f"{field}: must be at most {limit} characters; it is {limit + 1} characters" in message
    assert dialect.schema(endpoint)["x-source"] in message
    assert "ééé" not in message


def test_the_lengths_are_those_of_the_vendors_pages():
    assert {(e, field, limit) for _, e, field, limit in LENGTHS} == {
        ("avatar", "prompt", 2500),
        ("image_to_video", "prompt", 2500),
        ("image_to_video", "negative_prompt", 2500),
        ("speech", "text", 1000),
    }


@pytest.mark.parametrize(("name", "endpoint"), ROWS)
def test_a_broken_rule_is_told_in_our_words_without_the_value(name, endpoint):
    wrong = {
        "mode": "turbo",
        "callback_url": "ftp://secret.test",
        "aspect_ratio": "wide secret",
        "duration": "secret",
        "voice_language": "secret",
        "cfg_scale": 1.5,
        "voice_speed": 2.5,
        "audio_duration_seconds": 0,
    }
    dialect = DIALECTS[name]
    for field, value in wrong.items():
        if not dialect.takes(endpoint, field):
            continue
        with pytest.raises(InvalidRequestError) as caught:
            dialect.check(endpoint, dialect.body(endpoint, minimum(name, endpoint) | {field: value}, None))
        assert caught.value.field == field
        assert str(caught.value).startswith(f"{field}: must ")
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "endpoint"), VIDEO_ROWS)
def test_without_validation_limits_are_skipped_and_the_mapping_stays(name, endpoint, face, voice):
    dialect = DIALECTS[name]
    files = {}
    if dialect.accepts_files(endpoint, "image"):
        files["image"] = face
    if endpoint == "avatar" and dialect.accepts_files("avatar", "audio"):
        files["audio"] = voice
    more = {"prompt": "x" * 3000} if dialect.takes(endpoint, "prompt") else {}
    body = prepare(request(name, endpoint, **files, **more), dialect, validate=False).body
    assert body.get("prompt", "x" * 3000) == "x" * 3000
    assert set(files.values()) <= set(body.values())


# ------------------------------------------------------------------- exclusions


@pytest.mark.parametrize("name", DIALECTS)
def test_a_clip_has_exactly_one_voice(name):
    for given, words in (
        ({}, "no voice"),
        ({"audio": VOICE, "audio_id": "1"}, "more than one voice"),
        ({"audio": VOICE, "text": "Hello", "voice_id": "v"}, "more than one voice"),
        ({"audio_id": "1", "text": "Hello", "voice_id": "v"}, "more than one voice"),
        ({"text": "Hello"}, "voice_id"),
        ({"audio": VOICE, "voice_id": "v"}, "voice_id"),
        ({"audio": VOICE, "voice_speed": 1.2}, "voice_speed is for text"),
        ({"audio": "", "audio_id": ""}, "no voice"),
    ):
        with pytest.raises(InvalidRequestError, match=words):
            prepare(AvatarRequest(image=FACE, audio_duration_seconds=3, **given), DIALECTS[name])


@pytest.mark.parametrize(("name", "endpoint"), [row for row in ROWS if row[1] == "avatar"])
def test_two_voices_by_way_of_extra_are_refused_as_well(name, endpoint):
    if not DIALECTS[name].takes("avatar", "audio_id"):
        return
    with pytest.raises(InvalidRequestError, match="exactly one of audio_id and sound_file"):
        prepared(name, endpoint, extra={"audio_id": "1"})
    body = {key: value for key, value in prepared(name, endpoint).body.items() if key != "sound_file"}
    with pytest.raises(InvalidRequestError, match="exactly one of audio_id and sound_file"):
        DIALECTS[name].check(endpoint, body)


def test_an_image_that_an_upstream_task_did_not_return_is_told_as_such():
    with pytest.raises(MediaError, match="image") as caught:
        prepare(AvatarRequest(audio=VOICE), DIALECTS["kling"])
    assert caught.value.field == "image"


MASKS = [{"mask": MASK, "trajectories": TRAJECTORY}]
CAMERA = {"type": "simple", "config": {"horizontal": 3}}


@pytest.mark.parametrize("name", IMAGE_TO_VIDEO)
@pytest.mark.parametrize(
    "given",
    [
        {"image": FACE, "image_tail": FACE},
        {"image_tail": FACE},
        {"image": FACE, "static_mask": MASK},
        {"image": FACE, "dynamic_masks": MASKS * 6},
        {"image": FACE, "static_mask": MASK, "dynamic_masks": MASKS, "duration": "5"},
        {"image": FACE, "image_tail": FACE, "duration": "5"},
        {"image": FACE, "camera_control": CAMERA, "duration": "10"},
        {"image": FACE, "camera_control": {"type": "simple", "config": {"pan": -10, "tilt": 0, "roll": 0}}},
        {"image": FACE, "camera_control": {"type": "down_back"}},
        {"image": FACE, "duration": "10"},
        {"image": FACE, "model_name": "kling-v3", "duration": "15"},
        {"image": FACE, "model_name": "kling-v3-omni", "duration": "3"},
        {"image": FACE, "voice_list": [{"voice_id": "a"}, {"voice_id": "b"}]},
        {"image": FACE, "cfg_scale": 0},
        {"image": FACE, "cfg_scale": 1},
        {"image": FACE, "model_name": "kling-v3", "mode": "4k", "duration": "15"},
        {"image": FACE, "image_tail": FACE, "model_name": "kling-v3", "mode": "4k"},
        {"image": FACE, "model_name": "kling-v3-omni", "mode": "4k"},
        {"image": FACE, "image_tail": FACE, "model_name": "kling-v3", "duration": "10"},
        {"image": FACE, "image_tail": FACE, "model_name": "kling-v3", "mode": "pro", "duration": "15"},
        {"image": FACE, "image_tail": FACE, "model_name": "kling-video-o1", "duration": "10"},
        {"image": FACE, "image_tail": FACE, "model_name": "kling-v1", "mode": "pro", "duration": "5"},
        {"image_tail": FACE, "model_name": "kling-v1-6", "mode": "pro", "duration": "10"},
        {"image": FACE, "model_name": "kling-v2-6", "mode": "pro", "sound": True},
        {"image": FACE, "model_name": "kling-v3", "sound": True},
    ],
)
def test_image_to_video_takes_what_goes_together(name, given):
    assert prepare(ImageToVideoRequest(**given), DIALECTS[name]).body


@pytest.mark.parametrize("name", IMAGE_TO_VIDEO)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "at least one of image and image_tail"),
        ({"image": FACE, "image_tail": FACE, "static_mask": MASK}, "image_tail cannot be combined"),
        ({"image": FACE, "image_tail": FACE, "dynamic_masks": MASKS}, "image_tail cannot be combined"),
        ({"image": FACE, "image_tail": FACE, "camera_control": CAMERA}, "image_tail cannot be combined"),
        ({"image": FACE, "static_mask": MASK, "camera_control": CAMERA}, "camera_control cannot be combined"),
        (
            {"image": FACE, "dynamic_masks": MASKS, "camera_control": CAMERA},
            "camera_control cannot be combined",
        ),
        ({"image": FACE, "dynamic_masks": MASKS * 7}, "at most 6 entries"),
        ({"image": FACE, "image_tail": FACE, "duration": "10"}, 'duration: must be "5" .* kling-v2-6'),
        (
            {"image": FACE, "image_tail": FACE, "model_name": "kling-v1", "mode": "pro", "duration": "10"},
            'duration: must be "5"',
        ),
        ({"image": FACE, "static_mask": MASK, "duration": "10"}, 'duration: must be "5"'),
        (
            {
                "image": FACE,
                "dynamic_masks": MASKS,
                "model_name": "kling-v1-5",
                "mode": "pro",
                "duration": "10",
            },
            'duration: must be "5"',
        ),
        ({"image": FACE, "mode": "4k"}, 'mode: "4k" needs model_name kling-v3'),
        ({"image": FACE, "mode": "4k", "model_name": "kling-v2-6"}, 'mode: "4k" needs model_name kling-v3'),
        (
            {"image": FACE, "mode": "4k", "model_name": "kling-v3-turbo"},
            'mode: "4k" needs model_name kling-v3',
        ),
        ({"image": FACE, "mode": "8k", "model_name": "kling-v3"}, "mode: must be one of std, pro, 4k"),
        ({"image": FACE, "model_name": "kling-v2-6", "sound": True}, 'mode: must be "pro" .* sound'),
        (
            {"image": FACE, "image_tail": FACE, "model_name": "kling-v2-6", "mode": "pro", "sound": True},
            'sound: must be "off" with image_tail',
        ),
        ({"image": FACE, "duration": "7"}, 'duration: must be "5" or "10"'),
        ({"image": FACE, "model_name": "kling-v3", "duration": "16"}, "duration: must be a whole number"),
        ({"image": FACE, "model_name": "kling-v3", "duration": "2"}, "duration: must be a whole number"),
        ({"image": FACE, "camera_control": {"type": "simple"}}, "camera_control"),
        ({"image": FACE, "camera_control": {"type": "simple", "config": {}}}, "exactly one of"),
        ({"image": FACE, "camera_control": {"type": "simple", "config": {"pan": 0}}}, "exactly one of"),
        (
            {"image": FACE, "camera_control": {"type": "simple", "config": {"pan": 1, "tilt": 1}}},
            "exactly one of",
        ),
        ({"image": FACE, "camera_control": {"type": "simple", "config": {"pan": 11}}}, "at most 10"),
        ({"image": FACE, "camera_control": {"type": "simple", "config": {"spin": 1}}}, "camera_control"),
        ({"image": FACE, "camera_control": {"type": "down_back", "config": {"pan": 1}}}, "simple only"),
        ({"image": FACE, "camera_control": {"type": "loop"}}, "must be one of"),
        ({"image": FACE, "voice_list": [{"voice_id": "a"}] * 3}, "at most 2 entries"),
        ({"image": FACE, "cfg_scale": 1.1}, "cfg_scale: must be at most 1"),
        ({"image": FACE, "dynamic_masks": ["x"]}, "dynamic_masks"),
        ({"image": FACE, "dynamic_masks": [{"trajectories": TRAJECTORY}]}, "dynamic_masks"),
    ],
)
def test_image_to_video_refuses_what_does_not(name, given, words):
    with pytest.raises(InvalidRequestError, match=words):
        prepare(ImageToVideoRequest(**given), DIALECTS[name])


LAST_FRAME_IN_PRO = ("kling-v1-5", "kling-v1-6", "kling-v2-1", "kling-v2-5-turbo", "kling-v2-6")
"""Models that Kling's change log and capability map give a last frame of 5 or 10 s, in `pro` only."""


@pytest.mark.parametrize("name", IMAGE_TO_VIDEO)
@pytest.mark.parametrize("model", LAST_FRAME_IN_PRO)
def test_a_last_frame_takes_five_and_ten_seconds_in_pro_where_the_model_has_one(name, model):
    both = {"image": FACE, "image_tail": MASK, "model_name": model}
    for duration in ("5", "10"):
        body = prepare(ImageToVideoRequest(**both, mode="pro", duration=duration), DIALECTS[name]).body
        assert (body["image_tail"], body["duration"]) == (MASK, duration)
    for mode in ({}, {"mode": "std"}):
        with pytest.raises(InvalidRequestError, match='mode: must be "pro" with image_tail') as caught:
            prepare(ImageToVideoRequest(**both, **mode), DIALECTS[name])
        assert caught.value.field == "mode"
        assert "https://kling.ai/document-api/" in str(caught.value)
    assert prepare(ImageToVideoRequest(**both), DIALECTS[name], validate=False).body


@pytest.mark.parametrize("name", IMAGE_TO_VIDEO)
@pytest.mark.parametrize("model", ["kling-v2-5-turbo", "kling-v2-6", "kling-v3"])
def test_a_last_frame_alone_is_refused_where_the_capability_map_has_it_not(name, model):
    with pytest.raises(InvalidRequestError, match="image: is required beside image_tail") as caught:
        prepare(ImageToVideoRequest(image_tail=MASK, model_name=model, mode="pro"), DIALECTS[name])
    assert "capability-map" in str(caught.value)


@pytest.mark.parametrize("seconds", [0, 1.9, 300.1, 301, 86_400])
def test_a_declared_length_that_no_clip_can_have_is_refused(seconds):
    with pytest.raises(
        InvalidRequestError, match=r"audio_duration_seconds: must be at (least 2|most 300)"
    ) as caught:
        prepared("generations", "avatar", audio_duration_seconds=seconds)
    assert caught.value.field == "audio_duration_seconds"
    assert prepare(
        request("generations", "avatar", audio_duration_seconds=seconds),
        DIALECTS["generations"],
        validate=False,
    ).body


@pytest.mark.parametrize("seconds", [2, 12.5, 300])
def test_a_declared_length_that_a_clip_can_have_is_sent_as_it_is(seconds):
    body = prepared("generations", "avatar", audio_duration_seconds=seconds).body
    assert body["audio_duration_seconds"] == seconds


@pytest.mark.parametrize(("measured", "declared"), [(1.995, 2), (2.5, 2.5), (300.0, 300), (300.04, 300)])
def test_an_encoders_padding_that_is_tolerated_is_not_declared(measured, declared, tmp_path):
    path = tmp_path / "voice.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 1, 8000, 0, "NONE", ""))
        out.writeframes(b"\x80" * round(measured * 8000))
    ready = prepare(
        AvatarRequest(image=FACE, audio="s3://sounds/voice.wav"),
        DIALECTS["generations"],
        opener=lambda uri: path.open("rb"),
        signer=lambda uri, seconds: VOICE,
    )
    assert ready.body["audio_duration_seconds"] == declared


WARNED = [
    ("cometapi", "image_to_video", "prompt", 500),
    ("cometapi", "image_to_video", "negative_prompt", 200),
]


@pytest.mark.parametrize(("name", "endpoint", "field", "limit"), WARNED)
def test_a_text_above_what_one_of_the_vendors_pages_says_is_warned_of_and_sent(
    name, endpoint, field, limit, caplog
):
    with caplog.at_level("WARNING"):
        assert prepared(name, endpoint, **{field: "x" * limit}).body
        assert not caplog.records
        assert prepared(name, endpoint, **{field: "x" * (limit + 1)}).body[field]
    (record,) = caplog.records
    said = record.getMessage()
    assert f"{field} is {limit + 1} characters long" in said
    assert f"at most {limit}" in said
    assert DIALECTS[name].schema(endpoint)["x-source"] in said
    assert "xx" not in said


@pytest.mark.parametrize(("name", "endpoint"), [("cometapi", "avatar"), ("kling", "image_to_video")])
def test_nobody_is_warned_of_a_limit_of_another_page(name, endpoint, caplog):
    with caplog.at_level("WARNING"):
        assert prepared(name, endpoint, prompt="x" * 2500).body
    assert not caplog.records


def test_a_connection_may_move_the_limit_that_is_warned_of(config_of, caplog):
    dialect = config_of(None, "cometapi", limits={"image_to_video.prompt.warn_above_characters": 5}).dialect
    with caplog.at_level("WARNING"):
        prepare(request("cometapi", "image_to_video", prompt="123456"), dialect)
    assert "prompt is 6 characters long" in caplog.text


# -------------------------------------------------------------- whole way round

WAYS = [
    *[(name, endpoint, "/relay/kling" if name == "relay" else None) for name, endpoint in VIDEO_ROWS],
    *[("relay", "avatar", f"/relay/{word}/kling") for word in (*(f"v{n}" for n in range(1, 9)), "omni")],
    ("relay", "image_to_video", "/relay/v2/kling"),
]


def timeless(task):
    """A task without what differs from answer to answer: the request's id and the signatures."""
    videos = tuple(msgspec.structs.replace(v, url=v.url.partition("?")[0]) for v in task.videos)
    return msgspec.structs.replace(task, request_id=None, videos=videos)


@pytest.mark.parametrize(("name", "endpoint", "prefix"), WAYS)
async def test_a_clip_goes_all_the_way_and_both_clients_tell_the_same(
    name, endpoint, prefix, sim, client_of, config_of, face, voice
):
    extra = {"path_prefix": prefix} if prefix else {}
    client = client_of(sim.url, name, password="sk-simulator", **extra)
    dialect = client.config.dialect
    media = {"image": face} if dialect.accepts_files(endpoint, "image") else {}
    if endpoint == "avatar" and dialect.accepts_files("avatar", "audio"):
        media["audio"] = voice
    names = {"external_task_id": "mine-1"} if dialect.takes(endpoint, "external_task_id") else {}
    body = prepare(request(name, endpoint, **media, **names), dialect).body

    async with AsyncKlingClient(config_of(sim.url, name, password="sk-simulator", **extra)) as other:

        async def look():
            task = client.get_task(created.task_id, endpoint)
            assert timeless(await other.get_task(created.task_id, endpoint)) == timeless(task)
            return task

        created = client.submit(endpoint, body)
        assert created.state is (TaskState.UNKNOWN if prefix == "/relay/v8/kling" else TaskState.QUEUED)
        assert (await look()).state is TaskState.QUEUED
        sim.advance(11)
        assert (await look()).state is TaskState.RUNNING
        sim.advance(40)
        done = await look()
        assert done.state is TaskState.SUCCEEDED
        assert done.video.url.startswith(sim.url)
        assert done.task_id == created.task_id

        if dialect.endpoint(endpoint).list_path and (
            prefix is None or prefix in ("/relay/kling", "/relay/v1/kling")
        ):
            listed = client.list_tasks(endpoint)
            assert [timeless(task) for task in listed] == [timeless(done)]
            assert [timeless(t) for t in await other.list_tasks(endpoint)] == [timeless(done)]
            assert client.list_tasks(endpoint, page=2) == []
            if names:
                assert client.find_task("mine-1", endpoint).task_id == created.task_id
                assert client.find_task("not-there", endpoint) is None
    assert sim.ledger()["total"]["tasks"] == 1


@pytest.mark.parametrize("name", [d for d, e in ROWS if e == "speech"])
def test_a_text_is_spoken_and_the_audio_makes_a_clip(name, sim, client_of, face):
    extra = {"path_prefix": "/relay/kling"} if name == "relay" else {}
    client = client_of(sim.url, name, password="sk-simulator", **extra)
    body = speech_body(request(name, "speech"), client.config.dialect)
    speech = client.synthesize(body)
    assert speech.audio_id
    assert 2 < speech.duration < 10
    assert speech.units == "0.05"
    made = prepare(AvatarRequest(image=face, audio_id=speech.audio_id), client.config.dialect)
    assert client.submit("avatar", made.body).task_id


# -------------------------------------------------------------------- overrides


def test_a_connections_paths_replace_the_dialects(config_of):
    dialect = config_of(
        None, path_prefix="gate/", query_path="/tasks?task_ids={id}", list_path="/all"
    ).dialect
    assert dialect.create_path("avatar") == "/gate/v1/videos/avatar/image2video"
    assert dialect.query_path("avatar", "a b") == "/tasks?task_ids=a%20b"
    assert dialect.list_path("image_to_video") == "/all"
    assert DIALECTS["kling"].query_path("avatar", "1") == "/v1/videos/avatar/image2video/1"


def test_a_path_can_be_replaced_for_one_endpoint_alone(config_of):
    paths = {"avatar": "{path}/status/{id}"}
    for given in (paths, '{"avatar": "{path}/status/{id}"}'):
        dialect = config_of(None, query_path=given).dialect
        assert dialect.query_path("avatar", "1") == "/v1/videos/avatar/image2video/status/1"
        assert dialect.query_path("image_to_video", "1") == "/v1/videos/image2video/1"


@pytest.mark.parametrize("prefix", ["/", "//"])
def test_a_gateway_without_prefix_is_said_by_a_slash(config_of, prefix):
    assert (
        config_of("https://gate.test", "relay", path_prefix=prefix).dialect.create_path("speech")
        == "/v1/audio/tts"
    )


@pytest.mark.parametrize(
    "off", [False, "false", "False", {"avatar": ""}, '{"avatar": ""}', {"avatar": False}]
)
def test_a_list_can_be_switched_off(config_of, off):
    with pytest.raises(UnsupportedError):
        config_of(None, list_path=off).dialect.list_path("avatar")


def test_limits_can_be_changed_and_the_message_tells_the_new_one(config_of):
    dialect = config_of(
        None, limits={"avatar.prompt.maxLength": 5, "avatar.sound_file.max_seconds": 60}
    ).dialect
    assert dialect.media_annotation("avatar", "audio")["max_seconds"] == 60
    with pytest.raises(InvalidRequestError, match="prompt: must be at most 5 characters; it is 6 characters"):
        prepare(request("kling", "avatar", prompt="123456"), dialect)
    assert prepared("kling", "avatar", prompt="123456").body


def test_limits_may_come_as_text(config_of):
    dialect = config_of(None, limits='{"speech.text.maxLength": 120}').dialect
    assert dialect.schema("speech")["properties"]["text"]["maxLength"] == 120


@pytest.mark.parametrize(
    "extra",
    [
        {"api": "klingon"},
        {"unknown_thing": 1},
        {"query_path": "/tasks"},
        {"query_path": "tasks/{id}"},
        {"query_path": {"avatar": ".evil.test/{id}"}},
        {"query_path": {"avatar": 5}},
        {"query_path": {"avatr": "/tasks/{id}"}},
        {"query_path": '{"avatar": '},
        {"query_path": ["/tasks/{id}"]},
        {"query_path": "/tasks/{task_id}/{id}"},
        {"list_path": "all"},
        {"list_path": {"avatar": "all"}},
        {"list_path": "/tasks/{id}"},
        {"limits": "no json"},
        {"limits": [1]},
        {"limits": {"avatar.prompt": 500}},
        {"limits": {"prompt.maxLength": 500}},
        {"limits": {"avatar.promt.maxLength": 500}},
        {"limits": {"avatar.prompt.maxWords": 500}},
        {"limits": {"avatar.prompt.maxLength": "500 characters"}},
        {"limits": {"avatar.prompt.maxLength": True}},
        {"limits": {"avatar.prompt.maxLength": None}},
        {"limits": {"avatar.image.max_bytes": "10 MB"}},
        {"limits": {"avatar.image.formats": "png"}},
        {"limits": {"avatar.image.x-media": {}}},
        {"connect_timeout": 0},
        {"connect_timeout": "soon"},
        {"read_timeout": -1},
        {"read_timeout": "nan"},
    ],
)
def test_a_wrong_override_is_told_when_the_connection_is_read(config_of, extra):
    with pytest.raises(ConfigurationError):
        config_of(None, **extra)


@pytest.mark.parametrize(
    "host",
    [
        "ftp://gate.test",
        "https://",
        "https://user:secret@gate.test",
        "https://gate.test/kling",
        "https://gate.test?key=secret",
        "https://gate.test:99999",
        "https://[bad",
    ],
)
def test_a_wrong_host_is_told_without_its_secrets(config_of, host):
    with pytest.raises(ConfigurationError) as caught:
        config_of(host)
    assert "secret" not in str(caught.value)


def test_a_host_may_lack_its_scheme_and_a_gateway_needs_one(config_of):
    assert config_of("gate.test:8443").base_url == "https://gate.test:8443"
    assert config_of("HTTPS://gate.test/").base_url == "https://gate.test"
    assert config_of(None).base_url == "https://api-singapore.klingai.com"
    assert config_of(None, "cometapi").base_url == "https://api.cometapi.com"
    for name in ("relay", "generations"):
        with pytest.raises(ConfigurationError, match="host"):
            config_of(None, name)


@pytest.mark.parametrize("name", DIALECTS)
def test_signed_keys_are_for_those_who_take_them(config_of, name):
    host = "https://gate.test"
    if DIALECTS[name].signed_keys:
        assert (
            config_of(host, name, login="ak", password="s" * 32).credentials.header().startswith("Bearer ey")
        )
    else:
        with pytest.raises(ConfigurationError, match="kling, kling-broadcast"):
            config_of(host, name, login="ak")


@pytest.mark.parametrize("password", [None, "", "  ", "two words", "schlüssel", "line\nbreak"])
def test_a_key_that_can_be_none_is_refused_without_showing_it(config_of, password):
    with pytest.raises(ConfigurationError) as caught:
        config_of(None, password=password)
    assert not (password or "").strip() or password not in str(caught.value)


def test_no_key_is_in_the_repr_of_an_account(config_of):
    signed = config_of(None, login="the-access-key", password="the-secret-key-0123456789abcdef")
    assert "the-secret-key" not in repr(signed)
    assert "the-access-key" not in repr(signed)
    assert "sk-0123456789" not in repr(config_of(None))


def test_what_tells_two_accounts_apart_holds_no_key_for_it_stands_in_the_frames_of_who_waits(config_of):
    signed = config_of(None, login="the-access-key", password="the-secret-key-0123456789abcdef")
    for config in (signed, config_of(None)):
        told = repr(config.account_key)
        assert not any(secret in told for secret in config.credentials.secrets())
    assert config_of(None).account_key == config_of(None).account_key != signed.account_key


# ------------------------------------------------------- from rendered templates


def test_rendered_text_becomes_what_the_field_holds():
    request = AvatarRequest.from_fields(
        image=FACE,
        audio=VOICE,
        watermark="True",
        audio_duration_seconds="12.5",
        external_task_id=17,
        prompt="",
    )
    assert (request.watermark, request.audio_duration_seconds, request.external_task_id) == (True, 12.5, "17")
    assert request.given().keys() == {
        "image",
        "audio",
        "watermark",
        "audio_duration_seconds",
        "external_task_id",
    }
    video = ImageToVideoRequest.from_fields(
        image=FACE, duration=5, dynamic_masks="[]", camera_control='{"type": "down_back"}', cfg_scale="0.5"
    )
    assert (video.duration, video.cfg_scale, video.camera_control) == ("5", 0.5, {"type": "down_back"})


def test_what_a_library_calls_a_number_or_a_text_is_one():
    class Number(float):
        """As numpy's."""

    class Text(str):
        """As a template's."""

        __slots__ = ()

    video = ImageToVideoRequest.from_fields(
        image=FACE, cfg_scale=Number(0.5), duration=Number(5.0), camera_control=Text('{"type": "down_back"}')
    )
    assert (video.cfg_scale, video.duration, video.camera_control) == (0.5, "5", {"type": "down_back"})
    assert ImageToVideoRequest.from_fields(image=FACE, sound="off", duration=Decimal(5)).sound is False


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": ["a"]},
        {"prompt": True},
        {"watermark": "perhaps"},
        {"cfg_scale": "much"},
        {"cfg_scale": "nan"},
        {"cfg_scale": True},
        {"cfg_scale": 10**400},
        {"duration": "5.5"},
        {"duration": "long"},
        {"camera_control": "[1]"},
        {"camera_control": "{"},
        {"camera_control": "[" * 100_000},
        {"dynamic_masks": {"a": 1}},
        {"prompts": "x"},
    ],
)
def test_a_field_that_cannot_be_read_is_told_by_name(given):
    (field,) = given
    with pytest.raises(InvalidRequestError, match=field):
        ImageToVideoRequest.from_fields(image=FACE, **given)
