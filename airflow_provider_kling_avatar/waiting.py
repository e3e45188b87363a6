"""
How long a task waits, for a free slot and for its clip, and what it defers to meanwhile.

Waiting costs no retry. Whether a slot is free is decided in `kling.polling.slot_queue`, whether a clip has ended in
`kling.polling.decide`; here is what operators and sensor need of them.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_kling_avatar.compat import conf
from airflow_provider_kling_avatar.get_provider_info import CONFIG_SECTION
from airflow_provider_kling_avatar.kling.errors import (
    InvalidRequestError,
    KlingError,
    NoFreeSlotError,
    RateLimitedError,
    TaskFailedError,
)
from airflow_provider_kling_avatar.kling.polling.decide import (
    HINT,
    HINT_SECONDS,
    PollLimits,
    hides_a_reason,
)
from airflow_provider_kling_avatar.kling.responses.error_codes import NO_FREE_SLOT

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.compat import BaseTrigger
    from airflow_provider_kling_avatar.hooks.kling_avatar import KlingAvatarHook
    from airflow_provider_kling_avatar.kling.models import EndpointName

DEFAULT_TIMEOUT = 7200.0
"""Seconds. Renders of over an hour have been reported; a clip that is given up too early was paid for in vain."""
DEFAULT_SLOT_TIMEOUT = 86400.0
"""Seconds. A queue of clips takes as long as it takes; nothing is paid while waiting."""
DEFAULT_DEFERRABLE: bool = conf.getboolean(CONFIG_SECTION, "default_deferrable", fallback=True)
"""
Read when a process starts, as the official providers do, but not from their ``[operators] default_deferrable``: Airflow
writes that as false into every configuration it generates, so it does not tell what somebody wants.
"""
BACKSTOP_SECONDS = 120.0
"""How long after the trigger's own deadline Airflow ends the waiting, should the trigger fail to."""
SHORTEST_PAUSE = 10.0
LONGEST_PAUSE = 60.0
"""Seconds between two submissions of a task that waits on its worker."""
SLOW_DOWN_SECONDS = 30.0
"""How long to wait after "too many requests" (1302), if the vendor does not say."""

Deferral = tuple["BaseTrigger", timedelta]
"""A trigger to defer to, and Airflow's own time-out behind the trigger's deadline."""


def seconds(name: str, value: float | timedelta) -> float:
    """
    Return a duration in seconds.

    :param name: of the parameter it was given as.
    :raises InvalidRequestError: it is no duration.
    """
    try:
        duration = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        duration = math.nan
    if not 0 <= duration < math.inf:
        raise InvalidRequestError(
            f"{name} must be a number of seconds, or a timedelta, and not negative: {value!r}", field=name
        )
    return duration


def interval(value: float | timedelta | None) -> float | None:
    """
    Return a ``poll_interval`` in seconds; ``None``, for as often as costs little, stays.

    :raises InvalidRequestError: it is no duration above 0.
    """
    if value is None:
        return None
    duration = seconds("poll_interval", value)
    if not duration:
        raise InvalidRequestError("poll_interval must be above 0 seconds", field="poll_interval")
    return duration


def poll_limits(
    *,
    timeout: float | timedelta,
    poll_interval: float | timedelta | None,
    max_failed_polls: int,
    queue_timeout: float | timedelta | None,
    render_timeout: float | timedelta | None,
    is_known: bool = True,
) -> PollLimits:
    """Return the limits of a waiting that starts now, out of what a task was given; for ``is_known`` see there."""
    now = time.time()
    return PollLimits(
        deadline=now + seconds("timeout", timeout),
        poll_interval=interval(poll_interval),
        max_failed_polls=max_failed_polls,
        queue_deadline=None if queue_timeout is None else now + seconds("queue_timeout", queue_timeout),
        render_timeout=None if render_timeout is None else seconds("render_timeout", render_timeout),
        since=now,
        is_known=is_known,
    )


def clip_trigger(task_id: str, endpoint: EndpointName, kling_conn_id: str, limits: PollLimits) -> Deferral:
    """Return what to defer to until a clip ends."""
    from airflow_provider_kling_avatar.triggers.kling_avatar import KlingAvatarTrigger

    trigger = KlingAvatarTrigger(
        kling_task_id=task_id, kling_conn_id=kling_conn_id, endpoint=endpoint, **limits.as_dict()
    )
    left = max(limits.deadline - time.time(), 0)
    return trigger, timedelta(seconds=left + limits.interval + BACKSTOP_SECONDS)


