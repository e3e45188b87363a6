"""Many spend from one budget at once, each a thread that can stop anywhere: never too much, never too few."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from airflow_provider_kling_avatar.kling import run_budget
from airflow_provider_kling_avatar.kling.errors import CostLimitError, CostUndecidedError
from airflow_provider_kling_avatar.kling.run_budget import Share, claim

D = Decimal


class XComs:
    """The last share of each row, all read at one moment, as a database reads them; slow at random."""

    def __init__(self, seed=0):
        self.shares, self.lock, self.chance = {}, threading.Lock(), random.Random(seed)

    def of(self, map_index):
        xcoms = self

        class Row:
            def push(self, share):
                xcoms.dawdle()
                with xcoms.lock:
                    xcoms.shares[map_index] = share
                xcoms.dawdle()

            def read_all(self):
                with xcoms.lock:
                    found = list(xcoms.shares.values())
                xcoms.dawdle()
                return found

        return Row()

    def dawdle(self):
        time.sleep(self.chance.random() / 200)


def run(amounts, limit, at_once, seed):
    xcoms = XComs(seed)

    def one(map_index):
        row = xcoms.of(map_index)
        try:
            claim(
                map_index,
                amounts[map_index],
                limit,
                push=row.push,
                read_all=row.read_all,
                sleep=lambda _: time.sleep(0.002),
            )
        except CostLimitError:
            return map_index
        return None

    order = list(range(len(amounts)))
    random.Random(seed).shuffle(order)
    with ThreadPoolExecutor(at_once) as pool:
        refused = {map_index for map_index in pool.map(one, order) if map_index is not None}
    return refused, sum((share.amount for share in xcoms.shares.values() if share.stage == "granted"), D(0))


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
    limit = sum(amounts, D(0)) / 2

    refused, spent = run(amounts, limit, 8, seed)

    assert refused
    assert spent <= limit
    assert all(spent + amounts[map_index] > limit for map_index in refused)


def test_the_budget_may_be_spent_to_the_last_cent():
    refused, spent = run([D("0.1")] * 3, D("0.3"), 3, 0)
    assert (refused, spent) == (set(), D("0.3"))


def test_a_row_that_was_killed_while_it_asked_is_waited_for_and_then_counts():
    xcoms, now = XComs(), [0.0]
    xcoms.shares[0] = Share(0, D(1), "asked")

    def sleep(seconds):
        now[0] += seconds

    row = xcoms.of(1)
    with pytest.raises(CostUndecidedError, match=r"\(rows 0\)"):
        claim(1, D(1), D(1), push=row.push, read_all=row.read_all, sleep=sleep, clock=lambda: now[0])
    assert now[0] >= run_budget.GIVE_UP_SECONDS
    assert xcoms.shares[1].stage == "withdrawn"


def test_what_others_left_that_is_no_share_is_passed_over():
    assert [
        Share.from_json(junk) for junk in (None, "x", {}, {"map_index": "1", "amount": "1"}, {"map_index": 1})
    ] == [None] * 5
    share = Share(3, D("0.336"), "granted")
    assert Share.from_json(share.as_json()) == share
