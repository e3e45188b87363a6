"""What a traceback that shows locals gives away: no key, no token, no piece of a payload, in any frame of any error."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from fake_vendor import Reply
from network_kit import closed_port
from rich.console import Console
from rich.traceback import Traceback

from airflow_provider_kling_avatar.kling import errors as e
from airflow_provider_kling_avatar.kling.auth import SignedKey
from airflow_provider_kling_avatar.kling.client import AsyncKlingClient, KlingClient
from airflow_provider_kling_avatar.kling.download.http import Clip
from airflow_provider_kling_avatar.kling.download.ssrf import AddressRules
from airflow_provider_kling_avatar.kling.media import Payload
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.submission.request import prepare

HERE = str(Path(__file__).parent)
KEY = "sk-0123456789abcdefghij"
SECRET = "my-secret-key-of-32-characters-xy"
PAYLOAD = base64.b64encode(b"a face that nobody should see in a log" * 100).decode()
SENTENCE = "words that are paid for"
SIGNATURE = "Signature=0a1b2c3d4e5f"

MODERATED = {"code": 1301, "message": "content security, KEY", "request_id": "r-1"}
TROUBLE = {  # each says the key, as vendors do
    "a refused key": Reply({"code": 1002, "message": "key KEY is not valid"}, 401),
    "an error of the vendor's": Reply("<html>KEY</html>", 500),
    "a connection that was dropped": Reply(act="close"),
    "a time-out": Reply(act="hang"),
    "an answer that is no JSON": Reply('{"code": 0, "key": "KEY", '),
    "a refusal of the content": Reply(MODERATED, 400),
    "a clock that differs": Reply({"code": 1003, "message": "KEY"}, 401),
    "a redirect": Reply("", 302, {"Location": "/?key=KEY"}),
    "an answer without a task": Reply({"code": 0, "data": {"key": "KEY"}}),
    "a refusal that repeats the request": Reply(
        {
            "code": 1201,
            "message": f"no: {PAYLOAD}",
            "detail": [{"input": {"image": PAYLOAD, "prompt": SENTENCE}}],
        },
        400,
    ),
    "an answer that repeats the request": Reply({"code": 0, "data": {"image": PAYLOAD, "text": SENTENCE}}),
    "a page that repeats the request": Reply(f"<html>{PAYLOAD}", 400),
    "an answer with a link": Reply({"code": 0, "data": {"url": f"https://cdn.test/a.mp4?{SIGNATURE}"}}),
}


def chain_of(error):
    """Return an error and all that it brings along."""
    chain, pending = [], [error]
    while pending:
        error = pending.pop()
        if error is not None and error not in chain:
            chain.append(error)
            pending += [error.__cause__, error.__context__]
    return chain


def frames_of(trace):
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def shown_by(error):
    """
    Everything that a traceback with locals can show of an error: as rich shows it, and as `repr` does.

    Lines of source, which rich would show too, are left out: to colour them takes most of the time.
    """
    for each in chain_of(error):  # the frames of a test are its own affair
        while each.__traceback__ and each.__traceback__.tb_frame.f_code.co_filename.startswith(HERE):
            each.__traceback__ = each.__traceback__.tb_next
    trace = Traceback.extract(type(error), error, error.__traceback__, show_locals=True)
    texts = [
        f"in {frame.name}: {stack.exc_value} {list(map(str, (frame.locals or {}).values()))}"
        for stack in trace.stacks
        for frame in stack.frames
    ]
    for each in chain_of(error):
        texts.append(f"{each} {each!r} {vars(each)}")
        for frame in frames_of(each.__traceback__):
            texts += [repr(value) for value in frame.f_locals.values()]
    return "\n".join(texts)


def check(error):
    text = shown_by(error)
    for hidden in (KEY, SECRET, PAYLOAD[:40], PAYLOAD[-40:], SENTENCE, SIGNATURE, "Bearer "):
        assert hidden not in text
    return text


def failing(send):
    """Return the error of a call."""
    try:
        send()
    except e.KlingError as error:
        return error
    pytest.fail("it did not fail")


def reply_of(trouble, key):
    reply = TROUBLE[trouble]
    headers = {name: value.replace("KEY", key) for name, value in reply.headers.items()}
    return Reply(reply.encoded().replace(b"KEY", key.encode()), reply.status, headers, reply.act)


def send_paid(name, client):
    if name == "submit":
        client.submit("avatar", {"image": PAYLOAD, "prompt": SENTENCE})
    else:
        client.synthesize({"text": SENTENCE, "voice_id": PAYLOAD})


@pytest.mark.parametrize("login", [None, "my-access-key"])
@pytest.mark.parametrize("paid", ["submit", "synthesize"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_the_errors_of_a_paid_call_show_neither_key_nor_payload(trouble, paid, login, vendor, client_of):
    key = SECRET if login else KEY
    vendor.answers(reply_of(trouble, key))
    timeout = {"read_timeout": 0.1} if trouble == "a time-out" else {}
    client = client_of(vendor.url, login=login, password=key, **timeout)
    text = check(failing(lambda: send_paid(paid, client)))
    assert "in _send" in text or "in _once" in text  # there is still a trace to follow


@pytest.mark.parametrize("host", ["http://127.0.0.1:{}", "https://127.0.0.1:{}"])
def test_neither_do_those_of_a_call_that_never_left(host, client_of):
    client = client_of(host.format(closed_port()))
    assert "ConnectionRefusedError" in check(failing(lambda: send_paid("submit", client)))


def test_neither_does_one_that_arises_while_another_is_handled(vendor, client_of):
    vendor.answers(Reply(act="close"))
    client = client_of(vendor.url)

    def send():
        try:
            send_paid("submit", client)
        except e.ConnectionLostError:
            client.get_task("t-1")

    check(failing(send))


def test_neither_does_one_about_a_body_that_json_cannot_hold(client_of):
    client = client_of("http://127.0.0.1:1")
    error = failing(lambda: client.submit("avatar", {"image": PAYLOAD, "prompt": {SENTENCE}}))
    assert isinstance(error, e.InvalidRequestError)
    check(error)


def test_neither_does_one_about_a_key_that_cannot_sign(client_of):
    pem = f"-----BEGIN PUBLIC KEY-----\n{SECRET}\n-----END PUBLIC KEY-----\n"
    client = client_of("http://127.0.0.1:1", login="my-access-key", password=pem)
    error = failing(lambda: send_paid("submit", client))
    assert isinstance(error, e.ConfigurationError)
    check(error)
    with pytest.raises(e.ConfigurationError, match="secret key"):
        SignedKey("a", pem).header()


def test_neither_does_an_interruption_in_the_midst_of_sending(vendor, client_of, monkeypatch):
    class Interruption(BaseException):
        """As Airflow's time-out of a task is."""

    def interrupt(*_, **__):
        raise Interruption

    client = client_of(vendor.url)
    monkeypatch.setattr("urllib3.util.connection.create_connection", interrupt)
    with pytest.raises(Interruption) as caught:
        send_paid("submit", client)
    check(caught.value)


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_the_errors_of_a_trigger_show_no_key(trouble, vendor, ask_async):
    vendor.answers(reply_of(trouble, KEY))
    timeout = {"read_timeout": 0.1} if trouble == "a time-out" else {}
    with pytest.raises(e.KlingError) as caught:
        await ask_async(vendor.url, **timeout)
    check(caught.value)
    with pytest.raises(e.ConnectionFailedError) as caught:
        await ask_async(f"http://127.0.0.1:{closed_port()}")
    check(caught.value)


