"""Which files are handed out, whatever somebody who may write XComs has put there in place of a clip's own file."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import requests
from gallery_site import FORGED

pytestmark = pytest.mark.ui

VIDEO = f"/dags/{FORGED}/video?run_id=of-{FORGED}&task_id=forged"
CLIP = f"/api/dags/{FORGED}/clip?run_id=of-{FORGED}&task_id=forged"
SECRET = "this-is-not-for-you"


def replaced(value, old, new):
    """Return an XCom with another place wherever it tells that of the file."""
    if isinstance(value, dict):
        return {key: replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [replaced(inner, old, new) for inner in value]
    return new if isinstance(value, str) and value.endswith(old) else value


@pytest.fixture(scope="module")
def database(site):
    """Airflow's, without its API: what a task has left cannot be changed there by Airflow 3.1 as a task would."""
    with closing(
        sqlite3.connect(site.airflow.home / "airflow.db", timeout=60, isolation_level=None)
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def leave(database):
    """Have the task leave something in XCom in place of what it had left."""

    def write(key, value):
        sql = "update xcom set value = ? where dag_id = ? and key = ?"
        assert database.execute(sql, (json.dumps(value), FORGED, key)).rowcount == 1

    return write


@pytest.fixture(scope="module")
def xcoms(database):
    """What the task has left, by key."""
    found = database.execute("select key, value from xcom where dag_id = ?", (FORGED,))
    return {key: json.loads(value) for key, value in found.fetchall()}


@pytest.fixture
def forge(xcoms, leave):
    """Have the task tell of another file; what it had told is put back afterwards."""

    def tell(place):
        for key, value in xcoms.items():
            leave(key, replaced(value, f"forged-of-{FORGED}.mp4", place))

    yield tell
    for key, value in xcoms.items():
        leave(key, value)


@pytest.fixture
def ask(site):
    """Ask one of our routes as an administrator; follow no links."""
    headers = {"Authorization": f"Bearer {site.airflow.api.token()}"}

    def get(path, **more):
        url = f"{site.airflow.url}/kling-avatar{path}"
        return requests.get(url, headers=headers | more, allow_redirects=False, timeout=60)

    return get


@pytest.fixture(scope="module")
def traps(site):
    """Places that a forger would like, by name."""
    outside = site.clips.parent / "secret.mp4"
    outside.write_text(SECRET)
    beside = site.clips.with_name(f"{site.clips.name}-of-others")
    beside.mkdir()
    (beside / "clip.mp4").write_text(SECRET)
    link, folder = site.clips / "link.mp4", site.clips / "folder"
    link.symlink_to(outside)
    folder.symlink_to(site.clips.parent, target_is_directory=True)
    up = os.path.relpath("/etc/passwd", site.clips)
    return {
        "absolute": "/etc/passwd",
        "file URI": "file:///etc/passwd",
        "file URI with a host": "file://localhost/etc/passwd",
        "path upwards": f"{site.clips}/{up}",
        "URI upwards": f"file://{site.clips}/{up}",
        "encoded upwards": f"file://{site.clips}/{up.replace('..', '%2e%2e').replace('/', '%2f')}",
        "link": str(link),
        "link in a URI": link.as_uri(),
        "linked folder": str(folder / "secret.mp4"),
        "folder whose name begins alike": str(beside / "clip.mp4"),
        "relative": os.path.relpath(outside, Path.cwd()),
        "process's environment": "/proc/self/environ",
        "a folder": str(site.clips),
        "zero byte": f"{site.clips}/a\x00b.mp4",
        "other bucket": "s3://clips-of-others/clip.mp4",
        "bucket upwards": "s3://clips-of-ours/../clips-of-others/clip.mp4",
        "another storage": "gs://clips-of-others/clip.mp4",
        "local scheme of fsspec": f"local://{outside}",
        "chained schemes of fsspec": f"simplecache::file://{outside}",
        "web address": "http://169.254.169.254/latest/meta-data",
        "script address": "javascript:alert(1)",
        "data address": "data:text/html,<script>window.ranInFile=1</script>",
    }


def test_the_clip_itself_is_served_whole_in_part_and_for_download(ask):
    whole, part, saved = ask(VIDEO), ask(VIDEO, Range="bytes=4-7"), ask(f"{VIDEO}&download=1")
    assert (whole.status_code, part.status_code, part.content) == (200, 206, b"ftyp")
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers.get("content-encoding", "identity") == "identity"
    assert "no-" in whole.headers["cache-control"]
    assert saved.headers["content-disposition"].startswith("attachment")


def test_another_file_in_the_same_folder_is_served_so_that_forging_works_here(ask, forge, site):
    other = site.clips / "other.mp4"
    other.write_bytes(b"another clip")
    for place in (str(other), other.as_uri()):
        forge(place)
        assert ask(VIDEO).content == b"another clip"


def test_no_forged_place_is_served_and_each_is_explained(ask, forge, traps, subtests):
    for name, place in traps.items():
        with subtests.test(name):
            forge(place)
            video, clip = ask(VIDEO), ask(CLIP)
            assert video.status_code == 404, video.headers
            assert SECRET not in video.text
            assert "root:" not in video.text
            assert video.json()["detail"]
            assert clip.status_code == 200
            assert not clip.json()["playable"]
            assert clip.json()["not_playable"] == video.json()["detail"]


@pytest.mark.parametrize(
    "link", ["file:///etc/passwd", "javascript:alert(1)", "/etc/passwd", "//host/a", 7, None]
)
def test_what_is_no_web_address_is_no_link_of_the_vendors(ask, forge, leave, link):
    forge(None)
    leave("video_url", link)
    answer = ask(VIDEO)
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_a_clip_that_was_never_landed_is_played_from_the_vendor(ask, forge, site):
    forge(None)
    answer = ask(VIDEO)
    assert (answer.status_code, answer.headers["referrer-policy"]) == (307, "no-referrer")
    assert answer.headers["location"].startswith(site.vendor.url)


@pytest.mark.parametrize("extra", ["file", "path", "uri", "url", "file_uri", "bucket"])
def test_no_place_is_taken_from_the_address(ask, extra):
    assert ask(f"{VIDEO}&{extra}=/etc/passwd").content == ask(VIDEO).content
    assert ask(f"{VIDEO}x&{extra}=/etc/passwd").status_code == 404


def test_a_clip_that_was_deleted_says_so(ask, forge, site):
    forge(str(site.clips / "newsroom" / "gone.mp4"))
    assert ask(VIDEO).status_code == 404
    assert "deleted" in ask(CLIP).json()["not_playable"]


@pytest.mark.parametrize(
    "told",
    [None, [], "clip", 7, {}, {"state": "ready"}, {"summary": 1}, {"state": ["ready"], "file_uri": []}],
)
def test_what_is_no_summary_of_a_clip_breaks_no_page(ask, leave, forge, told):
    leave("kling_clip", told)
    assert ask(CLIP).status_code in (200, 404)
    assert ask(VIDEO).status_code == 404
    for path in ("/api/clips", "/api/clips?state=failed", f"/api/dags/{FORGED}/costs"):
        assert ask(path).status_code == 200
