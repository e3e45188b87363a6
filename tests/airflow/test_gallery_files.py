"""Which files the API server may show: those beneath the configured places, and nothing else, whatever it is told."""

from __future__ import annotations

import json
import os
import re

import pytest

from airflow_provider_kling_avatar.compat import HAS_REACT_APPS

if not HAS_REACT_APPS:
    pytest.skip("the gallery needs the UI of Airflow 3.1", allow_module_level=True)

import requests

from airflow_provider_kling_avatar.gallery.files import (
    NotServedError,
    gallery_roots,
    link_to,
    open_film,
    servable,
    shown_location,
)
from airflow_provider_kling_avatar.storage import file_at

OPTION = "AIRFLOW__KLING_AVATAR__GALLERY_ROOTS"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with a clip, that may be shown; a secret beside it."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(b"film")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "clips-of-others").mkdir()
    (tmp_path / "clips-of-others" / "clip.mp4").write_bytes(b"secret")
    monkeypatch.setenv(OPTION, str(folder))
    return folder


def test_a_file_beneath_a_root_is_served_by_path_and_by_uri(root):
    assert servable(str(root / "clip.mp4")) == root / "clip.mp4"
    assert servable(f"file://{root}/clip.mp4") == root / "clip.mp4"


@pytest.mark.parametrize(
    "name", ["a clip.mp4", "What now?.mp4", "clip #1.mp4", "100%25.mp4", "50%41.mp4", "100%.mp4", "a;b.mp4"]
)
def test_a_file_is_served_whatever_signs_are_in_its_name(name, root):
    (root / name).write_bytes(b"film")

    assert servable(str(root / name)) == root / name
    landed = file_at(str(root / name), "").uri
    assert servable(landed) == root / name
    assert shown_location(landed) == str(root / name)


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "{root}/../secret.mp4",
        "file://{root}/../secret.mp4",
        "{root}-of-others/clip.mp4",
        "{root}/link.mp4",
        "{root}/folder/secret.mp4",
        "{root}/../../../../../../../../etc/passwd",
        "secret.mp4",
        "file://elsewhere{root}/clip.mp4",
        "javascript:alert(1)",
        "data:x",
        "\0",
    ],
)
def test_what_lies_outside_is_not_served_wherever_it_seems_to_lie(place, root):
    (root / "link.mp4").symlink_to(root.parent / "secret.mp4")
    (root / "folder").symlink_to(root.parent)

    with pytest.raises(NotServedError, match="outside of what the API server may show"):
        servable(place.replace("{root}", str(root)))


def test_whether_a_file_outside_is_there_is_not_told(root):
    messages = set()
    for place in ("/etc/passwd", "/etc/there-is-none"):
        with pytest.raises(NotServedError) as refused:
            servable(place)
        messages.add(str(refused.value))
    assert len(messages) == 1


def test_a_root_may_be_a_link_itself(root, monkeypatch):
    (root.parent / "current").symlink_to(root)
    monkeypatch.setenv(OPTION, str(root.parent / "current"))

    assert servable(str(root.parent / "current" / "clip.mp4")) == root / "clip.mp4"


@pytest.mark.parametrize("place", ["{root}/gone.mp4", "{root}", "file://{root}/%2e%2e/secret.mp4"])
def test_a_file_that_is_gone_says_so(place, root):
    with pytest.raises(NotServedError, match="does not find the file"):
        servable(place.replace("{root}", str(root)))


@pytest.fixture(params=["the file", "a folder on the way"])
def swapped(request, root):
    """A file that may be served, and a function that puts a link in its place, which leads to another folder."""
    (root / "news").mkdir()
    (root / "news" / "clip.mp4").write_bytes(b"film")
    (root.parent / "clip.mp4").write_bytes(b"secret")

    def swap():
        if request.param == "the file":
            (root / "news" / "clip.mp4").unlink()
            (root / "news" / "clip.mp4").symlink_to(root.parent / "secret.mp4")
        else:
            (root / "news").rename(root / "old")
            (root / "news").symlink_to(root.parent)

    return root / "news" / "clip.mp4", swap


def test_what_becomes_a_link_between_looking_and_opening_is_not_served(swapped):
    path, swap = swapped
    checked = servable(str(path))
    swap()

    with pytest.raises(NotServedError, match="outside"):
        open_film(checked)


def test_what_becomes_a_link_after_opening_is_served_as_it_was(swapped):
    path, swap = swapped
    with open_film(servable(str(path))) as film:
        swap()
        assert film.read() == b"film"


@pytest.mark.parametrize(
    ("swap", "words"),
    [
        (os.mkfifo, "does not find the file"),
        (lambda path: path.mkdir(), "cannot read the file .Is a directory"),
        (lambda path: None, "does not find the file"),
    ],
    ids=["a pipe", "a folder", "nothing"],
)
def test_what_is_no_file_any_more_when_it_is_opened_is_refused_at_once(swap, words, root):
    checked = servable(str(root / "clip.mp4"))
    checked.unlink()
    swap(checked)

    with pytest.raises(NotServedError, match=words):
        open_film(checked)


def test_without_a_root_no_local_file_is_served_and_the_message_names_the_option(root, monkeypatch):
    monkeypatch.delenv(OPTION)

    with pytest.raises(NotServedError, match=r"add its folder to \[kling_avatar\] gallery_roots and restart"):
        servable(str(root / "clip.mp4"))


