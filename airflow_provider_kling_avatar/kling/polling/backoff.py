"""
How often to ask, more rarely while a clip cannot be ready or asking fails, and when to stop believing a list.

Pure: it is told the time (of any clock that only goes forward) and what was seen. It knows no network and no loop.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import (
    ConnectionLostError,
    KlingError,
    UnavailableError,
    UnreadableAnswerError,
)

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.models import VideoTask

LIST_SECONDS = 1.8
"""Between two looks at the list, for whoever does not say otherwise: one request answers for up to 500 tasks."""
SINGLE_SECONDS = 10.0
"""Between two questions for one task, for whoever does not say otherwise."""
MOST_IN_FLIGHT = 100
"""Single polls of one account at a time."""
MOST_PAGES = 40
"""Of 500 tasks each. What is older than the newest 20,000 tasks is polled by itself."""
RESTART_SECONDS = 1.0
"""Between a break of the asyncio task and its next start."""
LONGEST_PAUSE_SECONDS = 30.0
"""Between two questions while they fail, unless the interval itself is longer."""
LONGEST_QUIET_SECONDS = 600.0
"""A vendor that asks for a longer pause is asked all the same."""
REMEMBERED_SECONDS = 600.0
"""So long a task that itself said that it has ended is looked for in the list."""
FALLBACK_SECONDS = (10.0, 600.0)
"""How long a list that fails or lags is left alone: the first time, and at most."""
FORGOTTEN_SECONDS = 3600.0
"""After so long without trouble the next one is the first one."""
NO_LIST_SECONDS = 3600.0
"""How long a list that is not there is left alone: somebody may have mended the gateway."""
PROBE_SECONDS = 60.0
"""Between two questions for a task that the list shows, to find out whether the list lags."""
LAGS_AFTER_SECONDS = 5.0
"""A list that still shows a task as unfinished so long after the task itself was known to have ended, lags."""
EARLY_FACTOR = 5
"""So much longer is the interval while a clip cannot be ready."""
EARLY_SHARE = 0.8
"""Of the shortest time that one of the last clips took: a clip that is younger cannot be ready."""
FEWEST_CLIPS, MOST_CLIPS = 5, 50
"""How many clips have to be known before anything is concluded from them, and how many are remembered."""


def pause_after(failures: int, interval: float) -> float:
    """
    Return the seconds until the next question after so many failed ones in a row.

    Ten failures, the default of ``max_failed_polls``, outlast two minutes at the default interval.

    :param failures: 1 or more.
    :param interval: seconds between questions when all is well.
    """
    return min(interval * 2.0 ** min(failures - 1, 4), max(LONGEST_PAUSE_SECONDS, interval))


class RenderTimes:
    """How long an account's last clips took, from their creation to their end by the vendor's own clock."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=MOST_CLIPS)

    def saw(self, task: VideoTask) -> None:
        """Learn from a clip that has ended."""
        if task.created_at and task.updated_at and task.updated_at > task.created_at:
            self._seconds.append(task.updated_at - task.created_at)

    def shortest(self) -> float:
        """Return the seconds that a clip takes at least; 0 if nobody knows."""
        return EARLY_SHARE * min(self._seconds) if len(self._seconds) >= FEWEST_CLIPS else 0.0

    def typical(self) -> float | None:
        """Return the seconds that a clip takes as a rule; ``None`` if too few are known."""
        from statistics import median

        return median(self._seconds) if len(self._seconds) >= FEWEST_CLIPS else None


def pause_until_ready(interval: float, ready_in: float) -> float:
    """
    Return the seconds until the next look at a clip: longer while it cannot be ready, but not past that moment.

    :param interval: seconds between two looks at one that may be ready.
    :param ready_in: seconds until it may be; negative if it may be now.
    """
    return min(EARLY_FACTOR * interval, max(interval, ready_in))


@dataclass(slots=True)
class Listing:
    """
    Whether an account's list can be relied on.

    :param usable_at: seconds of the clock from which it may be asked; infinite if there is none.
    """

    usable_at: float = -inf
    _slips: int = 0
    _fallbacks: int = 0
    _troubled_at: float = -inf

    def is_usable(self, now: float) -> bool:
        """Tell whether the list answers for the tasks now."""
        return now >= self.usable_at

    def worked(self, now: float) -> None:
        """Note that the list was read to the end of what was wanted."""
        self._slips = 0
        if now - self._troubled_at > FORGOTTEN_SECONDS:
            self._fallbacks = 0

    def failed(self, error: KlingError, now: float) -> float:
        """
        Note that the list itself failed, not the way to the vendor.

        :returns: seconds for which each task has to be asked for by itself; 0 for a first slip.
        """
        self._slips += 1
        if (error.retry_after or 0.0) > LONGEST_PAUSE_SECONDS:
            return self.distrust(now)
        if not isinstance(error, ConnectionLostError | UnavailableError | UnreadableAnswerError):
            return self._leave_alone(NO_LIST_SECONDS, now)
        return self.distrust(now) if self._slips > 1 else 0.0

    def distrust(self, now: float) -> float:
        """Leave the list alone for a while, each time for longer; return the seconds."""
        first, longest = FALLBACK_SECONDS
        self._fallbacks += 1
        return self._leave_alone(min(first * 2.0 ** min(self._fallbacks - 1, 20), longest), now)

    def _leave_alone(self, seconds: float, now: float) -> float:
        self._slips = 0
        self._troubled_at = self.usable_at = now + seconds
        return seconds
