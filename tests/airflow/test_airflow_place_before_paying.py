"""What can be known of a place is said before a clip is paid for; of money is said only what the task knows."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

import msgspec
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_kling_avatar.completion import deliver
from airflow_provider_kling_avatar.decorators.kling_avatar import KlingAvatarDecoratedOperator
from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
from airflow_provider_kling_avatar.kling import errors
from airflow_provider_kling_avatar.kling.polling.decide import Finished, Verdict
from airflow_provider_kling_avatar.landing import Landing
from airflow_provider_kling_avatar.operators.kling_avatar import (
    KlingAvatarOperator,
    KlingAvatarSubmitOperator,
)
from airflow_provider_kling_avatar.operators.kling_video_download import KlingVideoDownloadOperator
from airflow_provider_kling_avatar.sensors.kling_avatar import KlingAvatarSensor

OTHER = b"a clip of somebody else"
KEPT = "at Kling for 30 days from its making, at some gateways for 24 hours"
TEXT = {"audio": None, "text": "Good evening and welcome to the news.", "voice_id": "oversea_male1"}


@pytest.fixture(autouse=True)
def connected(connect):
    """Every test here has a good connection to start from."""


@pytest.fixture
def avatar(face, voice):
    def build(output_path, **more):
        fields = {"image": face, "audio": voice, **more}
        return KlingAvatarOperator(task_id="clip", output_path=str(output_path), **fields)

    return build


@pytest.fixture
def order(sim):
    """Execute an operator until it waits for its clip, which is ready then."""

    def run(operator, context):
        with pytest.raises(TaskDeferred):
            operator.execute(context)
        sim.advance(60)

    return run


@pytest.fixture
def refused(sim):
    """Execute an operator that must be refused before anything is sent; return its error."""

    def run(operator, context, kind=errors.OutputExistsError):
        before = len(sim.requests)
        with pytest.raises(kind) as caught:
            operator.execute(context)
        assert isinstance(caught.value, AirflowFailException), "a retry would fail the same way"
        assert [r for r in sim.requests[before:] if r.method == "POST"] == [], "nothing was paid"
        return str(caught.value)

    return run


# ---------------------------------------------------------------------------------------------- a place that is taken


def test_a_file_of_somebody_else_is_said_before_the_clip_is_paid_for(avatar, refused, tmp_path, context):
    (tmp_path / "2026-11-28.mp4").write_bytes(OTHER)

    said = refused(avatar(tmp_path / "2026-11-28.mp4"), context)

    assert "2026-11-28.mp4 holds another file already (23 bytes)" in said
    assert "on_existing='replace'" in said
    assert "Nothing was sent or paid by this try" in said
    assert (tmp_path / "2026-11-28.mp4").read_bytes() == OTHER


def test_an_object_of_somebody_else_is_said_before_the_clip_is_paid_for(avatar, refused, bucket, context):
    bucket.put("2026-11-28.mp4", OTHER)

    refused(avatar(bucket.uri("2026-11-28.mp4")), context)

    assert bucket.read("2026-11-28.mp4") == OTHER


def test_the_watermarked_variant_must_not_hit_a_file_either(avatar, refused, tmp_path, context):
    (tmp_path / "clip.watermarked.mp4").write_bytes(OTHER)

    assert "clip.watermarked.mp4 holds" in refused(avatar(tmp_path / "clip.mp4", watermark=True), context)


def test_the_text_is_not_even_spoken(avatar, refused, sim, tmp_path, context):
    (tmp_path / "clip.mp4").write_bytes(OTHER)

    refused(avatar(tmp_path / "clip.mp4", **TEXT), context)

    assert sim.ledger()["total"]["tasks"] == 0
    assert sim.requests == []


def test_a_decorated_function_is_told_too(face, voice, refused, tmp_path, context):
    (tmp_path / "clip.mp4").write_bytes(OTHER)
    operator = KlingAvatarDecoratedOperator(
        task_id="clip",
        python_callable=lambda: {"image": face, "audio": voice},
        op_args=[],
        op_kwargs={},
        output_path=str(tmp_path / "clip.mp4"),
    )

    refused(operator, context)


def test_a_retry_is_not_refused_by_the_clip_that_it_landed_itself(avatar, order, sim, tmp_path, make_context):
    order(avatar(tmp_path / "clip.mp4"), make_context())
    avatar(tmp_path / "clip.mp4").execute(make_context(try_number=2, max_tries=1))

    again = avatar(tmp_path / "clip.mp4").execute(make_context(try_number=3, max_tries=2))

    assert again["file"] == f"{tmp_path}/clip.mp4"
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_new_clip_for_an_old_path_is_refused_with_the_way_out(
    avatar, order, refused, tmp_path, make_context
):
    """A clear with on_rerun="regenerate" wants another clip, and its path holds the old one."""
    order(avatar(tmp_path / "clip.mp4"), make_context(store_there=True))
    avatar(tmp_path / "clip.mp4").execute(make_context(store_there=True, try_number=2))
    film = (tmp_path / "clip.mp4").read_bytes()
    cleared = make_context(store_there=True, try_number=3, max_tries=2)

    said = refused(avatar(tmp_path / "clip.mp4", on_rerun="regenerate"), cleared)

    assert "on_existing='replace'" in said
    assert (tmp_path / "clip.mp4").read_bytes() == film


@pytest.mark.parametrize("path", ["clip.mp4", "folder/", "folder"])
def test_what_may_be_replaced_and_what_cannot_collide_is_ordered(avatar, order, sim, tmp_path, context, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old.mp4").write_bytes(OTHER)
    (tmp_path / "clip.mp4").write_bytes(OTHER)

    order(avatar(f"{tmp_path}/{path}", on_existing="replace" if path == "clip.mp4" else "fail"), context)

    assert sim.ledger()["total"]["tasks"] == 1


def test_in_a_folder_that_is_there_no_variant_collides_either(avatar, order, sim, tmp_path, make_context):
    (tmp_path / "all").mkdir()
    for run_id in ("one", "two"):
        context = make_context(run_id=run_id)
        order(avatar(tmp_path / "all", watermark=True), context)
        avatar(tmp_path / "all", watermark=True).execute(make_context(run_id=run_id, try_number=2))

    assert sim.ledger()["total"]["tasks"] == 2
    assert len(list((tmp_path / "all").glob("*.watermarked.mp4"))) == 2
    assert not list(tmp_path.glob("*.watermarked"))


def forbid(monkeypatch, *methods, code="AccessDenied"):
    """Let S3 answer so many calls with 403, as to somebody whose role lacks the right."""
    from aiobotocore.client import AioBaseClient
    from botocore.exceptions import ClientError

    real = AioBaseClient._make_api_call
    operations = {"".join(word.capitalize() for word in method.split("_")) for method in methods}

    async def call(self, operation, parameters):
        if operation not in operations:
            return await real(self, operation, parameters)
        with suppress(ClientError):
            await real(
                self, operation, parameters
            )  # s3fs drops credentials over which nothing was ever asked
        told = "403" if operation.startswith("Head") else code  # the answer to HEAD has no body
        raise ClientError({"Error": {"Code": told, "Message": "Forbidden"}}, operation)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", call)


LOOKING = ("head_object", "head_bucket", "list_objects_v2", "get_object")


def test_a_bucket_that_may_only_be_written_to_is_no_doubt_and_gets_the_clip(
    avatar, order, sim, bucket, make_context, monkeypatch
):
    forbid(monkeypatch, *LOOKING)

    order(avatar(bucket.uri("clip.mp4")), make_context())
    made = avatar(bucket.uri("clip.mp4")).execute(make_context(try_number=2))

    assert len(bucket.read("clip.mp4")) == made["size"]
    assert sim.ledger()["total"]["tasks"] == 1


def test_a_file_that_may_not_be_looked_at_is_not_overwritten(
    avatar, order, bucket, make_context, monkeypatch
):
    bucket.put("clip.mp4", OTHER)
    forbid(monkeypatch, *LOOKING)
    order(avatar(bucket.uri("clip.mp4")), make_context())

    with pytest.raises(errors.OutputExistsError, match="may not be read"):
        avatar(bucket.uri("clip.mp4")).execute(make_context(try_number=2))

    assert bucket.read("clip.mp4") == OTHER


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_a_key_that_is_no_good_is_no_doubt_and_said_before_paying(
    avatar, refused, bucket, context, monkeypatch, code
):
    forbid(monkeypatch, *LOOKING, code=code)

    assert "no right" in refused(avatar(bucket.uri("clip.mp4")), context, errors.OutputPathError)


def test_nobody_in_particular_is_no_doubt_either(avatar, refused, bucket, context, monkeypatch):
    """A misspelt connection, and no credentials on the machine: Airflow asks without a name then."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv(
        "AIRFLOW_CONN_ANONYMOUS_S3", json.dumps({"conn_type": "aws", "extra": {"endpoint_url": bucket.url}})
    )
    forbid(monkeypatch, *LOOKING)

    assert "no right" in refused(avatar("s3://anonymous_s3@clips/clip.mp4"), context, errors.OutputPathError)


