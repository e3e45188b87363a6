from __future__ import annotations

import base64
import io
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import jwt
import pytest
import requests

AK, SK = "simulator-access-key", "simulator-secret-key-0123456789abcdef"
PATH = "/v1/videos/avatar/image2video"
IMAGE_TO_VIDEO = "/v1/videos/image2video"


def token(secret=SK, **changes):
    now = int(time.time())
    claims = {"iss": AK, "exp": now + 1800, "nbf": now - 5} | changes
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, headers={"typ": "JWT"})


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (lambda: "", 1001),
        (lambda: "Basic abc", 1002),
        (lambda: "Bearer", 1002),
        (lambda: "Bearer sk-wrong", 1002),
        (lambda: "Bearer a.b.c", 1002),
        (lambda: f"Bearer {token(iss='nobody')}", 1002),
        (lambda: f"Bearer {token(exp=None)}", 1002),
        (lambda: f"Bearer {token(secret='x' * 40)}", 1000),
        (lambda: f"Bearer {token(nbf=int(time.time()) + 60)}", 1003),
        (lambda: f"Bearer {token(exp=int(time.time()) - 1)}", 1004),
    ],
)
def test_bad_credentials_get_the_documented_code(caller, header, code):
    answer = caller.get(PATH, headers={"Authorization": header()})
    assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_an_unknown_key_gets_the_words_seen_live(caller):
    answer = caller.get(PATH, headers={"Authorization": "Bearer sk-wrong"})
    assert "token was expected to have 3 parts, but got 0" in answer.json()["message"]


def test_a_signed_token_and_the_api_key_are_one_account(caller):
    task = caller.avatar().json()["data"]["task_id"]
    answer = caller.get(f"{PATH}/{task}", headers={"Authorization": f"Bearer {token()}"})
    assert answer.status_code == 200


def test_gateways_take_no_tokens_signed_for_kling(caller):
    answer = caller.get(f"/kling{PATH}", headers={"Authorization": f"Bearer {token()}"})
    assert answer.status_code == 401


def test_advancing_the_clock_does_not_expire_a_token(sim, caller):
    sim.advance(7200)
    assert caller.get(PATH, headers={"Authorization": f"Bearer {token()}"}).status_code == 200


def refusal(answer):
    assert (answer.status_code, answer.json()["code"]) == (400, 1201), answer.text
    return answer.json()["message"]


def test_fields_are_checked_and_the_culprit_is_named(caller):
    assert "image is required" in refusal(caller.avatar(image=None))
    assert "mode must be one of" in refusal(caller.avatar(mode="best"))
    assert "prompt must not be longer than 2500" in refusal(caller.avatar(prompt="x" * 2501))
    assert "callback_url must be an http(s) URL" in refusal(caller.avatar(callback_url="ftp://x"))


def test_exactly_one_audio_is_needed(caller):
    both = refusal(caller.avatar(audio_id="123"))
    neither = refusal(caller.avatar(sound_file=None))
    assert both == neither
    assert "exactly one of audio_id and sound_file" in both


def test_an_empty_string_counts_as_absent(caller):
    assert caller.avatar(audio_id="", external_task_id="", callback_url="").status_code == 200


