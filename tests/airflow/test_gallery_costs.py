"""What the clips of a Dag cost, by day and by run."""

from __future__ import annotations

import pytest

from airflow_provider_kling_avatar.gallery.costs import costs_of

DAY = 24 * 3600
MONDAY = 1_800_000_000 // DAY * DAY


def summary(task_id, began_at=MONDAY, step=2, **facts):
    return {"kling_task_id": task_id, "began_at": began_at, "step": step, "currency": "USD", **facts}


def test_costs_add_up_by_day_and_by_run():
    costs = costs_of(
        [
            ("morning", summary("1", estimated_cost="0.10", actual_cost="0.09")),
            ("morning", summary("2", estimated_cost="0.20", actual_cost="0.21")),
            ("evening", summary("3", MONDAY + DAY - 1, estimated_cost="0.3")),
            ("later", summary("4", MONDAY + DAY, estimated_cost="1")),
        ]
    )

    assert [(day["day"], day["clips"], day["estimated"], day["actual"]) for day in costs["days"]] == [
        ("2027-01-16", 1, {"USD": "1"}, {}),
        ("2027-01-15", 3, {"USD": "0.6"}, {"USD": "0.3"}),
    ]
    assert [(run["run_id"], run["clips"]) for run in costs["runs"]] == [
        ("later", 1),
        ("evening", 1),
        ("morning", 2),
    ]
    assert costs["total"] == {"clips": 4, "estimated": {"USD": "1.6"}, "actual": {"USD": "0.3"}}


def test_currencies_are_not_mixed():
    costs = costs_of(
        [("run", summary("1", actual_cost="1")), ("run", summary("2", actual_cost="7", currency="CNY"))]
    )

    assert costs["total"]["actual"] == {"USD": "1", "CNY": "7"}


def test_two_tasks_that_tell_of_a_clip_in_two_currencies_are_not_mixed_either():
    steps = [
        summary("1", step=1, estimated_cost="0.34"),
        summary("1", step=2, actual_cost="2.10", currency="CNY"),
    ]

    costs = costs_of([("run", one) for one in steps])

    assert costs["total"] == {"clips": 1, "estimated": {}, "actual": {"CNY": "2.1"}}


def test_a_clip_that_several_tasks_tell_of_is_paid_once():
    steps = [
        summary("1", step=3),
        summary("1", MONDAY + 5, actual_cost="0.28"),
        summary("1", step=1, estimated_cost="0.34"),
    ]

    costs = costs_of([("run", one) for one in steps])

    assert costs["total"] == {"clips": 1, "estimated": {"USD": "0.34"}, "actual": {"USD": "0.28"}}


def test_a_clip_that_a_later_run_waits_for_too_is_paid_once_and_by_the_first():
    costs = costs_of(
        [
            ("second", summary("1", MONDAY + DAY, actual_cost="0.28")),
            ("first", summary("1", MONDAY, step=1, estimated_cost="0.34")),
        ]
    )

    assert costs["total"] == {"clips": 1, "estimated": {"USD": "0.34"}, "actual": {"USD": "0.28"}}
    assert [(run["run_id"], run["clips"]) for run in costs["runs"]] == [("first", 1)]


def test_a_clip_counts_in_the_time_in_which_it_was_ordered_with_all_that_is_known_of_it():
    steps = [
        ("first", summary("old", MONDAY - 5, step=1, estimated_cost="0.34")),
        ("first", summary("old", MONDAY + 5, actual_cost="0.28")),
        ("first", summary("new", MONDAY, step=1, estimated_cost="1")),
        ("second", summary("new", MONDAY + DAY, actual_cost="2")),
    ]

    costs = costs_of(steps, since=MONDAY)

    assert costs["total"] == {"clips": 1, "estimated": {"USD": "1"}, "actual": {"USD": "2"}}
    assert [day["day"] for day in costs["days"]] == ["2027-01-15"]


def test_what_no_vendor_has_taken_costs_nothing():
    assert costs_of([("run", {"state": "failed", "began_at": MONDAY})])["total"]["clips"] == 0


@pytest.mark.parametrize(
    "amount",
    ["1e1000000", "1e-1999999", pytest.param("9" * 5_000_000, id="many nines"), "1e100", "-1", "0x10", "1_0"],
)
def test_an_amount_that_is_none_changes_no_sum_and_is_not_worked_out(amount):
    costs = costs_of([("run", summary("1", actual_cost="0.28")), ("run", summary("2", actual_cost=amount))])

    assert costs["total"] == {"clips": 2, "estimated": {}, "actual": {"USD": "0.28"}}


def test_a_currency_that_cannot_be_sent_is_sent_in_part():
    costs = costs_of([("run", summary("1", actual_cost="1", currency="\ud800" + "x" * 5_000_000))])

    (currency,) = costs["total"]["actual"]
    assert len(currency.encode()) < 2000


def test_odd_records_change_no_sum():
    good = summary("1", estimated_cost="0.34", actual_cost="0.28")
    odd = [
        None,
        "x",
        [],
        {},
        summary(5),
        summary("2", began_at="x"),
        summary("3", began_at=-1),
        summary("4", began_at=1e300),
        summary("5", step="x"),
        summary("6", estimated_cost="NaN", actual_cost=5),
        summary("7", estimated_cost="Infinity", currency=["USD"]),
    ]

    costs = costs_of([("run", one) for one in (*odd, good)])

    assert costs["total"] == {"clips": 3, "estimated": {"USD": "0.34"}, "actual": {"USD": "0.28"}}
