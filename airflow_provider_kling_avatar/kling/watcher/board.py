"""
All tasks of one endpoint that are waited for, and the queue of those who wait for a slot.

Keeps the one asyncio task alive that asks for all of them: it starts with the first who comes, in a context of its
own, starts again should it break, and ends with the last who leaves.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.errors import AuthenticationError, KlingError
from airflow_provider_kling_avatar.kling.polling import backoff as pace
from airflow_provider_kling_avatar.kling.polling.slot_queue import SlotQueue
from airflow_provider_kling_avatar.kling.responses.page import is_thin
from airflow_provider_kling_avatar.kling.watcher.alarms import TURN, Alarms
from airflow_provider_kling_avatar.kling.watcher.lister import Lister
from airflow_provider_kling_avatar.kling.watcher.seats import Seat, Watched
from airflow_provider_kling_avatar.kling.watcher.singles import Singles

if TYPE_CHECKING:
    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.kling.polling.slot_queue import SlotTicket
    from airflow_provider_kling_avatar.kling.watcher.account import Account

log = logging.getLogger("airflow_provider_kling_avatar.kling.watcher")

RESTART_SECONDS = 1.0
"""Between a break of the asyncio task and its next start."""


class Board:
    """
    Who waits for what, on one account and endpoint.

    :param account: asks.
    :param endpoint: ``avatar`` or ``image_to_video``.
    :raises UnsupportedError: the account's API has no such tasks.
    """

    def __init__(self, account: Account, endpoint: EndpointName) -> None:
        self.account = account
        self.endpoint: EndpointName = endpoint
        self.tasks: dict[str, Watched] = {}
        self.queue: dict[SlotTicket, float | None] = {}
        """Who waits for a slot, and how often they want a look, in seconds."""
        self.slot_queue = SlotQueue()
        self.times = pace.RenderTimes()
        self.alarms = Alarms()
        self.singles = Singles(self)
        self.lister = Lister(self)
        self._runner: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self.tasks and not self.queue

    # ------------------------------------------------------------ who waits

    def sit_down(
        self,
        task_id: str,
        interval: float | None,
        since: float | None,
        *,
        is_eager: bool = False,
        is_known: bool = True,
    ) -> Seat:
        """
        Begin to wait for a task.

        :param task_id: the vendor's id.
        :param interval: seconds between two questions, ``None`` for as often as costs little.
        :param since: Unix seconds when the waiting began; ``None`` for now.
        :param is_eager: see `Seat`.
        :param is_known: see `Seat`.
        """
        watched = self.tasks.get(task_id)
        is_new = watched is None
        if watched is None:
            watched = self.tasks[task_id] = Watched(task_id, time.time() if since is None else since)
        seat = Seat(watched, interval, self.singles, self.alarms, is_eager=is_eager, is_known=is_known)
        watched.add(seat)
        if self.lister.is_usable:
            self.lister.hurry(watched.interval(pace.LIST_SECONDS))
        elif is_new:
            self.singles.plan_within_interval(watched)
        if not is_new:
            self.singles.hurry(watched)
        self._start()
        return seat

    def get_up(self, seat: Seat) -> None:
        """Stop waiting for a task."""
        seat.leave()
        seat.watched.remove(seat)
        if not seat.watched.seats and self.tasks.get(seat.watched.task_id) is seat.watched:
            del self.tasks[seat.watched.task_id]
            self.lister.forget(seat.watched.task_id)

    def enter(self, ticket: SlotTicket, interval: float | None) -> None:
        """Begin to wait for a slot, with a ticket of this board's queue."""
        self.queue[ticket] = interval
        self.lister.hurry(pace.LIST_SECONDS if interval is None else interval)
        self._start()

    def exit(self, ticket: SlotTicket) -> None:
        """Stop waiting for a slot."""
        del self.queue[ticket]

    # ------------------------------------------------------------ what is seen

    def tell(self, watched: Watched, seen: VideoTask | KlingError) -> None:
        """Wake all who wait for a task."""
        is_urgent = True
        watched.said = None
        if isinstance(seen, KlingError):
            watched.failures += 1
            watched.failed_at = asyncio.get_running_loop().time()
            if isinstance(seen, AuthenticationError):
                self.account.refused_at = watched.failed_at
        else:
            if watched.last is None and not watched.failures:
                is_urgent = not seen.state.is_under_way
            watched.failures = 0
            watched.last = seen
            if seen.created_at and seen.created_at < watched.since:
                watched.since = seen.created_at
            if not seen.state.is_final:
                watched.said = seen.status
            elif not is_thin(seen):
                self.times.saw(seen)
                if self.queue:
                    self.slot_queue.ended()
                    self.slot_queue.admit(time.time())
        for seat in watched.seats:
            seat.tell(seen, is_urgent=is_urgent)

    async def tell_failure(self, error: KlingError) -> None:
        """Wake all whom the list answers for, in turns, and none more often than if it asked by itself."""
        now = asyncio.get_running_loop().time()
        told = 0
        for watched in list(self.tasks.values()):
            if self.lister.is_hiding(watched.task_id):
                continue
            if now >= watched.failed_at + 0.9 * self._failure_pause(watched):
                self.tell(watched, error)
                told += 1
                if told % TURN == 0:
                    await asyncio.sleep(0)

    @staticmethod
    def _failure_pause(watched: Watched) -> float:
        if not watched.failures:
            return 0.0
        return pace.pause_after(watched.failures, watched.interval(pace.LIST_SECONDS))

    # ------------------------------------------------------------ who asks

    def _start(self) -> None:
        if self._runner is None and not self.is_empty:
            # In an empty context: in that of the trigger which happens to come first, all of this would look like
            # that trigger's work, and write into its log.
            self._runner = asyncio.get_running_loop().create_task(
                self._run(),
                name=f"kling watcher {self.endpoint} {self.account.config.base_url}",
                context=contextvars.Context(),
            )
            self._runner.add_done_callback(self._ended, context=contextvars.Context())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lister.run())
            group.create_task(self.singles.run(group))

    def _ended(self, runner: asyncio.Task[None]) -> None:
        if self._runner is not runner:  # stopped on purpose
            return
        self._runner = None
        if not self.is_empty:
            error = None if runner.cancelled() else runner.exception()
            log.error("the watcher of %s tasks broke off and is started again", self.endpoint, exc_info=error)
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self._start, context=contextvars.Context())
            if error is not None:  # whatever the list did to us, asking for each task may do better
                self.lister.fall_back("reading it broke off")

    def stop_runner(self) -> asyncio.Task[None] | None:
        """Stop asking; return what ends now."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
        return runner