# ---------------------------------------------------------------------------------------------- what a path may be


def deep(folder):
    return f"{folder}/{'a' * 100}" + f"/{'a' * 100}" * 45


def link(folder):
    (folder / "gone").symlink_to(folder / "nowhere")
    return folder / "gone"


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def loop(folder):
    (folder / "round").symlink_to(folder / "round")
    return folder / "round"


ODD_PATHS = {
    "a name too long": (lambda folder: f"{folder}/{'a' * 300}/", "has a name of 300 bytes in it"),
    "a path too long": (lambda folder: f"{deep(folder)}/", "longer than 3800 bytes"),
    "a zero byte": (lambda folder: f"{folder}/a\0b/", "zero byte"),
    "a variable": (lambda folder: "$HOME/clips/", r"variables such as \$HOME are not filled in"),
    "a variable in braces": (lambda folder: f"{folder}/${{USER}}/", "are not filled in"),
    "a variable in a URI": (lambda folder: f"file://{folder}/$USER/", "are not filled in"),
    "nobody's home": (lambda folder: "~nobody-of-this-name/clips/", "no user of that name"),
    "a folder that is a link to nowhere": (lambda folder: f"{link(folder)}/", "link that leads nowhere"),
    "a folder that is a pipe": (lambda folder: f"{pipe(folder)}/", "is a file, not a folder"),
    "a folder that is a link to itself": (lambda folder: f"{loop(folder)}/", "in a circle|symbolic links"),
}
ODD_FILES = {
    "a folder or a file": (lambda folder: f"{folder}/clips", "end it with / for a folder"),
    "a folder or an object": (lambda folder: "s3://aws_default@bucket/clips", "end it with / for a folder"),
    "a link to nowhere": (link, "is a link that leads nowhere"),
    "a link to itself": (loop, "in a circle"),
    "a pipe": (pipe, "pipe, a socket or a device"),
    "a device": (lambda folder: "/dev/null", "pipe, a socket or a device"),
}


