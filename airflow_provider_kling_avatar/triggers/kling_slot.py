"""
Waits in the triggerer for a free slot of a full account. Only lists tasks: nothing in here can create one or pay.

All who wait for one account in one triggerer share a queue (`kling.polling.slot_queue`), whose view is that of those
who wait for clips of the same account (`kling.polling.watcher`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_provider_kling_avatar.compat import SETTLE_SECONDS, BaseTrigger, TriggerEvent, is_inline
from airflow_provider_kling_avatar.hooks.kling_avatar import ConnectionUnreadableError
from airflow_provider_kling_avatar.kling.errors import KlingError
from airflow_provider_kling_avatar.triggers.accounts import session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_kling_avatar.kling.models import EndpointName
    from airflow_provider_kling_avatar.kling.polling.slot_queue import SlotQueue, SlotTicket
    from airflow_provider_kling_avatar.kling.polling.watcher import AccountSession

FREE_SLOT, TIMEOUT = "free_slot", "timeout"
"""The verdicts of the event: submit now, or the deadline is over."""
SLOT_HEARTBEAT_SECONDS = 300.0
"""A log line at least so often, when nothing changes."""
CHECK_SECONDS = 10.0
"""Between two looks at whether there is anything to tell, or another key in the connection."""


class KlingSlotTrigger(BaseTrigger):
    """
    Wait until this task may be sent to an account that was full, or until the deadline; then yield one event.

    The arguments are stored in Airflow's database while tasks wait, also over upgrades of this package: they are
    only ever added to, with a default, never renamed or removed.

    :param kling_conn_id: the connection; read again after the vendor has refused its key.
    :param deadline: Unix seconds, absolute, so that a restart of the triggerer does not start it anew.
    :param endpoint: ``avatar`` or ``image_to_video``; their slots are counted apart.
    :param since: Unix seconds when this task's waiting began, the same in each deferral: first come, first served.
    :param busy: how many tasks of the endpoint ran when the vendor refused; ``None`` if nobody can tell, and after
        a refusal for another reason than a full account.
    :param not_before: Unix seconds; never submitted earlier, as the vendor asked.
    :param poll_interval: seconds between two looks at the account's list, however many tasks wait; ``None`` for as
        often as costs little: 1.8.
    :param hint_at: see `slots.Queueing`; only handed on.
    """

    def __init__(
        self,
        *,
        kling_conn_id: str,
        deadline: float,
        endpoint: EndpointName = "avatar",
        since: float = 0.0,
        busy: int | None = None,
        not_before: float = 0.0,
        poll_interval: float | None = None,
        hint_at: float | None = None,
        **_: object,  # an argument of a later version, after a downgrade
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's trigger base is not typed
        self.kling_conn_id = kling_conn_id
        self.deadline = deadline
        self.endpoint = endpoint
        self.since = since
        self.busy = busy
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.hint_at = hint_at
        self._trouble: str | None = None
        self._logged_at = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON scalars."""
        return (
            "airflow_provider_kling_avatar.triggers.kling_slot.KlingSlotTrigger",
            {
                "kling_conn_id": self.kling_conn_id,
                "deadline": self.deadline,
                "endpoint": self.endpoint,
                "since": self.since,
                "busy": self.busy,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
                "hint_at": self.hint_at,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event: ``free_slot`` or ``timeout``, and what the next deferral needs."""
        settled = time.time() + SETTLE_SECONDS
        since = self.since or time.time()
        verdict = await self._wait(since, settled)
        yield TriggerEvent(
            {
                "verdict": verdict,
                "endpoint": self.endpoint,
                "deadline": self.deadline,
                "since": since,
                "hint_at": self.hint_at,
            }
        )
        return  # a trigger that lingers after its event is killed as if a user had done it

    async def _wait(self, since: float, settled: float) -> str:
        """
        Wait for a verdict, on whichever account the connection names by then.

        :param since: Unix seconds when the waiting began.
        :param settled: Unix seconds; nothing is reported before.
        """
        deadline = max(self.deadline, settled)
        self._logged_at = time.time()
        self.log.info("%s, no worker and no retry is used", self._reason())
        while True:
            try:
                session = await session_of(self.kling_conn_id)
                verdict = await self._queue_up(session, since, settled, deadline)
            except KlingError as error:
                if isinstance(error, ConnectionUnreadableError) and is_inline(self):
                    raise
                left = deadline - time.time()
                if left <= 0:
                    return self._late()
                self._log_trouble(str(error))
                await asyncio.sleep(min(CHECK_SECONDS, left))
            else:
                if verdict is not None:
                    return verdict

    async def _queue_up(
        self, session: AccountSession, since: float, settled: float, deadline: float
    ) -> str | None:
        """
        Wait on one account.

        :returns: ``None`` if the connection names another account by now.
        """
        poller = session.poller(self.endpoint)
        woken = asyncio.Event()
        now = time.time()
        ticket = poller.slot_queue.enter(
            since=since,
            now=now,
            wake=woken.set,
            busy=self.busy,
            not_before=max(self.not_before, settled) if self.deadline > settled else inf,
            slowed_down=self.not_before > now,
        )
        verdict = None
        async with poller.queue_up(ticket, self.poll_interval):
            try:
                verdict = await self._until_admitted(session, poller.slot_queue, ticket, woken, deadline)
            finally:
                if verdict != FREE_SLOT:  # late or cancelled: whatever it had been given is the next one's
                    poller.slot_queue.leave(ticket)
        return verdict

    async def _until_admitted(
        self,
        session: AccountSession,
        slot_queue: SlotQueue,
        ticket: SlotTicket,
        woken: asyncio.Event,
        deadline: float,
    ) -> str | None:
        refused_at = session.refused_at
        while not ticket.is_admitted:
            left = deadline - time.time()
            if left <= 0:
                return self._late()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(CHECK_SECONDS, left)):
                    await woken.wait()
            if not ticket.is_admitted:
                self._log_state(slot_queue, ticket)
            if session.refused_at > refused_at:  # the key may have been rotated
                refused_at = session.refused_at
                if await session_of(self.kling_conn_id, newer_than=refused_at) is not session:
                    return None
        self.log.info(
            "submitting again on a worker: %s",
            "it is time to try"
            if ticket.blind or slot_queue.in_flight is None
            else f"{slot_queue.in_flight} of {slot_queue.capacity} slots were taken at the last look",
        )
        return FREE_SLOT

    def _reason(self) -> str:
        pause = self.not_before - time.time()
        if pause > 0:
            return f"the vendor asked for a pause of {pause:.0f} s: waiting"
        running = f" ({self.busy} running)" if self.busy else ""
        return f"the account is full{running}: waiting for a free slot"

    def _late(self) -> str:
        self.log.info("no slot became free until the deadline")
        return TIMEOUT

    def _log_state(self, slot_queue: SlotQueue, ticket: SlotTicket) -> None:
        """Log what changed, and a sign of life now and then."""
        self._log_trouble(slot_queue.trouble)
        if time.time() - self._logged_at >= SLOT_HEARTBEAT_SECONDS:
            self._logged_at = time.time()
            self.log.info(
                "still waiting for a free slot, as number %d in line, for up to %.0f s more",
                slot_queue.ahead_of(ticket) + 1,
                max(self.deadline - time.time(), 0),
            )

    def _log_trouble(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble, self._logged_at = trouble, time.time()
            hidden = f"free slots cannot be seen, so one task tries now and then: {trouble}"
            self.log.info("%s", hidden if trouble else "free slots can be seen again")
