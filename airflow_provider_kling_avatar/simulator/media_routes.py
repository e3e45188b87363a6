"""Serves results: the film is made when somebody first asks for it, then kept.

It knows signed links, ranges (by way of the framework) and one lock per film. It must not know dialects.
Rendering on demand keeps a test that never downloads from paying for an encoder.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from airflow_provider_kling_avatar.simulator.lifecycle import SUCCEED, state_at
from airflow_provider_kling_avatar.simulator.video import Film, render

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_kling_avatar.simulator.clock import Clock
    from airflow_provider_kling_avatar.simulator.links import Links
    from airflow_provider_kling_avatar.simulator.store import Store, TaskRow

_KEPT_SECONDS = 30 * 24 * 3600
"""Results are cleared after this. Source: https://klingai.com/document-api/api/video/avatar"""

_WATERMARKED = "-watermarked"


class Cinema:
    """Finds or makes the file behind a media name."""

    def __init__(self, store: Store, clock: Clock, folder: Path) -> None:
        """Take pictures and audios from `folder`, keep films there too."""
        self._store = store
        self._clock = clock
        self._folder = folder
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def file(self, name: str) -> Path | None:
        """Answer the file called `name`, making it if need be; None if there is no such result."""
        stem, _, suffix = name.rpartition(".")
        watermark = stem.endswith(_WATERMARKED)
        row = self._store.by_id(stem.removesuffix(_WATERMARKED))
        now = self._clock.now()
        if row is None or now - row.created_at > _KEPT_SECONDS or state_at(row, now).status != SUCCEED:
            return None
        if suffix == "mp3":
            return self._folder / row.audio if row.audio else None
        if row.image is None:
            return None
        target = self._folder / name
        with self._locks[name]:
            if not target.exists():
                render(self._film(row, row.image, watermark=watermark), target)
        return target

    def _film(self, row: TaskRow, image: str, *, watermark: bool) -> Film:
        return Film(
            image=self._folder / image,
            audio=self._folder / row.audio if row.audio else None,
            seconds=Decimal(row.seconds),
            mode=row.mode,
            aspect_ratio=row.aspect_ratio,
            watermark=watermark,
        )


def media_routes(cinema: Cinema, links: Links, clock: Clock) -> APIRouter:
    """Make `GET /media/{name}`: 200, 206, 403 (bad or expired link), 404 or 416."""
    router = APIRouter(redirect_slashes=False)

    @router.api_route("/media/{name}", methods=["GET", "HEAD"], response_model=None)
    def media(request: Request, name: str) -> Response:
        """Serve one file."""
        query = request.query_params
        if not links.holds(name, query.get("expires", ""), query.get("sig", ""), clock.now()):
            return PlainTextResponse(
                "This link is not valid, or no longer. Query the task for a fresh one.", 403
            )
        found = cinema.file(name)
        if found is None:
            return PlainTextResponse("There is no such result.", 404)
        kind = "audio/mpeg" if name.endswith(".mp3") else "video/mp4"
        return FileResponse(found, media_type=kind)

    return router
