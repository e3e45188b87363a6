"""Clips land whole or not at all, on disk and on a real S3 server, and a failed landing pays nothing."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import msgspec
import pytest
import requests
import s3_kit

from airflow_provider_kling_avatar import landing as landing_module
from airflow_provider_kling_avatar.exceptions import airflow_errors
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    DamagedVideoError,
    DownloadError,
    ForbiddenAddressError,
    InvalidRequestError,
    LandingError,
    NoWatermarkError,
    OutputExistsError,
    OutputPathError,
    StorageError,
)
from airflow_provider_kling_avatar.kling.models import AvatarRequest
from airflow_provider_kling_avatar.landing import Landing

NUMBERS = itertools.count()
MEDIA = "/media/"


@pytest.fixture(autouse=True)
def own_folder_for_temporary_files(tmp_path_factory, monkeypatch):
    """Also of the processes that are started: what is left there is of this test."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)


@pytest.fixture
def hook(connect):
    made = KlingAvatarHook()
    yield made
    made.close()


@pytest.fixture
def clip(sim, hook, face, voice):
    """A finished clip of 2.5 seconds."""
    return order(sim, hook, face, voice)


def order(sim, hook, face, voice, **changes):
    task_id = hook.submit_avatar(AvatarRequest(image=face, audio=voice, **changes)).task_id
    sim.advance(60)
    return hook.get_task(task_id)


def land(output_path, hook, task, **options):
    return Landing(str(output_path), sleep=lambda _: None, **options).land(hook, "avatar", task)


def film_of(task):
    return requests.get(task.video.url, timeout=60).content


