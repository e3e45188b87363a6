from __future__ import annotations

import io
import threading
from urllib.parse import parse_qs, urlsplit

import av
import pytest
import requests

PATH = "/v1/videos/avatar/image2video"


def result(sim, caller, path=PATH, **changes):
    task = caller.avatar(path, **changes).json()["data"]["task_id"]
    sim.advance(60)
    return caller.get(f"{path}/{task}").json()["data"]["task_result"]["videos"][0]


def opened(url):
    return av.open(io.BytesIO(requests.get(url, timeout=30).content))


@pytest.mark.parametrize("mode", ["std", "pro"])
def test_the_film_is_h264_and_aac_and_as_long_as_the_audio(sim, caller, mode, make_sound):
    url = result(sim, caller, mode=mode, sound_file=make_sound(3.2))["url"]
    with opened(url) as film:
        assert [stream.codec_context.name for stream in film.streams] == ["h264", "aac"]
        for stream in film.streams:
            assert float(stream.duration * stream.time_base) == pytest.approx(3.2, abs=0.1)
        assert next(film.decode(video=0)).width == 320


def test_a_large_picture_is_shrunk_to_even_sides(sim, caller, make_picture):
    url = result(sim, caller, image=make_picture(2001, 1001))["url"]
    with opened(url) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height) == (1280, 640)


def test_the_index_comes_first_so_that_a_player_can_begin_early(sim, caller):
    data = requests.get(result(sim, caller)["url"], timeout=30).content
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(("ratio", "size"), [("16:9", (568, 320)), ("9:16", (320, 568)), ("1:1", (320, 320))])
def test_broadcast_pads_the_picture_to_the_wanted_ratio(sim, caller, make_picture, ratio, size):
    body = {
        "image": make_picture(),
        "text": "Good evening, here is the news of the day",
        "voice_id": "oversea_male1",
        "aspect_ratio": ratio,
    }
    task = caller.post("/v1/videos/avatar", body).json()["data"]["task_id"]
    sim.advance(60)
    url = caller.get(f"/v1/videos/avatar/{task}").json()["data"]["task_result"]["videos"][0]["url"]
    with opened(url) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height) == size
        assert len(film.streams.audio) == 1


def test_a_ratio_no_screen_has_is_refused(caller, make_picture):
    body = {"image": make_picture(), "text": "Hello", "voice_id": "oversea_male1", "aspect_ratio": "1:99999"}
    assert caller.post("/v1/videos/avatar", body).json()["code"] == 1201


def test_a_watermarked_copy_is_made_when_asked_for(sim, caller):
    video = result(sim, caller, watermark_info={"enabled": True})
    plain, marked = (requests.get(video[name], timeout=30).content for name in ("url", "watermark_url"))
    assert plain != marked
    assert "watermark_url" not in result(sim, caller)


def test_ranges_are_served(sim, caller):
    url = result(sim, caller)["url"]
    whole = requests.get(url, timeout=30)
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == len(whole.content)
    part = requests.get(url, headers={"Range": "bytes=100-199"}, timeout=30)
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["etag"] == whole.headers["etag"]
    beyond = requests.get(url, headers={"Range": f"bytes={len(whole.content)}-"}, timeout=30)
    assert beyond.status_code == 416
    assert requests.head(url, timeout=30).headers["content-length"] == whole.headers["content-length"]


def test_a_link_expires_and_the_next_query_gives_a_fresh_one(sim, caller):
    task = caller.avatar().json()["data"]["task_id"]
    sim.advance(60)

    def link():
        return caller.get(f"{PATH}/{task}").json()["data"]["task_result"]["videos"][0]["url"]

    old = link()
    assert requests.get(old, timeout=30).status_code == 200
    sim.advance(3601)
    assert requests.get(old, timeout=30).status_code == 403
    assert requests.get(link(), timeout=30).status_code == 200
    sim.advance(31 * 24 * 3600)
    assert requests.get(link(), timeout=30).status_code == 404


