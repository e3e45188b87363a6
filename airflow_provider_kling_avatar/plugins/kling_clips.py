"""
Adds the pages about clips to the UI of Airflow 3.1 and newer; adds nothing before.

Every Airflow process imports this: what the pages need is imported at their first request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_kling_avatar import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

PREFIX = "/kling-avatar"
"""Of the addresses of our own routes."""


class LazyApp:
    """An ASGI application that is made when it is first asked for something."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        from airflow_provider_kling_avatar.gallery.routes import app

        await app(scope, receive, send)


def _page(name: str, destination: str, url_route: str) -> dict[str, str]:
    """
    Return a page for the UI.

    :param name: also that of the global under which the UI looks for the page's component.
    :param destination: where it stands: ``nav``, ``dag`` or ``task_instance``.
    :param url_route: the last part of its address.
    """
    base = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
    bundle = f"{base}{PREFIX}/static/kling-clips.js?v={__version__}"
    return {"name": name, "destination": destination, "url_route": url_route, "bundle_url": bundle}


class KlingClipsPlugin(AirflowPlugin):
    """The gallery, a tab on each of our tasks, and one on each Dag."""

    name = "kling_clips"
    if AIRFLOW_V_3_1_PLUS:
        fastapi_apps = [{"name": "Kling clips", "app": LazyApp(), "url_prefix": PREFIX}]
        react_apps = [
            _page("Kling clips", "nav", "kling-clips"),
            _page("Kling clip", "task_instance", "kling-clip"),
            _page("Kling clips of this Dag", "dag", "kling-dag-clips"),
        ]
