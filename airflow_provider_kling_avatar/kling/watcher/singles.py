"""
Asks for tasks one by one: what the list does not show, and everything where there is no list.

The questions are spread evenly, and only so many are under way at once.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import random
import time
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import ConnectionLostError, KlingError, RateLimitedError
from airflow_provider_kling_avatar.kling.models import VideoTask
from airflow_provider_kling_avatar.kling.polling import backoff as pace
from airflow_provider_kling_avatar.kling.polling import decide as polling
from airflow_provider_kling_avatar.kling.responses.page import is_thin
from airflow_provider_kling_avatar.kling.watcher.alarms import TURN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_kling_avatar.kling.watcher.board import Board
    from airflow_provider_kling_avatar.kling.watcher.seats import Watched

LONGEST_QUIET_SECONDS = 600.0
"""A vendor that asks for a longer pause is asked all the same."""
PATIENCE_SECONDS = 30.0
"""At a deadline, thousands may ask for a last look at the same time."""

log = logging.getLogger("airflow_provider_kling_avatar.kling.watcher")


class Singles:
    """
    When to ask for which task.

    :param board: what is waited for.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._agenda: list[tuple[float, int, Watched]] = []
        self._numbers = count()
        self._stirred = asyncio.Event()
        self._quiet_until = -inf

    # -------------------------------------------------------------- planning

    def plan(self, watched: Watched, at: float) -> None:
        """
        Ask for a task, and not at the time planned before.

        :param at: seconds of the loop's clock.
        """
        watched.due = at
        heapq.heappush(self._agenda, (at, next(self._numbers), watched))
        if self._agenda[0][2] is watched:
            self._stirred.set()

    def plan_within_interval(self, watched: Watched) -> None:
        """Ask for a task at any time within its interval."""
        interval = _interval(watched)
        self.plan(watched, _slot(_now() + random.random() * interval, interval))  # noqa: S311  # spreads load

    def hurry(self, watched: Watched) -> None:
        """Ask for a task sooner if somebody has come who wants to know sooner."""
        if _now() + _interval(watched) < watched.due < inf:
            self.plan_within_interval(watched)

    def plan_all(self, tasks: Iterable[Watched]) -> None:
        """Ask for many tasks, spread over their intervals."""
        for watched in tasks:
            self.plan_within_interval(watched)

    # ---------------------------------------------------------------- asking

    async def run(self, group: asyncio.TaskGroup) -> None:
        """
        Ask whenever it is time, for ever.

        :param group: runs the questions.
        """
        lister = self._board.lister
        for watched in self._board.tasks.values():
            watched.is_asked = False  # what was under way when the last run broke off
        self.plan_all(
            w for w in self._board.tasks.values() if w.due == inf and not lister.answers_for(w.task_id)
        )
        for number in count(1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            await self._until_due()
            at, _, watched = heapq.heappop(self._agenda)
            watched.due, watched.is_asked = inf, True
            await self._board.account.turns.acquire()
            question = group.create_task(self._ask_in_turn(watched, at))
            question.add_done_callback(self._give_turn_back)

    def _give_turn_back(self, _: asyncio.Task[None]) -> None:
        self._board.account.turns.release()

    async def _until_due(self) -> None:
        """Wait until the first of the agenda is due; what was planned otherwise meanwhile is thrown away."""
        while True:
            self._stirred.clear()
            while self._agenda and self._is_void(*self._agenda[0]):
                heapq.heappop(self._agenda)
            wait = max(self._agenda[0][0], self._quiet_until) - _now() if self._agenda else None
            if wait is not None and wait <= 0:
                return
            await wait_for(self._stirred, wait)

    def _is_void(self, at: float, _: int, watched: Watched) -> bool:
        return watched.due != at or self._board.tasks.get(watched.task_id) is not watched

    async def ask_now(self, watched: Watched) -> VideoTask | KlingError:
        """Ask for a task at once, or as soon as it has its turn."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._board.account.turns:
                # In an empty context: connections that it opens outlive the trigger that asks.
                asking = self._ask(watched)
                return await asyncio.get_running_loop().create_task(asking, context=contextvars.Context())
        except TimeoutError:
            return ConnectionLostError(f"no answer within {PATIENCE_SECONDS:.0f} s")

    async def _ask_in_turn(self, watched: Watched, at: float) -> None:
        last = watched.last
        seen = await self._ask(watched)
        watched.is_asked = False
        if self._board.tasks.get(watched.task_id) is not watched:
            return
        self._plan_next(watched, seen, at)
        if watched.last is not last and isinstance(seen, VideoTask) and not seen.state.is_final:
            return  # the list has told something newer meanwhile
        if seen is not watched.last or watched.failures:
            self._board.tell(watched, seen)

    async def _ask(self, watched: Watched) -> VideoTask | KlingError:
        board = self._board
        watched.asked_at = _now()
        try:
            client = await board.account.client()
            seen = await client.glance(watched.task_id, board.endpoint, watched.last)
        except KlingError as error:
            return error
        except Exception as error:  # one task's oddity must not end the watching of all others
            log.exception("the answer for task %s was not understood", watched.task_id)
            return KlingError(f"the answer was not understood: {type(error).__name__}")
        if seen.state.is_final:
            board.lister.know_ended(watched.task_id)
        return seen

    def _plan_next(self, watched: Watched, seen: VideoTask | KlingError, at: float) -> None:
        """Plan the next question, unless the list answers for the task; ``at``: when this one was due."""
        interval = watched.interval(pace.SINGLE_SECONDS)
        if polling.is_not_there(seen) and watched.is_doubted:
            self.plan(watched, _now() + _interval(watched))
        elif isinstance(seen, KlingError) or is_thin(seen):
            retry_after = seen.retry_after if isinstance(seen, KlingError) else None
            pause = max(
                pace.pause_after(watched.failures + 1, interval),
                min(retry_after or 0.0, LONGEST_QUIET_SECONDS),
            )
            if isinstance(seen, RateLimitedError):
                self._quiet_until = max(self._quiet_until, _now() + pause)
            self.plan(watched, _now() + pause)
        elif not self._board.lister.answers_for(watched.task_id):
            pause = pace.pause_until_ready(
                interval, watched.since + self._board.times.shortest() - time.time()
            )
            # From when it was due, not from the answer: so it is never asked later than every interval. Where so
            # many wait that they cannot all have their turn in that time, the next one begins now.
            self.plan(watched, max(at + pause, _now()))


def _interval(watched: Watched) -> float:
    """Return the seconds between two questions for a task: few until it is clear that there is such a task."""
    interval = watched.interval(pace.SINGLE_SECONDS)
    return min(interval, polling.LOOK_AGAIN_SECONDS) if watched.is_doubted else interval


def _slot(at: float, interval: float) -> float:
    """
    Return the beginning of the tenth of an interval, or of the second, that a moment falls into.

    Questions that are due at the same moment leave together, which costs half of what each would by itself, at the
    vendor's end too; and still only a tenth of all.
    """
    grain = min(interval / 10, 1.0)
    return at - at % grain


def _now() -> float:
    return asyncio.get_running_loop().time()


async def wait_for(event: asyncio.Event, seconds: float | None) -> None:
    """
    Wait for an event, for so long at most.

    :param seconds: ``None`` for as long as it takes.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