class Disk:
    """A folder seen as the bucket is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def uri(self, key):
        return f"{self.folder}/{key}"

    def names(self):
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())

    def read(self, key):
        return (self.folder / key).read_bytes()

    def put(self, key, content):
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(params=["disk", "s3"])
def storage(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("bucket")
    (tmp_path / "out").mkdir()
    return Disk(tmp_path / "out")


def left_over(folder=None):
    """Partial files, in a folder and where those for storages are collected."""
    found = list(Path(tempfile.gettempdir()).glob(".kling-landing.*"))
    return found + (list(folder.rglob("*.partial*")) if folder else [])


# ------------------------------------------------------------------------------------- what lands where


def test_a_clip_lands_as_the_vendor_made_it(storage, hook, clip):
    landed = land(storage.uri("deep/down/clip.mp4"), hook, clip)

    content = film_of(clip)
    assert storage.read("deep/down/clip.mp4") == content
    assert (landed.size, landed.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert landed.duration == pytest.approx(2.5, abs=0.2)
    assert not landed.was_there
    assert landed.seconds > 0
    assert storage.names() == ["deep/down/clip.mp4"]
    assert left_over() == []


def test_in_a_folder_it_is_called_by_the_vendors_id(storage, hook, clip):
    landed = land(storage.uri("news/"), hook, clip)

    assert storage.names() == [f"news/{clip.task_id}.mp4"]
    assert landed.file.endswith(f"/news/{clip.task_id}.mp4")


def test_what_is_returned_opens_as_a_storage_path(storage, hook, clip):
    from airflow_provider_kling_avatar.compat import ObjectStoragePath

    landed = land(
        storage.uri("odd name %20 #1?.mp4" if isinstance(storage, Disk) else "clip.mp4"), hook, clip
    )

    with ObjectStoragePath(landed.file).open("rb") as file:
        assert file.read() == film_of(clip)


def test_an_existing_folder_needs_no_slash(tmp_path, hook, clip):
    landed = land(tmp_path, hook, clip)

    assert landed.file == f"{tmp_path}/{clip.task_id}.mp4"


def test_a_file_uri_is_the_machines_own_disk(tmp_path, hook, clip):
    landed = land(f"file://{tmp_path}/a.mp4", hook, clip)

    assert landed.file == landed.file_uri == f"file://{tmp_path}/a.mp4"
    assert (tmp_path / "a.mp4").stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_path_is_answered_with_a_path_that_opens(tmp_path, hook, clip, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    from_home, relative = land("~/odd %20 #1?.mp4", hook, clip), land("here.mp4", hook, clip)

    for landed in (from_home, relative):
        assert Path(landed.file).read_bytes() == film_of(clip)
        assert landed.file_uri == f"file://{landed.file}"


def test_a_storages_file_is_its_uri(storage, hook, clip):
    uri = storage.uri("clip.mp4")
    landed = land(uri, hook, clip)

    assert landed.file_uri == (uri if "://" in uri else f"file://{uri}")
    assert landed.file == uri


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_watermarked_variant_lands_beside_it(storage, sim, hook, face, voice):
    task = order(sim, hook, face, voice, watermark=True)

    landed = land(storage.uri("clip.mp4"), hook, task, watermarked=True)
    in_folder = land(storage.uri("all/"), hook, task, watermarked=True)

    name = task.task_id
    assert sorted(storage.names()) == sorted(
        ["clip.mp4", "clip.watermarked.mp4", f"all/{name}.mp4", f"all/{name}.watermarked.mp4"]
    )
    assert storage.read("clip.mp4") != storage.read("clip.watermarked.mp4")
    assert landed.watermark_file.endswith("/clip.watermarked.mp4")
    assert in_folder.watermark_file.endswith(f"/all/{name}.watermarked.mp4")


def test_a_watermark_that_nobody_ordered_is_said_before_anything_is_fetched(tmp_path, hook, clip, sim):
    before = len(sim.requests)

    with pytest.raises(NoWatermarkError, match="watermark=True"):
        land(tmp_path / "clip.mp4", hook, clip, watermarked=True)

    assert len(sim.requests) == before
    assert list(tmp_path.glob("*.mp4")) == []


def test_odd_ids_are_file_names_of_their_own(tmp_path):
    names = [
        landing_module._safe_name(name)
        for name in ("../../etc/passwd", "etc/passwd", "a b", "a-b", ".", "x" * 300)
    ]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) and len(name) < 120 for name in names)


# ------------------------------------------------------------------------------------- what is there already


def test_a_second_landing_writes_nothing(storage, hook, clip, sim):
    first = land(storage.uri("clip.mp4"), hook, clip)

    again = land(storage.uri("clip.mp4"), hook, clip)

    assert again.was_there
    assert (again.size, again.sha256, again.duration) == (first.size, first.sha256, first.duration)


@pytest.mark.parametrize("other", [b"a paid clip of somebody else", b""])
def test_another_file_is_not_overwritten(storage, hook, clip, other):
    storage.put("clip.mp4", other)

    with pytest.raises(
        OutputExistsError, match=r"clip\.mp4 holds another file already.*on_existing='replace'"
    ):
        land(storage.uri("clip.mp4"), hook, clip)

    assert storage.read("clip.mp4") == other
    assert storage.names() == ["clip.mp4"]


def test_another_file_is_overwritten_if_told_so(storage, hook, clip):
    storage.put("clip.mp4", b"old")

    landed = land(storage.uri("clip.mp4"), hook, clip, on_existing="replace")

    assert storage.read("clip.mp4") == film_of(clip)
    assert not landed.was_there


def test_bytes_that_changed_between_two_tries_are_another_clip(storage, hook, clip, sim):
    first = land(storage.uri("clip.mp4"), hook, clip)
    sim.fault(kind="other_bytes", times=0)

    with pytest.raises(OutputExistsError):
        land(storage.uri("clip.mp4"), hook, clip)

    assert hashlib.sha256(storage.read("clip.mp4")).hexdigest() == first.sha256


def test_a_file_of_another_size_is_known_before_anything_is_fetched(storage, hook, clip, monkeypatch):
    from airflow_provider_kling_avatar.kling.download import http

    storage.put("clip.mp4", film_of(clip) + b"more")
    monkeypatch.setattr(http._Transfer, "write", lambda self, chunk: pytest.fail("it was fetched"))

    with pytest.raises(OutputExistsError, match="another file already"):
        land(storage.uri("clip.mp4"), hook, clip)


def test_an_empty_answer_is_damage_whatever_is_there(storage, hook, clip, sim):
    land(storage.uri("clip.mp4"), hook, clip)
    sim.fault(kind="empty_file", path=MEDIA)

    with pytest.raises(DamagedVideoError, match="0 bytes"):
        land(storage.uri("clip.mp4"), hook, clip)

    assert storage.read("clip.mp4") == film_of(clip)


def test_of_a_file_of_the_same_size_every_byte_counts(storage, hook, clip):
    content = bytearray(film_of(clip))
    content[-5] ^= 0xFF
    storage.put("clip.mp4", bytes(content))

    with pytest.raises(OutputExistsError):
        land(storage.uri("clip.mp4"), hook, clip)

    assert storage.read("clip.mp4") == bytes(content)
    assert left_over() == []
    assert land(storage.uri("clip.mp4"), hook, clip, on_existing="replace").was_there is False
    assert storage.read("clip.mp4") == film_of(clip)


def test_the_same_file_stays_as_it_is_even_if_it_might_be_replaced(tmp_path, hook, clip):
    land(tmp_path / "clip.mp4", hook, clip)
    before = (tmp_path / "clip.mp4").stat()

    assert land(tmp_path / "clip.mp4", hook, clip, on_existing="replace").was_there
    after = (tmp_path / "clip.mp4").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert left_over(tmp_path) == []


def test_tries_that_land_at_the_same_time_end_with_one_file(storage, hook, clip):
    barrier = threading.Barrier(4)
    results = []

    def go():
        barrier.wait()
        own = KlingAvatarHook()
        try:
            results.append(land(storage.uri("clip.mp4"), own, clip))
        except LandingError as error:
            results.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [r for r in results if isinstance(r, Exception)] == []
    assert len({r.sha256 for r in results}) == 1
    assert sum(not r.was_there for r in results) == 1
    assert storage.names() == ["clip.mp4"]


def test_two_clips_for_one_path_at_the_same_time_never_overwrite_each_other(storage, sim, hook, face, voice):
    clips = [order(sim, hook, face, voice, mode=mode) for mode in ("std", "pro")]
    barrier = threading.Barrier(2)
    results = {}

    def go(task):
        barrier.wait()
        own = KlingAvatarHook()
        try:
            results[task.task_id] = land(storage.uri("clip.mp4"), own, task)
        except LandingError as error:
            results[task.task_id] = error
        finally:
            own.close()

    threads = [threading.Thread(target=go, args=(task,)) for task in clips]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    failed = [r for r in results.values() if isinstance(r, OutputExistsError)]
    won = [r for r in results.values() if not isinstance(r, Exception)]
    assert (len(failed), len(won)) == (1, 1), results
    assert hashlib.sha256(storage.read("clip.mp4")).hexdigest() == won[0].sha256


# ------------------------------------------------------------------------------------- bad downloads


@pytest.mark.parametrize(
    ("faults", "error", "says"),
    [
        ([{"kind": "html", "status": 200}], DamagedVideoError, "text/html"),
        ([{"kind": "half_file"}], DamagedVideoError, "cut off"),
        ([{"kind": "empty_file"}], DamagedVideoError, "0 bytes"),
        ([{"kind": "cut_body", "times": 0}], DownloadError, "cut off or not reached"),
        ([{"kind": "drop_before", "times": 0}], DownloadError, "cut off or not reached"),
        ([{"kind": "http_error", "status": 403, "times": 0}], DownloadError, "so did 2 new links"),
        ([{"kind": "http_error", "status": 503, "times": 0}], DownloadError, "HTTP 503"),
        ([{"kind": "redirect", "location": "ftp://127.0.0.1/x"}], ForbiddenAddressError, "not an http"),
        ([{"kind": "redirect", "location": "http://10.9.8.7/x"}], ForbiddenAddressError, "private network"),
    ],
    ids=lambda value: value[0]["kind"] if isinstance(value, list) else None,
)
def test_a_bad_download_leaves_nothing_and_pays_nothing(storage, hook, clip, sim, faults, error, says):
    paid = sim.ledger()["total"]
    for fault in faults:
        sim.fault(path=MEDIA, **fault)

    with pytest.raises(error, match=says) as raised:
        land(storage.uri("clip.mp4"), hook, clip)

    assert "sig=" not in str(raised.value)
    assert "pays nothing" in str(raised.value)
    assert storage.names() == []
    assert left_over() == []
    assert sim.ledger()["total"] == paid
    assert sim.calls["create"] == 1


def test_a_download_that_is_cut_goes_on(storage, hook, clip, sim):
    sim.fault(kind="cut_body", path=MEDIA, times=2)

    land(storage.uri("clip.mp4"), hook, clip)

    assert storage.read("clip.mp4") == film_of(clip)
    asked = [r.headers.get("range") for r in sim.requests if r.path.startswith(MEDIA)]
    assert asked[0] is None
    assert asked[1].startswith("bytes=")


def test_a_download_that_is_cut_begins_again_where_no_ranges_are_given(storage, hook, clip, sim):
    sim.fault(kind="cut_body", path=MEDIA, times=1)
    sim.fault(kind="no_ranges", path=MEDIA, times=1)

    land(storage.uri("clip.mp4"), hook, clip)

    assert storage.read("clip.mp4") == film_of(clip)


def test_a_slow_download_is_waited_for(tmp_path, hook, clip, sim):
    sim.fault(kind="slow", path=MEDIA, seconds=1)

    assert land(tmp_path / "clip.mp4", hook, clip).seconds >= 1


def test_a_link_that_expired_is_renewed(storage, hook, clip, sim):
    sim.advance(3600 * 2)

    land(storage.uri("clip.mp4"), hook, clip)

    assert storage.names() == ["clip.mp4"]


def test_a_key_that_is_wrong_by_then_is_no_storage_error(storage, hook, clip, sim):
    sim.advance(3600 * 2)
    sim.fault(kind="error_code", code=1002, status=401, call="query", times=0)

    with pytest.raises(AuthenticationError):
        land(storage.uri("clip.mp4"), hook, clip)


# ------------------------------------------------------------------------------------- bad storages


def check_and_land(output_path, hook, clip, error, says):
    for what in (Landing(str(output_path)).check, lambda: land(output_path, hook, clip)):
        with pytest.raises(error, match=says) as raised:
            what()
        assert "output_path" in str(raised.value)
    return raised.value


def test_a_bucket_that_does_not_exist_is_said_before_and_at_landing(bucket, hook, clip):
    error = check_and_land(bucket.uri("clip.mp4", "missing"), hook, clip, OutputPathError, "no such bucket")

    assert error.permanent


@pytest.mark.parametrize(
    "path", ["nope://bucket/clip.mp4", "https://example.com/clip.mp4", "file://host/x.mp4"]
)
def test_a_scheme_that_leads_nowhere_is_said(hook, clip, path):
    check_and_land(path, hook, clip, OutputPathError, "nope|web address|three slashes")


@pytest.mark.parametrize("path", ["", "   ", None, 7, {"a": 1}])
def test_a_path_that_is_none_is_said(path):
    with pytest.raises(OutputPathError, match="output_path came as"):
        Landing(path).check()


def test_a_key_that_is_a_folder_is_said(bucket, hook, clip):
    bucket.put("clips/one.mp4", b"x")

    check_and_land(bucket.uri("clips"), hook, clip, OutputPathError, "folder")


def test_a_file_where_a_folder_should_be_is_said(tmp_path, hook, clip):
    (tmp_path / "file").write_text("x")

    check_and_land(tmp_path / "file" / "clip.mp4", hook, clip, OutputPathError, "is a file, not a folder")


@pytest.fixture
def ordinary_user():
    """Root may write everywhere: for the time of the test be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)  # the real one too: os.access asks for that
    yield
    os.setresuid(0, 0, 0)


