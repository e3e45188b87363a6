"""
Wakes each who waits at a moment of its own, though nothing is heard, with one timer of the loop for all of them.

Thousands of timers would cost the loop, and the garbage collector, more than all the rest of their waiting.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from itertools import count
from math import inf
from typing import Protocol

TURN = 25
"""So many are woken, or questions sent, before others on the loop have their turn: there may be thousands."""


class Sleeper(Protocol):
    """
    Who wants to be woken.

    :ivar until: seconds of the loop's clock at which it wants to be.
    :ivar rings_at: seconds of the loop's clock at which its alarm rings, then or earlier; infinite if there is none.
    """

    until: float
    rings_at: float

    def wake(self) -> None:
        """Hear that the moment has come."""
        ...


class Alarms:
    """
    The alarms of all who wait on one board.

    A moment that is put off costs nothing: the alarm rings at the old one, finds that it is too early, and is set
    again. What is on the agenda holds no sleeper, so that one who leaves is gone at once.
    """

    def __init__(self) -> None:
        self._agenda: list[tuple[float, int]] = []
        self._sleepers: dict[int, Sleeper] = {}
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sleeper: Sleeper) -> int:
        """Take somebody in who will want to be woken; return the number by which to name it."""
        number = next(self._numbers)
        self._sleepers[number] = sleeper
        return number

    def remove(self, number: int) -> None:
        """Let somebody go."""
        self._sleepers.pop(number, None)
        if not self._sleepers:
            self._agenda.clear()
            self._stop_timer()

    def set(self, number: int, until: float) -> None:
        """
        Wake a sleeper at a moment, and not at any that was set before.

        :param until: seconds of the loop's clock.
        """
        sleeper = self._sleepers[number]
        sleeper.until = until
        if until < sleeper.rings_at:
            sleeper.rings_at = until
            heapq.heappush(self._agenda, (until, number))
            if self._timer is None or until < self._timer.when():
                self._start_timer(until)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        rung = 0
        while self._agenda and self._agenda[0][0] <= now and rung < TURN:
            _, number = heapq.heappop(self._agenda)
            sleeper = self._sleepers.get(number)
            if sleeper is None:
                continue
            rung += 1
            sleeper.rings_at = inf
            if sleeper.until <= now:
                sleeper.wake()
            else:
                self.set(number, sleeper.until)
        if self._agenda:
            self._start_timer(self._agenda[0][0])

    def _start_timer(self, at: float) -> None:
        self._stop_timer()
        # In an empty context: that of the trigger which happens to come first is not meant to be kept.
        self._timer = asyncio.get_running_loop().call_at(at, self._ring, context=contextvars.Context())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
