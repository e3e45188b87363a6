"""The loop in which a worker waits for a task. It only looks, logs and sleeps; `decide` decides."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Protocol

from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.polling.decide import Finished, PollLimits, PollTracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_kling_avatar.kling.models import VideoTask


class Log(Protocol):
    """Where the log lines go: a standard logger, or Airflow's."""

    def info(self, event: str, *args: object) -> object:
        """Log one line."""
        ...


FIRST_LOOK_SECONDS = 2.0
"""So long after a task was sent it may have been refused already, which is not told an interval late."""


def wait_for_task(
    look: Callable[[], VideoTask],
    limits: PollLimits,
    log: Log,
    *,
    is_new: bool = False,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Finished:
    """
    Wait on a worker until a task ends or its limits are reached.

    :param look: asks for the task once.
    :param limits: how long and how often to ask.
    :param log: gets the log lines.
    :param is_new: the task was sent just now: it is first asked for after a pause.
    """
    tracker = PollTracker(limits)
    if is_new:
        sleep(max(0.0, min(limits.interval, FIRST_LOOK_SECONDS, limits.deadline - clock())))
    while True:
        seen: VideoTask | KlingError
        try:
            seen = look()
        except KlingError as error:
            seen = error
        now = clock()
        decision = tracker.look(seen, now=now, jitter=random.random())  # noqa: S311  # spreads load, guards nothing
        for line in tracker.log_lines(seen, now=now):
            log.info("%s", line)
        if isinstance(decision, Finished):
            return decision
        sleep(decision.seconds)