def test_a_folder_without_the_right_to_write_is_said(tmp_path, hook, clip, request):
    (tmp_path / "locked").mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents):  # those that pytest has made for us alone
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    land(tmp_path / "warm.mp4", hook, clip)  # whatever is imported on the way is imported by now
    request.getfixturevalue("ordinary_user")

    check_and_land(tmp_path / "locked" / "clip.mp4", hook, clip, OutputPathError, "no right")


def test_a_place_in_a_folder_that_may_not_be_entered_is_said(tmp_path, request):
    (tmp_path / "locked" / "inner").mkdir(parents=True)
    (tmp_path / "locked").chmod(0o700)
    request.getfixturevalue("ordinary_user")

    with pytest.raises(OutputPathError, match="no right to look there"):
        Landing(str(tmp_path / "locked" / "inner" / "clip.mp4")).check()


def test_no_right_to_write_is_a_permanent_error_that_names_the_path(tmp_path, hook, clip, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("airflow_provider_kling_avatar.storage.partial_file", refuse)

    with pytest.raises(OutputPathError, match=r"clip\.mp4: no right"):
        land(tmp_path / "clip.mp4", hook, clip)


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_full_disk_leaves_nothing_and_may_pass(where, request, tmp_path, hook, clip, monkeypatch):
    """The partial file is the device that is always full."""
    place = tmp_path / "clip.mp4" if where == "disk" else request.getfixturevalue("bucket").uri("clip.mp4")

    @contextlib.contextmanager
    def full(folder, name, mode=0):
        with open("/dev/full", "w+b", buffering=0) as file:  # noqa: PTH123
            yield file, Path("/dev/full")

    monkeypatch.setattr("airflow_provider_kling_avatar.storage.partial_file", full)

    with pytest.raises(StorageError, match=r"output_path.*the disk is full") as raised:
        land(place, hook, clip)

    assert not raised.value.permanent
    assert list(tmp_path.glob("*.mp4")) == []


@pytest.mark.parametrize(("name", "value"), [("on_existing", "maybe"), ("max_bytes", 0), ("max_bytes", "1")])
def test_parameters_that_make_no_sense_are_said_before_anything(tmp_path, name, value):
    with pytest.raises(InvalidRequestError, match=name):
        Landing(str(tmp_path / "x.mp4"), **{name: value}).check()


def test_checking_writes_nothing(storage, tmp_path):
    Landing(storage.uri("new/folder/"), watermarked=True).check()
    Landing(storage.uri("new/clip.mp4")).check()

    assert storage.names() == []
    assert [p for p in tmp_path.rglob("*") if p.name == "new"] == []


def test_permanent_landing_errors_burn_no_retry():
    from airflow_provider_kling_avatar.compat import AirflowFailException

    with pytest.raises(AirflowFailException, match="pays nothing"), airflow_errors():
        raise OutputExistsError("there")


# ------------------------------------------------------------------------------------- uploads that die


@pytest.fixture
def large_clip(clip, hook, connect):
    """A film padded to 40 MB, so that it is uploaded in parts; it lies on another port than the vendor's."""
    import fake_film

    connect(allow_private_addresses=True)
    hook.close()  # reads the connection again

    with fake_film.padded(film_of(clip), 40 << 20) as (url, content):
        video = msgspec.structs.replace(clip.videos[0], url=url)
        yield msgspec.structs.replace(clip, videos=(video,)), content


def test_a_large_clip_is_uploaded_in_parts_and_is_all_there(bucket, hook, large_clip):
    clip, content = large_clip

    landed = land(bucket.uri("large.mp4"), hook, clip)

    assert hashlib.sha256(bucket.read("large.mp4")).hexdigest() == landed.sha256
    assert landed.size == len(content)
    assert "-" in bucket.client.head_object(Bucket=bucket.name, Key="large.mp4")["ETag"], "was sent in parts"
    assert bucket.client.head_object(Bucket=bucket.name, Key="large.mp4")["ContentType"] == "video/mp4"
    assert land(bucket.uri("large.mp4"), hook, clip).was_there


def test_an_upload_that_fails_midway_leaves_no_object(bucket, hook, large_clip, monkeypatch):
    import s3fs

    clip, _ = large_clip
    real = s3fs.S3FileSystem._call_s3
    parts = itertools.count()

    async def broken(self, method, *arguments, **options):
        if method == "upload_part" and next(parts) >= 2:
            raise ConnectionResetError("the line is dead")
        return await real(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", broken)

    with pytest.raises(StorageError, match=r"large\.mp4: the storage failed"):
        land(bucket.uri("large.mp4"), hook, clip)

    assert bucket.names() == []
    assert bucket.uploads() == []
    assert left_over() == []


def test_a_storage_that_would_show_half_a_file_gets_it_beside_and_moved(bucket, hook, clip, monkeypatch):
    """Here S3 is taken for one of those whose uploads go through fsspec's file object."""
    monkeypatch.setattr("airflow_provider_kling_avatar.storage._parameters_of_put", lambda fs: None)

    land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.names() == ["clip.mp4"]
    assert bucket.read("clip.mp4") == film_of(clip)


def test_what_failed_beside_is_taken_away_again(bucket, hook, clip, monkeypatch):
    import s3fs

    async def refuse(self, *arguments, **options):
        raise ConnectionResetError("the line is dead")

    monkeypatch.setattr("airflow_provider_kling_avatar.storage._parameters_of_put", lambda fs: None)
    monkeypatch.setattr(s3fs.S3FileSystem, "_cp_file", refuse)

    with pytest.raises(StorageError):
        land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.names() == []


OTHERS = b"what another writer has put there meanwhile"


@pytest.fixture
def on_call(monkeypatch):
    """Do something around one kind of call to S3: ``before`` may change its arguments, ``after`` follows it."""

    def set_up(method, *, before=lambda options: None, after=lambda: None):
        import s3fs

        real = s3fs.S3FileSystem._call_s3

        async def call(self, name, *arguments, **options):
            if name == method:
                before(options)
            answer = await real(self, name, *arguments, **options)
            if name == method:
                after()
            return answer

        monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", call)

    return set_up


def cut(options):
    options["Body"] = options["Body"][: len(options["Body"]) // 2]


@pytest.fixture(params=[False, True], ids=["plain", "versioned"])
def bucket_of_either_kind(request, bucket):
    """With versions a deletion leaves the older ones, and a marker; at the end all of them go."""
    if not request.param:
        yield bucket
        return
    versions = bucket.client.put_bucket_versioning
    versions(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    yield bucket
    listed = bucket.client.list_object_versions(Bucket=bucket.name)
    for entry in listed.get("Versions", []) + listed.get("DeleteMarkers", []):
        bucket.client.delete_object(Bucket=bucket.name, Key=entry["Key"], VersionId=entry["VersionId"])
    versions(Bucket=bucket.name, VersioningConfiguration={"Status": "Suspended"})


def test_a_wrong_upload_is_deleted_again(bucket_of_either_kind, hook, clip, on_call):
    bucket = bucket_of_either_kind
    on_call("put_object", before=cut)

    with pytest.raises(StorageError, match="it was deleted again"):
        land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.names() == []
    assert bucket.client.list_object_versions(Bucket=bucket.name).get("Versions", []) == []


def test_what_another_writer_has_put_there_after_the_upload_stays(bucket_of_either_kind, hook, clip, on_call):
    bucket = bucket_of_either_kind
    on_call("put_object", after=lambda: bucket.put("clip.mp4", OTHERS))

    with pytest.raises(StorageError, match=f"holds {len(OTHERS)} bytes.*left alone"):
        land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.read("clip.mp4") == OTHERS


def test_what_another_writer_puts_there_right_before_the_deletion_stays(
    bucket_of_either_kind, hook, clip, on_call, monkeypatch
):
    import s3fs

    bucket = bucket_of_either_kind
    real = s3fs.S3FileSystem.call_s3

    def call(self, name, **options):
        bucket.put("clip.mp4", OTHERS)
        return real(self, name, **options)

    on_call("put_object", before=cut)
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", call)  # the way of the deletion alone

    with pytest.raises(StorageError, match="after an upload of"):
        land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.read("clip.mp4") == OTHERS


def test_what_another_writer_has_put_there_after_an_upload_in_parts_stays(bucket, hook, large_clip, on_call):
    clip, _ = large_clip
    on_call("complete_multipart_upload", after=lambda: bucket.put("large.mp4", OTHERS))

    with pytest.raises(StorageError, match="left alone"):
        land(bucket.uri("large.mp4"), hook, clip)

    assert bucket.read("large.mp4") == OTHERS


def test_an_s3fs_that_cannot_refuse_to_overwrite_in_one_way_is_asked_in_the_other(
    bucket, hook, clip, monkeypatch
):
    import s3fs

    async def of_an_old_version(self, path, data, chunksize=None, **options):
        raise AssertionError("it would overwrite what is there")

    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", of_an_old_version)

    land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.read("clip.mp4") == film_of(clip)


def test_a_storage_that_knows_no_conditions_is_written_to_without_one(bucket, hook, clip, monkeypatch):
    from aiobotocore.client import AioBaseClient
    from botocore.exceptions import ClientError

    real = AioBaseClient._make_api_call
    asked = []

    async def call(self, operation, parameters):
        if operation == "PutObject":
            asked.append("IfNoneMatch" in parameters)
            if asked[-1]:
                said = "A header you provided implies functionality that is not implemented"
                raise ClientError({"Error": {"Code": "NotImplemented", "Message": said}}, operation)
        return await real(self, operation, parameters)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", call)

    land(bucket.uri("clip.mp4"), hook, clip)

    assert asked[-1:] == [False]
    assert bucket.read("clip.mp4") == film_of(clip)


def test_a_clip_in_one_piece_is_stored_as_a_film(bucket, hook, clip):
    land(bucket.uri("clip.mp4"), hook, clip)

    assert bucket.client.head_object(Bucket=bucket.name, Key="clip.mp4")["ContentType"] == "video/mp4"


def test_a_storage_server_that_dies_leaves_an_error_that_passes(monkeypatch, hook, clip):
    bucket = s3_kit.start_bucket(f"landing_dies_{next(NUMBERS)}")
    s3_kit.connect(bucket, monkeypatch)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    Landing(bucket.uri("clip.mp4")).check()
    bucket.server.stop()

    with pytest.raises(StorageError, match="output_path") as raised:
        land(bucket.uri("clip.mp4"), hook, clip)

    assert not raised.value.permanent


# ------------------------------------------------------------------------------------- kill -9

KILLED = """
    import sys, time
    from airflow_provider_kling_avatar.kling.download import http as fetch
    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.landing import Landing

    real = fetch._Transfer.write
    def slow(self, chunk):
        real(self, chunk)
        print("writing", flush=True)
        time.sleep(600)
    fetch._Transfer.write = slow
    hook = KlingAvatarHook()
    Landing(sys.argv[2]).land(hook, "avatar", hook.get_task(sys.argv[1]))
"""


@pytest.fixture
def start_landing():
    """Start a process that lands a clip and stays in the middle of it."""
    started = []

    def start(task_id, output_path):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), task_id, str(output_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        started.append(process)
        while "writing" not in (line := process.stdout.readline()):
            assert line, "it ended"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_kill_9_in_the_middle_leaves_no_file_and_the_next_try_cleans_up(
    storage, hook, clip, start_landing, tmp_path
):
    process = start_landing(clip.task_id, storage.uri("clip.mp4"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [key for key in storage.names() if not key.endswith(".partial.mp4")] == []
    assert len(left_over(tmp_path)) == 1

    landed = land(storage.uri("clip.mp4"), hook, clip)

    assert not landed.was_there
    assert storage.names() == ["clip.mp4"]
    assert left_over(tmp_path) == []


def test_a_try_that_lives_is_not_disturbed_by_the_next(storage, hook, clip, start_landing, tmp_path):
    start_landing(clip.task_id, storage.uri("clip.mp4"))
    (its_file,) = left_over(tmp_path)

    land(storage.uri("clip.mp4"), hook, clip)

    assert left_over(tmp_path) == [its_file]
    assert storage.read("clip.mp4") == film_of(clip)