def test_a_body_that_is_not_a_json_object_is_code_1200(caller, sim):
    answer = caller.session.post(sim.url + PATH, data=b"[1]", timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (400, 1200)


def test_a_refusal_never_repeats_the_media(caller):
    secret = "QUJD" * 1000
    assert secret not in caller.avatar(image=secret, mode="best").text
    assert secret not in caller.avatar(image=secret).text


def test_pictures_are_really_looked_at(caller, make_picture):
    assert "data: prefix" in refusal(caller.avatar(image=f"data:image/png;base64,{make_picture()}"))
    assert "neither a URL nor base64" in refusal(caller.avatar(image="no base64!"))
    assert "cannot be read as an image" in refusal(caller.avatar(image=base64.b64encode(b"hello").decode()))
    assert "format gif" in refusal(caller.avatar(image=make_picture(kind="GIF")))
    assert "299 x 320" in refusal(caller.avatar(image=make_picture(299, 320)))
    assert "aspect ratio" in refusal(caller.avatar(image=make_picture(300, 751)))
    assert caller.avatar(image=make_picture(300, 750, "JPEG")).status_code == 200
    assert caller.avatar(image=make_picture(kind="MPO")).status_code == 200
    too_big = base64.b64encode(bytes(10 * 1024 * 1024 + 1)).decode()
    assert "too large" in refusal(caller.avatar(image=too_big))


def test_audio_is_really_listened_to(caller, make_sound, make_picture):
    assert "too short" in refusal(caller.avatar(sound_file=make_sound(1.9)))
    assert "too long" in refusal(caller.avatar(sound_file=make_sound(301)))
    assert "cannot be read" in refusal(caller.avatar(sound_file=make_picture()))
    assert "cannot be read" in refusal(caller.avatar(sound_file=base64.b64encode(b"hello").decode()))


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "mp3"), ("ipod", "aac"), ("adts", "aac"), ("wav", "pcm_s16le")]
)
def test_each_documented_audio_format_is_measured_by_its_content(sim, caller, container, codec):
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        stream = output.add_stream(codec, rate=44_100)
        stream.layout = "mono"
        resampler = av.AudioResampler(stream.format, "mono", 44_100, frame_size=stream.frame_size or 1024)
        quiet = av.AudioFrame(format="s16", layout="mono", samples=44_100 * 3)
        quiet.sample_rate = 44_100
        for frame in (*resampler.resample(quiet), *resampler.resample(None)):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = base64.b64encode(target.getvalue()).decode()
    task = caller.avatar(sound_file=data).json()["data"]["task_id"]
    sim.advance(60)
    seconds = caller.get(f"{PATH}/{task}").json()["data"]["task_result"]["videos"][0]["duration"]
    assert float(seconds) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("path", [PATH, f"/kling{PATH}", f"/relay/kling{PATH}"])
def test_a_repeated_external_id_is_refused_in_the_words_seen_live_and_bills_nothing(sim, caller, path):
    assert caller.avatar(path, external_task_id="twice").status_code == 200
    assert refusal(caller.avatar(path, external_task_id="twice")) == "External_task_id twice already exists"
    sim.advance(60)
    assert refusal(caller.avatar(path, external_task_id="twice")), "a name stays taken when its task is over"
    assert sim.ledger()["total"]["tasks"] == 1


def test_new_api_passes_the_refusal_of_a_repeated_external_id_on_as_text(caller):
    path = f"/relay/v2/kling{PATH}"
    assert caller.avatar(path, external_task_id="twice").status_code == 200
    answer = caller.avatar(path, external_task_id="twice")
    assert (answer.status_code, answer.json()["code"]) == (400, "fail_to_fetch_task")
    assert json.loads(answer.json()["message"])["message"] == "External_task_id twice already exists"


def test_an_external_id_is_taken_for_all_endpoints_of_an_account(sim, caller, make_picture):
    film = {"image": make_picture(), "external_task_id": "a film"}
    assert caller.post(IMAGE_TO_VIDEO, film).status_code == 200
    assert refusal(caller.avatar(external_task_id="a film")) == "External_task_id a film already exists"
    assert caller.avatar(external_task_id="a head").status_code == 200
    taken = caller.post(IMAGE_TO_VIDEO, film | {"external_task_id": "a head"})
    assert refusal(taken) == "External_task_id a head already exists"
    assert sim.ledger()["total"]["tasks"] == 2


def test_speech_takes_no_external_id_and_so_none_is_taken_by_it(caller):
    speech = {
        "text": "hello",
        "voice_id": "oversea_male1",
        "voice_language": "en",
        "external_task_id": "spoken",
    }
    for _ in range(2):
        assert caller.post("/v1/audio/tts", speech).status_code == 200
    assert caller.avatar(external_task_id="spoken").status_code == 200


