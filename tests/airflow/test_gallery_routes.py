"""The routes behind the pages, without a server; with logins and rights they are tested in a real Airflow."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from airflow_provider_kling_avatar.compat import HAS_REACT_APPS

if not HAS_REACT_APPS:
    pytest.skip("the gallery needs the UI of Airflow 3.1", allow_module_level=True)

import sqlalchemy as sa
from airflow.api_fastapi.common.db.common import _get_session
from airflow.api_fastapi.core_api import security
from airflow.api_fastapi.core_api.security import get_user
from gallery_kit import Filler, clip_summary, make_tables
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from airflow_provider_kling_avatar.gallery import routes


class AllMaySee:
    """An auth manager who lets everybody see the Dag news."""

    def is_authorized_dag(self, **_):
        return True

    def get_authorized_dag_ids(self, **_):
        return {"news"}


async def answer(path):
    transport = httpx.ASGITransport(routes.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
        return await client.get(path)


@pytest.fixture
def ask(monkeypatch):
    """Ask a route about a database with one clip."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    make_tables(engine)
    with Session(engine) as session:
        Filler(session).task(summary=clip_summary())
        monkeypatch.setitem(routes.app.dependency_overrides, _get_session, lambda: session)
        monkeypatch.setitem(routes.app.dependency_overrides, get_user, lambda: "somebody")
        for module in (security, routes):
            monkeypatch.setattr(module, "get_auth_manager", AllMaySee)
        monkeypatch.setattr(security.DagModel, "get_team_name", lambda _: None, raising=False)
        yield lambda path: asyncio.run(answer(path))
    engine.dispose()


@pytest.mark.parametrize(
    "query", ["", "since=1799999000&until=1800001000", "dag_id=news&state=ready&offset=0"]
)
def test_clips_can_be_asked_for(query, ask):
    found = ask(f"/api/clips?{query}")

    assert found.status_code == 200
    assert [clip["dag_id"] for clip in found.json()["clips"]] == ["news"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/clips?since=nan",
        "/api/clips?since=-1e18",
        "/api/clips?until=1e300",
        "/api/clips?until=inf",
        f"/api/clips?offset={2**70}",
        f"/api/dags/news/clip?run_id=run&task_id=clip&map_index={2**70}",
        f"/dags/news/video?run_id=run&task_id=clip&map_index={-(2**40)}",
        "/api/dags/news/costs?days=0",
    ],
)
def test_an_odd_question_is_refused_and_is_no_defect(path, ask):
    assert ask(path).status_code == 422