def test_a_link_cannot_be_prolonged_or_moved_to_another_film(sim, caller):
    one, two = result(sim, caller)["url"], result(sim, caller)["url"]
    expires = parse_qs(urlsplit(one).query)["expires"][0]
    assert requests.get(one.replace(expires, str(int(expires) + 1)), timeout=30).status_code == 403
    assert requests.get(two.split("?")[0] + "?" + one.split("?")[1], timeout=30).status_code == 403
    assert requests.get(one.split("?")[0], timeout=30).status_code == 403


def test_two_who_ask_at_once_get_the_same_film(sim, caller):
    url = result(sim, caller)["url"]
    bodies = []
    threads = [
        threading.Thread(target=lambda: bodies.append(requests.get(url, timeout=30).content))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 4
    assert len(set(bodies)) == 1


def test_image_to_video_is_silent_and_lasts_as_ordered(sim, caller, make_picture):
    path = "/v1/videos/image2video"
    task = caller.post(path, {"image": make_picture(), "duration": "10"}).json()["data"]["task_id"]
    sim.advance(60)
    video = caller.get(f"{path}/{task}").json()["data"]["task_result"]["videos"][0]
    assert video["duration"] == "10"
    with opened(video["url"]) as film:
        assert [stream.type for stream in film.streams] == ["video"]
        assert film.duration == 10_000_000


def speak(caller, text, path="/v1/audio/tts", **changes):
    return caller.post(path, {"text": text, "voice_id": "oversea_male1", "voice_language": "en"} | changes)


def test_speech_is_done_when_it_is_answered_and_can_be_heard(caller):
    data = speak(caller, "A sentence that takes about three seconds.").json()["data"]
    assert data["task_status"] == "succeed"
    audio = data["task_result"]["audios"][0]
    with opened(audio["url"]) as sound:
        assert sound.streams.audio[0].codec_context.name.startswith("mp3")
        assert sound.duration / 1e6 == pytest.approx(float(audio["duration"]), abs=0.1)


def test_speech_is_answered_with_the_documented_fields_only(caller):
    assert set(speak(caller, "hello").json()["data"]) == {
        "task_id",
        "task_status",
        "task_status_msg",
        "task_result",
        "final_unit_deduction",
        "final_balance_deduction",
        "created_at",
        "updated_at",
    }


def test_faster_speech_is_shorter(caller):
    lengths = [
        float(
            speak(caller, "x" * 60, voice_speed=speed).json()["data"]["task_result"]["audios"][0]["duration"]
        )
        for speed in (1.0, 2.0)
    ]
    assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.1)


def test_speech_makes_an_avatar_through_its_audio_id(sim, caller):
    audio = speak(caller, "A sentence that takes about three seconds.").json()["data"]["task_result"][
        "audios"
    ][0]
    video = result(sim, caller, audio_id=audio["id"], sound_file=None)
    assert video["duration"] == audio["duration"]


def test_an_audio_id_must_be_known_long_enough_and_fresh(sim, caller):
    def refused(audio_id):
        return caller.avatar(audio_id=audio_id, sound_file=None).json()["message"]

    assert "not found" in refused("12345")
    short = speak(caller, "Hi").json()["data"]["task_result"]["audios"][0]["id"]
    assert "too short" in refused(short)
    old = speak(caller, "A sentence that takes about three seconds.").json()["data"]["task_result"]["audios"][
        0
    ]["id"]
    sim.advance(30 * 24 * 3600 + 1)
    assert "expired" in refused(old)


def test_voice_and_language_must_match(caller):
    for changes in ({"voice_id": "nobody"}, {"voice_id": "ai_kaiya"}):
        answer = speak(caller, "hello", **changes)
        assert (answer.status_code, answer.json()["code"]) == (400, 1201)
        assert answer.json()["message"] == "Voice id not found"
