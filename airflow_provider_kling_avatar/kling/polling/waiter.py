"""
One trigger that waits for one task: what it has heard of it, and when it wants to hear more.

Knows the loop's clock and nothing of the network: `watcher` polls, and tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from math import inf

from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.models import VideoTask
from airflow_provider_kling_avatar.kling.polling import backoff, decide
from airflow_provider_kling_avatar.kling.responses.page import is_thin

SHORTEST_INTERVAL_SECONDS = 0.01
"""Between two polls of one task."""
HIDDEN_AFTER = 2
"""List polls in a row that do not show a task: during one, it may have moved from page to page."""

Seen = VideoTask | KlingError
"""What a poll of a task ended in."""


def loop_time() -> float:
    """Return the seconds of the loop's clock."""
    return asyncio.get_running_loop().time()


async def wait_for(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, for so many seconds at most; ``None`` for as long as it takes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@dataclass(eq=False, slots=True)
class Waiter:
    """
    One trigger that waits for one task, and what it knows of it. Times but ``since`` are seconds of the loop's clock.

    :param task_id: the vendor's id.
    :param interval: seconds between two polls, ``None`` for as often as costs little.
    :param since: Unix seconds; the task was created then or earlier.
    :param is_known: see `decide.PollLimits`.
    :param last: what the vendor last said of the task.
    :param failures: failed polls in a row.
    :param failed_at: when the last of them was told.
    :param misses: so many list polls in a row did not show the task.
    :param due: when the task is polled by itself; infinite if it is not.
    :param is_asked: a single poll is under way.
    """

    task_id: str
    interval: float | None
    since: float
    is_known: bool = True
    last: VideoTask | None = None
    failures: int = 0
    failed_at: float = -inf
    misses: int = 0
    due: float = inf
    is_asked: bool = False
    _news: list[tuple[Seen, float]] = field(default_factory=list)
    _has_news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Bound the interval, which may even be no number."""
        if self.interval is not None and not self.interval >= SHORTEST_INTERVAL_SECONDS:
            self.interval = SHORTEST_INTERVAL_SECONDS

    @property
    def list_interval(self) -> float:
        """Seconds between two polls of the list."""
        return backoff.LIST_SECONDS if self.interval is None else self.interval

    @property
    def single_interval(self) -> float:
        """Seconds between two single polls."""
        return backoff.SINGLE_SECONDS if self.interval is None else self.interval

    @property
    def first_interval(self) -> float:
        """The same, few as long as nobody here knows that there is such a task."""
        return (
            min(self.single_interval, decide.LOOK_AGAIN_SECONDS) if self.is_doubtful else self.single_interval
        )

    @property
    def is_doubtful(self) -> bool:
        """Whether nobody here knows that there is such a task."""
        return self.last is None and not self.is_known

    @property
    def has_ended(self) -> bool:
        """Whether the end of the task was heard of, and with what it ended."""
        return self.last is not None and self.last.state.is_final and not is_thin(self.last)

    @property
    def is_unplanned(self) -> bool:
        """Whether nobody is going to poll the task by itself."""
        return self.due == inf and not self.is_asked

    @property
    def is_hidden(self) -> bool:
        """Whether the list does not show the task."""
        return self.misses >= HIDDEN_AFTER

    async def news(self, until: float) -> list[tuple[Seen, float]]:
        """
        Return what is heard of the task, or of a failed poll, with the Unix seconds of each.

        :param until: Unix seconds; if nothing is heard by then, nothing is returned.
        """
        await wait_for(self._has_news, max(until - time.time(), 0))
        self._has_news.clear()
        news, self._news = self._news, []
        return news

    def is_no_news(self, status: str) -> bool:
        """Tell whether the vendor's word for where the task stands is the one that was heard last."""
        last = self.last
        return last is not None and status == last.status and not (self.failures or last.state.is_final)

    def hear(self, seen: Seen) -> None:
        """Take in what a poll ended in, and wake whoever waits for news."""
        if isinstance(seen, KlingError):
            self.failures, self.failed_at = self.failures + 1, loop_time()
        else:
            self.failures, self.last = 0, seen
            self.since = min(self.since, seen.created_at or inf)
        self._news.append((seen, time.time()))
        self._has_news.set()