def test_a_vendor_that_takes_a_name_twice_finds_the_one_of_the_endpoint_that_is_asked(run, make_picture):
    with run(duplicate_external_id="accept") as (_, caller):
        film = {"image": make_picture(), "external_task_id": "both"}
        ids = [caller.post(IMAGE_TO_VIDEO, film).json()["data"]["task_id"]]
        ids += [caller.avatar(external_task_id="both").json()["data"]["task_id"]]
        found = [caller.get(f"{path}/both").json()["data"]["task_id"] for path in (IMAGE_TO_VIDEO, PATH)]
    assert found == ids


def test_a_repeated_external_id_may_return_the_first_task(run):
    with run(duplicate_external_id="return-first") as (sim, caller):
        first = caller.avatar(external_task_id="twice").json()["data"]["task_id"]
        assert caller.avatar(external_task_id="twice").json()["data"]["task_id"] == first
        assert sim.ledger()["total"]["tasks"] == 1


def test_a_repeated_external_id_may_make_and_bill_a_second_task(run):
    with run(duplicate_external_id="accept") as (sim, caller):
        first, second = (caller.avatar(external_task_id="twice").json()["data"]["task_id"] for _ in range(2))
        assert first != second
        assert sim.ledger()["total"]["tasks"] == 2
        assert caller.get(f"{PATH}/twice").json()["data"]["task_id"] == first
        assert [task["task_id"] for task in caller.get(PATH).json()["data"]] == [second, first]


def test_accounts_share_neither_ids_nor_slots_nor_tasks(run, other_account):
    from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT

    with run(slots=1, accounts=(DEFAULT_ACCOUNT, other_account)) as (sim, caller):
        task = caller.avatar(external_task_id="same").json()["data"]["task_id"]
        caller.session.headers["Authorization"] = "Bearer sk-other"
        assert "Task not found" in refusal(caller.get(f"{PATH}/{task}"))
        assert caller.avatar(external_task_id="same").status_code == 200
        assert [entry["account"] for entry in sim.ledger()["entries"]] == ["default", "other"]


def test_one_task_too_many_waits_for_a_slot_with_code_1303(run):
    with run(slots=2) as (sim, caller):
        assert caller.avatar().status_code == 200
        assert caller.avatar().status_code == 200
        full = caller.avatar()
        assert (full.status_code, full.json()["code"]) == (429, 1303)
        assert full.json()["message"] == "parallel task over resource pack limit"
        assert sim.ledger()["total"]["tasks"] == 2
        sim.advance(60)
        assert caller.avatar().status_code == 200


def test_image_to_video_takes_a_slot_and_speech_does_not(run, make_picture):
    with run(slots=1) as (_, caller):
        speech = {"text": "hello", "voice_id": "oversea_male1", "voice_language": "en"}
        assert caller.post("/v1/audio/tts", speech).status_code == 200
        assert caller.post("/v1/videos/image2video", {"image": make_picture()}).status_code == 200
        assert caller.post("/v1/videos/image2video", {"image": make_picture()}).json()["code"] == 1303
        assert caller.post("/v1/audio/tts", speech).status_code == 200


def test_media_on_this_machine_is_fetched_and_checked(sim, caller):
    speech = {"text": "hello there, how are you all today", "voice_id": "ai_kaiya", "voice_language": "zh"}
    url = caller.post("/v1/audio/tts", speech).json()["data"]["task_result"]["audios"][0]["url"]
    assert caller.avatar(sound_file=url).status_code == 200
    assert "cannot be read as an image" in refusal(caller.avatar(image=url))
    assert "cannot be downloaded (HTTPError)" in refusal(caller.avatar(sound_file=url + "0"))


def test_media_elsewhere_is_not_contacted_and_a_log_line_says_so(caller, caplog):
    with caplog.at_level(logging.WARNING):
        answer = caller.avatar(
            image="https://pictures.test/face.png", sound_file="https://sounds.test/voice.mp3"
        )
    assert answer.status_code == 200
    assert "image is not on this machine and was not fetched: presenter.jpg stands in" in caplog.text
    assert "pictures.test" not in caplog.text