def test_roots_are_separated_by_commas_or_lines(monkeypatch):
    monkeypatch.setenv(OPTION, " /a , s3://c@b/x\n/d,")

    assert gallery_roots() == ["/a", "s3://c@b/x", "/d"]


def test_a_root_that_cannot_be_read_opens_nothing_and_closes_no_other(root, monkeypatch):
    (root / "clip.mp4").write_bytes(b"film")
    monkeypatch.setenv(OPTION, f"s3://[newsroom/clips, file://elsewhere/clips, {root}")

    assert servable(str(root / "clip.mp4")) == root / "clip.mp4"
    for place in ("/etc/passwd", "s3://aws_default@newsroom/a.mp4", "file://elsewhere/clips/a.mp4"):
        with pytest.raises(NotServedError, match="outside"):
            servable(place)


def test_without_a_storage_among_the_roots_every_storage_with_a_connection_is_served(root):
    assert servable("s3://aws_default@newsroom/a.mp4") == "s3://aws_default@newsroom/a.mp4"


@pytest.mark.parametrize(
    "place", ["s3://payroll/2026.pdf", "s3://@payroll/2026.pdf", "gs://payroll/2026.pdf"]
)
def test_the_servers_own_rights_sign_nothing_but_what_a_root_names(place, monkeypatch):
    """Who may edit a Dag's XComs would read with them whatever the server itself may read."""
    monkeypatch.delenv(OPTION, raising=False)
    bucket = place.replace("@", "").removesuffix("/2026.pdf")
    with pytest.raises(NotServedError, match=f"add {bucket}/ to .kling_avatar. gallery_roots"):
        servable(place)

    monkeypatch.setenv(OPTION, f"s3://aws_default@newsroom, {bucket}/")
    assert servable(place) == place


@pytest.mark.parametrize(
    ("place", "is_served"),
    [
        ("s3://aws_default@newsroom/clips/a.mp4", True),
        ("s3://aws_default@newsroom/clips-of-others/a.mp4", False),
        ("s3://aws_default@newsroom/clips/../a.mp4", False),
        ("s3://aws_default@newsroom/a.mp4", False),
        ("s3://aws_default@other/clips/a.mp4", False),
        ("s3://other@newsroom/clips/a.mp4", False),
        ("gs://aws_default@newsroom/clips/a.mp4", False),
        ("s3://newsroom/clips/a.mp4", False),
        ("s3://aws_default@newsroom/clips/?/../../a.mp4", False),
        ("s3://aws_default@newsroom/clips/#/../../a.mp4", False),
        ("S3://aws_default@newsroom/clips/What now?.mp4", True),
    ],
)
def test_with_a_storage_among_the_roots_only_what_lies_beneath_is_served(place, is_served, monkeypatch):
    monkeypatch.setenv(OPTION, "s3://aws_default@newsroom/clips/")

    if is_served:
        assert servable(place) == place
    else:
        with pytest.raises(
            NotServedError, match=r"outside|add s3://newsroom/ to \[kling_avatar\] gallery_roots"
        ):
            servable(place)


@pytest.mark.parametrize(
    "place",
    [
        "http://example.com/a.mp4",
        "https://example.com/a.mp4",
        "ftp://x/a",
        "memory://a",
    ],
)
def test_other_addresses_are_never_opened(place):
    with pytest.raises(NotServedError, match="makes no links"):
        servable(place)


def test_a_storage_that_cannot_be_asked_says_what_the_api_server_needs(monkeypatch):
    """Also where the server has rights of its own: those are not for what a task names."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-server")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-server")
    with pytest.raises(NotServedError, match="the API server needs the connection"):
        link_to("s3://no_such_connection@newsroom/a.mp4")


def test_a_link_into_a_storage_leads_to_the_clip_and_holds_no_key(bucket):
    bucket.put("news/clip.mp4", b"film")

    link = link_to(bucket.uri("news/clip.mp4"))

    assert requests.get(link, timeout=10, headers={"Range": "bytes=1-2"}).content == b"il"
    assert "Signature" in link
    assert "aws_secret" not in link


def key_in(link):
    return re.search(r"(?:AWSAccessKeyId|Credential)=([^&%]+)", link)[1]


def test_a_link_is_signed_with_the_connection_as_it_is_now(bucket, monkeypatch):
    assert key_in(link_to(bucket.uri("clip.mp4"))) == "test"
    name = f"AIRFLOW_CONN_{bucket.conn_id.upper()}"
    monkeypatch.setenv(name, json.dumps(json.loads(os.environ[name]) | {"login": "changed"}))
    assert key_in(link_to(bucket.uri("clip.mp4"))) == "changed"


def test_link_after_link_is_signed_with_the_connection_and_leaves_nothing_behind(bucket, monkeypatch):
    """The second was signed with the server's own rights, or not at all."""
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-server")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-server")
    S3FileSystem.clear_instance_cache()

    assert [key_in(link_to(bucket.uri(f"{number}.mp4"))) for number in range(3)] == ["test"] * 3
    assert len(S3FileSystem._cache) <= 1


def test_a_name_with_signs_is_signed_as_it_is(bucket):
    bucket.put("news/What now? #1 100%25.mp4", b"film")

    link = link_to(bucket.uri("news/What now? #1 100%25.mp4"))

    assert requests.get(link, timeout=10).content == b"film"


def test_a_place_is_shown_without_the_connection():
    assert shown_location("s3://aws_default@newsroom/a.mp4") == "s3://newsroom/a.mp4"
    assert shown_location("file:///a/b c.mp4") == "/a/b c.mp4"
