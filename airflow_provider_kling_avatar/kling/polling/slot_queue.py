"""
Whose turn it is when an account is full: how many tasks run, and who may be sent next.

Pure: it is told the time, what a list of tasks showed and who waits, and says who may go. It knows no network, no
event loop and no Airflow, and it never pays: who was admitted submits on a worker, and may well be refused again.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from airflow_provider_kling_avatar.kling.calls import MAX_PAGE_SIZE
from airflow_provider_kling_avatar.kling.errors import KlingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_kling_avatar.kling.client import KlingClient
    from airflow_provider_kling_avatar.kling.models import EndpointName, VideoTask

PAGE_SIZE = MAX_PAGE_SIZE
"""So many of the newest tasks are looked at, by whoever counts: two counts of different pages cannot be compared."""
GRACE_SECONDS = 60.0
"""So long one who was admitted counts as taking a slot before its task is seen: workers may be busy, uploads slow."""
SIGHTED_PAUSES = (60.0, 300.0)
"""Seconds, shortest and longest, between two tries at an account whose list shows no free slot: it may have grown."""
BLIND_PAUSES = (10.0, 60.0)
"""The same where nothing but a try can tell: there is no list, it cannot be read, or nobody knows what is full."""


def tasks_in_flight(tasks: list[VideoTask]) -> int:
    """Count the tasks that hold a slot: those that have not ended."""
    return sum(not task.state.is_final for task in tasks)


def count_in_flight(client: KlingClient, endpoint: EndpointName) -> int | None:
    """
    Count an account's unfinished tasks on a worker, right after it was refused for want of a slot.

    :param client: the account's client.
    :param endpoint: what was to be created.
    :returns: ``None`` where it cannot be told: no list, or no answer.
    """
    try:
        return tasks_in_flight(client.list_tasks(endpoint, page_size=PAGE_SIZE))
    except KlingError:
        return None


@dataclass(eq=False, slots=True)
class SlotTicket:
    """
    One task's ticket in a queue, from `SlotQueue.enter`.

    :param since: Unix seconds when its waiting began, also its name: it keeps it when it is refused and comes back.
    :param not_before: Unix seconds; it is not admitted earlier.
    :param wake: called once, when it is admitted.
    :param admitted_at: Unix seconds when it was admitted; infinite while it waits.
    :param blind: True if it was admitted without a slot being seen free.
    """

    since: float
    not_before: float
    wake: Callable[[], None]
    admitted_at: float = inf
    blind: bool = False

    @property
    def is_admitted(self) -> bool:
        """Whether it may submit now."""
        return self.admitted_at < inf


def _since(ticket: SlotTicket) -> float:
    return ticket.since


class SlotQueue:
    """
    Everybody in one process who waits for a slot of one account and endpoint.

    Admits exactly as many as there are slots free, the longest waiting first. Now and then it admits one without
    seeing a free slot, since the number of slots is only known from refusals.

    :param spread: draws the factor by which pauses differ, so that two processes do not try at the same moment.
    """

    def __init__(self, spread: Callable[[], float] = lambda: random.uniform(0.9, 1.1)) -> None:  # noqa: S311
        self.capacity: int | None = None
        """As many tasks as were seen to run when the vendor refused one more."""
        self.in_flight: int | None = None
        """How many ran at the last look, ``None`` if that failed."""
        self.trouble: str | None = None
        """Why the last look failed."""
        self._waiting: list[SlotTicket] = []  # the longest first
        self._on_the_way: list[SlotTicket] = []  # admitted, their tasks not yet seen
        self._known_ids: frozenset[str] | None = None
        self._tried_at = -inf
        self._pause = 0.0
        self._freed = 0
        self._refused = False
        self._draw = spread
        self._spread = spread()

    # ------------------------------------------------------------ who waits

    def enter(
        self,
        *,
        since: float,
        now: float,
        wake: Callable[[], None],
        busy: int | None,
        not_before: float = 0.0,
        slowed_down: bool = False,
    ) -> SlotTicket:
        """
        Begin to wait.

        :param since: Unix seconds when this task's waiting began, the same each time it comes back.
        :param now: Unix seconds.
        :param wake: called when the task is admitted.
        :param busy: how many tasks ran when it was refused, if that is known.
        :param not_before: Unix seconds; it is not admitted earlier.
        :param slowed_down: the vendor asked for a pause, which says nothing of slots.
        """
        back = next((ticket for ticket in self._on_the_way if ticket.since == since), None)
        if back is not None:
            self._learn_from_refusal(back, busy, slowed_down=slowed_down)
        elif busy:
            self.capacity = max(busy, self.capacity or 0)
        if not self._waiting:  # what was seen before may be hours old
            self.in_flight, self._tried_at = None, now
        ticket = SlotTicket(since, not_before, wake)
        insort(self._waiting, ticket, key=_since)
        return ticket

    def leave(self, ticket: SlotTicket) -> None:
        """Stop waiting without submitting: gives up the ticket, or the slot it was admitted to."""
        for tickets in (self._waiting, self._on_the_way):
            if ticket in tickets:
                tickets.remove(ticket)

    def ahead_of(self, ticket: SlotTicket) -> int:
        """Count those who wait longer."""
        return bisect_left(self._waiting, ticket.since, key=_since)

    def _learn_from_refusal(self, back: SlotTicket, busy: int | None, *, slowed_down: bool) -> None:
        """Believe the vendor: there was no free slot when this one tried. Its reservation ends."""
        if back.blind:
            self._pause, self._refused = 2 * self._pause_now(), True
        self._on_the_way.remove(back)
        if busy:
            # What ran at the last look ran: the worker may have counted just after a task had ended.
            self.capacity = max(busy, self.in_flight or 0)
        elif not slowed_down:  # refused although there seemed to be a free slot, and nobody can say why
            self.capacity = None

    # --------------------------------------------------------- what is seen

    def saw(self, in_flight: int, ids: Collection[str], *, now: float) -> None:
        """
        Take in what a look at the newest `PAGE_SIZE` tasks showed.

        :param in_flight: how many of them have not ended.
        :param ids: all of them.
        :param now: Unix seconds.
        """
        self._mind_the_clock(now)
        ids = frozenset(ids)
        new = len(ids - self._known_ids) if self._known_ids is not None else 0
        # Whoever made it: a new task takes a slot, and so one fewer is on its way. Never lets too many go.
        arrived, self._on_the_way = self._on_the_way[:new], self._on_the_way[new:]
        self._known_ids = ids
        self.in_flight, self.trouble = in_flight, None
        grown = self.capacity is not None and self.in_flight > self.capacity
        if grown:
            self.capacity = self.in_flight
        if grown or any(ticket.blind for ticket in arrived):  # perhaps there is a slot for one more
            self._pause, self._tried_at = 0.0, -inf

    def saw_nothing(self, trouble: str) -> None:
        """
        Note that nobody can see now how many tasks run.

        :param trouble: why.
        """
        self.in_flight, self.trouble = None, trouble

    def ended(self) -> None:
        """Note that a task of this account has ended: where no list tells, that is a free slot."""
        self._freed += 1

    # ------------------------------------------------------------- who goes

    def admit(self, now: float) -> None:
        """
        Admit as many as there are slots free, and now and then one more.

        :param now: Unix seconds.
        """
        self._mind_the_clock(now)
        self._on_the_way = [ticket for ticket in self._on_the_way if now - ticket.admitted_at < GRACE_SECONDS]
        free, self._freed = self._free(), 0
        for _ in range(free):
            self._send_first(now, blind=False)
        if self._sighted and self._on_the_way:  # first see what becomes of them
            return
        if now >= self._tried_at + self._pause_now() * self._spread and self._send_first(now, blind=True):
            if not self._refused:  # the last try did not come back: there was a slot
                self._pause = 0.0
            self._tried_at, self._spread, self._refused = now, self._draw(), False

    def _mind_the_clock(self, now: float) -> None:
        # Where it was set back, what was planned by the old one is void.
        self._tried_at = min(self._tried_at, now)

    def _free(self) -> int:
        """Return how many more could be admitted, as far as is known: never less than 0."""
        if self.capacity is None or self.in_flight is None:
            return self._freed
        return max(self.capacity - self.in_flight - len(self._on_the_way), 0)

    @property
    def _sighted(self) -> bool:
        """Whether free slots can be seen."""
        return self.capacity is not None and self.in_flight is not None

    def _send_first(self, now: float, *, blind: bool) -> bool:
        first = next((ticket for ticket in self._waiting if ticket.not_before <= now), None)
        if first is None:
            return False
        first.admitted_at, first.blind = now, blind
        self._waiting.remove(first)
        self._on_the_way.append(first)
        first.wake()
        return True

    def _pause_now(self) -> float:
        shortest, longest = SIGHTED_PAUSES if self._sighted else BLIND_PAUSES
        return min(max(self._pause, shortest), longest)
