"""The routes behind the pages, without a server; with logins and rights they are tested in a real Airflow."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from airflow_provider_kling_avatar.compat import HAS_REACT_APPS

if not HAS_REACT_APPS:
    pytest.skip("the gallery needs the UI of Airflow 3.1", allow_module_level=True)

import sqlalchemy as sa
from airflow.api_fastapi.common.db.common import _get_session
from airflow.api_fastapi.core_api import security
from airflow.api_fastapi.core_api.security import get_user
from gallery_kit import NOW, Filler, clip_summary, make_tables
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from airflow_provider_kling_avatar.gallery import routes


class AllMaySee:
    """An auth manager who lets everybody see the Dag news."""

    def is_authorized_dag(self, **_):
        return True

    def get_authorized_dag_ids(self, **_):
        return {"news"}


async def answer(path, method="GET", **headers):
    transport = httpx.ASGITransport(routes.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
        return await client.request(method, path, headers=headers)


@pytest.fixture
def ask(monkeypatch):
    """Ask a route about a database with one clip."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    make_tables(engine)
    with Session(engine) as session:
        filler = Filler(session)
        filler.task(summary=clip_summary())
        monkeypatch.setitem(routes.app.dependency_overrides, _get_session, lambda: session)
        monkeypatch.setitem(routes.app.dependency_overrides, get_user, lambda: "somebody")
        for module in (security, routes):
            monkeypatch.setattr(module, "get_auth_manager", AllMaySee)
        monkeypatch.setattr(security.DagModel, "get_team_name", lambda _: None, raising=False)

        def get(path, *args, **headers):
            return asyncio.run(answer(path, *args, **headers))

        get.filler = filler
        yield get
    engine.dispose()


@pytest.fixture
def film(ask, tmp_path, monkeypatch):
    """A clip that lies in a folder, and the address of its film."""
    monkeypatch.setenv("AIRFLOW__KLING_AVATAR__GALLERY_ROOTS", str(tmp_path))
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"0123456789")
    ask.filler.task("landed", summary=clip_summary(kling_task_id="832", file_uri=f"file://{path}"))
    return path, "/dags/news/video?run_id=run&task_id=landed"


@pytest.mark.parametrize(
    ("query", "found_at"),
    [("", NOW), ("days=7&dag_id=news&state=ready&offset=0", NOW), ("days=7", NOW + 6 * 24 * 3600)],
)
def test_clips_can_be_asked_for(query, found_at, ask, monkeypatch):
    monkeypatch.setattr(routes.time, "time", lambda: found_at)
    found = ask(f"/api/clips?{query}")

    assert found.status_code == 200
    assert [clip["dag_id"] for clip in found.json()["clips"]] == ["news"]


def test_of_a_clip_that_was_ordered_before_the_time_asked_for_no_half_is_counted(ask, monkeypatch):
    ask.filler.task(
        "submit",
        run_id="old",
        changed_at=NOW - 40 * 3600,
        summary=clip_summary(kling_task_id="7", state="submitted", step=1, began_at=NOW - 40 * 3600),
    )
    ask.filler.task("wait", run_id="old", changed_at=NOW - 60, summary=clip_summary(kling_task_id="7"))
    monkeypatch.setattr(routes.time, "time", lambda: NOW)

    assert ask("/api/dags/news/costs?days=1").json()["total"]["clips"] == 1
    assert ask("/api/dags/news/costs?days=2").json()["total"]["clips"] == 2


def test_the_days_of_a_filter_end_now_by_the_servers_clock(ask, monkeypatch):
    monkeypatch.setattr(routes.time, "time", lambda: NOW + 8 * 24 * 3600)

    assert ask("/api/clips?days=7").json()["clips"] == []
    assert len(ask("/api/clips?days=9").json()["clips"]) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/api/clips?days=nan",
        "/api/clips?days=-1",
        "/api/clips?days=1e300",
        f"/api/clips?days={2**70}",
        f"/api/clips?offset={2**70}",
        f"/api/dags/news/clip?run_id=run&task_id=clip&map_index={2**70}",
        f"/dags/news/video?run_id=run&task_id=clip&map_index={-(2**40)}",
        "/api/dags/news/costs?days=0",
        "/api/dags/news/clip?run_id=run%00&task_id=clip",
        "/dags/news/video?run_id=run&task_id=%00clip",
        "/dags/news%00/video?run_id=run&task_id=clip",
        "/api/dags/news%00/costs",
        f"/dags/news/video?run_id=run&task_id={'x' * 251}",
    ],
)
def test_an_odd_question_is_refused_and_is_no_defect(path, ask):
    assert ask(path).status_code == 422


