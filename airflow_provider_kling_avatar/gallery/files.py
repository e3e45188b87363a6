"""
Which files of clips may be served, and how: what lies in a local folder from there, what lies in storage by a link.

A place is only ever taken from what a task has left of its clip, never from a request. Whoever writes Dags decides
what a task leaves, so `[kling_avatar] gallery_roots` says what may be read with the API server's own rights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_kling_avatar.kling.places import local_path
from airflow_provider_kling_avatar.kling.redact import redact, scheme_of
from airflow_provider_kling_avatar.lineage import uri_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOTS_OPTION = "gallery_roots"
SIGNING_SCHEMES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az", "wasb", "wasbs"})
"""Storages that can make a link for a while."""
LINK_SECONDS = 600
"""How long such a link lives."""


class NotServedError(Exception):
    """A file is not served; the message says why, and what to do."""


def gallery_roots() -> list[str]:
    """Return the folders and storage URIs of ``[kling_avatar] gallery_roots``."""
    from airflow_provider_kling_avatar.compat import conf

    configured = conf.get("kling_avatar", ROOTS_OPTION, fallback="") or ""
    return [root.strip() for root in configured.replace("\n", ",").split(",") if root.strip()]


def place_of(summary: object) -> str | None:
    """Return where a summary says that the clip lies; ``None`` if it names no place."""
    uri = summary.get("file_uri") if isinstance(summary, dict) else None
    if not isinstance(uri, str) or not uri:
        return None
    try:
        urlsplit(uri)
    except ValueError:
        return None
    return uri


def _is_local(uri: str) -> bool:
    return scheme_of(uri) in ("", "file")


def servable(uri: str) -> Path | str:
    """
    Return what may be served: the file of this machine, or the URI in a storage. Asks no storage.

    :raises NotServedError: it may not, or is not there.
    """
    roots = gallery_roots()
    if _is_local(uri):
        return _local_file(uri, [root for root in roots if _is_local(root)])
    if scheme_of(uri) not in SIGNING_SCHEMES:
        raise NotServedError("Its storage makes no links for browsers: fetch the file from where it lies.")
    in_storage = [root for root in roots if not _is_local(root)]
    if in_storage and not any(_is_beneath(uri, root) for root in in_storage):
        raise NotServedError(_outside("storage"))
    return uri


def link_to(uri: str) -> str:
    """
    Return a link to a file in a storage that works for `LINK_SECONDS`.

    :raises NotServedError: the storage gives none.
    """
    from airflow_provider_kling_avatar.compat import BaseHook, ObjectStoragePath

    conn_id = urlsplit(uri).netloc.rpartition("@")[0]
    try:
        if conn_id:  # Amazon's file system goes on without it, with what rights the server itself has
            BaseHook.get_connection(conn_id)
        place = ObjectStoragePath(uri)
        link = str(place.fs.sign(place.path, expiration=LINK_SECONDS))
    except Exception as error:
        problem = f"{type(error).__name__}: {redact(error)}"
        raise NotServedError(
            f"Its storage gives no link to the API server ({problem}): the API server needs the connection and the "
            "packages that the task has."
        ) from error
    parts = urlsplit(link)
    if parts.scheme not in ("https", "http") or not parts.query:
        raise NotServedError(
            "Its storage gives the API server no signed link: the API server needs the connection that the task has."
        )
    return link


def _local_file(uri: str, roots: Sequence[str]) -> Path:
    try:
        real = Path(local_path(uri)).resolve()  # where links lead counts, on both sides
        is_inside = any(real.is_relative_to(Path(local_path(root)).resolve()) for root in roots)
        is_there = is_inside and real.is_file()
    except (OSError, RuntimeError, ValueError):
        is_inside = is_there = False
    if not is_inside:  # whether it is there is nobody's business then
        raise NotServedError(_outside("folder"))
    if not is_there:
        raise NotServedError(
            "The API server does not find the file: it was moved or deleted, or lies on another machine."
        )
    return real


def _outside(kind: str) -> str:
    return (
        f"It lies outside of what the API server may show: add its {kind} to [kling_avatar] {ROOTS_OPTION} and restart "
        "the API server."
    )


def _is_beneath(uri: str, root: str) -> bool:
    """Tell whether a URI lies in a storage's folder, by whole parts of the path; connection ids have to be the same."""
    one, other = urlsplit(uri), urlsplit(root)
    if ".." in one.path.split("/"):
        return False
    folder = other.path.strip("/")
    path = one.path.strip("/")
    return (one.scheme, one.netloc) == (other.scheme, other.netloc) and (
        not folder or path == folder or path.startswith(f"{folder}/")
    )


def shown_place(uri: str) -> str:
    """Return a place as people may read it."""
    if not _is_local(uri):
        return uri_of(uri) or ""
    try:
        return local_path(uri)
    except ValueError:
        return uri
