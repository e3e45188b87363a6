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
    _count("submitted" if is_new else "reused", 1, api=api, endpoint=endpoint)


def failed(error: Exception) -> None:
    """Count a try that failed, by the class of what went wrong."""
    _count("failed", 1, reason=type(error).__name__)


def succeeded(manifest: VideoManifest) -> None:
    """Count a clip that is there: how long it took, and what it cost in millionths."""
    tags = {"api": manifest["api"], "mode": manifest["mode"], "endpoint": manifest["endpoint"]}
    _count("succeeded", 1, **tags)
    _time("queue_seconds", manifest["queued_seconds"], **tags)
    _time("render_seconds", manifest["rendering_seconds"], **tags)
    _time("landing_seconds", manifest["landing_seconds"], **tags)
    _amount("cost_micros", manifest["actual_cost"], **tags, currency=manifest["currency"])
    _amount("estimated_cost_micros", manifest["estimated_cost"], **tags, currency=manifest["currency"])
    _amount("units_micros", manifest["units"], **tags)


def landed(api: str, endpoint: str, seconds: float) -> None:
    """Count a clip that was fetched on its own."""
    _count("landed", 1, api=api, endpoint=endpoint)
    _time("landing_seconds", seconds, api=api, endpoint=endpoint)


def _count(name: str, count: int, **tags: str | None) -> None:
    try:
        from airflow.providers.common.compat.sdk import Stats

        Stats.incr(f"{PREFIX}.{name}", count, tags=_known(tags))
    except Exception as error:  # noqa: BLE001  # a metric is no reason to fail
        log.debug("metric %s was not sent: %s", name, type(error).__name__)


def _time(name: str, seconds: float | None, **tags: str | None) -> None:
    if seconds is None:
        return
    try:
        from airflow.providers.common.compat.sdk import Stats

        # As a timedelta, since versions differ on what unit a number is in.
        Stats.timing(f"{PREFIX}.{name}", timedelta(seconds=seconds), tags=_known(tags))
    except Exception as error:  # noqa: BLE001
        log.debug("metric %s was not sent: %s", name, type(error).__name__)


def _amount(name: str, amount: str | None, **tags: str | None) -> None:
    """Count an amount in whole millionths: counters add up, and whole numbers are what all of them take."""
    try:
        if amount is not None:
            _count(name, int(Decimal(amount) * MILLION), **tags)
    except ArithmeticError:
        log.debug("metric %s was not sent: %r is no amount", name, amount)


def _known(tags: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if value is not None}