def test_a_film_is_sent_whole_and_in_parts(film, ask):
    _, address = film

    whole, part, end = ask(address), ask(address, range="bytes=4-6"), ask(address, range="bytes=-3")

    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"0123456789", "10")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"456", "bytes 4-6/10")
    assert (end.status_code, end.content) == (206, b"789")
    assert ask(address, range="bytes=20-").status_code == 416
    assert ask(address, **{"if-range": whole.headers["etag"], "range": "bytes=0-0"}).status_code == 206


def test_the_head_of_a_film_can_be_asked_for(film, ask):
    _, address = film

    head = ask(address, "HEAD")

    assert (head.status_code, head.content) == (200, b"")
    assert (head.headers["content-type"], head.headers["content-length"]) == ("video/mp4", "10")


def test_a_film_that_was_sent_is_closed_again(film, ask):
    _, address = film
    ask(address)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for headers in ({}, {"range": "bytes=0-1"}, {"range": "bytes=99-"}, {"range": "nonsense"}):
        ask(address, **headers)
    ask(address, "HEAD")

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_film_that_is_replaced_by_a_link_before_it_is_sent_is_not_served(film, ask, monkeypatch):
    path, address = film
    (path.parent.parent / "secret").write_bytes(b"secret")
    opens = routes.open_film

    def swap_and_open(*args):
        path.unlink()
        path.symlink_to(path.parent.parent / "secret")
        return opens(*args)

    monkeypatch.setattr(routes, "open_film", swap_and_open)
    answered = ask(address)

    assert (answered.status_code, b"secret" in answered.content) == (404, False)


def test_a_file_whose_name_is_no_text_is_sent_under_one_that_is(film, ask):
    path, address = film
    odd = path.with_name(os.fsdecode(b"bad\xff.mp4"))
    path.rename(odd)
    path.symlink_to(odd)

    sent = ask(f"{address}&download=1")

    assert (sent.status_code, sent.content) == (200, b"0123456789")
    assert sent.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    "place",
    [
        "{folder}/clip.mp4",
        "file://{folder}/clip.mp4",
        "file://{folder}/link/clip.mp4",
        "file://{folder}//news/../clip.mp4",
    ],
)
def test_a_film_that_is_another_dags_too_is_not_for_who_may_not_read_that_one(place, film, ask):
    """Or whoever may edit the XComs of one Dag would hand himself the films of all."""
    path, address = film
    (path.parent / "link").symlink_to(path.parent)
    (path.parent / "news").mkdir()
    summary = clip_summary(kling_task_id="9", file_uri=place.replace("{folder}", str(path.parent)))
    ask.filler.task("theirs", dag_id="secret", summary=summary)

    refused = ask(address)

    assert (refused.status_code, b"0123" in refused.content) == (404, False)
    assert "another Dag" in refused.json()["detail"]
    assert "secret" not in refused.text


def test_a_film_that_is_another_dags_too_is_for_who_may_read_both(film, ask, monkeypatch):
    path, address = film
    ask.filler.task("theirs", dag_id="sports", summary=clip_summary(kling_task_id="9", file_uri=str(path)))
    monkeypatch.setattr(AllMaySee, "get_authorized_dag_ids", lambda *_, **__: {"news", "sports"})

    assert ask(address).content == b"0123456789"


def test_another_dags_film_of_the_same_name_takes_nothing_away(film, ask):
    path, address = film
    (path.parent / "theirs").mkdir()
    (path.parent / "theirs" / "clip.mp4").write_bytes(b"theirs")
    for number, place in enumerate(
        [f"{path.parent}/theirs/clip.mp4", "/gone/clip.mp4", "s3://c@b/clip.mp4", "file://elsewhere/clip.mp4"]
    ):
        summary = clip_summary(kling_task_id=f"of-{number}", file_uri=place)
        ask.filler.task("theirs", dag_id="secret", run_id=str(number), summary=summary)

    assert ask(address).content == b"0123456789"


@pytest.mark.parametrize(
    ("theirs", "status"),
    [
        ("s3://another@clips/news/a_%.mp4", 404),
        ("s3a://{conn}@clips/news/a_%.mp4", 404),
        ("s3://{conn}@clips/of-others/a_%.mp4", 307),
        ("s3://{conn}@others/news/a_%.mp4", 307),
        ("s3://{conn}@clips/news/a_b.mp4", 307),
    ],
)
def test_an_object_that_is_another_dags_too_is_kept_alike_by_whichever_connection(
    theirs, status, ask, bucket
):
    ours = clip_summary(kling_task_id="832", file_uri=bucket.uri("news/a_%.mp4"))
    ask.filler.task("landed", summary=ours)
    summary = clip_summary(kling_task_id="9", file_uri=theirs.replace("{conn}", bucket.conn_id))
    ask.filler.task("theirs", dag_id="secret", summary=summary)

    assert ask("/dags/news/video?run_id=run&task_id=landed").status_code == status
