"""What holds for every answer, every name and every text, however odd: tried on generated ones."""

from __future__ import annotations

import json
import re
import string
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_kling_avatar.kling.auth import SignedKey
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.models import Speech, VideoTask
from airflow_provider_kling_avatar.kling.redact import MAX_TEXT, public_source, public_url, redact
from airflow_provider_kling_avatar.kling.responses.answer import Answer
from airflow_provider_kling_avatar.kling.responses.errors import read_json
from airflow_provider_kling_avatar.kling.responses.tasks import read_speech, read_task, read_task_list
from airflow_provider_kling_avatar.kling.submission.identity import TaskIdentity, fingerprint

KEY, SIGNATURE, TOKEN = (
    "sk-0123456789abcdefghij",
    "deadbeef0123456789",
    "eyJhbGciOiJI.eyJpc3MiOiJh.c2lnbmF0dXJl",
)
SIGNED = f"https://user:passw0rd@bucket.test/face.png?X-Amz-Signature={SIGNATURE}"
SECRETS = (KEY, SIGNATURE, TOKEN, "passw0rd")
READERS = (read_task, read_task_list, read_speech, read_json)

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates and all
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**400, -(10**400), 1e308, float("nan"), float("inf"), "", "null", SIGNED, KEY, "\ud800"]
    )
    | st.floats()
    | st.text(ANY_CHARACTER, max_size=12)
)
_WORDS = (
    "code message msg data error type request_id task_id id status task_status task_status_msg task_info task_result "
    "videos audios url video_url result_url fail_reason external_task_id created_at updated_at duration billing "
    "charge_type amount outputs result metadata final_unit_deduction tasks list items output video reason"
)
KEYS = st.sampled_from(_WORDS.split()) | st.text(ANY_CHARACTER, max_size=6)
JSON = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=6),
    max_leaves=25,
)
GOOD = {
    "code": 0,
    "message": "SUCCEED",
    "request_id": "r-1",
    "data": {
        "task_id": "t-1",
        "task_status": "succeed",
        "task_status_msg": "",
        "task_info": {"external_task_id": "mine"},
        "task_result": {
            "videos": [{"id": "v", "url": SIGNED, "duration": "5.1"}],
            "audios": [{"id": "a", "url": SIGNED, "duration": "5.1"}],
        },
        "created_at": 1722769557708,
        "error": {"code": "x", "message": "y"},
    },
}
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "content-type", "location", "x-request-id", "x"]),
    st.text(ANY_CHARACTER, max_size=30)
    | st.sampled_from([SIGNED, KEY, "http://[::", "text/html", "120", "-1", "1e400"]),
)
STATUSES = st.sampled_from([200, 201, 204, 301, 400, 401, 404, 408, 429, 500, 502, 524]) | st.integers(
    100, 599
)


def places(value, path=()):
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in below:
        yield from places(entry, (*path, key))


PLACES = [path for path in places(GOOD) if path]


@st.composite
def mutated(draw):
    """A good answer with a few of its parts replaced by anything at all."""
    body = json.loads(json.dumps(GOOD))
    for path in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        holder = body
        try:
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = draw(JSON)
        except (TypeError, KeyError, IndexError):
            continue
    return body


def outcome(read, answer):
    try:
        return read(answer)
    except KlingError as error:
        return error


def check(answer):
    """Whatever comes: a result that can be stored, or an error of ours that can be shown."""
    for read in READERS:
        result = outcome(read, answer)
        if isinstance(result, KlingError):
            error = result
            shown = f"{error} {error!r} {error.code} {error.request_id}"
            shown.encode()
            assert len(str(error)) < 5000
            assert shown.isprintable()
            assert not [secret for secret in SECRETS if secret in shown]
            assert error.retry_after is None or 0 <= error.retry_after <= 86400
            continue
        for item in result if isinstance(result, list) else [result]:
            if isinstance(item, VideoTask):
                assert item.task_id
                texts = [item.task_id, item.status, item.external_task_id, item.reason, item.units]
                "".join(text or "" for text in texts).encode()
                quote(item.task_id, safe="")
                assert all(video.url.startswith("http") for video in item.videos)
                assert not [s for s in SECRETS if s in f"{item.status} {item.reason} {item.request_id}"]
            elif isinstance(item, Speech):
                assert item.audio_id.encode()


def encoded(body):
    return json.dumps(body).encode()


# -------------------------------------------------------------------- answers