@pytest.mark.parametrize(
    ("make", "says"), (ODD_PATHS | ODD_FILES).values(), ids=(ODD_PATHS | ODD_FILES).keys()
)
def test_an_output_path_that_can_hold_no_file_is_said_before_paying(
    avatar, refused, sim, tmp_path, context, make, says
):
    said = refused(avatar(make(tmp_path)), context, errors.OutputPathError)

    assert sim.requests == []
    assert said.startswith("output_path")
    with pytest.raises(errors.OutputPathError, match=says):
        Landing(str(make_again(make, tmp_path))).check()


def make_again(make, folder):
    for entry in folder.iterdir():
        if entry.is_symlink() or not entry.is_file():
            entry.unlink()
    return make(folder)


@pytest.mark.parametrize(("make", "says"), ODD_PATHS.values(), ids=ODD_PATHS.keys())
def test_a_state_path_that_can_hold_no_file_is_said_before_paying(
    face, voice, sim, tmp_path, context, make, says
):
    operator = KlingAvatarSubmitOperator(task_id="clip", image=face, audio=voice, state_path=make(tmp_path))

    with pytest.raises((errors.ConfigurationError, errors.StateUnavailableError), match=says) as caught:
        operator.execute(context)

    assert "state_path" in str(caught.value)
    assert sim.requests == []


