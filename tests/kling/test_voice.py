"""Speaking once, links that a storage signs, and re-encoding: what costs money must not depend on the moment."""

from __future__ import annotations

import base64
import io
import random
import sys
import time
import wave
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling import media
from airflow_provider_kling_avatar.kling.dialects import DIALECTS
from airflow_provider_kling_avatar.kling.media import transcode as transcoding
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.submission.identity import fingerprint
from airflow_provider_kling_avatar.kling.submission.request import prepare
from airflow_provider_kling_avatar.kling.submission.speech import AUDIO_ID_SECONDS, check_age

TEXT = {"audio": None, "text": "Good morning, here is the news of the day.", "voice_id": "oversea_male1"}
SPEAKERS = ("kling", "cometapi", "relay")
LINK = "https://bucket.s3.amazonaws.com/voice.wav"


def sound(seconds, rate=8000, channels=1):
    """Noise, as WAV: it does not compress to nothing."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(random.Random(7).randbytes(2 * channels * int(rate * seconds)))
    return target.getvalue()


def signer(uri, seconds):
    return f"{LINK}?X-Amz-Signature={random.random()}&X-Amz-Expires={seconds}"


def opener_of(data):
    return lambda uri: io.BytesIO(data)


# ---------------------------------------------------------------------------------------------- speaking


@pytest.mark.parametrize("api", SPEAKERS)
def test_a_text_is_spoken_first_and_the_clip_is_made_from_its_id(desk, api):
    here = desk(api, **TEXT)
    assert here.try_it(first=True).is_new
    assert (len(here.paid("speech")), len(here.paid())) == (1, 1)


def test_where_the_api_speaks_a_text_is_one_call(desk):
    here = desk("kling-broadcast", **TEXT)
    assert here.try_it(first=True).is_new
    assert [method for method in here.methods() if method == "POST"] == ["POST"]


def test_where_nothing_speaks_the_error_names_who_does(desk):
    with pytest.raises(e.UnsupportedError, match="kling"):
        desk("generations", **TEXT, audio_duration_seconds=None)


@pytest.mark.parametrize("api", SPEAKERS)
def test_a_try_that_dies_between_speech_and_clip_leaves_the_speech_to_the_next(desk, api, monkeypatch):
    here = desk(api, store=True, **TEXT)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(here.client, "submit", die)
        with pytest.raises(KeyboardInterrupt):
            here.try_it(first=True)
    assert here.try_it().is_new
    assert (len(here.paid("speech")), len(here.paid())) == (1, 1)


def test_a_speech_is_written_down_before_anything_else_can_go_wrong(desk):
    here = desk(store=True, **{**TEXT, "text": "Hi."})
    for _ in range(2):
        with pytest.raises(e.InvalidRequestError, match="lengthen the text"):
            here.try_it(first=True)
    assert (len(here.paid("speech")), len(here.paid())) == (1, 0)


def test_a_speech_that_the_vendor_has_thrown_away_is_spoken_anew(desk, monkeypatch):
    here = desk(store=True, **TEXT)
    with monkeypatch.context() as patch:
        patch.setattr(here.client, "submit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            here.try_it(first=True)
    here.store.save({**here.store.load(), "spoken_at": time.time() - AUDIO_ID_SECONDS - 1})
    assert here.try_it().is_new
    assert len(here.paid("speech")) == 2


def test_a_given_speech_that_is_too_old_is_refused_before_anything_is_sent(desk):
    old = {"audio_id": "a1", "spoken_at": time.time() - 30 * 86400, "duration": 5}
    here = desk(audio=None, audio_id=old, audio_duration_seconds=None)
    with pytest.raises(e.InvalidRequestError, match="30 days ago"):
        here.try_it(first=True)
    assert here.methods() == []


@pytest.mark.parametrize("seconds", [1.9, 301])
def test_a_given_speech_of_the_wrong_length_is_refused_before_anything_is_sent(desk, seconds):
    with pytest.raises(e.InvalidRequestError, match="a clip takes 2 to 300"):
        desk(audio=None, audio_id={"audio_id": "a1", "duration": seconds}, audio_duration_seconds=None)


@pytest.mark.parametrize("wrong", [{}, {"audio_id": ""}, {"audio_id": "a", "spoken_at": "x"}, ["a"], True])
def test_what_is_no_speech_is_said_to_be_none(desk, wrong):
    with pytest.raises(e.InvalidRequestError, match="audio_id"):
        desk(audio=None, audio_id=wrong, audio_duration_seconds=None)


def test_how_old_a_speech_may_be():
    check_age(None)
    check_age(time.time() - AUDIO_ID_SECONDS + 60)
    with pytest.raises(e.InvalidRequestError, match="Clear the task"):
        check_age(time.time() - AUDIO_ID_SECONDS)


def test_a_bare_id_and_the_object_that_tells_more_of_it_are_the_same_clip(face):
    dialect = DIALECTS["kling"]
    bare = prepare(AvatarRequest(image=face, audio_id="a1"), dialect)
    full = prepare(
        AvatarRequest(image=face, audio_id={"audio_id": "a1", "spoken_at": 5.0, "duration": 3}), dialect
    )
    assert bare.fingerprint == full.fingerprint
    assert (full.audio_seconds, full.spoken_at) == (3, 5.0)


# ---------------------------------------------------------------------------------------------- links


def linked(data=None, api="generations", sign=signer, **more):
    fields = {"image": "https://p.test/f.png", "audio": "s3://bucket/voice.wav", **more}
    return prepare(AvatarRequest(**fields), DIALECTS[api], opener=opener_of(data or sound(3)), signer=sign)


@pytest.mark.parametrize("api", ["generations", "kling-broadcast"])
def test_a_voice_in_a_storage_is_measured_there_and_linked(api):
    ready = linked(api=api)
    assert ready.audio_seconds == 3
    assert urlsplit(ready.body["audio_url"]).query
    assert "Signature" not in repr(ready.body)


def test_a_link_is_made_for_an_image_too(face):
    data = base64.b64decode(face)
    ready = prepare(
        AvatarRequest(image="gs://b/f.png", audio="https://s.test/v.mp3", audio_duration_seconds=3),
        DIALECTS["generations"],
        opener=opener_of(data),
        signer=signer,
    )
    assert ready.body["image_url"].startswith(LINK)


def test_a_linked_voice_that_is_too_short_is_refused():
    with pytest.raises(e.MediaError, match="at least 2"):
        linked(sound(1))


def test_a_storage_that_cannot_sign_is_named_with_what_to_do():
    def cannot(*_):
        raise NotImplementedError

    with pytest.raises(e.MediaError, match=r"s3://bucket/voice.wav lies in a storage that cannot sign"):
        linked(sign=cannot)


@given(query=st.text(), other=st.text(), seconds=st.integers(2, 4))
def test_however_a_file_is_signed_it_is_the_same_input(query, other, seconds):
    data = sound(seconds)
    first, second = (linked(data, sign=lambda *_, q=q: f"https://b.test/k?{q}") for q in (query, other))
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != linked(sound(5)).fingerprint


@given(secret=st.text("0123456789abcdef", min_size=8), at=st.integers(0, 2**40))
@pytest.mark.parametrize(
    "style",
    [
        "AWSAccessKeyId={0}&Signature={0}&Expires={1}&x-amz-security-token={0}",
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={0}&X-Amz-Date={1}&X-Amz-Expires={1}"
            "&X-Amz-SignedHeaders=host&X-Amz-Security-Token={0}&X-Amz-Signature={0}"
        ),
        (
            "X-Goog-Algorithm=GOOG4&X-Goog-Credential={0}&X-Goog-Date={1}&X-Goog-Expires={1}"
            "&X-Goog-SignedHeaders=host&X-Goog-Signature={0}"
        ),
    ],
)
def test_a_link_that_a_user_signed_is_the_same_input_each_time(style, secret, at):
    signed = fingerprint({"audio_url": f"{LINK}?{style.format(secret, at)}"})
    assert signed == fingerprint({"audio_url": LINK})


# ---------------------------------------------------------------------------------------------- re-encoding

RULES = media.MediaRules(
    "audio",
    ("base64",),
    ("mp3", "wav", "m4a", "aac"),
    max_bytes=5 * 2**20,
    min_seconds=2,
    max_seconds=300,
)


def voice_of(data, face, **more):
    return prepare(
        AvatarRequest(image=face, audio="s3://b/v.wav"), DIALECTS["kling"], opener=opener_of(data), **more
    )


def flac(seconds):
    av = pytest.importorskip("av")
    target = io.BytesIO()
    with av.open(io.BytesIO(sound(seconds))) as source, av.open(target, "w", format="flac") as sink:
        stream = sink.add_stream("flac", rate=8000, layout="mono")
        for frame in source.decode(audio=0):
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return target.getvalue()


def test_a_voice_that_is_too_large_is_offered_to_be_re_encoded_and_not_touched(face):
    with pytest.raises(e.MediaError, match="transcode_audio=True") as caught:
        voice_of(sound(30, 96000), face)
    assert caught.value.field == "audio"
    with pytest.raises(e.MediaError, match="transcode_audio=True"):
        voice_of(flac(3), face)


def test_a_voice_that_is_too_long_is_not_offered_what_would_not_help(face):
    with pytest.raises(e.MediaError, match="at most 300") as caught:
        voice_of(sound(320, 4000), face)
    assert "transcode_audio" not in str(caught.value)


def test_on_request_a_large_voice_fits_afterwards_and_the_log_tells(face, caplog):
    caplog.set_level("INFO")
    data = sound(30, 96000)
    ready = voice_of(data, face, transcode_audio=True)
    smaller = base64.b64decode(ready.body["sound_file"])
    info = media.measure_audio(smaller)
    assert (info.format, round(info.seconds)) == ("m4a", 30)
    assert len(smaller) < 5 * 2**20 < len(data)
    assert f"{len(data)} bytes -> {len(smaller)} bytes" in caplog.text


def test_another_format_is_re_encoded_too(face):
    ready = voice_of(flac(3), face, transcode_audio=True)
    assert media.measure_audio(base64.b64decode(ready.body["sound_file"])).format == "m4a"


def test_a_voice_that_fits_is_left_as_it_is(face):
    data = sound(3)
    assert voice_of(data, face, transcode_audio=True).fingerprint == voice_of(data, face).fingerprint


def test_another_encoder_does_not_make_another_clip(face, monkeypatch):
    data = sound(30, 96000)
    first = voice_of(data, face, transcode_audio=True)
    monkeypatch.setattr(transcoding, "BEST_BITS_PER_SECOND", 64_000)
    second = voice_of(data, face, transcode_audio=True)
    assert first.body["sound_file"] != second.body["sound_file"]
    assert first.fingerprint == second.fingerprint
    assert voice_of(sound(31, 96000), face, transcode_audio=True).fingerprint != first.fingerprint


def test_five_minutes_fit():
    smaller = transcoding.transcode(sound(300, 12000), RULES)
    assert media.measure_audio(smaller).seconds == pytest.approx(300, abs=0.2)
    assert len(smaller) < 5 * 2**20


def test_a_long_voice_is_refused_even_if_it_could_be_made_small_enough(face):
    with pytest.raises(e.MediaError, match="longer than 300"):
        voice_of(sound(320, 12000), face, transcode_audio=True)


@pytest.mark.parametrize("wrong", [b"no sound at all" * 1000, b"fLaC" + bytes(5000)])
def test_what_cannot_be_read_cannot_be_re_encoded(face, wrong):
    with pytest.raises(e.MediaError, match=r"cannot be re-encoded|has no sound"):
        voice_of(wrong, face, transcode_audio=True)


def test_what_is_cut_off_is_refused_and_not_re_encoded_as_a_shorter_voice(face):
    with pytest.raises(e.MediaError, match="cut off") as caught:
        voice_of(sound(30, 96000)[:-1000], face, transcode_audio=True)
    assert "transcode_audio" not in str(caught.value)


def test_without_pyav_the_error_says_what_to_install(face, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(e.MediaError, match=r"pip install 'airflow-provider-kling-avatar\[media\]'"):
        voice_of(sound(30, 96000), face, transcode_audio=True)


def test_where_only_urls_are_taken_nothing_is_re_encoded():
    with pytest.raises(e.MediaError, match="takes only URLs, so there is no file to re-encode"):
        prepare(
            AvatarRequest(image="https://p.test/f.png", audio="s3://b/v.wav"),
            DIALECTS["generations"],
            opener=opener_of(sound(3)),
            signer=signer,
            transcode_audio=True,
        )
