"""One timer of the loop wakes everybody at a moment of their own. Real loop, short moments."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from airflow_provider_kling_avatar.kling.watcher.alarms import TURN, Alarms

SOON = 0.02
"""Seconds."""


class Sleeper:
    def __init__(self, alarms: Alarms) -> None:
        self.until = self.rings_at = inf
        self.woken: list[float] = []
        self.number = alarms.add(self)

    def wake(self) -> None:
        self.woken.append(asyncio.get_running_loop().time())


def now() -> float:
    return asyncio.get_running_loop().time()


def timers() -> list[asyncio.TimerHandle]:
    """What the loop has planned."""
    return [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.fixture
def alarms():
    return Alarms()


async def test_each_is_woken_once_at_its_own_moment_whoever_came_first(alarms):
    late, early = Sleeper(alarms), Sleeper(alarms)
    begin = now()
    alarms.set(late.number, begin + 3 * SOON)
    alarms.set(early.number, begin + SOON)

    await until(lambda: late.woken)

    assert begin + SOON <= early.woken[0] < late.woken[0]
    assert late.woken[0] >= begin + 3 * SOON
    assert len(early.woken) == len(late.woken) == 1


async def test_a_moment_that_is_put_off_wakes_nobody_at_the_old_one(alarms):
    sleeper = Sleeper(alarms)
    begin = now()
    alarms.set(sleeper.number, begin + SOON)
    alarms.set(sleeper.number, begin + 3 * SOON)

    await until(lambda: sleeper.woken)

    assert sleeper.woken[0] >= begin + 3 * SOON


async def test_a_moment_that_is_brought_forward_does_not_wait_for_the_old_one(alarms):
    sleeper = Sleeper(alarms)
    alarms.set(sleeper.number, now() + 600)
    alarms.set(sleeper.number, now() + SOON)

    await until(lambda: sleeper.woken)


async def test_the_same_moment_may_be_set_again_after_it_has_come(alarms):
    sleeper = Sleeper(alarms)
    for times in (1, 2, 3):
        alarms.set(sleeper.number, now() + SOON / 4)
        await until(lambda times=times: len(sleeper.woken) == times)


async def test_thousands_cost_one_timer(alarms):
    for index in range(5000):
        alarms.set(Sleeper(alarms).number, now() + 600 - index / 100)

    assert len([timer for timer in timers() if timer._callback == alarms._ring]) == 1


async def test_thousands_with_the_same_moment_leave_others_their_turn(alarms):
    sleepers = [Sleeper(alarms) for _ in range(10 * TURN)]
    moment = now() + SOON
    for sleeper in sleepers:
        alarms.set(sleeper.number, moment)
    seen = set()
    async with asyncio.timeout(5):
        while not all(sleeper.woken for sleeper in sleepers):
            await asyncio.sleep(0)
            seen.add(sum(bool(sleeper.woken) for sleeper in sleepers))

    assert max(b - a for a, b in zip(sorted(seen), sorted(seen)[1:], strict=False)) <= TURN


async def test_one_who_has_left_is_woken_no_more_and_the_last_one_takes_the_timer_along(alarms):
    leaving, staying = Sleeper(alarms), Sleeper(alarms)
    alarms.set(leaving.number, now() + SOON)
    alarms.set(staying.number, now() + 2 * SOON)
    alarms.remove(leaving.number)

    await until(lambda: staying.woken)
    assert not leaving.woken

    alarms.set(staying.number, now() + 600)
    alarms.remove(staying.number)
    assert not [timer for timer in timers() if timer._callback == alarms._ring]
