"""
Asks one list for all tasks: newest first, page by page, only as far back as anybody waits.

Stops believing a list that fails or lags, for a while, and has each task asked for by itself meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    KlingError,
    RateLimitedError,
)
from airflow_provider_kling_avatar.kling.models import TaskState
from airflow_provider_kling_avatar.kling.polling import backoff as pace
from airflow_provider_kling_avatar.kling.polling.slot_queue import PAGE_SIZE
from airflow_provider_kling_avatar.kling.responses.page import unfinished
from airflow_provider_kling_avatar.kling.responses.tasks import STATES
from airflow_provider_kling_avatar.kling.watcher.alarms import TURN
from airflow_provider_kling_avatar.kling.watcher.singles import LONGEST_QUIET_SECONDS, wait_for

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.responses.page import Page
    from airflow_provider_kling_avatar.kling.watcher.board import Board

log = logging.getLogger("airflow_provider_kling_avatar.kling.watcher")

MOST_PAGES = 40
"""Of 500 tasks each. What is older than the newest 20,000 tasks is asked for by itself."""
AGE_MARGIN_SECONDS = 3600.0
"""So much older than the oldest that is waited for is a page behind which nobody looks on."""
ALWAYS_PAGES, TASKS_WORTH_A_PAGE = 3, 5
"""So many pages are read for anybody; behind them only for more tasks than would cost fewer single questions."""
FAILURES_OF_LIST_ALONE = 3
"""After so many refusals in a row it is found out whether only the list is refused."""
HIDDEN_AFTER = 2
"""Sweeps in a row that do not show a task: in one, it may have moved from page to page while we read."""
REMEMBERED_SECONDS = 600.0
"""So long a task that has ended is looked for in the list."""

NOBODY_CAN_ASK = (AuthenticationError, ConfigurationError, ConnectionFailedError, RateLimitedError)
"""Errors that say nothing of the list: any other question would end the same way."""


class LateListError(KlingError):
    """The list shows as unfinished what ended some time ago."""


class Lister:
    """
    One account's list of one kind of tasks.

    :param board: what is waited for.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._listing = pace.Listing()
        if not board.account.config.dialect.endpoint(board.endpoint).list_path:
            self._listing.usable_at = inf
        self._ended: dict[str, float] = {}  # when a task itself said so
        self._due = -inf
        self._began = -inf
        self._stirred = asyncio.Event()
        self._failures = 0
        self._not_before = -inf
        self._probed_at = -inf
        self._depth = 0  # so many pages the last sweep took to find all
        self._misses: dict[str, int] = {}  # by task id: so many sweeps in a row did not show it

    @property
    def is_usable(self) -> bool:
        """Whether the list answers for the tasks just now."""
        return self._listing.is_usable(_now())

    def is_hiding(self, task_id: str) -> bool:
        """Tell whether the list does not show a task that is waited for."""
        return self._misses.get(task_id, 0) >= HIDDEN_AFTER

    def answers_for(self, task_id: str) -> bool:
        """Tell whether a task need not be asked for by itself just now."""
        return self.is_usable and not self.is_hiding(task_id)

    def forget(self, task_id: str) -> None:
        """Note that nobody waits for a task any more."""
        self._misses.pop(task_id, None)

    def hurry(self, interval: float) -> None:
        """
        Look again so soon after the last look, unless that is planned anyway.

        :param interval: seconds.
        """
        due = max(self._began + interval, self._not_before)
        if due < self._due and not self._failures:
            self._due = due
            self._stirred.set()

    def know_ended(self, task_id: str) -> None:
        """Note that a task itself says that it has ended: the list, if there is one, will have to say so too."""
        if self._listing.usable_at < inf:
            while self._ended and _now() - next(iter(self._ended.values())) > REMEMBERED_SECONDS:
                del self._ended[next(iter(self._ended))]
            self._ended[task_id] = _now()

    # ---------------------------------------------------------------- rounds

    async def run(self) -> None:
        """Look whenever it is time, for ever."""
        self._due = -inf
        while True:
            self._stirred.clear()
            wait = self._due - _now()
            if wait > 0:
                await wait_for(self._stirred, wait if wait < inf else None)
                continue
            self._began = _now()
            if self.is_usable:
                await self._look()
            if self._board.queue:
                self._board.slot_queue.admit(time.time())
            self._due = self._next()

    def _next(self) -> float:
        """Return when the next round is due, in seconds of the loop's clock."""
        board = self._board
        ready_in = board.times.shortest() - time.time()
        oldest: dict[float, float] = {}  # by interval: of the others, none can be ready sooner
        for watched in board.tasks.values():
            if self._misses and self.is_hiding(watched.task_id):
                continue
            interval = watched.interval(pace.LIST_SECONDS)
            if watched.since < oldest.get(interval, inf):
                oldest[interval] = watched.since
        wanted = [
            pace.pause_until_ready(interval, since + ready_in) for interval, since in oldest.items()
        ] or [watched.interval(pace.SINGLE_SECONDS) for watched in board.tasks.values()]
        queued = [pace.LIST_SECONDS if seconds is None else seconds for seconds in board.queue.values()]
        interval = min(wanted + queued, default=pace.LIST_SECONDS)
        if self._failures:
            return max(self._began + pace.pause_after(self._failures, interval), self._not_before)
        due = max(self._began + interval * random.uniform(0.95, 1.0), self._not_before)  # noqa: S311  # spreads load
        if self.is_usable:
            return due
        # Without the list, a round only lets those go who wait for a slot.
        return min(self._listing.usable_at, due if queued else inf)

    async def _look(self) -> None:
        board = self._board
        try:
            await self._sweep()
        except NOBODY_CAN_ASK as error:
            self._failures += 1
            self._not_before = _now() + min(error.retry_after or 0.0, LONGEST_QUIET_SECONDS)
            if isinstance(error, AuthenticationError):
                board.account.refused_at = _now()
            board.slot_queue.saw_nothing(str(error))
            is_reached = not isinstance(error, ConnectionFailedError)
            if is_reached and self._failures >= FAILURES_OF_LIST_ALONE and await self._tasks_answer():
                self._failures = 0
                self.fall_back(f"it alone is refused: {error}")
            else:
                await board.tell_failure(error)
        except LateListError as error:
            self._failures = 0
            self._ended.clear()
            self.fall_back(str(error))
        except KlingError as error:
            self._failures = 0
            self._not_before = _now() + min(error.retry_after or 0.0, pace.LONGEST_PAUSE_SECONDS)
            board.slot_queue.saw_nothing(str(error))
            seconds = self._listing.failed(error, _now())
            if seconds:
                self._leave_alone(str(error), seconds)
        except Exception as error:
            log.exception("the list of %s tasks was not understood", board.endpoint)
            self._failures = 0
            self.fall_back(type(error).__name__)
        else:
            self._failures = 0
            self._listing.worked(_now())
            self._probe()

    async def _tasks_answer(self) -> bool:
        """Tell whether a task can be asked for by itself, though the list refuses: keys and quotas may differ."""
        watched = next((w for w in self._board.tasks.values() if not self.is_hiding(w.task_id)), None)
        return watched is not None and not isinstance(await self._board.singles.ask_now(watched), KlingError)

    def fall_back(self, reason: str) -> None:
        """
        Stop believing the list for a while.

        :param reason: for the log.
        """
        self._leave_alone(reason, self._listing.distrust(_now()))

    def _leave_alone(self, reason: str, seconds: float) -> None:
        board = self._board
        log.warning(
            "the list of %s tasks cannot be relied on (%s): asking for each of %d tasks by itself for %.0f s",
            board.endpoint,
            reason,
            len(board.tasks),
            seconds,
        )
        board.singles.plan_all(watched for watched in board.tasks.values() if watched.is_unplanned)

    # ---------------------------------------------------------------- sweeps

    async def _sweep(self) -> None:
        """Read as many pages as it takes to see all who are expected to be in the list."""
        board = self._board
        wanted = board.tasks.keys() - {task_id for task_id in self._misses if self.is_hiding(task_id)}
        horizon: float | None = None
        shown: set[str] = set()
        client = await board.account.client()
        for number in range(1, MOST_PAGES + 1):
            page = await client.list_page(board.endpoint, page=number, page_size=PAGE_SIZE)
            ids = page.statuses.keys()
            if number == 1 and board.queue:
                board.slot_queue.saw(unfinished(page), ids, now=time.time())
            await self._take(page)
            if ids <= shown:  # the end, or a gateway that has only one page
                break
            shown.update(ids)
            wanted.difference_update(ids)
            if not wanted:
                self._depth = number
                break
            if number >= self._depth:  # a sweep before had to read that far anyway
                if horizon is None:
                    since = (board.tasks[task_id].since for task_id in wanted & board.tasks.keys())
                    horizon = min(since, default=inf) - AGE_MARGIN_SECONDS
                if _is_older(page, horizon):
                    break
            # As many again, unless a sweep before has found everybody not far behind.
            pages_left = self._depth - number if self._depth > number else number
            if number >= ALWAYS_PAGES and len(wanted) < pages_left * TASKS_WORTH_A_PAGE:
                self._leave_to_singles(wanted)
                return
        self._miss(wanted)

    async def _take(self, page: Page) -> None:
        """Tell what a page says to those whom it concerns."""
        board = self._board
        told = 0
        self._check_lag(page)
        for task_id in page.statuses.keys() & self._misses.keys():
            self.forget(task_id)
        for task_id, status in page.statuses.items():
            watched = board.tasks.get(task_id)
            if watched is None:
                continue  # somebody else's, or it has left while others were told
            if watched.said == status:
                watched.due = inf
                continue
            seen = page.task(task_id)
            if seen is None:  # the task itself knows more
                if watched.is_unplanned:
                    board.singles.plan(watched, _now())
                continue
            watched.due = inf
            last = watched.last
            if last and seen.state.is_queued and last.state is TaskState.RUNNING:
                continue  # the list is a little behind
            board.tell(watched, seen)
            told += 1
            if told % TURN == 0:
                await asyncio.sleep(0)

    def _miss(self, missing: set[str]) -> None:
        """Have those asked for by themselves whom the list does not show."""
        board = self._board
        for task_id in missing:
            watched = board.tasks.get(task_id)
            if watched is not None:
                self._misses[task_id] = self._misses.get(task_id, 0) + 1
                if watched.is_unplanned:
                    board.singles.plan_within_interval(watched)

    def _leave_to_singles(self, few: set[str]) -> None:
        """Have a few asked for by themselves: reading ever more pages for them costs more."""
        board = self._board
        for task_id in few:
            watched = board.tasks.get(task_id)
            if watched is not None:
                self._misses[task_id] = HIDDEN_AFTER
                if watched.is_unplanned:
                    board.singles.plan_within_interval(watched)

    # ------------------------------------------------------------------- lag

    def _probe(self) -> None:
        """Ask for one task that the list shows, now and then; first for the oldest."""
        board = self._board
        if _now() < self._probed_at + pace.PROBE_SECONDS:
            return
        listed = [w for w in board.tasks.values() if w.is_unplanned and not self.is_hiding(w.task_id)]
        if listed:
            if self._probed_at > -inf:  # whoever has just come was seen to run by its worker
                board.singles.plan(min(listed, key=lambda watched: watched.asked_at), _now())
            self._probed_at = _now()

    def _check_lag(self, page: Page) -> None:
        """
        Find out whether the list is behind the tasks themselves.

        :raises LateListError: it shows as unfinished what had ended some time before this round.
        """
        for task_id, ended_at in list(self._ended.items()):
            shown = task_id in page.statuses
            if (shown and not _plainly_runs(page, task_id)) or _now() - ended_at > REMEMBERED_SECONDS:
                del self._ended[task_id]
            elif shown and self._began - ended_at >= pace.LAG_SECONDS:
                raise LateListError("it lags behind the tasks themselves")


def _plainly_runs(page: Page, task_id: str) -> bool:
    state = STATES.get(page.statuses[task_id])
    return state is not None and not state.is_final


def _is_older(page: Page, horizon: float) -> bool:
    """Tell whether a page reaches further back than anybody's waiting; ``horizon``: Unix seconds."""
    oldest = page.task(next(reversed(page.statuses)))
    return oldest is not None and oldest.created_at is not None and oldest.created_at < horizon


def _now() -> float:
    return asyncio.get_running_loop().time()
