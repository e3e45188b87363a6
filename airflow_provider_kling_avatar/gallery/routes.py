"""
The routes behind the pages, for Airflow's API server from 3.1 on.

Each but that of the page's own code asks Airflow whether the user may see the Dag's tasks and what they left; whoever
is not logged in gets 401. A file is only ever named by its task instance.
"""

import logging
import os
import time
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from airflow_provider_kling_avatar.clip_summary import CLIP_XCOM_KEY
from airflow_provider_kling_avatar.gallery.clips import (
    Filters,
    TaskKey,
    clip_of,
    clips_page,
    dags_with_clips,
    left_by,
    locations_of_others,
    summaries_of_dag,
)
from airflow_provider_kling_avatar.gallery.costs import costs_of
from airflow_provider_kling_avatar.gallery.files import (
    NotServedError,
    link_to,
    location_of,
    open_film,
    path_of_open,
    servable,
)
from airflow_provider_kling_avatar.gallery.texts import shown_text

log = logging.getLogger(__name__)

DAY = 24 * 3600
LONGEST_CLIP = 7 * DAY
"""Seconds between what the first and the last task of a clip leave: for a slot, in the queue, until a retry."""
MAY_SEE_CLIPS = [
    Depends(requires_access_dag("GET", entity))
    for entity in (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
]
PRIVATE = {"Cache-Control": "private, no-store"}

Days = Annotated[int, Query(ge=1, le=3650)]
"""The last ones, until now by the server's clock."""
MapIndex = Annotated[int, Query(ge=-1, lt=2**31)]
# A zero byte ends a query of PostgreSQL's; Airflow's own ids have 250 characters at most.
ID = {"pattern": r"^[^\x00]*$", "max_length": 250}
DagId = Annotated[str, PathParameter(**ID)]
Id = Annotated[str, Query(**ID)]

app = FastAPI(title="Kling clips", openapi_url=None)
app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))


@app.exception_handler(Exception)
def tell_of_a_defect(_: Request, error: Exception) -> JSONResponse:
    """Answer for what should not happen; the log has the rest."""
    log.error("a page about clips failed", exc_info=error)
    return JSONResponse({"detail": f"{type(error).__name__}: see the API server's log."}, status_code=500)


@app.get("/api/clips", dependencies=MAY_SEE_CLIPS)
def clips(
    session: SessionDep,
    user: GetUserDep,
    dag_id: str | None = None,
    state: Literal["under_way", "ready", "failed"] | None = None,
    days: Days | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 24,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> JSONResponse:
    """Return the clips of all Dags that the user may see and that have changed then, those first that did last."""
    now = time.time()
    since = None if days is None else now - days * DAY
    visible = _readable_dags(user)
    wanted = visible & {dag_id} if dag_id else visible
    shown, total = clips_page(session, Filters(wanted, state, since), limit=limit, offset=offset, now=now)
    return JSONResponse(
        {
            "clips": shown,
            "total": total,
            "dags": dags_with_clips(session, visible),
            "offset": offset,
            "limit": limit,
        },
        headers=PRIVATE,
    )


@app.get("/api/dags/{dag_id}/clip", dependencies=MAY_SEE_CLIPS)
def clip(
    session: SessionDep, dag_id: DagId, run_id: Id, task_id: Id, map_index: MapIndex = -1
) -> JSONResponse:
    """Return the clip of a task instance."""
    found = _clip(session, TaskKey(dag_id, run_id, task_id, map_index))
    return JSONResponse(found, headers=PRIVATE)


@app.get("/api/dags/{dag_id}/costs", dependencies=MAY_SEE_CLIPS)
def costs(session: SessionDep, dag_id: DagId, days: Days = 30) -> JSONResponse:
    """Return what the clips of a Dag cost that were begun with in the last days."""
    since = time.time() - days * DAY
    summaries = summaries_of_dag(session, dag_id, since - LONGEST_CLIP)
    return JSONResponse(costs_of(summaries, since), headers=PRIVATE)


@app.api_route("/dags/{dag_id}/video", methods=["GET", "HEAD"], dependencies=MAY_SEE_CLIPS)
def video(
    session: SessionDep,
    user: GetUserDep,
    dag_id: DagId,
    run_id: Id,
    task_id: Id,
    map_index: MapIndex = -1,
    *,
    download: bool = False,
) -> Response:
    """Return a clip: out of a folder, or a redirect to a link that lives for a while."""
    key = TaskKey(dag_id, run_id, task_id, map_index)
    found = _clip(session, key)
    if found["not_playable"]:
        raise HTTPException(404, found["not_playable"])
    uri = location_of(left_by(session, key, CLIP_XCOM_KEY))
    try:
        if uri is None:
            return _redirect(_link_of_vendor(session, key))
        place = servable(uri)
        # What a task has left may name any file that may be served: also one that is not for this reader.
        others = locations_of_others(session, _readable_dags(user) | {dag_id}, str(place).rpartition("/")[2])
        if isinstance(place, str):
            return _redirect(link_to(place, others))
        film = open_film(place, others)
    except NotServedError as error:
        raise HTTPException(404, str(error)) from None
    return FilmResponse(
        film,
        place,
        media_type="video/mp4",
        filename=shown_text(place.name),
        content_disposition_type="attachment" if download else "inline",
        headers={
            "Cache-Control": "private, no-cache",
            "X-Content-Type-Options": "nosniff",  # whatever is in the file, it is played and not run
            "Content-Encoding": "identity",  # or Airflow 3.1 would pack it, after which nobody could seek
        },
    )


class FilmResponse(FileResponse):
    """
    An open file, whole or in the parts that are asked for; closed when it was sent.

    What was opened is what is sent: a file's name may lead elsewhere a moment later.

    :param film: to be closed.
    :param place: its path, for systems that have no path of an open file.
    """

    def __init__(self, film: FileIO, place: Path, **rest: Any) -> None:
        self._film = film
        path = f"/proc/self/fd/{film.fileno()}" if path_of_open(film) else place
        super().__init__(path, stat_result=os.fstat(film.fileno()), **rest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._film:
            await super().__call__(scope, receive, send)


def _readable_dags(user: GetUserDep) -> frozenset[str]:
    return frozenset(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def _clip(session: SessionDep, key: TaskKey) -> dict[str, Any]:
    found = clip_of(session, key, time.time())
    if found is None:
        raise HTTPException(
            404, "This task has left no clip: it has not begun with one, or is none of Kling's."
        )
    return found


def _link_of_vendor(session: SessionDep, key: TaskKey) -> str:
    link = left_by(session, key, "video_url")
    if not isinstance(link, str) or not link.startswith(("https://", "http://")):
        raise NotServedError("It was never landed, and the task has left no link to it.")
    return link


def _redirect(link: str) -> RedirectResponse:
    return RedirectResponse(link, status_code=307, headers={**PRIVATE, "Referrer-Policy": "no-referrer"})
