"""What one clip costs its worker: reads, copies, connections, modules. Counted, not timed, so on any machine alike."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import subprocess
import sys
import threading
import tracemalloc
from io import BytesIO
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest
import requests
from desk import WORK
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from PIL import Image

from airflow_provider_kling_avatar.kling.media import Payload
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.submission.request import prepare

MIB = 2**20
SOUND = "https://sounds.test/voice.mp3"
SUBMITTED = {"code": 0, "message": "ok", "data": {"task_id": "t-1", "task_status": "submitted"}}


def noise(side):
    return Image.frombytes("RGB", (side, side), random.Random(1).randbytes(3 * side * side))


@pytest.fixture(scope="module")
def pictures():
    """Pictures as large as the vendors take them, or nearly: 9.7 MB of PNG, 9.6 MB of JPEG."""
    png, jpeg = BytesIO(), BytesIO()
    noise(1800).save(png, "PNG", compress_level=0)
    noise(2500).save(jpeg, "JPEG", quality=95)
    return {"png": png.getvalue(), "jpeg": jpeg.getvalue()}


@pytest.fixture(params=["png", "jpeg"])
def picture(request, pictures):
    return pictures[request.param]


@pytest.fixture
def file(picture, tmp_path):
    path = tmp_path / "face"
    path.write_bytes(picture)
    return str(path)


class Store(AbstractFileSystem):
    """A storage with one object in it, behind the same buffered file as S3 and its like have."""

    protocol = "counted"
    cachable = False

    def __init__(self, content):
        super().__init__()
        self.content, self.opened, self.fetched = content, 0, []

    def info(self, path, **_):
        return {"name": path, "size": len(self.content), "type": "file"}

    def _open(self, path, mode="rb", block_size=None, **_):
        self.opened += 1
        return Blob(self, path, mode, block_size or 5 * MIB)


class Blob(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        self.fs.fetched.append((start, end))
        return self.fs.content[start:end]


# ------------------------------------------------------------------- the file


def test_a_large_picture_in_a_storage_is_opened_once_and_fetched_in_one_request(picture, config_of):
    store = Store(picture)

    prepared = prepare(
        AvatarRequest(image="counted://bucket/face", audio=SOUND),
        config_of("https://vendor.test").dialect,
        opener=store.open,
    )

    assert base64.b64decode(prepared.body["image"]) == picture
    assert store.opened == 1
    assert store.fetched == [(0, len(picture))]


def test_from_the_file_to_the_wire_it_is_encoded_once(file, picture, vendor, client_of, monkeypatch):
    vendor.answers(SUBMITTED)
    client = client_of(vendor.url)
    encoded, encode = [], base64.b64encode
    monkeypatch.setattr(base64, "b64encode", lambda data: encoded.append(len(data)) or encode(data))
    prepared = prepare(AvatarRequest(image=file, audio=SOUND), client.config.dialect)
    client.submit("avatar", prepared.body)

    assert vendor.seen[0].body == {**prepared.body, "image": encode(picture).decode()}
    assert encoded == [len(picture)]


class Sink(StreamRequestHandler):
    """Takes a request without keeping it: what a vendor keeps lies in this process too, and must not count."""

    def handle(self):
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        while length > 0:
            length -= len(self.rfile.read(min(length, 65536)))
        answer = json.dumps(SUBMITTED).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer))
        self.wfile.write(answer)


@pytest.fixture
def sink():
    with ThreadingTCPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield "http://127.0.0.1:{1}".format(*server.server_address)
        server.shutdown()
        thread.join()


def test_making_and_sending_the_body_takes_no_more_memory_than_to_post_it(file, sink, client_of):
    client = client_of(sink)

    def ours():
        prepared = prepare(AvatarRequest(image=file, audio=SOUND), client.config.dialect)
        client.submit("avatar", prepared.body)
        return prepared.body

    body = ours()  # also loads what is loaded once
    plain = {**body, "image": str(body["image"])}
    bare = peak(lambda: requests.post(sink, json=plain, timeout=20))

    assert bare > 2 * len(plain["image"])
    assert peak(ours) <= 1.1 * (bare + len(plain["image"])), "the body lies there before the bare call begins"


def peak(run):
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MEASURE = """
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from airflow_provider_kling_avatar.kling.media import measure_image


def peak():
    # not getrusage(): that counts from the process that started this one
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


