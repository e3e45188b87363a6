"""
Which files of clips may be served, and how: what lies in a local folder from there, what lies in storage by a link.

A place is only ever taken from what a task has left of its clip, never from a request. Whoever writes Dags decides
what a task leaves, so `[kling_avatar] gallery_roots` says what may be read with the API server's own rights.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_kling_avatar.gallery.texts import shown_text
from airflow_provider_kling_avatar.kling.local_paths import local_path
from airflow_provider_kling_avatar.kling.redact import redact, scheme_of
from airflow_provider_kling_avatar.lineage import uri_of
from airflow_provider_kling_avatar.storage import parts_of, signed_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO

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


def location_of(summary: object) -> str | None:
    """Return where a summary says that the clip lies; ``None`` if it names no place."""
    uri = summary.get("file_uri") if isinstance(summary, dict) else None
    if not isinstance(uri, str) or not uri:
        return None
    try:
        urlsplit(uri)
    except ValueError:
        return None
    return uri


def servable(uri: str) -> Path | str:
    """
    Return what may be served: the file of this machine, or the URI in a storage. Asks no storage.

    :raises NotServedError: it may not, or is not there.
    """
    if _is_local(uri):
        return _local_file(uri)
    if scheme_of(uri) not in SIGNING_SCHEMES:
        raise NotServedError("Its storage makes no links for browsers: fetch the file from where it lies.")
    roots = [root for root in gallery_roots() if not _is_local(root)]
    if any(_is_beneath(uri, root) for root in roots):
        return uri
    scheme, conn_id, place = parts_of(uri)
    if not conn_id:  # it would be signed with the server's own rights, which are not for what a task names
        bucket = shown_text(place.partition("/")[0], 100) or ""
        raise NotServedError(
            f"Its place names no connection, and the API server signs with its own rights only what its administrator "
            f"allows: add {scheme}://{bucket}/ to [kling_avatar] {ROOTS_OPTION} and restart the API server."
        )
    if roots:
        raise NotServedError(_outside("storage"))
    return uri


def open_film(path: Path, others: Iterable[str] = ()) -> FileIO:
    """
    Open a file that `servable` has returned.

    :param others: where clips lie that the reader may not see.
    :raises NotServedError: it is not there any more, cannot be read, lies elsewhere by now, or is one of the others.
    """
    try:
        film = open(path, "rb", buffering=0, opener=_opened_at_once)  # noqa: SIM115 - who asks closes it
    except FileNotFoundError:
        raise NotServedError(_GONE) from None
    except OSError as error:
        raise NotServedError(
            f"The API server cannot read the file ({error.strerror}): let the user that runs it in."
        ) from None
    status = os.fstat(film.fileno())
    problem = None  # something else may have taken its place since it was looked at, such as a link
    if not stat.S_ISREG(status.st_mode):
        problem = _GONE
    elif not _is_inside(path_of_open(film) or path):
        problem = _outside("folder")
    elif any(_is_path_of(status, other) for other in others if _is_local(other)):
        problem = _OF_OTHERS
    if problem is None:
        return film
    film.close()
    raise NotServedError(problem)


def _opened_at_once(name: str, flags: int) -> int:
    """Open a file, also where a pipe has taken its place: to wait for who writes to it would take for ever."""
    return os.open(name, flags | os.O_NONBLOCK)


def _is_path_of(status: os.stat_result, uri: str) -> bool:
    try:
        return os.path.samestat(status, Path(local_path(uri)).stat())
    except (OSError, ValueError):
        return False


def path_of_open(file: FileIO) -> Path | None:
    """Return where an open file really lies; ``None`` on systems that do not tell."""
    try:
        return Path(f"/proc/self/fd/{file.fileno()}").readlink()
    except OSError:
        return None


def link_to(uri: str, others: Iterable[str] = ()) -> str:
    """
    Return a link to a file in a storage that works for `LINK_SECONDS`.

    :param others: where clips lie that the reader may not see, by whichever connection.
    :raises NotServedError: the storage gives none, or it is one of the others.
    """
    place = parts_of(uri)[2]
    if any(place == parts_of(other)[2] for other in others if not _is_local(other)):
        raise NotServedError(_OF_OTHERS)
    try:
        link = signed_link(uri, LINK_SECONDS)
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


def _is_local(uri: str) -> bool:
    return scheme_of(uri) in ("", "file")


def _local_file(uri: str) -> Path:
    try:
        real = Path(local_path(uri)).resolve()  # where links lead counts
        is_inside = _is_inside(real)
        is_there = is_inside and real.is_file()
    except (OSError, RuntimeError, ValueError):
        is_inside = is_there = False
    if not is_inside:  # whether it is there is nobody's business then
        raise NotServedError(_outside("folder"))
    if not is_there:
        raise NotServedError(_GONE)
    return real


def _is_inside(real: Path) -> bool:
    """Tell whether a file that no link leads to any more lies beneath one of the folders that may be served."""
    return any(real.is_relative_to(folder) for folder in _root_folders())


def _root_folders() -> Iterator[Path]:
    for root in filter(_is_local, gallery_roots()):
        with suppress(OSError, RuntimeError, ValueError):  # one that cannot be read opens nothing
            yield Path(local_path(root)).resolve()


_OF_OTHERS = "It is the file of another Dag's clip too, which you may not read."
_GONE = "The API server does not find the file: it was moved or deleted, or lies on another machine."


def _outside(kind: str) -> str:
    return (
        f"It lies outside of what the API server may show: add its {kind} to [kling_avatar] {ROOTS_OPTION} and restart "
        "the API server."
    )


def _is_beneath(uri: str, root: str) -> bool:
    """Tell whether a URI lies in a storage's folder, by whole parts of the path; connection ids have to be the same."""
    *account, place = parts_of(uri)
    *account_of_root, folder = parts_of(root)
    folder = folder.strip("/")
    return (
        account == account_of_root
        and ".." not in place.split("/")
        and (place == folder or place.startswith(f"{folder}/"))
    )


def shown_location(uri: str) -> str:
    """Return a place as people may read it."""
    if not _is_local(uri):
        return uri_of(uri) or ""
    try:
        return local_path(uri)
    except ValueError:
        return uri