def test_fields_an_endpoint_does_not_have_are_ignored(sim, caller):
    body = {
        "model": "kling-avatar-v2-pro",
        "image_url": "https://pictures.test/face.png",
        "audio_url": "https://sounds.test/voice.mp3",
        "audio_duration_seconds": 10,
        "external_task_id": 7,
        "watermark_info": "yes",
    }
    for _ in range(2):
        assert caller.post("/v1/video/generations", body).status_code == 200
    assert {entry["external_task_id"] for entry in sim.ledger()["entries"]} == {None}
    assert {entry["mode"] for entry in sim.ledger()["entries"]} == {"pro"}


@pytest.mark.parametrize(
    "nonsense",
    [
        b"[" * 100_000,
        b'{"prompt": NaN}',
        b'{"image": "x", "external_task_id": "\\ud800"}',
        b'{"image": {"url": 1}, "sound_file": [], "mode": null, "watermark_info": "yes"}',
        b"\xff\xfe",
        b"",
        b'"text"',
    ],
)
@pytest.mark.parametrize("path", [PATH, "/v1/videos/avatar", "/v1/videos/image2video", "/v1/audio/tts"])
def test_no_body_however_odd_breaks_it(sim, caller, path, nonsense):
    answer = caller.session.post(sim.url + path, data=nonsense, timeout=20)
    assert (answer.status_code, answer.json()["code"]) in ((400, 1200), (400, 1201))
    assert caller.get("/simulator/requests").status_code == 200


def test_half_a_character_is_refused_and_a_length_beyond_belief_too(caller):
    assert caller.avatar(external_task_id="\ud800").json()["code"] == 1200
    body = {
        "model": "kling-avatar-v2-pro",
        "image_url": "https://pictures.test/face.png",
        "audio_url": "https://sounds.test/voice.mp3",
        "audio_duration_seconds": 1e300,
    }
    assert caller.post("/v1/video/generations", body).status_code == 400


def test_of_many_at_once_with_one_external_id_exactly_one_is_accepted(sim, make_picture, make_sound):
    body = {"image": make_picture(), "sound_file": make_sound(), "external_task_id": "race"}
    headers = {"Authorization": "Bearer sk-simulator"}

    def send(_):
        return requests.post(sim.url + PATH, json=body, headers=headers, timeout=20).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(send, range(8)))
    assert statuses == [200] + [400] * 7
    assert sim.ledger()["total"]["tasks"] == 1


def test_an_audio_id_belongs_to_the_account_that_made_it(run, other_account):
    from airflow_provider_kling_avatar.simulator.settings import DEFAULT_ACCOUNT

    with run(accounts=(DEFAULT_ACCOUNT, other_account)) as (_, caller):
        speech = {
            "text": "A sentence of about three seconds.",
            "voice_id": "ai_kaiya",
            "voice_language": "zh",
        }
        audio = caller.post("/v1/audio/tts", speech).json()["data"]["task_result"]["audios"][0]["id"]
        caller.session.headers["Authorization"] = "Bearer sk-other"
        assert "audio_id not found" in refusal(caller.avatar(audio_id=audio, sound_file=None))


@pytest.mark.parametrize("url", ["http://[broken", "http://127.0.0.1:1/none", "http://127.0.0.1:99999/"])
def test_an_address_that_leads_nowhere_is_refused_or_stood_in_for_but_never_breaks(caller, url):
    answer = caller.avatar(sound_file=url)
    assert answer.status_code in (200, 400)
    assert answer.json()["code"] in (0, 1201)


def test_a_redirect_off_this_machine_is_not_followed(caller, caplog):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/secrets")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        answer = caller.avatar(image=f"http://127.0.0.1:{server.server_port}/face.png")
        server.shutdown()
        thread.join()
    assert answer.status_code == 200
    assert "presenter.jpg stands in" in caplog.text
