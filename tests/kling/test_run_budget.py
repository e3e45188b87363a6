"""Many spend from one budget at once, each a thread that can stop anywhere: never too much, never too few."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from airflow_provider_kling_avatar.kling import run_budget as shares
from airflow_provider_kling_avatar.kling.errors import CostLimitError, CostUndecidedError
from airflow_provider_kling_avatar.kling.run_budget import Share, claim

D = Decimal


class Board:
    """Everybody's last word, read whole at one moment, as a database reads it; slow at random."""

    def __init__(self, seed=0):
        self.told, self.lock, self.chance = {}, threading.Lock(), random.Random(seed)

    def seat(self, place):
        board = self

        class Seat:
            def tell(self, share):
                board.dawdle()
                with board.lock:
                    board.told[place] = share
                board.dawdle()

            def everybody(self):
                with board.lock:
                    found = list(board.told.values())
                board.dawdle()
                return found

        return Seat()

    def dawdle(self):
        time.sleep(self.chance.random() / 200)


def run(amounts, cap, at_once, seed):
    board = Board(seed)

    def one(place):
        seat = board.seat(place)
        try:
            claim(
                place,
                amounts[place],
                cap,
                tell=seat.tell,
                told=seat.everybody,
                sleep=lambda _: time.sleep(0.002),
            )
        except CostLimitError:
            return place
        return None

    order = list(range(len(amounts)))
    random.Random(seed).shuffle(order)
    with ThreadPoolExecutor(at_once) as pool:
        refused = {place for place in pool.map(one, order) if place is not None}
    return refused, sum((share.amount for share in board.told.values() if share.stage == "granted"), D(0))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at_once", [1, 8, 20])
def test_of_twenty_equal_rows_exactly_the_three_that_do_not_fit_are_refused(at_once, seed):
    refused, spent = run([D("0.336")] * 20, D("0.336") * 17, at_once, seed)

    assert len(refused) == 3
    assert spent == D("0.336") * 17


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_different_cost_never_exceed_the_budget_and_none_is_refused_that_would_fit(seed):
    chance = random.Random(seed)
    amounts = [D(chance.randint(1, 40)) for _ in range(16)]
    cap = sum(amounts, D(0)) / 2

    refused, spent = run(amounts, cap, 8, seed)

    assert refused
    assert spent <= cap
    assert all(spent + amounts[place] > cap for place in refused)


def test_the_budget_may_be_spent_to_the_last_cent():
    refused, spent = run([D("0.1")] * 3, D("0.3"), 3, 0)
    assert (refused, spent) == (set(), D("0.3"))


def test_a_row_that_was_killed_while_it_asked_is_waited_for_and_then_counts():
    board, now = Board(), [0.0]
    board.told[0] = Share(0, D(1), "asked")

    def sleep(seconds):
        now[0] += seconds

    seat = board.seat(1)
    with pytest.raises(CostUndecidedError, match=r"\(rows 0\)"):
        claim(1, D(1), D(1), tell=seat.tell, told=seat.everybody, sleep=sleep, clock=lambda: now[0])
    assert now[0] >= shares.PATIENCE_SECONDS
    assert board.told[1].stage == "withdrawn"


def test_what_others_left_that_is_no_share_is_passed_over():
    assert [
        Share.from_json(junk) for junk in (None, "x", {}, {"place": "1", "amount": "1"}, {"place": 1})
    ] == [None] * 5
    share = Share(3, D("0.336"), "granted")
    assert Share.from_json(share.as_json()) == share
