"""What is waited for, and who waits: each waiter sits on a seat and is woken by news of its task only."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.errors import KlingError
    from airflow_provider_kling_avatar.kling.models import VideoTask
    from airflow_provider_kling_avatar.kling.watcher.alarms import Alarms
    from airflow_provider_kling_avatar.kling.watcher.singles import Singles


SHORTEST_SECONDS = 0.01
"""Between two questions for one task."""
News = tuple["VideoTask | KlingError", float]
"""What was seen of a task, and when, in Unix seconds."""


class Watched:
    """
    A task that is waited for, and what is known of it.

    :param task_id: the vendor's id.
    :param since: Unix seconds; it was created then or earlier.
    """

    __slots__ = (
        "asked_at",
        "due",
        "failed_at",
        "failures",
        "is_asked",
        "last",
        "said",
        "seats",
        "shortest",
        "since",
        "takes_default",
        "task_id",
    )

    def __init__(self, task_id: str, since: float) -> None:
        self.task_id = task_id
        self.since = since
        self.seats: list[Seat] = []
        self.shortest = inf
        """Seconds: the shortest interval that anybody asks for by number."""
        self.takes_default = False
        """Somebody leaves the interval to us."""
        self.last: VideoTask | None = None
        """What the vendor last said of it."""
        self.said: str | None = None
        """The vendor's word for it that is no news; ``None`` if any is, after a failed question for one."""
        self.failures = 0
        """Failed questions in a row."""
        self.failed_at = -inf
        """Seconds of the loop's clock when the last of them was told."""
        self.is_asked = False
        """A question for it by itself is under way."""
        self.due = inf
        """Seconds of the loop's clock at which it is asked for by itself."""
        self.asked_at = -inf
        """When it last was."""

    @property
    def is_doubted(self) -> bool:
        """Whether somebody waits for it of which nobody here knows that it exists."""
        return self.last is None and not all(seat.is_known for seat in self.seats)

    @property
    def is_unplanned(self) -> bool:
        """Whether nobody is going to ask for it by itself."""
        return self.due == inf and not self.is_asked

    def add(self, seat: Seat) -> None:
        """Take in one more who waits."""
        self.seats.append(seat)
        self._note_interval(seat)

    def remove(self, seat: Seat) -> None:
        """Let somebody go."""
        self.seats.remove(seat)
        self.shortest, self.takes_default = inf, False
        for other in self.seats:
            self._note_interval(other)

    def _note_interval(self, seat: Seat) -> None:
        if seat.interval is None:
            self.takes_default = True
        else:
            self.shortest = min(self.shortest, seat.interval)

    def interval(self, default: float) -> float:
        """Return the shortest interval in seconds that anybody wants; asked for thousands at a time."""
        return min(self.shortest, default) if self.takes_default or not self.seats else self.shortest


class Seat:
    """
    One waiter's view of one task.

    :param watched: the task, shared with others who wait for it.
    :param interval: seconds between two questions, ``None`` for as often as costs little.
    :param is_eager: woken also by the first word that a task runs, which others hear of with the next news.
    :param is_known: see `polling.PollLimits`.
    :param singles: asks for one task.
    :param alarms: wake it when nothing is heard.
    """

    __slots__ = (
        "_alarm",
        "_alarms",
        "_news",
        "_singles",
        "_waiter",
        "interval",
        "is_eager",
        "is_known",
        "rings_at",
        "until",
        "watched",
    )

    def __init__(
        self,
        watched: Watched,
        interval: float | None,
        singles: Singles,
        alarms: Alarms,
        *,
        is_eager: bool,
        is_known: bool,
    ) -> None:
        self.watched = watched
        # What is stored may be of a version that let anything pass; a comparison also catches what is no number.
        self.interval = interval if interval is None or interval >= SHORTEST_SECONDS else SHORTEST_SECONDS
        self.is_eager = is_eager
        self.is_known = is_known
        self.until = self.rings_at = inf
        self._singles = singles
        self._alarms = alarms
        self._alarm = alarms.add(self)
        self._news: tuple[News, ...] = () if watched.last is None else ((watched.last, time.time()),)
        self._waiter: asyncio.Future[tuple[News, ...]] | None = None

    def leave(self) -> None:
        """Hear nothing any more."""
        self._alarms.remove(self._alarm)

    @property
    def last(self) -> VideoTask | None:
        """What the vendor last said, unless it cannot be asked just now."""
        return None if self.watched.failures else self.watched.last

    def news(self, until: float) -> asyncio.Future[tuple[News, ...]]:
        """
        Return what will be heard of the task, or of a failed question, with the Unix seconds of each.

        :param until: Unix seconds; if nothing is heard by then, that is the answer.
        """
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        waiter = self._waiter
        if self._news:
            self.wake()
        else:
            self._alarms.set(self._alarm, loop.time() + max(until - time.time(), 0))
        return waiter

    async def look(self) -> VideoTask | KlingError:
        """Ask for the task now."""
        return await self._singles.ask_now(self.watched)

    def tell(self, seen: VideoTask | KlingError, *, is_urgent: bool) -> None:
        """
        Hear of the task.

        :param is_urgent: not only the first word that it runs.
        """
        self._news += ((seen, time.time()),)
        if is_urgent or self.is_eager:
            self.wake()

    def wake(self) -> None:
        """Hand on what was heard, to whoever waits for it."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            news, self._news = self._news, ()
            waiter.set_result(news)