small = BytesIO()
Image.new("RGB", (400, 400)).save(small, "JPEG")
measure_image(small.getvalue())  # loads what is loaded once
data = Path(sys.argv[1]).read_bytes()
before = peak()
info = measure_image(data)
print(info.width, info.height, peak() - before)
"""


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_a_jpeg_of_88_megapixels_is_measured_in_little_memory(tmp_path, progressive):
    path = tmp_path / "face.jpg"
    Image.linear_gradient("L").resize((11_000, 8_000)).save(path, "JPEG", progressive=progressive)

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=120
    )

    width, height, kib = map(int, done.stdout.split())
    assert (width, height) == (11_000, 8_000)
    assert kib < 64 * 1024


def test_a_payload_is_never_shown_whatever_quotes_it():
    payload = Payload.of(bytes(300))
    assert payload == base64.b64encode(bytes(300)).decode()
    assert repr({"image": payload}) == "{'image': <media, 400 characters>}"


# ------------------------------------------------------------- the connections


@pytest.fixture
def sessions(monkeypatch):
    """Every session of requests that is made."""
    made = []
    init = requests.Session.__init__
    monkeypatch.setattr(requests.Session, "__init__", lambda self: made.append(self) or init(self))
    return made


def hops(sim, begin=0):
    """What was asked, and over which connection: 1, 2, 3 in the order in which they were made."""
    requests_made = sim.requests[begin:]
    connections = list(dict.fromkeys(request.connection for request in requests_made))
    return [(connections.index(request.connection) + 1, request.method) for request in requests_made]


def test_a_first_try_submits_and_looks_over_one_connection(sim, desk, sessions):
    site = desk()
    task = site.try_it(first=True).task
    site.client.get_task(task.task_id)

    assert hops(sim) == [(1, "POST"), (1, "GET")]
    assert len(sessions) == 1


def test_a_retry_asks_over_one_connection_and_pays_over_a_fresh_one(sim, desk, sessions):
    site = desk()
    task = site.try_it().task
    site.client.get_task(task.task_id)

    assert hops(sim) == [(1, "GET"), (1, "GET"), (2, "POST"), (2, "GET")]  # the name, and the list
    assert len(sessions) == 1


def test_a_retry_that_finds_its_clip_needs_one_connection(sim, desk, sessions):
    desk().try_it(first=True)
    begin = len(sim.requests)
    sessions.clear()
    site = desk()
    task = site.try_it().task
    site.client.get_task(task.task_id)

    assert {number for number, _ in hops(sim, begin)} == {1}
    assert len(sessions) == 1


def test_a_paid_call_never_goes_over_a_connection_that_has_served_before(sim, desk):
    site = desk(audio=None, text="Good evening. Here is the news of today.", voice_id="oversea_male1")
    site.try_it()
    site.client.list_tasks()
    site.try_it(work=dataclasses.replace(WORK, run_id="manual__2027"))

    asked = hops(sim)
    posts = [number for number, method in asked if method == "POST"]
    assert len(posts) == 4, "two texts, two clips"
    for number in posts:
        assert next(method for connection, method in asked if connection == number) == "POST"
    assert len(set(posts)) == len(posts)


# ---------------------------------------------------------------- the modules

CLIENT = """
import sys
from airflow_provider_kling_avatar.kling.client import KlingClient
from airflow_provider_kling_avatar.kling.config import KlingConfig

config = KlingConfig.build(host=sys.argv[1], login=None, password="sk-0123456789abcdefghij", extra={"api": "kling"})
client = KlingClient(config)
"""
ASK = "client.get_task('t-1')"
SUBMIT = """
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.kling.submission.request import prepare
from airflow_provider_kling_avatar.kling.submission.submit import submit_once

request = AvatarRequest(image=sys.argv[2], audio="https://sounds.test/voice.mp3")
submit_once(client, prepare(request, config.dialect))
"""
TELL = "print(' '.join(sys.modules))"


def loaded(vendor, what, *arguments):
    vendor.answers(SUBMITTED)
    done = subprocess.run(
        [sys.executable, "-c", f"{CLIENT}\n{what}\n{TELL}", vendor.url, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_who_only_asks_loads_nothing_for_making_a_clip(vendor):
    modules = loaded(vendor, ASK)

    assert "requests" in modules
    assert not modules & {"PIL", "aiohttp", "airflow", "jsonschema", "jwt"}
    ours = {name.removeprefix("airflow_provider_kling_avatar.kling.") for name in modules}
    assert not ours & {"media", "submission", "submission.recovery", "submission.submit", "polling.watcher"}


def test_who_submits_addresses_loads_nothing_for_measuring_files(vendor):
    modules = loaded(vendor, SUBMIT, "https://pictures.test/face.png")

    assert "jsonschema" in modules
    assert not modules & {"PIL", "aiohttp", "airflow", "jwt"}


def test_who_submits_a_file_loads_what_measures_it_and_no_more(vendor, tmp_path):
    path = tmp_path / "face.png"
    noise(320).save(path)
    modules = loaded(vendor, SUBMIT, str(path))

    assert "PIL" in modules
    assert not modules & {"PIL.WebPImagePlugin", "aiohttp", "airflow", "jwt"}