LINKS = {
    "a redirect into a private network": Reply(
        status=302, headers={"Location": f"http://10.0.0.1/?{SIGNATURE}"}
    ),
    "a redirect elsewhere": Reply(status=302, headers={"Location": f"ftp://a/?{SIGNATURE}"}),
    "a redirect in a circle": Reply(status=302, headers={"Location": f"/?{SIGNATURE}"}),
    "no address": Reply(status=302, headers={"Location": f"http://[::1/?{SIGNATURE}"}),
    "a refusal": Reply(status=403),
    "a page": Reply("<html>", headers={"Content-Type": "text/html"}),
    "a connection that was dropped": Reply(act="close"),
    "a clip that was cut": Reply("film", act="cut", headers={"Content-Type": "video/mp4"}),
}


@pytest.mark.parametrize("trouble", LINKS)
def test_the_errors_of_a_download_show_no_link(trouble, vendor, tmp_path):
    vendor.answers(LINKS[trouble])
    link = f"{vendor.url}/clip.mp4?{SIGNATURE}"
    clip = Clip(link, refresh=lambda: link, address_rules=AddressRules(vendor.url), sleep=lambda _: None)
    with (tmp_path / "clip").open("w+b", buffering=0) as file:
        check(failing(lambda: clip.fetch(file)))


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "ftp://a", "password": KEY},
        {"host": "", "password": f"Bearer {KEY}"},
        {"host": "", "password": f"{KEY} ä"},
        {"host": "", "password": KEY, "extra": {"nonsense": 1}},
        {"host": "", "login": "my-access-key", "password": SECRET, "extra": {"api": "relay"}},
        {"host": "https://a", "login": "my-access-key", "password": SECRET, "extra": {"api": "relay"}},
    ],
)
def test_an_error_about_the_connection_shows_no_key(fields, config_of):
    extra = dict(fields.get("extra", {}))
    arguments = {"login": fields.get("login"), "password": fields["password"]}
    check(failing(lambda: config_of(fields["host"], extra.pop("api", "kling"), **arguments, **extra)))


def test_whoever_prints_a_client_its_account_or_a_payload_sees_no_secret(client_of):
    for login in (None, "my-access-key"):
        client = client_of("http://a", login=login, password=SECRET if login else KEY)
        target = io.StringIO()
        Console(file=target, width=200).print(
            [client, client.config, client.config.credentials, {"image": Payload(PAYLOAD)}]
        )
        for text in (target.getvalue(), repr([client, client.config, {"image": Payload(PAYLOAD)}])):
            for hidden in (KEY, SECRET, PAYLOAD[:40]):
                assert hidden not in text
    assert isinstance(client, KlingClient)
    assert AsyncKlingClient(client.config).config is client.config


@pytest.mark.parametrize(
    "fields",
    [
        {"image": PAYLOAD},
        {"image": f"data:image/png;base64,{PAYLOAD}"},
        {"image": PAYLOAD + "ä"},
        {"audio": PAYLOAD},
        {"audio": "/no/such/file.mp3"},
        {"mode": "best"},
        {"prompt": "x" * 3000},
        {"prompt": ["x"]},
        {"no_such_field": 1},
    ],
)
def test_an_error_about_an_input_shows_no_piece_of_a_file(fields, face, voice, config_of):
    dialect = config_of(None).dialect
    given = {"image": face, "audio": voice, **fields}
    error = failing(lambda: prepare(AvatarRequest.from_fields(**given), dialect))
    text = check(error)
    for file in (face, voice, repr(base64.b64decode(face)[:20])[2:-1]):
        assert file[:30] not in text
