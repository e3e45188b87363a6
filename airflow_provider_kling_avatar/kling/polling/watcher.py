"""
Asks for all tasks that are waited for on one event loop: one session for each account, one poller for each endpoint.

A `TaskPoller` is one asyncio task. It polls the account's list as long as the list can be believed, and by a single
poll each task that the list does not show; `backoff` says how often. Who waits has a `Waiter`, which is woken by news
alone. Nothing in here knows Airflow, creates anything at the vendor, or decides what a task's state means for its
waiter: that is `decide`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import random
import time
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.client import AsyncKlingClient
from airflow_provider_kling_avatar.kling.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    KlingError,
    RateLimitedError,
)
from airflow_provider_kling_avatar.kling.models import TaskState, VideoTask
from airflow_provider_kling_avatar.kling.polling import backoff
from airflow_provider_kling_avatar.kling.polling.slot_queue import PAGE_SIZE, SlotQueue
from airflow_provider_kling_avatar.kling.polling.waiter import HIDDEN_AFTER, Waiter, loop_time, wait_for
from airflow_provider_kling_avatar.kling.responses.errors import is_no_such_task
from airflow_provider_kling_avatar.kling.responses.page import is_thin, unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from airflow_provider_kling_avatar.kling.config import KlingConfig
    from airflow_provider_kling_avatar.kling.models import EndpointName
    from airflow_provider_kling_avatar.kling.polling.slot_queue import SlotTicket
    from airflow_provider_kling_avatar.kling.polling.waiter import Seen
    from airflow_provider_kling_avatar.kling.responses.page import Page

log = logging.getLogger(__name__)

ALWAYS_PAGES, TASKS_WORTH_A_PAGE = 3, 5
"""So many pages are read for anybody; behind them only for more tasks than would cost fewer single polls."""
FAILURES_OF_LIST_ALONE = 3
"""After so many refusals in a row it is found out whether only the list is refused."""
LAST_LOOK_SECONDS = 30.0
"""At a deadline, thousands may ask for a last look at the same time."""
MOST_AWAITED = 10_000
"""So many tasks that were waited for are remembered."""
TURN = 25
"""So many waiters are woken before others on the loop have their turn: there may be thousands."""
NOBODY_CAN_ASK = (AuthenticationError, ConfigurationError, ConnectionFailedError, RateLimitedError)
"""Errors that say nothing of the list: a single poll would end the same way."""


class AccountSession:
    """
    One account on one event loop: its session, opened by the first who waits and closed by the last.

    :param config: the account.
    """

    def __init__(self, config: KlingConfig) -> None:
        self.config = config
        self.turns = asyncio.Semaphore(backoff.MOST_IN_FLIGHT)
        self.refused_at = -inf  # seconds of the loop's clock when the vendor last refused the key
        self.awaited: dict[str, None] = {}
        """The tasks that are waited for here, and the last ones whose end was heard; the oldest first."""
        self._guests = 0
        self._pollers: dict[EndpointName, TaskPoller] = {}
        self._client: AsyncKlingClient | None = None
        self._opening = asyncio.Lock()

    def poller(self, endpoint: EndpointName) -> TaskPoller:
        """
        Return the poller of one kind of tasks.

        :raises UnsupportedError: this API has no such tasks.
        """
        if endpoint not in self._pollers:
            self._pollers[endpoint] = TaskPoller(self, endpoint)
        return self._pollers[endpoint]

    async def client(self) -> AsyncKlingClient:
        """Return the open client."""
        async with self._opening:
            if self._client is None:
                self._client = await AsyncKlingClient(self.config).__aenter__()
            return self._client

    def await_task(self, task_id: str) -> None:
        """Note that somebody waits for a task."""
        self.awaited.pop(task_id, None)
        self.awaited[task_id] = None
        if len(self.awaited) > MOST_AWAITED:
            del self.awaited[next(iter(self.awaited))]

    @contextlib.asynccontextmanager
    async def kept_open(self) -> AsyncIterator[AsyncKlingClient]:
        """Keep the client open as long as the context lasts, for whoever asks beside the pollers."""
        self._guests += 1
        try:
            yield await self.client()
        finally:
            self._guests -= 1
            await self.release()

    async def release(self) -> None:
        """Stop the pollers that nobody needs any more; with the last of them, close the session."""
        # All in one step: who comes from now on starts anew.
        idle = [poller for poller in self._pollers.values() if poller.is_idle]
        runners = [runner for poller in idle if (runner := poller.stop()) is not None]
        client = None
        if len(idle) == len(self._pollers) and not self._guests:
            client, self._client = self._client, None
        if runners or client is not None:
            await asyncio.shield(_close(client, runners))


async def _close(client: AsyncKlingClient | None, runners: list[asyncio.Task[None]]) -> None:
    if runners:
        await asyncio.wait(runners)
    if client is not None:
        with contextlib.suppress(Exception):  # closing must not hide the verdict
            await client.__aexit__(None, None, None)


class TaskPoller:
    """
    Polls the tasks of one account and endpoint for all who wait for one of them, or for a slot.

    :param session: asks.
    :param endpoint: ``avatar`` or ``image_to_video``.
    :raises UnsupportedError: the account's API has no such tasks.
    """

    def __init__(self, session: AccountSession, endpoint: EndpointName) -> None:
        self.endpoint: EndpointName = endpoint
        self.slot_queue = SlotQueue()
        self.times = backoff.RenderTimes()
        self._session = session
        self._waiters: dict[str, list[Waiter]] = {}  # by task id
        self._queued: dict[SlotTicket, float] = {}  # with the seconds between two looks
        self._listing = backoff.Listing()
        if not session.config.dialect.endpoint(endpoint).list_path:
            self._listing.usable_at = inf
        self._ended: dict[str, float] = {}  # when a task itself said so
        self._stirred = asyncio.Event()
        self._wakes_at = -inf
        self._list_due = self._list_began = self._list_not_before = self._probed_at = -inf
        self._is_listing = False
        self._failures = 0  # of the list, in a row
        self._quiet_until = -inf
        self._runner: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits."""
        return not self._waiters and not self._queued

    # ------------------------------------------------------------ who waits

    @contextlib.asynccontextmanager
    async def subscribe(
        self, task_id: str, interval: float | None, since: float | None, *, is_known: bool
    ) -> AsyncIterator[Waiter]:
        """
        Wait for a task as long as the context lasts; of the parameters see `Waiter`.

        :param since: ``None`` for now.
        """
        waiter = Waiter(task_id, interval, time.time() if since is None else since, is_known)
        waiters = self._waiters.setdefault(task_id, [])
        waiters.append(waiter)
        self._session.await_task(task_id)
        if not self._list_answers_for(waiter):
            self._plan(waiter)
        self._hurry(min(waiter.list_interval, waiter.first_interval))
        try:
            yield waiter
        finally:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[task_id]
                if not (
                    waiter.has_ended or task_id in self._ended
                ):  # given up: who looks for what ends may have it
                    self._session.awaited.pop(task_id, None)
            await self._session.release()

    @contextlib.asynccontextmanager
    async def queue_up(self, ticket: SlotTicket, interval: float | None) -> AsyncIterator[None]:
        """
        Let somebody wait for a slot as long as the context lasts.

        :param ticket: of this poller's `slot_queue`.
        :param interval: seconds between two looks, ``None`` for as often as costs little.
        """
        self._queued[ticket] = backoff.LIST_SECONDS if interval is None else interval
        self._hurry(self._queued[ticket])
        try:
            yield
        finally:
            del self._queued[ticket]
            await self._session.release()

    def _all(self) -> list[Waiter]:
        return [waiter for waiters in self._waiters.values() for waiter in waiters]

    def _hurry(self, interval: float) -> None:
        """Poll the list so many seconds after the last time, unless that is planned anyway."""
        due = max(self._list_began + interval, self._list_not_before)
        if (
            due < self._list_due
            and not self._failures
            and (self._queued or self._listing.is_usable(loop_time()))
        ):
            self._list_due = due
            self._stirred.set()
        self._start()

    # ------------------------------------------------------------ the asyncio task

    def _start(self) -> None:
        if self._runner is None and not self.is_idle:
            # In an empty context: in that of the trigger which happens to come first, all of this would look like
            # that trigger's work, and write into its log.
            self._runner = asyncio.get_running_loop().create_task(
                self._run(),
                name=f"kling watcher {self.endpoint} {self._session.config.base_url}",
                context=contextvars.Context(),
            )
            self._runner.add_done_callback(self._runner_ended, context=contextvars.Context())

    def stop(self) -> asyncio.Task[None] | None:
        """Stop polling; return what ends now."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
        return runner

    def _runner_ended(self, runner: asyncio.Task[None]) -> None:
        if self._runner is not runner:  # stopped on purpose
            return
        self._runner = None
        if not self.is_idle:
            error = None if runner.cancelled() else runner.exception()
            log.error("the watcher of %s tasks broke off and is started again", self.endpoint, exc_info=error)
            asyncio.get_running_loop().call_later(
                backoff.RESTART_SECONDS, self._start, context=contextvars.Context()
            )
            if error is not None:  # whatever the list did to us, single polls may do better
                self._leave_list_alone("reading it broke off")

    async def _run(self) -> None:
        """Poll whatever is due, for ever."""
        self._list_due, self._is_listing = -inf, False
        for waiter in self._all():
            waiter.is_asked = False  # what was under way when the last run broke off
            if waiter.is_unplanned and not self._list_answers_for(waiter):
                self._plan(waiter)
        async with asyncio.TaskGroup() as group:
            while True:
                self._stirred.clear()
                now = loop_time()
                if now >= self._list_due and not self._is_listing:
                    self._is_listing, self._list_began, self._list_due = True, now, inf
                    group.create_task(self._poll_list())
                for waiter in self._all() if now >= self._quiet_until else ():
                    if waiter.due <= now:
                        due, waiter.due, waiter.is_asked = waiter.due, inf, True
                        group.create_task(self._poll_single(waiter, due))
                next_single = min((waiter.due for waiter in self._all()), default=inf)
                next_list = inf if self._is_listing else self._list_due
                self._wakes_at = min(max(next_single, self._quiet_until), next_list)
                await wait_for(self._stirred, None if self._wakes_at == inf else self._wakes_at - now)

    # ------------------------------------------------------------ the list

    def _list_answers_for(self, waiter: Waiter) -> bool:
        """Tell whether a task need not be polled by itself just now."""
        return self._listing.is_usable(loop_time()) and not waiter.is_hidden

    async def _poll_list(self) -> None:
        """Look at the list once, if it can be used, and plan the next time."""
        if self._listing.is_usable(loop_time()):
            await self._look_at_list()
        if self._queued:
            self.slot_queue.admit(time.time())
        hurried, self._list_due, self._is_listing = self._list_due, self._next_list(), False
        if not self._failures and self._listing.is_usable(loop_time()):  # somebody may have come meanwhile
            self._list_due = max(min(hurried, self._list_due), self._list_not_before)
        self._stirred.set()

    def _next_list(self) -> float:
        """Return when the list is due again, in seconds of the loop's clock."""
        ready_in = self.times.shortest() - time.time()
        intervals = [
            backoff.pause_until_ready(waiter.list_interval, waiter.since + ready_in)
            for waiter in self._all()
            if not waiter.is_hidden
        ] or [waiter.single_interval for waiter in self._all()]
        interval = min([*intervals, *self._queued.values()], default=backoff.LIST_SECONDS)
        if self._failures:
            return max(
                self._list_began + backoff.pause_after(self._failures, interval), self._list_not_before
            )
        spread = random.uniform(0.95, 1.0)  # noqa: S311  # spreads load
        due = max(self._list_began + interval * spread, self._list_not_before)
        if self._listing.is_usable(loop_time()):
            return due
        # Without the list, only those who wait for a slot need to be looked after.
        return min(self._listing.usable_at, due if self._queued else inf)

    async def _look_at_list(self) -> None:
        """Read the list for all who wait; leave it alone for a while if it cannot be relied on."""
        failures, self._failures = self._failures, 0
        try:
            await self._read_pages()
        except NOBODY_CAN_ASK as error:
            self._failures = failures + 1
            self._list_not_before = loop_time() + min(error.retry_after or 0.0, backoff.LONGEST_QUIET_SECONDS)
            self._note_refusal(error)
            self.slot_queue.saw_nothing(str(error))
            is_reached = not isinstance(error, ConnectionFailedError)
            if is_reached and self._failures >= FAILURES_OF_LIST_ALONE and await self._single_answers():
                self._failures = 0
                self._leave_list_alone(f"it alone is refused: {error}")
            else:
                await self._wake_for_failure(error)
        except KlingError as error:
            self._list_not_before = loop_time() + min(error.retry_after or 0.0, backoff.LONGEST_PAUSE_SECONDS)
            self.slot_queue.saw_nothing(str(error))
            if seconds := self._listing.failed(error, loop_time()):
                self._leave_list_alone(str(error), seconds)
        except Exception as error:
            log.exception("the list of %s tasks was not understood", self.endpoint)
            self._leave_list_alone(type(error).__name__)
        else:
            self._listing.worked(loop_time())
            self._probe()

    async def _single_answers(self) -> bool:
        """Tell whether a task can be polled by itself, though the list refuses: keys and quotas may differ."""
        waiter = next((waiter for waiter in self._all() if not waiter.is_hidden), None)
        return waiter is not None and not isinstance(await self.poll_now(waiter), KlingError)

    async def _wake_for_failure(self, error: KlingError) -> None:
        """Wake all whom the list answers for, and none more often than by single polls."""
        now = loop_time()
        await self._wake_in_turns(
            (waiter, error)
            for waiter in self._all()
            if not waiter.is_hidden
            and (
                not waiter.failures
                or now >= waiter.failed_at + 0.9 * backoff.pause_after(waiter.failures, waiter.list_interval)
            )
        )

    def _leave_list_alone(self, reason: str, seconds: float | None = None) -> None:
        """
        Poll each task by itself for some time.

        :param seconds: ``None`` for longer each time.
        """
        log.warning(
            "the list of %s tasks cannot be relied on (%s): asking for each of %d tasks by itself for %.0f s",
            self.endpoint,
            reason,
            len(self._waiters),
            self._listing.distrust(loop_time()) if seconds is None else seconds,
        )
        for waiter in self._all():
            if waiter.is_unplanned:
                self._plan(waiter)

    async def _read_pages(self) -> None:
        """Read as many pages as it takes to see all who are expected to be in the list."""
        client = await self._session.client()
        wanted = {waiter.task_id for waiter in self._all() if not waiter.is_hidden}
        shown: set[str] = set()
        misses = 1
        for number in range(1, backoff.MOST_PAGES + 1):
            page = await client.list_page(self.endpoint, page=number, page_size=PAGE_SIZE)
            ids = page.statuses.keys()
            if number == 1 and self._queued:
                self.slot_queue.saw(unfinished(page), ids, now=time.time())
            if self._lags(page):
                self._ended.clear()
                self._leave_list_alone("it lags behind the tasks themselves")
                return
            await self._wake_in_turns(self._news_of(page))
            wanted -= ids
            if not wanted or ids <= shown:  # all are found, or a gateway that has only one page
                break
            shown |= ids
            if number >= ALWAYS_PAGES and len(wanted) < number * TASKS_WORTH_A_PAGE:
                misses = HIDDEN_AFTER
                break
        for waiter in [waiter for task_id in wanted for waiter in self._waiters.get(task_id, ())]:
            waiter.misses += misses
            if waiter.is_unplanned:
                self._plan(waiter)

    def _news_of(self, page: Page) -> list[tuple[Waiter, VideoTask]]:
        """Return what a page says to those whom it concerns; where the task itself knows more, plan to poll it."""
        news = []
        for task_id, status in page.statuses.items():
            for waiter in self._waiters.get(task_id, ()):
                waiter.misses = 0
                if waiter.is_no_news(status):
                    waiter.due = inf
                elif (seen := page.task(task_id)) is not None:
                    waiter.due = inf
                    is_behind = (
                        waiter.last and waiter.last.state is TaskState.RUNNING and seen.state.is_queued
                    )
                    if not is_behind:
                        news.append((waiter, seen))
                elif waiter.is_unplanned:
                    self._plan(waiter, loop_time())
        return news

    def _lags(self, page: Page) -> bool:
        """Tell whether the list shows as unfinished what had ended some time before this look at it."""
        for task_id, ended_at in list(self._ended.items()):
            task = page.task(task_id) if task_id in page.statuses else None
            is_running = task is not None and not task.state.is_final
            if is_running and self._list_began - ended_at >= backoff.LAGS_AFTER_SECONDS:
                return True
            if (
                task_id in page.statuses and not is_running
            ) or loop_time() - ended_at > backoff.REMEMBERED_SECONDS:
                del self._ended[task_id]
        return False

    def _probe(self) -> None:
        """Now and then poll one task that the list shows by itself, to find out whether the list lags."""
        if loop_time() < self._probed_at + backoff.PROBE_SECONDS:
            return
        listed = [waiter for waiter in self._all() if waiter.is_unplanned and not waiter.is_hidden]
        if listed:
            if self._probed_at > -inf:  # whoever has just come was seen to run by its worker
                self._plan(random.choice(listed), loop_time())  # noqa: S311  # sooner or later each has its turn
            self._probed_at = loop_time()

    # ------------------------------------------------------------ single polls

    def _plan(self, waiter: Waiter, at: float | None = None) -> None:
        """
        Poll a task by itself.

        :param at: seconds of the loop's clock; ``None`` for any moment within its interval.
        """
        if at is None:
            interval = waiter.first_interval
            at = loop_time() + random.random() * interval  # noqa: S311  # spreads load
            # Polls that are due at the same moment leave together, which costs half of what each would by itself,
            # at the vendor's end too; and still only a tenth of all.
            at -= at % min(interval / 10, 1.0)
        waiter.due = at
        if at < self._wakes_at:
            self._stirred.set()

    async def poll_now(self, waiter: Waiter) -> Seen:
        """Poll a task at once, or as soon as it has its turn."""
        try:
            async with asyncio.timeout(LAST_LOOK_SECONDS), self._session.turns:
                # In an empty context: connections that it opens outlive the trigger that asks.
                polling = self._poll(waiter)
                return await asyncio.get_running_loop().create_task(polling, context=contextvars.Context())
        except TimeoutError:
            return ConnectionLostError(f"no answer within {LAST_LOOK_SECONDS:.0f} s")

    async def _poll(self, waiter: Waiter) -> Seen:
        try:
            client = await self._session.client()
            seen = await client.get_task(waiter.task_id, self.endpoint)
        except KlingError as error:
            return error
        except Exception as error:  # one task's oddity must not end the watching of all others
            log.exception("the answer for task %s was not understood", waiter.task_id)
            return KlingError(f"the answer was not understood: {type(error).__name__}")
        if seen.state.is_final and self._listing.usable_at < inf:
            self._ended[waiter.task_id] = loop_time()
        return seen

    async def _poll_single(self, waiter: Waiter, due: float) -> None:
        """Poll a task by itself when it has its turn, tell of it and plan the next time."""
        async with self._session.turns:
            if loop_time() < self._quiet_until:  # the vendor asked for a pause while this one waited
                waiter.is_asked = False
                self._plan(waiter)
                return
            last = waiter.last
            seen = await self._poll(waiter)
        waiter.is_asked = False
        if waiter not in self._waiters.get(waiter.task_id, ()):
            return
        self._plan_next(waiter, seen, due)
        if not isinstance(seen, KlingError) and not seen.state.is_final:
            has_newer = waiter.last is not last  # the list was quicker
            if has_newer or waiter.is_no_news(seen.status):
                return
        self._wake(waiter, seen)

    def _plan_next(self, waiter: Waiter, seen: Seen, due: float) -> None:
        """Plan the next single poll, unless the list answers for the task; ``due``: when this one was."""
        interval = waiter.single_interval
        if is_no_such_task(seen) and waiter.is_doubtful:
            self._plan(waiter, loop_time() + waiter.first_interval)
        elif isinstance(seen, KlingError) or is_thin(seen):
            pause = backoff.pause_after(waiter.failures + 1, interval)
            if isinstance(seen, KlingError):
                pause = max(pause, min(seen.retry_after or 0.0, backoff.LONGEST_QUIET_SECONDS))
            if isinstance(seen, RateLimitedError):
                self._quiet_until = max(self._quiet_until, loop_time() + pause)
            self._plan(waiter, loop_time() + pause)
        elif not self._list_answers_for(waiter):
            ready_in = waiter.since + self.times.shortest() - time.time()
            # From when it was due, not from the answer: so it is never polled later than every interval. Where so
            # many wait that they cannot all have their turn in that time, the next one begins now.
            self._plan(waiter, max(due + backoff.pause_until_ready(interval, ready_in), loop_time()))

    # ------------------------------------------------------------ who is woken

    async def _wake_in_turns(self, news: Iterable[tuple[Waiter, Seen]]) -> None:
        for number, (waiter, seen) in enumerate(news, 1):
            self._wake(waiter, seen)
            if number % TURN == 0:
                await asyncio.sleep(0)

    def _wake(self, waiter: Waiter, seen: Seen) -> None:
        if isinstance(seen, VideoTask) and seen.state.is_final and not is_thin(seen):
            self._wake_for_end(waiter.task_id, seen)
        else:
            if isinstance(seen, KlingError):
                self._note_refusal(seen)
            waiter.hear(seen)

    def _wake_for_end(self, task_id: str, task: VideoTask) -> None:
        """Wake all who wait for a task at its end, once."""
        waiters = [waiter for waiter in self._waiters.get(task_id, ()) if not waiter.has_ended]
        if not waiters:
            return
        self.times.saw(task)
        if self._queued:
            self.slot_queue.ended()
            self.slot_queue.admit(time.time())
        for waiter in waiters:
            waiter.hear(task)

    def _note_refusal(self, error: KlingError) -> None:
        if isinstance(error, AuthenticationError):
            self._session.refused_at = loop_time()
