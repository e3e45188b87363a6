"""
What Airflow's metrics learn of each clip. The names and tags are stable; see docs/observability.md.

Nothing here ever fails a task.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.manifest import VideoManifest

log = logging.getLogger(__name__)

PREFIX = "kling_avatar"
MILLION = 1_000_000


def submitted(api: str, endpoint: str, *, is_new: bool) -> None:
    """Count a clip that was paid for, or that an earlier try's was found again."""
    _send("submitted" if is_new else "reused", 1, api=api, endpoint=endpoint)


def failed(error: Exception) -> None:
    """Count a try that failed, by the class of what went wrong."""
    _send("failed", 1, reason=type(error).__name__)


def succeeded(manifest: VideoManifest) -> None:
    """Count a clip that is there: how long it took, and what it cost in millionths."""
    tags = {"api": manifest["api"], "mode": manifest["mode"], "endpoint": manifest["endpoint"]}
    _send("succeeded", 1, **tags)
    _send("queue_seconds", _timed(manifest["queued_seconds"]), **tags)
    _send("render_seconds", _timed(manifest["rendering_seconds"]), **tags)
    _send("landing_seconds", _timed(manifest["landing_seconds"]), **tags)
    _send("cost_micros", _micros(manifest["actual_cost"]), **tags, currency=manifest["currency"])
    _send("estimated_cost_micros", _micros(manifest["estimated_cost"]), **tags, currency=manifest["currency"])
    _send("units_micros", _micros(manifest["units"]), **tags)


def landed(api: str, endpoint: str, seconds: float) -> None:
    """Count a clip that was fetched on its own."""
    _send("landed", 1, api=api, endpoint=endpoint)
    _send("landing_seconds", _timed(seconds), api=api, endpoint=endpoint)


def _send(name: str, value: int | timedelta | None, **tags: str | None) -> None:
    """Add to a counter, or time a duration; leave out what is not known."""
    if value is None:
        return
    known = {tag: told for tag, told in tags.items() if told is not None}
    try:
        from airflow.providers.common.compat.sdk import Stats

        if isinstance(value, timedelta):
            Stats.timing(f"{PREFIX}.{name}", value, tags=known)
        else:
            Stats.incr(f"{PREFIX}.{name}", value, tags=known)
    except Exception as error:  # noqa: BLE001  # a metric is no reason to fail
        log.debug("metric %s was not sent: %s", name, type(error).__name__)


def _timed(seconds: float | None) -> timedelta | None:
    """Return a duration for a timer, as a timedelta, since versions differ on what unit a number is in."""
    return None if seconds is None else timedelta(seconds=seconds)


def _micros(amount: str | None) -> int | None:
    """Return an amount in whole millionths: counters add up, and whole numbers are what all of them take."""
    try:
        return None if amount is None else int(Decimal(amount) * MILLION)
    except ArithmeticError:
        log.debug("%r is no amount and was not counted", amount)
        return None
