"""
Waits for a video task in the triggerer. Only asks: nothing in here can create a task or pay for one.

Carries ids and numbers, never a URL or a key: Airflow stores arguments and events in the clear.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_kling_avatar.clip_summary import tell_from_trigger
from airflow_provider_kling_avatar.compat import SETTLE_SECONDS, BaseTrigger, TriggerEvent, is_inline
from airflow_provider_kling_avatar.hooks.kling_avatar import ConnectionUnreadableError
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.kling.polling.backoff import pause_after
from airflow_provider_kling_avatar.kling.polling.decide import (
    HEARTBEAT_SECONDS,
    Finished,
    PollLimits,
    PollTracker,
    Verdict,
    tenths,
)
from airflow_provider_kling_avatar.triggers.accounts import session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask
    from airflow_provider_kling_avatar.kling.polling.decide import Decision
    from airflow_provider_kling_avatar.kling.polling.waiter import Waiter
    from airflow_provider_kling_avatar.kling.polling.watcher import AccountSession, TaskPoller


class KlingAvatarTrigger(BaseTrigger):
    """
    Wait until a task ends, the deadline passes, or asking fails too often; then yield one event.

    All triggers of one account in a triggerer share one session and one list of its tasks.

    The arguments are stored in Airflow's database while tasks wait, also over upgrades of this package: they are
    only ever added to, with a default, never renamed or removed.

    :param kling_task_id: the vendor's id of the task.
    :param kling_conn_id: the connection; read again after the vendor has refused its key.
    :param endpoint: ``avatar`` or ``image_to_video``.
    :param is_known: the vendor has had this task, see `PollLimits`; of an id that is given by hand nobody knows.
    :param limits: how long and how often to ask, see `PollLimits`: each by its own name, with absolute deadlines, so
        that a restart of the triggerer does not start them anew. Of a later version, what is not known is left out.
    :raises TypeError: a limit has a value that this version does not know. Airflow then fails the one task that waits;
        any other error would end the whole triggerer.
    """

    def __init__(
        self,
        *,
        kling_task_id: str,
        kling_conn_id: str,
        endpoint: EndpointName = "avatar",
        is_known: bool = False,
        **limits: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's trigger base is not typed
        self.kling_task_id = kling_task_id  # not `task_id`: Airflow overwrites that with its own
        self.kling_conn_id = kling_conn_id
        self.endpoint = endpoint
        try:
            self.limits = PollLimits.from_dict({**limits, "is_known": is_known})
        except msgspec.ValidationError as error:
            raise TypeError(f"the limits of waiting are not understood: {error}") from None
        self._has_pushed_summary = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON scalars."""
        return (
            "airflow_provider_kling_avatar.triggers.kling_avatar.KlingAvatarTrigger",
            {
                "kling_task_id": self.kling_task_id,
                "kling_conn_id": self.kling_conn_id,
                "endpoint": self.endpoint,
                **self.limits.as_dict(),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event: ids, the verdict, and the vendor's reason and code for it."""
        begin = time.time()
        # Thousands may have started together, and all be told of the same outage.
        heartbeat = HEARTBEAT_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311  # spreads load
        tracker = PollTracker(self.limits, logged_at=begin, heartbeat=heartbeat)
        finished = await self._wait(tracker)
        if (left := self._unsettled(begin)) > 0:
            await asyncio.sleep(left)
        yield TriggerEvent(self.payload(finished))
        return  # a trigger that lingers after its event is killed as if a user had done it

    def payload(self, finished: Finished) -> dict[str, Any]:
        """Return what the event tells the worker."""
        return {
            "task_id": self.kling_task_id,
            "endpoint": self.endpoint,
            "verdict": finished.verdict.value,
            "reason": finished.reason,
            "code": finished.code,
            "queued": tenths(finished.queued),
            "rendering": tenths(finished.rendering),
        }

    async def _wait(self, tracker: PollTracker) -> Finished:
        """Wait for a verdict, on whichever account the connection names by then."""
        while True:
            try:
                session = await session_of(self.kling_conn_id)
                poller = session.poller(self.endpoint)
                limits = tracker.limits
                async with poller.subscribe(
                    self.kling_task_id, limits.poll_interval, limits.since, is_known=limits.is_known
                ) as waiter:
                    finished = await self._follow(session, poller, waiter, tracker)
            except KlingError as error:
                if isinstance(error, ConnectionUnreadableError) and is_inline(self):
                    return Finished(Verdict.LOST, str(error))
                decision = self._decide(tracker, error, time.time())
                if isinstance(decision, Finished):
                    return decision
                interval = tracker.limits.interval * random.uniform(0.9, 1.1)  # noqa: S311  # spreads load
                left = max(self.limits.deadline - time.time(), 0)
                await asyncio.sleep(min(pause_after(max(tracker.failed_polls, 1), interval), left))
            else:
                if finished is not None:
                    return finished

    async def _follow(
        self, session: AccountSession, poller: TaskPoller, waiter: Waiter, tracker: PollTracker
    ) -> Finished | None:
        """
        Wait for a verdict on one account.

        :returns: ``None`` if the connection names another account by now.
        :raises KlingError: the connection cannot be read any more.
        """
        tracker.typical = poller.times.typical
        while True:
            news = await waiter.news(until=tracker.wake_at(time.time()))
            if not news and time.time() >= tracker.deadline:
                news = [(await poller.poll_now(waiter), time.time())]
            if not news:
                self._log_lines(tracker, waiter.last, time.time())
            for seen, at in news:
                decision = self._decide(tracker, seen, at)
                if isinstance(decision, Finished):
                    return decision
                await self._push_summary(seen)
                if isinstance(seen, KlingError) and seen.permanent:
                    # Somebody may have changed the connection: a rotated key, another host.
                    current = await session_of(self.kling_conn_id, newer_than=session.refused_at)
                    if current is not session:
                        return None

    async def _push_summary(self, seen: VideoTask | KlingError) -> None:
        """Say in the clip's summary that the vendor has begun. The worker has said that it is queued."""
        if isinstance(seen, KlingError) or seen.state.is_queued or self._has_pushed_summary:
            return
        self._has_pushed_summary = True
        await tell_from_trigger(self, "rendering")

    def _decide(self, tracker: PollTracker, seen: VideoTask | KlingError, now: float) -> Decision:
        decision = tracker.look(seen, now=now)
        self._log_lines(tracker, seen, now)
        return decision

    def _log_lines(self, tracker: PollTracker, seen: VideoTask | KlingError | None, now: float) -> None:
        for line in tracker.log_lines(seen, now=now):
            self.log.info("%s", line)

    def _unsettled(self, begin: float) -> float:
        """
        Return the seconds that Airflow may still need to hear of the deferral: not before does it hear of its end.

        :param begin: Unix seconds when this trigger began.
        """
        deferred = min(self.limits.since or begin, begin)
        # Never longer, since the clock may have been set back.
        return min(deferred + SETTLE_SECONDS - time.time(), SETTLE_SECONDS)

    async def on_kill(self) -> None:
        """
        Say that the vendor goes on: Kling has no way to cancel a task.

        Airflow 3.3 also calls this when it hands a living task to another triggerer, so it must do nothing else.
        """
        self.log.warning(
            "no longer watched here; Kling cannot cancel: task %s runs on and may be billed. "
            "Whoever takes over, another triggerer or a new try, picks it up again",
            self.kling_task_id,
        )