def is_not_now(error: KlingError) -> bool:
    """Tell whether the vendor refused a submission only for now: no free slot (1303), or too many requests (1302)."""
    return isinstance(error, NoFreeSlotError | RateLimitedError)


def failed_for_want_of_slot(error: KlingError) -> bool:
    """Tell whether the vendor took a task and then failed it because the account was full."""
    return isinstance(error, TaskFailedError) and error.code == NO_FREE_SLOT


def is_about_clip(event: dict[str, Any] | None) -> bool:
    """Tell whether a try was deferred for its clip, and not for a slot; that is assumed without a report."""
    return event is not None and (not event or "task_id" in event)


@dataclass(slots=True)
class Queueing:
    """
    A try that waits for a slot.

    :param since: Unix seconds when it began: who waits longest goes first.
    :param deadline: Unix seconds, absolute: it survives restarts.
    :param is_over: the triggerer has waited until the deadline.
    :param refusals: how often the vendor has refused it on this worker.
    :param hint_at: Unix seconds; if all refusals until then may hide an empty account, the log says so. ``None`` while
        there is no reason to think of that.
    """

    since: float
    deadline: float
    is_over: bool = False
    refusals: int = 0
    hint_at: float | None = None

    @classmethod
    def begin(cls, slot_timeout: float) -> Self:
        """Begin to wait now, for so many seconds at most."""
        now = time.time()
        return cls(now, now + slot_timeout)

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> Self:
        """Go on with what the trigger reported; without a report, with one last submission."""
        now = time.time()
        return cls(
            event.get("since") or now,
            event.get("deadline") or now,
            event.get("verdict") != "free_slot",
            hint_at=event.get("hint_at"),
        )

    def check(self, error: KlingError) -> None:
        """
        Note one more refusal.

        :raises NoFreeSlotError: the time is over.
        """
        self.refusals += 1
        now = time.time()
        if self.is_over or now >= self.deadline:
            raise NoFreeSlotError(
                f"no slot became free in {now - self.since:.0f} s (slot_timeout): give the tasks of this account an "
                f"Airflow pool of the size of its pack, buy more slots, or wait longer ({error.message})",
                code=error.code,
                http_status=error.http_status,
                request_id=error.request_id,
                retry_after=error.retry_after,
            ) from error

    def hint(self, error: KlingError) -> str | None:
        """Return what the log shall say, once, of so many refusals that name no reason."""
        now = time.time()
        if not hides_a_reason(error):
            self.hint_at = None
        elif self.hint_at is None:
            self.hint_at = now + HINT_SECONDS
        elif now >= self.hint_at:
            self.hint_at = self.deadline  # not again
            return HINT
        return None

    def pause(self, error: KlingError) -> float:
        """Return the seconds to wait on this worker before the next submission."""
        pause = min(SHORTEST_PAUSE * 2.0 ** (self.refusals - 1), LONGEST_PAUSE)
        pause = max(pause * random.uniform(0.8, 1.2), error.retry_after or 0.0)  # noqa: S311  # spreads load
        return max(min(pause, self.deadline - time.time()), 0.0)


def slot_trigger(
    hook: KlingAvatarHook,
    endpoint: EndpointName,
    error: KlingError,
    queueing: Queueing,
    poll_interval: float | None,
) -> Deferral:
    """Return what to defer to until there is a free slot."""
    from airflow_provider_kling_avatar.kling.polling.slot_queue import count_in_flight
    from airflow_provider_kling_avatar.triggers.kling_slot import KlingSlotTrigger

    slow_down = isinstance(error, RateLimitedError)
    now = time.time()
    trigger = KlingSlotTrigger(
        kling_conn_id=hook.kling_conn_id,
        endpoint=endpoint,
        deadline=queueing.deadline,
        since=queueing.since,
        busy=None if slow_down else count_in_flight(hook.get_conn(), endpoint),
        not_before=now + (error.retry_after or (SLOW_DOWN_SECONDS if slow_down else 0.0)),
        poll_interval=poll_interval,
        hint_at=queueing.hint_at,
    )
    return trigger, timedelta(seconds=max(queueing.deadline - now, 0) + BACKSTOP_SECONDS)
