"""Which files the API server may show: those beneath the configured places, and nothing else, whatever it is told."""

from __future__ import annotations

import pytest
import requests

from airflow_provider_kling_avatar.gallery.files import (
    NotServedError,
    gallery_roots,
    link_to,
    servable,
    shown_place,
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
    assert shown_place(landed) == str(root / name)


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


def test_without_a_root_no_local_file_is_served_and_the_message_names_the_option(root, monkeypatch):
    monkeypatch.delenv(OPTION)

    with pytest.raises(NotServedError, match=r"add its folder to \[kling_avatar\] gallery_roots and restart"):
        servable(str(root / "clip.mp4"))


def test_roots_are_separated_by_commas_or_lines(monkeypatch):
    monkeypatch.setenv(OPTION, " /a , s3://c@b/x\n/d,")

    assert gallery_roots() == ["/a", "s3://c@b/x", "/d"]


def test_without_a_storage_among_the_roots_every_storage_is_served(root):
    assert servable("s3://aws_default@newsroom/a.mp4") == "s3://aws_default@newsroom/a.mp4"


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
    ],
)
def test_with_a_storage_among_the_roots_only_what_lies_beneath_is_served(place, is_served, monkeypatch):
    monkeypatch.setenv(OPTION, "s3://aws_default@newsroom/clips/")

    if is_served:
        assert servable(place) == place
    else:
        with pytest.raises(NotServedError, match="outside"):
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


def test_a_place_is_shown_without_the_connection():
    assert shown_place("s3://aws_default@newsroom/a.mp4") == "s3://newsroom/a.mp4"
    assert shown_place("file:///a/b c.mp4") == "/a/b c.mp4"