@given(body=st.binary(max_size=200), status=STATUSES, headers=HEADERS)
@example(body=b'{"code":' + b"9" * 5000 + b"}", status=200, headers={})
@example(body=b"[" * 100_000, status=200, headers={})
@example(body=b'{"data":' * 50_000 + b"1" + b"}" * 50_000, status=200, headers={})
@example(body=b'{"message": "' + b"{" * 50_000 + b'}"}', status=400, headers={})
@example(body='{"code": "\uff11\uff13\uff10\uff13"}'.encode("utf-16"), status=400, headers={})
@example(body=b"\xef\xbb\xbf{}", status=200, headers={})
@example(body=b"<", status=404, headers={"content-type": "TEXT/HTML"})
def test_bytes_of_any_kind_raise_only_our_errors(body, status, headers):
    check(Answer(status, body, headers, "https://gate.test/v1?key=1"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(body=JSON, status=STATUSES, headers=HEADERS)
@example(body={"data": {"task_id": "t", "status": {"a": 1}, "created_at": 10**400}}, status=200, headers={})
@example(body={"code": 10**4000, "message": {"a": 1}}, status=400, headers={})
@example(body={"message": '{"code": 1303, "message": {"code": []}}'}, status=429, headers={})
@example(
    body={"code": 1, "message": "request id: \ud800\ud800\ud800\ud800\ud800\ud800"}, status=400, headers={}
)
@example(body={"id": "\ud800", "status": "\udfff"}, status=200, headers={})
@example(body={}, status=301, headers={"location": "http://a\udcff/\u202e"})
def test_json_of_any_kind_raises_only_our_errors(body, status, headers):
    check(Answer(status, encoded(body), headers, "https://gate.test/v1"))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(body=mutated(), status=st.sampled_from([200, 200, 400, 500]))
def test_a_good_answer_with_anything_in_its_parts_raises_only_our_errors(body, status):
    check(Answer(status, encoded(body)))


@given(cut=st.integers(0, len(encoded(GOOD))))
def test_a_good_answer_cut_anywhere_is_never_taken_for_another(cut):
    answer = Answer(200, encoded(GOOD)[:cut])
    if cut == len(encoded(GOOD)):
        assert read_task(answer).task_id == "t-1"
    else:
        with pytest.raises(KlingError) as caught:
            read_task(answer)
        assert caught.value.accepted.value == "maybe"


@given(
    secret=st.sampled_from([KEY, f"Bearer {KEY}", TOKEN, SIGNED, f"({KEY})", f'"{SIGNED}"']),
    before=st.text(ANY_CHARACTER, max_size=20),
    after=st.text(ANY_CHARACTER, max_size=20),
    field=st.sampled_from(["message", "msg", "code", "request_id", "task_status_msg", "status"]),
)
def test_no_secret_in_any_text_gets_out(secret, before, after, field):
    # A letter right before or after would make it another word than the secret.
    text = f"{before} {secret} {after}"
    for status in (200, 400):
        check(Answer(status, encoded({"code": 1201, "message": "m", field: text})))
        check(
            Answer(
                status, encoded({"code": 0, "data": {"task_id": "t", "task_status": "failed", field: text}})
            )
        )


@given(st.text(ANY_CHARACTER, max_size=60))
def test_no_date_of_a_vendor_breaks_a_signed_key(date):
    key = SignedKey("ak", "s" * 40, clock=lambda: 1_700_000_000.0)
    key.learn_clock(date)
    assert key.header().startswith("Bearer ey")


# -------------------------------------------------------------------- redaction


@given(st.text(ANY_CHARACTER, max_size=300) | st.from_regex(r"(https?://|bearer |sk-|[\w@?#./ -]){1,20}"))
@example("Bearer\x00secret-0123456789")
@example("sk-\u200b0123456789")
@example("a" * 499 + "  b")
@example("x" * 10_000)
@example("http://a?b http://c:d@e")
def test_what_is_redacted_once_stays_as_it_is(text):
    once = redact(text)
    assert redact(once) == once
    assert len(once) <= MAX_TEXT
    assert once.isprintable()
    once.encode()


@given(st.binary(min_size=200, max_size=400), st.text(string.ascii_letters + " ", max_size=20))
def test_no_payload_is_quoted(data, words):
    import base64

    payload = base64.b64encode(data).decode()
    assert payload[:200] not in redact(f"{words} {payload}")


@pytest.mark.parametrize(
    "text",
    [
        SIGNED,
        SIGNED.replace("https", "HTTPS"),
        SIGNED.replace("https", "s3"),
        SIGNED.replace("?", "#"),
        SIGNED.replace("?", ";"),
        SIGNED.replace("/", "\\/"),
        SIGNED.partition("://")[2],
        SIGNED.encode(),
        {SIGNED},
        {SIGNED: 1},
        [SIGNED.encode()],
        f"GET {urlsplit(SIGNED).path}?{urlsplit(SIGNED).query} HTTP/1.1",
        f"url='{SIGNED}', and more",
        f"看{SIGNED}",
        f"https://h.test/{'QUJD' * 60}#sig={SIGNATURE}",
    ],
)
def test_no_signature_is_quoted_wherever_it_stands(text):
    assert SIGNATURE not in redact(text)


@pytest.mark.parametrize("show", [public_source, public_url])
@pytest.mark.parametrize("mark", ["?", "#", ";", ";a=b/c?", "/;"])
def test_a_place_is_named_without_what_may_be_a_signature(show, mark):
    place = show(f"https://me:passw0rd@h.test/clip.mp4{mark}sig=S3CR3T")
    assert place.removesuffix("/") == "https://h.test/clip.mp4"
    assert show("https://h.test/a/b.mp4") == "https://h.test/a/b.mp4"
    assert show("https://onlyt0ken@h.test/a") == "https://h.test/a"


@pytest.mark.parametrize(
    "words", ["try https://kling.ai/doc; or ask", "see https://kling.ai/doc? #1", "is a=b? no; c#d", "x;y=z"]
)
def test_words_without_a_secret_are_quoted_as_they_are(words):
    assert redact(words) == words


def test_a_payload_in_the_alphabet_of_urls_is_not_quoted():
    assert redact("see " + "QU-_" * 80) == "see <base64>"


@given(st.text(ANY_CHARACTER, max_size=80) | st.just(SIGNED))
def test_an_address_is_shown_without_what_opens_it(url):
    shown = public_url(url)
    assert "passw0rd" not in shown
    assert SIGNATURE not in shown


# ------------------------------------------------------------------------- names

PART = st.text(max_size=12) | st.sampled_from(
    ["", "a", "a-b", "0", "1", "1:a", "\0", "a\0", "-1", "日本", ":", "3:abc"]
)
WORKS = st.builds(
    TaskIdentity, dag_id=PART, task_id=PART, run_id=PART, map_index=st.integers(-1, 99), conn_id=PART
)


PRINT, OTHER_PRINT = fingerprint({"image": "f"}, ("image",)), fingerprint({"image": "1f"}, ("image",))
PRINTS = st.builds(
    lambda image, prompt: fingerprint({"image": image, "prompt": prompt}, ("image",)), PART, PART
)


@given(WORKS, PRINTS, st.integers(0, 999))
def test_a_name_is_the_same_for_the_same_work_and_fits_everywhere(work, print_, number):
    name = work.name(print_, number)
    again = TaskIdentity(work.dag_id, work.task_id, work.run_id, work.map_index, work.conn_id)
    assert name == again.name(print_, number)
    assert len(name) <= 60
    assert re.fullmatch(r"[A-Za-z0-9-]+", name, re.ASCII)
    assert quote(name, safe="") == name


@given(WORKS, WORKS, PRINTS, PRINTS, st.integers(0, 9), st.integers(0, 9))
@example(TaskIdentity("a", "b", "c", -1, "d"), TaskIdentity("a-b", "", "c", -1, "d"), PRINT, PRINT, 0, 0)
@example(
    TaskIdentity("a", "1:b", "c", -1, "d"), TaskIdentity("a\x001", "b", "c", -1, "d"), PRINT, PRINT, 0, 0
)
@example(TaskIdentity("a", "b", "c1", 1, "d"), TaskIdentity("a", "b", "c", 11, "d"), PRINT, PRINT, 0, 0)
@example(TaskIdentity("a", "b", "c", 1, "d"), TaskIdentity("a", "b", "c", 1, "d1"), OTHER_PRINT, PRINT, 0, 0)
def test_names_differ_as_soon_as_any_part_does(one, other, print_one, print_other, number, number_other):
    same = (one, print_one, number) == (other, print_other, number_other)
    assert (one.name(print_one, number) == other.name(print_other, number_other)) is same


def test_no_join_of_parts_looks_like_another():
    parts = ["", "a", "b", "ab", "1:a", "a\0", "\0001:b", "a\x001:b"]
    names = {
        TaskIdentity(dag, task, run, -1, "c").name(PRINT) for dag in parts for task in parts for run in parts
    }
    assert len(names) == len(parts) ** 3


def test_the_name_of_a_known_piece_of_work_never_changes():
    # A change here would make a retry after an upgrade pay again.
    work = TaskIdentity("news", "clip", "scheduled__2026-11-21", 3, "kling_default")
    print_ = fingerprint(GOLDEN_BODY, ("image", "audio_id"), "avatar")
    assert work.name(print_, 2) == GOLDEN_NAME
    assert str(print_) == GOLDEN_PRINT


GOLDEN_BODY = {
    "image": "https://bucket.test/face.png?v=2&X-Amz-Signature=abc&X-Amz-Date=1",
    "audio_id": "1",
    "mode": "std",
    "external_task_id": "mine",
}
GOLDEN_NAME = "news-clip-bc573315e6f96a-013a8f89673fc1af-2"
GOLDEN_PRINT = "013a8f89476a1c7a-673fc1afedf0b039f218d6ee8a897bff"


# ------------------------------------------------------------------ fingerprints

SIGNATURES = [
    "X-Amz-Signature=a1&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Credential=c",
    "X-Goog-Signature=a1&X-Goog-Expires=9",
    "AWSAccessKeyId=k&Signature=s&Expires=1",
    "Policy=p&Signature=s&Key-Pair-Id=k",
    "sv=2024-01-01&se=2026&sr=b&sp=r&sig=s",
    "q-sign-algorithm=sha1&q-ak=k&q-sign-time=1&q-key-time=1&q-signature=a",
    "x-oss-signature=s&x-oss-date=1&x-oss-credential=c",
    "x-tos-signature=s&x-tos-date=1",
    "auth_key=1-2-3",
    "e=17&token=t&hdnts=exp",
    "x-expires=1&x-signature=a",
    "ex=1&is=2&hm=3",
    "tempauth=a",
    "Authorization=a",
]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_the_same_file_signed_anew_is_the_same_input(signature):
    url = "https://bucket.test/face.png?versionId=7"
    prints = {
        fingerprint({"image": f"{url}{more}", "nested": [{"mask": f"{url}{more}"}]})
        for more in ("", f"&{signature}", f"&{signature.replace('=', '=z')}")
    }
    assert len(prints) == 1


@pytest.mark.parametrize(
    "name", ["token", "access_token", "sign", "sig", "policy", "expires", "e", "ts", "md5", "hm"]
)
def test_a_query_that_may_select_the_file_is_never_taken_for_a_signature(name):
    one, other = (f"https://bucket.test/get?{name}=FILE-{which}" for which in "AB")
    assert fingerprint({"image": one}) != fingerprint({"image": other})
    signed = "&X-Amz-Signature="
    assert fingerprint({"image": f"{one}{signed}1"}) == fingerprint({"image": f"{other}{signed}2"})


def test_media_are_told_apart_from_words_and_from_the_queries_of_links():
    body = {"image": "https://bucket.test/face.png?v=1", "audio_id": "7", "prompt": "smile"}
    media = ("image", "audio_id")
    first = fingerprint(body, media, "avatar")
    for other in ({"prompt": "nod"}, {"image": "https://bucket.test/face.png?v=2"}, {"mode": "pro"}):
        changed = fingerprint(body | other, media, "avatar")
        assert changed.media == first.media
        assert changed != first
    for other in ({"image": "https://bucket.test/b.png?v=1"}, {"audio_id": "8"}):
        assert fingerprint(body | other, media, "avatar").media != first.media
    assert fingerprint(body, media, "image_to_video").media != first.media


@pytest.mark.parametrize(
    "other",
    [
        {"image": "https://bucket.test/face.png?versionId=8"},
        {"image": "https://bucket.test/face2.png?versionId=7"},
        {"image": "https://bucket2.test/face.png?versionId=7"},
        {"image": "https://bucket.test/face.png?versionId=7&x-oss-process=image/crop,x_10"},
        {"image": "https://bucket.test/face.png?versionId=7&x-tos-process=image/crop,x_10&x-tos-signature=1"},
        {"mode": "pro"},
        {"prompt": ""},
        {"masks": [{"a": 1}]},
        {"speech": {"text": "hello"}},
    ],
)
def test_everything_that_is_paid_for_is_in_the_fingerprint(other):
    body = {"image": "https://bucket.test/face.png?versionId=7", "mode": "std"}
    assert fingerprint(body | other) != fingerprint(body)


def test_what_changes_nothing_in_the_video_is_not_in_the_fingerprint():
    body = {"image": "iVBOR", "mode": "std"}
    assert fingerprint(body) == fingerprint(
        {"mode": "std", "image": "iVBOR", "callback_url": "https://hooks.test/1", "external_task_id": "mine"}
    )


BODIES = st.dictionaries(st.text(max_size=5), JSON.filter(lambda v: "nan" not in repr(v).lower()), max_size=4)


@given(BODIES)
def test_a_fingerprint_is_the_same_for_the_same_body_in_any_order(body):
    body = {key: value for key, value in body.items() if key not in ("callback_url", "external_task_id")}
    one = fingerprint(body)
    assert one == fingerprint(dict(reversed(body.items())))
    assert one != fingerprint(body | {"another": 1})
