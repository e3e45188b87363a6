"""The loop in which a worker waits for a task. It only looks, tells and sleeps; `polling` decides."""

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
    """Where the story goes: a standard logger, or Airflow's."""

    def info(self, event: str, *args: object) -> object:
        """Log one line."""
        ...


def wait_for_task(
    look: Callable[[], VideoTask],
    limits: PollLimits,
    log: Log,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Finished:
    """
    Wait on a worker until a task ends or its limits are reached.

    :param look: asks for the task once.
    :param limits: how long and how often to ask.
    :param log: gets the story.
    """
    watch = PollTracker(limits)
    while True:
        seen: VideoTask | KlingError
        try:
            seen = look()
        except KlingError as error:
            seen = error
        decision = _decide(watch, seen, clock(), log)
        if isinstance(decision, Finished):
            return decision
        sleep(decision)


def _decide(watch: PollTracker, seen: VideoTask | KlingError, now: float, log: Log) -> Finished | float:
    """Decide, tell the story, and return the verdict or the seconds to sleep."""
    decision = watch.look(seen, now=now, jitter=random.random())  # noqa: S311  # spreads load, guards nothing
    for line in watch.log_lines(seen, now=now):
        log.info("%s", line)
    return decision if isinstance(decision, Finished) else decision.seconds
