"""How the whole package reads the name of a file of this machine, so that what one part writes another finds."""

from __future__ import annotations

from airflow_provider_kling_avatar.kling.redact import scheme_of


def local_path(place: str) -> str:
    """
    Return the path that a ``file://`` URI names, and a path as it came.

    As Airflow's ``ObjectStoragePath`` reads it, and as a manifest's ``file_uri`` is written: nothing is unquoted, and a
    question mark or a hash belongs to a file's name.

    :raises ValueError: it names another machine.
    """
    if not scheme_of(place):
        return place
    host, _, path = place.partition("://")[2].partition("/")
    host = host.rpartition("@")[2]
    if host not in ("", "localhost"):
        raise ValueError(f"names the host {host!r}: local files are file:///path, with three slashes")
    return "/" + path.lstrip("/")