@pytest.mark.parametrize("field", ["image", "audio"])
@pytest.mark.parametrize(
    "make",
    [
        lambda folder: f"{folder}/{'a' * 300}.png",
        lambda folder: f"{deep(folder)}.png",
        lambda folder: f"{folder}/a\0b.png",
        lambda folder: str(pipe(folder)),
        lambda folder: "/dev/zero",
        lambda folder: str(link(folder)),
        lambda folder: str(loop(folder)),
        lambda folder: "$HOME/face.png",
    ],
    ids=[
        "a name too long",
        "a path too long",
        "a zero byte",
        "a pipe",
        "a device",
        "a link to nowhere",
        "a loop",
        "$",
    ],
)
def test_media_that_can_be_no_file_is_said_before_paying(face, voice, sim, tmp_path, context, field, make):
    fields = {"image": face, "audio": voice, field: make(tmp_path)}

    with pytest.raises(errors.MediaError) as caught:
        KlingAvatarSubmitOperator(task_id="clip", **fields).execute(context)

    assert caught.value.field == field
    assert sim.requests == []


def test_a_tilde_is_the_home_of_whoever_runs_the_worker(
    avatar, order, make_picture, make_sound, tmp_path, make_context, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_picture(), make_sound()
    (tmp_path / "notes").mkdir()
    fields = {"image": "~/face.png", "audio": "~/voice.wav", "state_path": "~/notes"}

    order(avatar("~/clips/one.mp4", **fields), make_context())
    made = avatar("~/clips/one.mp4", **fields).execute(make_context(try_number=2))

    assert made["file"] == f"{tmp_path}/clips/one.mp4"
    assert len(list((tmp_path / "notes").iterdir())) == 1


# ---------------------------------------------------------------------------------------------- storages and folders

MISSING = {
    "gs": "apache-airflow-providers-google",
    "gcs": "apache-airflow-providers-google",
    "abfs": "apache-airflow-providers-microsoft-azure",
    "abfss": "apache-airflow-providers-microsoft-azure",
    "adl": "apache-airflow-providers-microsoft-azure",
    "sftp": "apache-airflow-providers-sftp[sshfs]",
    "ssh": "apache-airflow-providers-sftp[sshfs]",
    "s3": "apache-airflow-providers-amazon[s3fs]",
    "s3a": "apache-airflow-providers-amazon[s3fs]",
}


@pytest.fixture
def no_providers(monkeypatch):
    """Nothing but Airflow is installed: no storage but the disk is known."""
    monkeypatch.setattr(f"{fs_module()}._register_filesystems", dict)


def fs_module():
    try:
        import airflow.sdk.io.fs as module
    except ImportError:
        import airflow.io as module
    return module.__name__


@pytest.mark.parametrize(("scheme", "package"), MISSING.items())
def test_a_storage_without_its_provider_is_named_with_what_to_install(
    avatar, refused, sim, context, no_providers, scheme, package
):
    said = refused(avatar(f"{scheme}://unknown_{scheme}@bucket/clip.mp4"), context, errors.OutputPathError)

    assert f"pip install '{package}'" in said
    assert sim.requests == []


def test_a_provider_without_the_library_of_its_storage_is_named_too(avatar, refused, context, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)

    said = refused(avatar("s3://no_s3fs@bucket/clip.mp4"), context, errors.OutputPathError)

    assert "pip install 'apache-airflow-providers-amazon[s3fs]'" in said


def test_a_scheme_that_no_provider_has_is_said_with_those_there_are(avatar, refused, context):
    said = refused(avatar("az://bucket/clip.mp4"), context, errors.OutputPathError)

    assert "abfs" in said
    assert "pip install" not in said


def test_a_state_path_without_its_provider_is_named_too(face, voice, sim, context, no_providers):
    operator = KlingAvatarSubmitOperator(
        task_id="clip", image=face, audio=voice, state_path="gs://unknown_state@bucket/notes"
    )

    with pytest.raises(errors.ConfigurationError, match="pip install 'apache-airflow-providers-google'"):
        operator.execute(context)
    assert sim.requests == []


@pytest.mark.parametrize("place", ["output_path", "state_path"])
@pytest.mark.parametrize(
    ("flags", "says"), [(0, "no right"), (os.ST_RDONLY, "read-only")], ids=["no right", "read-only"]
)
def test_a_folder_that_cannot_be_written_is_said_before_the_text_is_spoken(
    avatar, sim, tmp_path, context, monkeypatch, place, flags, says
):
    """Root may write everywhere, and no test may mount: the answers of the system are stood in for."""
    locked = str(tmp_path / "locked")
    os.mkdir(locked)  # noqa: PTH102
    access, statvfs = os.access, os.statvfs
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).startswith(locked) and access(path, mode)
    )
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda path: os.statvfs_result([*statvfs(path)[:8], flags, 255]),
    )
    paths = {
        "output_path": f"{tmp_path}/clip.mp4",
        place: f"{locked}/new/" if place == "output_path" else locked,
    }

    with pytest.raises((errors.OutputPathError, errors.StateUnavailableError), match=says) as caught:
        avatar(**paths, **TEXT).execute(context)

    assert place in str(caught.value)
    assert sim.requests == []


