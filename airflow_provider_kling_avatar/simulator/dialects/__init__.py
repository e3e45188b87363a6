"""The APIs this server speaks, one module each, and what a request to any of them wants.

A module holds what is particular to its vendor and nothing else does; `base.Dialect` says what that may be.
"""

from __future__ import annotations

from typing import Final, Literal

from airflow_provider_kling_avatar.simulator.dialects.base import Dialect
from airflow_provider_kling_avatar.simulator.dialects.cometapi import CometApi
from airflow_provider_kling_avatar.simulator.dialects.generations import Generations
from airflow_provider_kling_avatar.simulator.dialects.kling import Kling
from airflow_provider_kling_avatar.simulator.dialects.kling_broadcast import KlingBroadcast
from airflow_provider_kling_avatar.simulator.dialects.relay import RELAYS

__all__ = ["DIALECTS", "CallName", "Dialect", "call_of"]

CallName = Literal["create", "list", "query"]
"""What a request wants of a vendor."""

# More specific paths come first: `/v1/videos/avatar/{id}` would swallow `/v1/videos/avatar/image2video`.
DIALECTS: Final[tuple[Dialect, ...]] = (Kling(), KlingBroadcast(), CometApi(), Generations(), *RELAYS)
"""All of them, in the order in which their routes are to be tried."""

_PATHS: Final = frozenset(path for dialect in DIALECTS for path in dialect.paths.values())


def call_of(method: str, path: str) -> CallName | None:
    """Tell what a request wants, whether or not that vendor can do it; None for what is no business with tasks."""
    if method == "POST":
        return "create" if path in _PATHS else None
    if method != "GET":
        return None
    if path in _PATHS:
        return "list"
    return "query" if path.rpartition("/")[0] in _PATHS else None