# ---------------------------------------------------------------------------------------------- what is said of money

BAD_PLACES = {
    "no provider": "gs://unknown@bucket/clip.mp4",
    "no storage": "nope://bucket/clip.mp4",
    "a web address": "https://example.com/clip.mp4",
    "a device": "/dev/null",
}


@pytest.mark.parametrize("path", BAD_PLACES.values(), ids=BAD_PLACES.keys())
@pytest.mark.parametrize("kind", ["sensor", "download"])
def test_who_only_fetches_never_says_that_nothing_was_paid(
    kind, avatar, order, sim, tmp_path, make_context, path
):
    context = make_context()
    order(avatar(f"{tmp_path}/"), context)
    task_id = context["ti"].xcoms["task_id"]
    fetching = {"sensor": KlingAvatarSensor, "download": KlingVideoDownloadOperator}[kind](
        task_id="fetch", kling_task_id=task_id, output_path=path
    )

    with pytest.raises(errors.OutputPathError) as caught:
        fetching.execute(make_context())

    assert "Nothing was sent" not in str(caught.value)
    assert "safe at the vendor" in str(caught.value)
    assert KEPT in str(caught.value)


def test_a_clip_without_an_address_is_said_to_be_safe_too(avatar, order, make_context, tmp_path):
    context = make_context()
    order(avatar(f"{tmp_path}/"), context)
    hook = KlingAvatarHook()
    task = hook.get_task(context["ti"].xcoms["task_id"])
    bare = msgspec.structs.replace(task, videos=())

    class Hook:
        def get_task(self, *_):
            return bare

    for fetch in (
        lambda: Landing(f"{tmp_path}/").land(hook, "avatar", bare),
        lambda: deliver(context, Hook(), "avatar", task.task_id, Finished(Verdict.SUCCEEDED)),
    ):
        with pytest.raises(errors.TaskLostError, match=f"safe at the vendor, {KEPT}"):
            fetch()
    hook.close()


@pytest.mark.parametrize("try_number", [1, 2])
def test_who_submits_speaks_of_this_try_only(avatar, context, try_number, make_context):
    with pytest.raises(errors.OutputPathError) as caught:
        avatar("nope://bucket/clip.mp4").execute(make_context(try_number=try_number))

    assert "Nothing was sent or paid by this try" in str(caught.value)
    assert "one that an earlier try paid for" in str(caught.value)


def test_who_has_sent_something_in_this_try_does_not_say_that_nothing_was_sent(
    avatar, sim, tmp_path, make_context
):
    """The account was full; while the task waited for a slot, somebody put a file there."""
    context = make_context()
    operator = avatar(tmp_path / "clip.mp4")
    sim.fault(kind="error_code", method="POST", path="/v1/videos", code=1303, status=429)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    (tmp_path / "clip.mp4").write_bytes(OTHER)
    waited = deferred.value.trigger.serialize()[1]

    with pytest.raises(errors.OutputExistsError) as caught:
        operator.execute_complete(
            context,
            {"verdict": "free_slot"} | {name: waited[name] for name in ("endpoint", "deadline", "since")},
        )

    assert "Nothing was sent" not in str(caught.value)
    assert sim.ledger()["total"]["tasks"] == 0
